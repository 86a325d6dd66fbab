"""Read a glimpse from an image and write a patch onto a canvas (paper, section 3.1).

The paper does both with a spatial transformer. Windows here are never rotated, so bilinear interpolation is
separable: a glimpse is `A_y @ image @ A_x^T` and a placed patch is `B_y @ patch @ B_x^T`, where every row of `A`
and `B` is a hat function. Two small matrix products replace gathers and scatters, and their gradients are exact.

Coordinates: the canvas is [-1, 1]^2, x to the right and y downwards; a pixel's value sits at its centre. A window
has a `scale` (its side as a fraction of the canvas side) and a centre (x, y).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def hat_weights(positions: Float[Array, " k"], size: int) -> Float[Array, "k {size}"]:
    """Weigh `size` samples for linear interpolation at `positions` (in samples, 0 is the first sample's centre).

    A position outside [-1, size] gets no weight at all: beyond its border an image is zero.
    """
    distance = jnp.abs(positions[:, None] - jnp.arange(size, dtype=positions.dtype))
    return jnp.maximum(0.0, 1.0 - distance)


def pixel_centres(size: int) -> Float[Array, " {size}"]:
    """Return the coordinates of `size` pixel centres that divide [-1, 1] evenly."""
    return (2.0 * jnp.arange(size) + 1.0) / size - 1.0


def read_weights(
    scale: Float[Array, ""], centre: Float[Array, ""], canvas: int, window: int
) -> Float[Array, "{window} {canvas}"]:
    """Weigh the `canvas` samples of one axis for each of the `window` samples of a glimpse."""
    coordinates = centre + scale * pixel_centres(window)
    return hat_weights((coordinates + 1.0) * (canvas / 2) - 0.5, canvas)


def write_weights(
    scale: Float[Array, ""], centre: Float[Array, ""], canvas: int, window: int
) -> Float[Array, "{canvas} {window}"]:
    """Weigh the `window` samples of a patch for each of the `canvas` samples of one axis."""
    coordinates = (pixel_centres(canvas) - centre) / scale
    return hat_weights((coordinates + 1.0) * (window / 2) - 0.5, window)


def read(
    image: Float[Array, "c h w"],
    scale: Float[Array, ""],
    centre: Float[Array, "2"],
    window: int,
) -> Float[Array, "c {window} {window}"]:
    """Cut the window at `centre` = (x, y) out of `image`: the glimpse x_att."""
    _, height, width = image.shape
    rows = read_weights(scale, centre[1], height, window)
    columns = read_weights(scale, centre[0], width, window)
    return rows @ image @ columns.T


def write(
    patch: Float[Array, "c p p"],
    scale: Float[Array, ""],
    centre: Float[Array, "2"],
    shape: tuple[int, int],
) -> Float[Array, "c h w"]:
    """Place `patch` in the window at `centre` = (x, y) on an empty canvas of `shape` = (height, width): y_att."""
    window = patch.shape[-1]
    rows = write_weights(scale, centre[1], shape[0], window)
    columns = write_weights(scale, centre[0], shape[1], window)
    return rows @ patch @ columns.T
