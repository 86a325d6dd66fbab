"""Direct descent: fit an object's pose to its picture through the renderer, from random starts; no network."""

import io
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, PRNGKeyArray, UInt8

from airjax.files import write_atomically
from airjax.render3d import Stage
from airjax.render3d.smooth import TURN

LEARNING_RATE = 0.1
"""Adam's, at first, for positions in table coordinates and rotations in radians alike; it falls to 0 along a cosine."""


class Fits(NamedTuple):
    """Where descents from R starts for each kind have ended.

    Attributes:
        what: (x, y, rotation, identity) of each.
        error: mean squared error of its picture.
        seconds: processor time of an image, all starts of all kinds, without compilation.
    """

    what: Float32[np.ndarray, "n kinds R 4"]
    error: Float32[np.ndarray, "n kinds R"]
    seconds: Float32[np.ndarray, " n"]

    @property
    def best(self) -> Float32[np.ndarray, "n 4"]:
        """The pose, of whatever kind, whose picture is nearest to each image."""
        nearest = np.argmin(self.error.reshape(len(self.error), -1), axis=1)
        return self.what.reshape(len(nearest), -1, 4)[np.arange(len(nearest)), nearest]

    def save(self, path: Path) -> None:
        """Write all to an npz file, completely or not at all."""
        buffer = io.BytesIO()
        np.savez(buffer, **self._asdict())
        write_atomically(path, buffer.getvalue())


def load(path: Path) -> Fits:
    """Read what `save` wrote."""
    with np.load(path) as file:
        return Fits(**file)


def descend(stage: Stage, images: UInt8[np.ndarray, "n 3 h w"], *, starts: int, steps: int, key: PRNGKeyArray) -> Fits:
    """Descend from `starts` random poses for every kind on every image, each by `steps` steps of Adam."""
    fit = lambda index: jax.block_until_ready(
        _descend(stage, starts, steps, jnp.asarray(images[index]), jax.random.fold_in(key, index))
    )
    ends, _ = [], fit(0)  # compiled before anything is timed
    for index in range(len(images)):
        begin = time.process_time()
        end = fit(index)
        ends.append((*end, np.float32(time.process_time() - begin)))
    return Fits(*(np.stack(each) for each in zip(*ends)))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _descend(
    stage: Stage, starts: int, steps: int, image: UInt8[Array, "3 h w"], key: PRNGKeyArray
) -> tuple[Float[Array, "kinds R 4"], Float[Array, "kinds R"]]:
    position_key, rotation_key = jax.random.split(key)
    shape = len(stage.kinds), starts
    positions = jax.random.uniform(position_key, (*shape, 2), minval=-stage.reach, maxval=stage.reach)
    rotations = jax.random.uniform(rotation_key, (*shape, 1), maxval=TURN)
    poses = jnp.concatenate([positions, rotations], axis=-1)
    fits = [jax.vmap(partial(_fit, stage, kind, steps, image / 255.0))(poses[kind]) for kind in range(shape[0])]
    what, error = (jnp.stack(each) for each in zip(*fits))
    identity = jnp.broadcast_to(jnp.arange(shape[0])[:, None, None], (*shape, 1)).astype(what.dtype)
    return jnp.concatenate([what, identity], axis=-1), error


def _fit(stage, kind, steps, image, pose):
    """Descend from one pose of one kind; return where it ends, and the error there."""
    rays = stage.camera(stage.azimuth).rays(image.shape[1:])
    empty = stage.empty(rays, 1)

    def error(pose):
        return jnp.mean((empty.add(stage.draw(rays, kind, pose[:2], pose[2])).image - image) ** 2)

    adam = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))

    def step(carry, _):
        pose, state = carry
        updates, state = adam.update(jax.grad(error)(pose), state)
        return (optax.apply_updates(pose, updates), state), None

    (pose, _), _ = jax.lax.scan(step, (pose, adam.init(pose)), length=steps)
    return pose, error(pose)
