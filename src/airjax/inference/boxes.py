"""Boxes of inferred objects, and the pixels that they are tight around."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

FAINT = 0.02
"""Smallest change of a pixel, of 1, that counts for an object's box."""


def shown(change: Float[Array, "c h w"], edge: float) -> Bool[Array, "h w"]:
    """Return the pixels that an object shows in, given what it changes.

    Pixels count from the share `edge` of the largest change on, so that a faint object is measured by its own contrast.
    """
    strength = jnp.max(jnp.abs(change), axis=0)
    return strength > jnp.maximum(edge * jnp.max(strength), FAINT)


def tight_box(change: Float[Array, "c h w"], edge: float) -> Float[Array, "4"]:
    """Return the smallest box (x0, y0, x1, y1), in pixels, around what an object shows in (`shown`); NaN if nowhere."""
    visible = shown(change, edge)
    edges = []
    for axis in (0, 1):
        hit = jnp.any(visible, axis=axis)
        index = jnp.arange(hit.size)
        edges.append((jnp.min(index, initial=hit.size, where=hit), jnp.max(index + 1, initial=0, where=hit)))
    (x0, x1), (y0, y1) = edges
    box = jnp.stack([x0, y0, x1, y1]).astype(jnp.float32)
    return jnp.where(jnp.any(visible), box, jnp.nan)


def window_box(where: Float[Array, "3"], shape: tuple[int, ...]) -> Float[Array, "4"]:
    """Return the corners (x0, y0, x1, y1) of an attention window, in pixels of an image of `shape`."""
    height, width = shape[-2:]
    size = jnp.array([width, height])
    centre, half = (where[1:] + 1.0) * size / 2, jnp.exp(where[0]) * max(height, width) / 2
    return jnp.concatenate([centre - half, centre + half])


def inside(corners: Float[Array, "*n 4"], shape: tuple[int, ...]) -> Float[Array, "*n 4"]:
    """Clip the corners of windows to an image of `shape`."""
    height, width = shape[-2:]
    return jnp.clip(corners, 0.0, jnp.array([width, height, width, height], jnp.float32))
