"""Scenes of objects on a table, drawn by the renderer of `airjax.scenes3d`, with what they are and how they stand."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32

from airjax.data._placing import MAX_REDRAWS, check_common, stream
from airjax.data.scenes import Scenes
from airjax.scenes3d import Stage, draw_identity

BATCH = 128


def tables(stage: Stage, size: int, *, seed: int, counts: Sequence[int], canvas: int = 32) -> Scenes:
    """x"""
    check_common(size, seed, counts, canvas)
    drawn = np.asarray(counts, np.int32)[stream(seed, 0).integers(len(counts), size=size)]
    slots = max(counts)
    identities = stream(seed, 1).integers(len(stage.kinds), size=(size, slots)).astype(np.int32)
    rotations = stream(seed, 2).uniform(0.0, 2.0 * np.pi, (size, slots))
    present = np.arange(slots) < drawn[:, None]
    positions = _positions(stage, identities, present, seed)
    poses = np.concatenate([positions, rotations[..., None]], axis=-1).astype(np.float32)
    images, boxes = [], []
    for start in range(0, size, BATCH):
        part = slice(start, start + BATCH)
        pad = lambda x: np.pad(x[part], [(0, max(0, start + BATCH - size))] + [(0, 0)] * (x.ndim - 1))
        image, box = _draw(stage, canvas, pad(identities), pad(poses), pad(present))
        images.append(np.asarray(image)); boxes.append(np.asarray(box))
    images, boxes = np.concatenate(images)[:size], np.concatenate(boxes)[:size]
    boxes[~present], poses[~present], identities[~present] = np.nan, np.nan, -1
    return Scenes(images, drawn, boxes, identities, poses)


def _positions(stage, identities, present, seed):
    size, slots = identities.shape
    radius = stage.size * np.array([kind.radius for kind in stage.kinds])[identities]
    positions = np.zeros((size, slots, 2))
    rows = np.arange(size)
    for turn in range(MAX_REDRAWS):
        # every scene has its own place in the stream so that smaller sets are the beginnings of larger ones
        draws = stream(seed, 3, turn).uniform(-stage.reach, stage.reach, (size, slots, 2))[rows]
        positions[rows] = draws
        gap = np.linalg.norm(draws[:, :, None] - draws[:, None], axis=-1) - radius[rows][:, :, None] - radius[rows][:, None]
        pair = np.triu(present[rows][:, :, None] & present[rows][:, None], 1)
        rows = rows[(pair & (gap < 0)).any((1, 2))]
        if not len(rows):
            return positions
    raise ValueError("counts must be placeable on the table")


@partial(jax.jit, static_argnums=(0, 1))
def _draw(stage, side, identities, poses, present):
    rays = stage.rays((side, side))

    def one(identities, poses, present):
        canvas, boxes = stage.empty(rays, len(identities)), []
        for identity, pose, here in zip(identities, poses, present):
            from airjax.scenes3d import daylight
            layer = draw_identity(rays, identity, stage.pose(pose[:2], pose[2]), daylight(), stage.kinds)
            layer = layer._replace(opacity=layer.opacity * here)
            canvas = canvas.add(layer)
            boxes.append(_box(layer.opacity > 0.5))
        image = jnp.round(255.0 * jnp.clip(canvas.image, 0.0, 1.0)).astype(jnp.uint8)
        return image.transpose(1, 2, 0), jnp.stack(boxes)

    return jax.vmap(one)(identities, poses, present)


def _box(mask):
    edges = []
    for axis in (0, 1):
        hit = jnp.any(mask, axis=axis)
        edges.append((jnp.argmax(hit), hit.size - jnp.argmax(hit[::-1])))
    (x0, x1), (y0, y1) = edges
    return jnp.stack([x0, y0, x1, y1]).astype(jnp.float32)
