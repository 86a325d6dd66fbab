"""Masks of inferred objects: the pixels that each shows in, whole or as far as no other object is seen there.

An object's whole mask are the pixels that its box is tight around (`airjax.inference.boxes.shown`); whole masks may
overlap. In a label image, every pixel belongs to at most one object.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, UInt16

from airjax.inference.boxes import shown
from airjax.inference.infer import Found
from airjax.models.base import Family

BATCH = 256
"""Number of images whose masks are made at once."""


def whole_masks(model: Family, found: Found) -> Bool[np.ndarray, "n N h w"]:
    """Mark the pixels that each object of `found.canvases` shows in, also where a later one covers or outshines it.

    The box of a mask is the object's box. Masks of steps beyond the count, and of objects that draw nothing, are empty.
    """
    return _in_batches(model, found, everywhere=False)[0]


def label_images(model: Family, found: Found, *, everywhere: bool = False) -> UInt16[np.ndarray, "n h w"]:
    """Number the pixels that each object is seen in: 1, ..., count in the order of inference, 0 for the background.

    Where whole masks overlap, the pixel belongs to the last of the objects if objects cover what is behind them
    (`Family.covers`): an earlier one that is in front left nothing to change there. If objects add to one another, it
    belongs to the one that changes it most. An object that draws nothing, or is hidden, has no pixel; its number is
    left out.

    Args:
        model: the model.
        found: what it found.
        everywhere: whether objects are not cut off at the model's `edge`, as boxes are, and each pixel belongs to an
            object, however little that changes it; only those that none changes remain background.
    """
    return _in_batches(model, found, everywhere=everywhere)[1]


def _in_batches(model: Family, found: Found, *, everywhere: bool) -> tuple[np.ndarray, np.ndarray]:
    parts = [slice(start, start + BATCH) for start in range(0, len(found.count), BATCH)]
    edge = 0.0 if everywhere else model.edge
    segment = lambda part: _segment(found.canvases[part], found.count[part], edge, model.covers, everywhere)
    whole, labels = zip(*(jax.tree.map(np.asarray, segment(part)) for part in parts))
    return np.concatenate(whole), np.concatenate(labels)


@eqx.filter_jit
def _segment(
    canvases: Float[Array | np.ndarray, "n counts c h w"],
    count: Int32[Array | np.ndarray, " n"],
    edge: float,
    covers: bool,
    everywhere: bool,
) -> tuple[Bool[Array, "n N h w"], UInt16[Array, "n h w"]]:
    """Return whole masks and label images."""
    return jax.vmap(partial(_segment_one, edge=edge, covers=covers, everywhere=everywhere))(canvases, count)


def _segment_one(canvases, count, *, edge, covers, everywhere):
    change = jnp.diff(canvases, axis=0)
    strength = jnp.max(jnp.abs(change), axis=1)
    steps = jnp.arange(len(change))
    present = (steps < count)[:, None, None]
    masks = jax.vmap(partial(shown, edge=edge))(change) & present
    winner = _number(steps[:, None, None] if covers else strength, masks)
    rest = _number(strength, present & (strength > 0)) if everywhere else 0
    return masks, jnp.where(winner > 0, winner, rest).astype(jnp.uint16)


def _number(rank, among):
    """Number the object of the highest rank at each pixel, from 1; 0 where there is none to choose from."""
    return jnp.where(jnp.any(among, axis=0), 1 + jnp.argmax(jnp.where(among, rank, -1), axis=0), 0)
