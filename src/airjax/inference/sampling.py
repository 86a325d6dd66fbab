"""Scenes sampled from the generative model, with its own priors or changed ones."""

from typing import NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from airjax.inference.boxes import tight_box
from airjax.models.base import Family, Scene

OBJECTS = 64
"""Number of objects sampled from the prior to measure them."""


M = TypeVar("M", bound=Family)


def with_count(model: M, count: int) -> M:
    """Fix the number of objects of every scene to `count`.

    Raises:
        ValueError: `count` is not in 0..N.
    """
    if not 0 <= count <= model.max_objects:
        raise ValueError(f"count must be from 0 to {model.max_objects}, got {count}")
    log_prior = np.where(np.arange(model.max_objects + 1) == count, 0.0, -np.inf)
    fixed = jnp.asarray(log_prior, model.count_log_prior.dtype)
    return eqx.tree_at(lambda m: m.count_log_prior, model, fixed)


def steer(model: Family, *, count: int | None = None, scale: float = 1.0, temperature: float = 1.0) -> Family:
    """Change the priors from which a model draws scenes; with the defaults, they stay as they are.

    Args:
        model: The model, which stays as it is.
        count: The number of objects of every scene; None: p(n).
        scale: Factor on the size of objects, relative to p(z_where).
        temperature: Factor on the spread of codes around the mean of p(z_what); at 0, all objects look the same.

    Raises:
        ValueError: `count` is not in 0..N, `scale` not positive and finite, `temperature` negative or not finite, or
            objects are not patches.
    """
    if not 0 < scale < np.inf:
        raise ValueError(f"scale must be positive and finite, got {scale}")
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature must be finite and at least 0, got {temperature}")
    return (model if count is None else with_count(model, count)).steer(scale, temperature)


@eqx.filter_jit
def scenes(model: Family, n: int, *, key: PRNGKeyArray) -> Scene:
    """Draw `n` scenes, stacked."""
    return jax.vmap(lambda k: model.sample(key=k))(jax.random.split(key, n))


class Typical(NamedTuple):
    """Typical sizes of a model's objects, in pixels.

    Attributes:
        stroke: the width of strokes.
        width: the median width of objects.
        height: their median height.
    """

    stroke: float
    width: float
    height: float


def typical(model: Family, *, key: PRNGKeyArray) -> Typical:
    """Measure objects sampled from the prior and placed in the centre of a scene.

    A stroke of width w and length l has ink w l and total variation 2 l, the length of its edges.
    """

    def draw(where_key, what_key):
        ink = model.ink(where_key=where_key, what_key=what_key)
        return ink, tight_box(ink[None], 0.25)

    ink, boxes = map(np.asarray, jax.jit(jax.vmap(draw))(*jax.random.split(key, (2, OBJECTS))))
    edges = np.hypot(np.diff(ink, axis=1)[:, :, 1:], np.diff(ink, axis=2)[:, 1:]).sum()
    width, height = np.nanmedian(boxes[:, 2:] - boxes[:, :2], axis=0)
    return Typical(float(max(1.0, 2.0 * ink.sum() / max(edges, 1e-6))), float(width), float(height))
