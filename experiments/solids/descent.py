"""Direct descent: fit the pose of an object to its image through the renderer, without a network."""

import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, PRNGKeyArray, UInt8

from airjax.render3d import Stage
from airjax.render3d.smooth import TURN
from experiments import common

LEARNING_RATE = 0.1
"""First learning rate of Adam, for table coordinates and radians; it decays to 0 along a cosine."""


class Fits(NamedTuple):
    """Final poses of descents from R starts for each of the kinds.

    Attributes:
        what: (x, y, rotation, identity) of each.
        error: mean squared error of each image.
        seconds: processor time per image, for all starts of all kinds, without compilation.
    """

    what: Float32[np.ndarray, "n kinds R 4"]
    error: Float32[np.ndarray, "n kinds R"]
    seconds: Float32[np.ndarray, " n"]

    @property
    def best(self) -> Float32[np.ndarray, "n 4"]:
        """The pose of least error for each image, over all kinds and starts."""
        nearest = np.argmin(self.error.reshape(len(self.error), -1), axis=1)
        return self.what.reshape(len(nearest), -1, 4)[np.arange(len(nearest)), nearest]

    def save(self, path: Path) -> None:
        """Write an npz file, completely or not at all."""
        common.save_arrays(path, **self._asdict())


def load(path: Path) -> Fits:
    """Read a file that `save` wrote."""
    with np.load(path) as file:
        return Fits(**file)


def descend(stage: Stage, images: UInt8[np.ndarray, "n 3 h w"], *, starts: int, steps: int, key: PRNGKeyArray) -> Fits:
    """Fit every image from `starts` random poses for every kind, by `steps` steps of Adam each."""
    fit = lambda index: jax.block_until_ready(
        _descend(stage, starts, steps, jnp.asarray(images[index]), jax.random.fold_in(key, index))
    )
    ends, _ = [], fit(0)  # compile before the timing starts
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
    """Descend from one pose of one kind; return the final pose and its error."""
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
