"""Cut a window out of maps, and put it back: what an object changes is a small part of an image."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Crop(NamedTuple):
    """A square window of whole pixels, as selections of rows and columns.

    Both ways are products with matrices of zeros and ones, which are exact, cheap, and have cheap gradients under
    `vmap`, where slices at places of their own would become gathers.

    Attributes:
        rows: one in every row: which row of the image it is.
        columns: the same for columns.
    """

    rows: Float[Array, "p h"]
    columns: Float[Array, "p w"]

    def cut(self, maps: Any) -> Any:
        """Cut the window out of all maps [..., h, w] of a tree; what has fewer axes is left as it is."""
        return jax.tree.map(lambda x: self.rows @ x @ self.columns.T if x.ndim > 1 else x, maps)

    def within(self, point: Float[Array, "2"]) -> Float[Array, "2"]:
        """Tell where a point (x, y) of the image, in pixels, lies in the window: from its middle, in half sides."""
        middle = lambda selection: jnp.mean(selection @ jnp.arange(selection.shape[1])) + 0.5
        half = 0.5 * jnp.array([len(self.columns), len(self.rows)])
        return (point - jnp.stack([middle(self.columns), middle(self.rows)])) / half

    def put(self, maps: Any) -> Any:
        """Put windows [..., p, p] of a tree in their place on zeros [..., h, w]."""
        return jax.tree.map(lambda x: self.rows.T @ x @ self.columns, maps)


def crop_around(centre: Float[Array, "2"], side: int, shape: tuple[int, int]) -> Crop:
    """Make the window of `side` pixels around a point (x, y), in pixels, as near to it as it can lie within the image.

    An image that is smaller is cut to its own size; a point that is not finite means the first window.
    """
    select = lambda at, length: _selection(jax.lax.stop_gradient(at), min(side, length), length)
    return Crop(select(centre[1], shape[0]), select(centre[0], shape[1]))


def _selection(middle, side, length):
    first = jnp.clip(jnp.nan_to_num(jnp.round(middle - 0.5 * side)), 0, length - side)
    return (jnp.arange(length) == (first + jnp.arange(side))[:, None]).astype(jnp.float32)
