"""Attention: a fixation where the residual is large, and looks that move it onto an object.

The paper's recurrent network finds an object's place by regression from the whole image. Given two equally good
objects, regression answers with the point between them, and it has to learn every place anew. A fixation chooses one
object, and the view around it is the same wherever it lies.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.models import windows
from airjax.models.layers import MLP, Linear
from airjax.models.windows import Block, block_around

CELL = 4
"""Pixels from one place that can be fixated to the next."""

REACH = 3.0
"""Standard deviation of the Gaussian by which a cell weighs pixels around it, in pixels."""

FAR = 5.0
"""Distance from which on a pixel has no weight for a cell where only a part of the canvas is looked at, in `REACH`."""

FAINT = 1e-3
"""Squared error that hardly counts as unexplained."""

CONTRAST = 2.0
"""Power of the error to which the probability of a fixation is proportional."""

LOOKS = 3
"""Number of looks around a fixation; all but the last move it."""

SIDE = 16
"""Side of a look, in samples."""

VIEW = 1.4
"""Side of a look in windows, before training."""

PLACED = 0.25
"""Standard deviation, in windows, of the Gaussian in which a placed object inhibits the return of attention; it is
blurred by `REACH`, as the error is."""


class Unexplained(NamedTuple):
    """The residual of an image around each cell.

    Attributes:
        error: mean squared error, summed over channels.
        centre: centre of mass (x, y) of the squared error, in canvas units.
    """

    error: Float[Array, " cells"]
    centre: Float[Array, "cells 2"]


class Attended(NamedTuple):
    """The place that attention found.

    Attributes:
        centre: its (x, y), in canvas units.
        features: features of the residual there, and last the total error.
    """

    centre: Float[Array, "2"]
    features: Float[Array, " f"]


def cells(height: int, width: int) -> tuple[int, int]:
    """Count the rows and columns of cells of an image."""
    return -(-height // CELL), -(-width // CELL)


def unexplained(residual: Float[Array, "c h w"]) -> Unexplained:
    """Blur the squared error of the residual, and sample it at every cell."""
    error = jnp.sum(residual**2, axis=0)
    (down, y, centre_y), (across, x, centre_x) = _blurs(error.shape)
    around = _weigh(down, error, across)
    grid = jnp.stack(jnp.meshgrid(centre_x, centre_y), axis=-1)
    moment = jnp.stack([_weigh(down, error, across * x), _weigh(down * y, error, across)], axis=-1)
    return Unexplained(around.reshape(-1), _centre_of_mass(moment, around[..., None], grid).reshape(-1, 2))


def _weigh(rows, error, columns):
    # As one einsum: `rows @ error` has the columns of a batch's images, and XLA rounds them by their place in it.
    return jnp.einsum("ih,hw,jw->ij", rows, error, columns)


def _centre_of_mass(moment, error, own):
    """Divide the first moment of the squared error by its sum; where there is none, the centre is the cell's own."""
    return (moment + FAINT * own) / (error + FAINT)


def error_map(residual: Float[Array, "c h w"]) -> Float[Array, "rows columns"]:
    """Blur the squared error of the residual as `unexplained` does, without the centres of mass."""
    (down, *_), (across, *_) = _blurs(residual.shape[1:])
    return _weigh(down, jnp.sum(residual**2, axis=0), across)


def update_error_map(
    error: Float[Array, "rows columns"], before: Float[Array, "c i j"], after: Float[Array, "c i j"], block: Block
) -> Float[Array, "rows columns"]:
    """Update an error map where the residual changes in a block; cells beyond `FAR` from the block stay as they are."""
    near = _cells_near(block)
    down, across = _weights(near, block)
    change = _weigh(down, jnp.sum(after**2 - before**2, axis=0), across)
    return near.put(error[None], near.cut(error[None]) + change)[0]


def _weights(near, block):
    """Weigh the rows and the columns of a block of pixels, as a block of cells sees them."""
    (down, *_), (across, *_) = _blurs(block.canvas)
    of_rows = jax.lax.dynamic_slice(down, (near.row, block.row), (near.shape[0], block.shape[0]))
    return of_rows, jax.lax.dynamic_slice(across, (near.column, block.column), (near.shape[1], block.shape[1]))


def _cells_near(block):
    """Find the cells that see a block's pixels."""

    def along(first, length, count, size):
        reach = min(count, int(np.ceil((length + 2 * FAR * REACH) * count / size)) + 1)
        start = jnp.floor((first - FAR * REACH) * (count / size)).astype(jnp.int32)
        return jnp.clip(start, 0, count - reach), reach

    counts = cells(*block.canvas)
    row, rows = along(block.row, block.shape[0], counts[0], block.canvas[0])
    column, columns = along(block.column, block.shape[1], counts[1], block.canvas[1])
    return Block(row, column, (rows, columns), counts)


def _blurs(shape):
    """Weigh the pixels of a canvas along y and along x; see `_blur`."""
    return tuple(_blur(*size) for size in zip(cells(*shape), shape))


def _blur(count, size):
    """Weigh `size` pixels from `count` cells; and the pixels' and the cells' positions, in canvas units."""
    pixels, centres = windows.pixel_centres(size), windows.pixel_centres(count)
    distance = (centres[:, None] - pixels) * size / 2.0 / REACH
    return jax.nn.softmax(-0.5 * distance**2, axis=1), pixels, centres


class Attention(eqx.Module):
    """Hard attention: fixate a place where the residual is large, look around, and move onto the object.

    Fixations are sampled with probabilities that grow with the error (Gumbel's maximum). This choice is not learned and
    needs no term in the bound: q(where | fixation) gives a lower bound on log p(x) for every fixation, so the mean over
    fixations is one, too.
    """

    look: MLP
    shift: Linear
    log_scale: Float[Array, ""]
    inhibition: float = eqx.field(static=True)
    image_shape: tuple[int, int, int] = eqx.field(static=True)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        size: int,
        log_scale: Float[Array, ""],
        inhibition: float = 0.0,
        *,
        key: PRNGKeyArray,
    ):
        """Make the layers; windows are about `exp(log_scale)` of the canvas, features are `size` and one more.

        `inhibition` is the share by which the error in the middle of a placed window counts less at later steps.
        """
        look, shift = jax.random.split(key)
        self.look = MLP((image_shape[0] * SIDE**2, 4 * size, size), key=look)
        self.shift = Linear(size, 2, gain=0.1, key=shift)
        self.log_scale, self.inhibition, self.image_shape = log_scale, inhibition, image_shape

    @property
    def cells(self) -> int:
        """The number of places that can be fixated."""
        return math.prod(cells(*self.image_shape[1:]))

    @property
    def uninhibited(self) -> Float[Array, "rows columns"] | None:
        """The weights of the errors of all cells before the first object; None without inhibition of return."""
        return jnp.ones(cells(*self.image_shape[1:])) if self.inhibition else None

    def inhibit(self, weights: Float[Array, "rows columns"], where: Float[Array, "3"]) -> Float[Array, "rows columns"]:
        """Weigh errors less where an object was put, so that one which explains little does not hold attention."""
        height, width = self.image_shape[1:]
        variance = (PLACED * jnp.exp(where[0]) * max(height, width)) ** 2 + REACH**2
        across, down = (
            jnp.exp(-0.5 * ((windows.pixel_centres(count) - centre) * size / 2.0) ** 2 / variance)
            for count, centre, size in zip(weights.shape[::-1], where[1:], (width, height))
        )
        return jax.lax.stop_gradient(weights * (1.0 - self.inhibition * jnp.outer(down, across)))

    def __call__(
        self,
        residual: Float[Array, "c h w"],
        noise: Float[Array, " cells"] | None,
        weights: Float[Array, "rows columns"] | None = None,
    ) -> Attended:
        """Attend to the residual; standard normal `noise` chooses, None takes the likeliest cell.

        The `weights` are those that `inhibit` gives to cells.
        """
        there = unexplained(residual)
        gumbel = 0.0 if noise is None else -jnp.log(-jax.scipy.stats.norm.logcdf(noise))
        weighed = there.error if weights is None else there.error * weights.reshape(-1)
        chosen = jnp.argmax(CONTRAST * jnp.log(weighed + FAINT) + gumbel)
        read = lambda scale, centre: windows.read(residual, scale, centre, SIDE)
        return self._look_around(there.error, there.centre[chosen], read)

    def within(
        self,
        residual: Callable[[Block], Float[Array, "c i j"]],
        error: Float[Array, "rows columns"],
        side: int,
        noise: Float[Array, "2"] | None,
        weights: Float[Array, "rows columns"] | None = None,
    ) -> Attended:
        """Do the same, looking at blocks of `side` pixels; `residual` cuts them out, and `error` is its error map.

        One number of the standard normal `noise` chooses the cell's row, one its column; None takes the likeliest cell.
        """

        def read(scale, centre):
            block = block_around(centre, side, self.image_shape[1:])
            return windows.read(residual(block), scale, centre, SIDE, block)

        rows, columns = error.shape
        row, column = _chosen(error if weights is None else error * weights, noise)
        grid = windows.centre_of(jnp.stack([column, row]), np.array([columns, rows], np.float32))
        block = block_around(grid, int(2 * FAR * REACH), self.image_shape[1:])
        (of_rows,), (of_columns,) = _weights(Block(row, column, (1, 1), (rows, columns)), block)
        squares = jnp.sum(residual(block) ** 2, axis=0)
        moment = jnp.stack([of_rows @ squares @ (of_columns * block.x), (of_rows * block.y) @ squares @ of_columns])
        centre = _centre_of_mass(moment, error[row, column], grid)
        return self._look_around(error, centre, read)

    def _look_around(self, error, centre, read):
        """Look around a place and move onto the object; `read` cuts a window out of the residual."""
        scale = jnp.exp(self.log_scale)
        sides = scale * windows.extent(*self.image_shape[1:])
        see = lambda centre: jax.nn.relu(self.look(read(VIEW * scale, centre).reshape(-1)))
        for _ in range(LOOKS - 1):
            centre = centre + sides * self.shift(see(centre))
        total = 0.5 * jnp.log(jnp.mean(error) + FAINT) + 2.0  # between about -1.5 and 2
        return Attended(centre, jnp.append(see(centre), total))


def _chosen(error, noise):
    """Choose a cell (row, column) with a probability proportional to a power of its error, or the likeliest one.

    First a row, then a cell of it: a number for every cell, as Gumbel's maximum needs, costs more than a step.
    """
    weights = (error + FAINT) ** CONTRAST
    if noise is None:
        return jnp.divmod(jnp.argmax(weights).astype(jnp.int32), error.shape[1])
    row = _pick(jnp.sum(weights, axis=1), noise[0])
    return row, _pick(weights[row], noise[1])


def _pick(weights, noise):
    """Choose an index with a probability proportional to its weight; `noise` is standard normal."""
    reached = jnp.cumsum(weights)
    index = jnp.sum(reached < jax.scipy.stats.norm.cdf(noise) * reached[-1])
    return jnp.minimum(index, len(weights) - 1).astype(jnp.int32)
