"""Read a glimpse from an image and write a patch onto a canvas (paper, section 3.1).

The paper does both with a spatial transformer. Windows here are never rotated, so bilinear interpolation is
separable: both are `A_y @ image @ A_x^T`, where every row of `A` is a hat function with two weights that are not zero.
Two small matrix products replace gathers and scatters. Training uses that sparsity where it pays: the forward pass and
the gradient by positions weigh two neighbours a sample, and the gradient by the image is two matrix products again
(docs/performance.md).

Coordinates: the canvas is [-1, 1]^2, x to the right and y downwards; a pixel's value sits at its centre. A window
has a `scale` (its side as a fraction of the canvas's longer side) and a centre (x, y). Windows are square.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def hat_weights(positions: Float[Array, " k"], size: int) -> Float[Array, "k {size}"]:
    """Weigh `size` samples for linear interpolation at `positions` (in samples, 0 is the first sample's centre).

    A position outside [-1, size] gets no weight at all: beyond its border an image is zero.
    """
    distance = jnp.abs(positions[:, None] - jnp.arange(size, dtype=positions.dtype))
    return jnp.maximum(0.0, 1.0 - distance)


def _weigh_neighbours(image, positions, weigh):
    """Sum the two neighbours along x of every position, weighed by `weigh(distance from the lower one)`.

    The result is [c, k, h], transposed: so the gathers run along rows of memory.
    """
    size = image.shape[-1]
    below = jnp.floor(positions)
    index = below.astype(jnp.int32)
    total = jnp.zeros(())
    for neighbour, weight in zip((index, index + 1), weigh(positions - below)):
        weight = jnp.where((neighbour >= 0) & (neighbour < size), weight, 0.0)
        columns = image.transpose(0, 2, 1).at[:, jnp.clip(neighbour, 0, size - 1)].get(mode="promise_in_bounds")
        total += weight[:, None] * columns
    return total


def _interpolate(image, positions):
    """Interpolate along x, between zeros beyond the border: [c, h, w] to [c, k, h]."""
    return _weigh_neighbours(image, positions, lambda far: (1.0 - far, far))


def _slope(image, positions):
    """Differentiate `_interpolate` by its positions."""
    return _weigh_neighbours(image, positions, lambda far: (jnp.full_like(far, -1.0), jnp.ones_like(far)))


@jax.custom_vjp
def resample(
    image: Float[Array, "c h w"], rows: Float[Array, " i"], columns: Float[Array, " j"]
) -> Float[Array, "c i j"]:
    """Interpolate an image bilinearly on the grid of positions `rows` x `columns`, in samples; beyond it is zero."""
    _, height, width = image.shape
    return hat_weights(rows, height) @ image @ hat_weights(columns, width).T


def _resample_forward(image, rows, columns):
    along_x = _interpolate(image, columns)
    return _interpolate(along_x, rows), (image, along_x, rows, columns)


def _resample_backward(saved, gradient):
    image, along_x, rows, columns = saved
    _, height, width = image.shape
    to_along_x = jnp.einsum("cij,iy->cjy", gradient, hat_weights(rows, height))
    to_image = jnp.einsum("cjy,jx->cyx", to_along_x, hat_weights(columns, width))
    to_rows = jnp.sum(gradient * _slope(along_x, rows), axis=(0, 2))
    to_columns = jnp.sum(to_along_x * _slope(image, columns), axis=(0, 2))
    return to_image, to_rows, to_columns


resample.defvjp(_resample_forward, _resample_backward)


def centre_of(index: Int[Array, "*n"], size: int | np.ndarray) -> Float[Array, "*n"]:
    """Return the coordinate of a pixel's centre, where `size` pixels divide [-1, 1] evenly."""
    return (2.0 * index + 1.0) / size - 1.0


def pixel_centres(size: int) -> Float[Array, " {size}"]:
    """Return the coordinates of all of `size` pixel centres."""
    return centre_of(jnp.arange(size), size)


def extent(height: int, width: int) -> Float[np.ndarray, "2"]:
    """Return the side of a window of scale 1, along x and y, in canvases."""
    return max(height, width) / np.array([width, height], np.float32)


class Block(NamedTuple):
    """A rectangle of whole pixels of a canvas, in which a window lies.

    What is done with a window then costs the same on a canvas of any size. Under `jax.vmap` every image has its own.

    Attributes:
        row, column: its first pixel.
        shape: its height and width, in pixels.
        canvas: those of the canvas.
    """

    row: Int[Array, ""]
    column: Int[Array, ""]
    shape: tuple[int, int]
    canvas: tuple[int, int]

    @property
    def _first(self):
        return jnp.zeros_like(self.row), self.row, self.column

    @property
    def y(self) -> Float[Array, " i"]:
        """The rows' centres, in canvas units."""
        return centre_of(self.row + jnp.arange(self.shape[0]), self.canvas[0])

    @property
    def x(self) -> Float[Array, " j"]:
        """The columns' centres, in canvas units."""
        return centre_of(self.column + jnp.arange(self.shape[1]), self.canvas[1])

    def cut(self, image: Float[Array, "c h w"]) -> Float[Array, "c i j"]:
        """Cut it out of an image."""
        return jax.lax.dynamic_slice(image, self._first, (len(image), *self.shape))

    def put(self, image: Float[Array, "c h w"], part: Float[Array, "c i j"]) -> Float[Array, "c h w"]:
        """Replace it in an image."""
        return jax.lax.dynamic_update_slice(image, part, self._first)


def block_around(centre: Float[Array, "2"], side: int, canvas: tuple[int, int]) -> Block:
    """Find the square of `side` pixels around a centre (x, y), moved into the canvas where it would reach beyond.

    It has no gradient. A square larger than the canvas is cut to it.
    """
    shape = min(side, canvas[0]), min(side, canvas[1])

    def first(centre, size, length):
        middle = (jax.lax.stop_gradient(centre) + 1.0) * (size / 2)
        return jnp.clip(jnp.round(middle - length / 2), 0, size - length).astype(jnp.int32)

    return Block(first(centre[1], canvas[0], shape[0]), first(centre[0], canvas[1], shape[1]), shape, canvas)


def _read_positions(scale, centre, canvas, longer, window):
    """Find where the `window` samples of a glimpse lie among the `canvas` samples of one axis."""
    return scale * (longer / 2) * pixel_centres(window) + ((centre + 1.0) * (canvas / 2) - 0.5)


def _write_positions(scale, centre, centres, canvas, longer, window):
    """Find where pixels of one axis, with these `centres`, lie among the `window` samples of a patch."""
    half = window / 2
    stretch = half * (canvas / longer)
    return stretch / scale * centres + (half - 0.5 - stretch / scale * centre)


def read(
    image: Float[Array, "c h w"],
    scale: Float[Array, ""],
    centre: Float[Array, "2"],
    window: int,
    block: Block | None = None,
) -> Float[Array, "c {window} {window}"]:
    """Cut the window at `centre` = (x, y) out of `image`: the glimpse x_att.

    With a `block`, `image` is that part of the canvas, beyond which there is nothing.
    """
    height, width = image.shape[1:] if block is None else block.canvas
    longer = max(height, width)
    rows = _read_positions(scale, centre[1], height, longer, window)
    columns = _read_positions(scale, centre[0], width, longer, window)
    if block is not None:
        rows, columns = rows - block.row, columns - block.column
    return resample(image, rows, columns)


def write(
    patch: Float[Array, "c p p"],
    scale: Float[Array, ""],
    centre: Float[Array, "2"],
    shape: tuple[int, int],
    block: Block | None = None,
) -> Float[Array, "c h w"]:
    """Place `patch` in the window at `centre` = (x, y) on an empty canvas of `shape` = (height, width): y_att.

    With a `block`, return that part of the canvas.
    """
    window, longer = patch.shape[-1], max(shape)
    y, x = (pixel_centres(shape[0]), pixel_centres(shape[1])) if block is None else (block.y, block.x)
    rows = _write_positions(scale, centre[1], y, shape[0], longer, window)
    columns = _write_positions(scale, centre[0], x, shape[1], longer, window)
    return resample(patch, rows, columns)
