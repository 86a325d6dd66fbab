"""Attention: a fixation where the residual is large, and looks that move it onto an object.

The paper's recurrent network finds an object's place by regression from the whole image. Given two equally good
objects, regression answers with the point between them, and it has to learn every place anew. A fixation chooses one
object, and the view around it is the same wherever it lies.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.models import windows
from airjax.models.layers import MLP, Linear

CELL = 4
"""Pixels from one place that can be fixated to the next."""

REACH = 3.0
"""Standard deviation of the Gaussian by which a cell weighs pixels around it, in pixels."""

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
    rows, columns = cells(*error.shape)
    (down, y, centre_y), (across, x, centre_x) = (_blur(*size) for size in zip((rows, columns), error.shape))
    # As one einsum: `down @ error` has the columns of a batch's images, and XLA rounds them by their place in it.
    weigh = lambda rows, columns: jnp.einsum("ih,hw,jw->ij", rows, error, columns)
    around = weigh(down, across)
    grid = jnp.stack(jnp.meshgrid(centre_x, centre_y), axis=-1)
    moment = jnp.stack([weigh(down, across * x), weigh(down * y, across)], axis=-1)
    # Where the residual is zero, the centre is the cell's own.
    centre = (moment + FAINT * grid) / (around + FAINT)[..., None]
    return Unexplained(around.reshape(-1), centre.reshape(-1, 2))


def _blur(count, size):
    """Weigh `size` pixels from `count` cells; and the pixels' and the cells' positions, in canvas units."""
    positions = lambda n: (2.0 * jnp.arange(n) + 1.0) / n - 1.0
    pixels, centres = positions(size), positions(count)
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
    cells: int = eqx.field(static=True)

    def __init__(self, image_shape: tuple[int, int, int], size: int, log_scale: Float[Array, ""], *, key: PRNGKeyArray):
        """Make the layers; windows are about `exp(log_scale)` of the canvas, features are `size` and one more."""
        look, shift = jax.random.split(key)
        self.look = MLP((image_shape[0] * SIDE**2, 4 * size, size), key=look)
        self.shift = Linear(size, 2, gain=0.1, key=shift)
        self.log_scale = log_scale
        rows, columns = cells(*image_shape[1:])
        self.cells = rows * columns

    def __call__(self, residual: Float[Array, "c h w"], noise: Float[Array, " cells"]) -> Attended:
        """Attend to the residual; standard normal `noise` chooses, and zeros take the likeliest cell."""
        there = unexplained(residual)
        gumbel = -jnp.log(-jax.scipy.stats.norm.logcdf(noise))
        centre = there.centre[jnp.argmax(CONTRAST * jnp.log(there.error + FAINT) + gumbel)]
        scale = jnp.exp(self.log_scale)
        sides = scale * windows.extent(*residual.shape[1:])
        for _ in range(LOOKS - 1):
            centre = centre + sides * self.shift(self._see(residual, scale, centre))
        total = 0.5 * jnp.log(jnp.mean(there.error) + FAINT) + 2.0  # between about -1.5 and 2
        return Attended(centre, jnp.append(self._see(residual, scale, centre), total))

    def _see(self, residual, scale, centre):
        seen = windows.read(residual, VIEW * scale, centre, SIDE)
        return jax.nn.relu(self.look(seen.reshape(-1)))
