"""Cut a window out of maps and put it back. An object changes only a small part of an image."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Crop(NamedTuple):
    """A square window of whole pixels, as selections of rows and columns.

    `cut` and `put` are products with matrices of zeros and ones. These are exact and cheap, and so are their gradients
    under `vmap`, where slices at different positions would become gathers.

    Attributes:
        rows: a one-hot row for each row of the window, which selects a row of the image.
        columns: the same for columns.
    """

    rows: Float[Array, "p h"]
    columns: Float[Array, "p w"]

    def cut(self, maps: Any) -> Any:
        """Cut the window out of all maps [..., h, w] of a tree. Arrays with fewer than two axes are left unchanged."""
        return jax.tree.map(lambda x: self.rows @ x @ self.columns.T if x.ndim > 1 else x, maps)

    def within(self, point: Float[Array, "2"]) -> Float[Array, "2"]:
        """Convert a point (x, y) of the image, in pixels, to window coordinates: from the centre, in half sides."""
        middle = lambda selection: jnp.mean(selection @ jnp.arange(selection.shape[1])) + 0.5
        half = 0.5 * jnp.array([len(self.columns), len(self.rows)])
        return (point - jnp.stack([middle(self.columns), middle(self.rows)])) / half

    def put(self, maps: Any) -> Any:
        """Put windows [..., p, p] of a tree back to their place in maps [..., h, w] of zeros."""
        return jax.tree.map(lambda x: self.rows.T @ x @ self.columns, maps)


def crop_around(centre: Float[Array, "2"], side: int, shape: tuple[int, int]) -> Crop:
    """Return a window of `side` pixels, centred as closely as possible on a point (x, y) in pixels, within the image.

    If the image is smaller, the window has its size. If a coordinate is NaN, the window starts at pixel 0.
    """
    select = lambda at, length: _selection(jax.lax.stop_gradient(at), min(side, length), length)
    return Crop(select(centre[1], shape[0]), select(centre[0], shape[1]))


def _selection(middle, side, length):
    first = jnp.clip(jnp.nan_to_num(jnp.round(middle - 0.5 * side)), 0, length - side)
    return (jnp.arange(length) == (first + jnp.arange(side))[:, None]).astype(jnp.float32)
