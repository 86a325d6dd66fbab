"""Scenes of objects on a table, rendered by `airjax.render3d`, with identities and poses."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int32

from airjax.data._placing import MAX_REDRAWS, check_common, stream, tight_boxes
from airjax.data.scenes import Scenes
from airjax.render3d import Stage

BATCH = 128
"""Number of scenes that are drawn at once."""
SEEN = 0.5
"""Opacity above which a pixel belongs to an object's box."""


def tables(
    stage: Stage, size: int, *, seed: int, counts: Sequence[int], canvas: int = 32, repeats: bool = True
) -> Scenes:
    """Generate scenes of objects on a table, with uniform identities, rotations and positions.

    Positions are redrawn until no objects touch. Boxes include hidden parts of an object. The scenes of a smaller
    `size` are the first of a larger one.

    Args:
        stage: Kinds of objects, table and camera.
        size: Number of scenes.
        seed: Seed of the generator, at least 0.
        counts: Possible numbers of objects, equally likely.
        canvas: Side of the images, in pixels.
        repeats: Whether a scene can have several objects of a kind.

    Returns:
        Colour scenes with counts, boxes, labels (identities) and poses, and with azimuths if they
        differ between scenes.

    Raises:
        ValueError: An argument is out of range, or so many objects don't fit on the table.
    """
    check_common(size, seed, counts, canvas)
    if not repeats and max(counts) > len(stage.kinds):
        raise ValueError(f"counts must be at most {len(stage.kinds)} without repeats, got {max(counts)}")
    drawn = np.asarray(counts, np.int32)[stream(seed, 0).integers(len(counts), size=size)]
    present = np.arange(max(counts)) < drawn[:, None]
    labels = _identities(stream(seed, 1), present.shape, len(stage.kinds), repeats)
    rotations = stream(seed, 2).uniform(0.0, 2.0 * np.pi, (*present.shape, 1))
    turns = stream(seed, 4).uniform(-stage.azimuth_reach, stage.azimuth_reach, size)
    poses = np.concatenate([_positions(stage, labels, present, seed), rotations], axis=-1).astype(np.float32)
    azimuths = (stage.azimuth + turns).astype(np.float32)
    images, boxes = _drawn(stage, canvas, (azimuths, labels, poses, present))
    boxes[~present], poses[~present], labels[~present] = np.nan, np.nan, -1
    return Scenes(images, drawn, boxes, labels, poses, azimuths if stage.azimuth_reach else None)


def _identities(rng, shape, kinds, repeats) -> Int32[np.ndarray, "n k"]:
    if repeats:
        return rng.integers(kinds, size=shape, dtype=np.int32)
    return rng.permuted(np.tile(np.arange(kinds, dtype=np.int32), (shape[0], 1)), axis=1)[:, : shape[1]]


def _positions(stage, labels, present, seed) -> Float[np.ndarray, "n k 2"]:
    """Draw positions, and redraw those of a scene until no two of its objects touch."""
    radii = stage.size * np.array([kind.radius for kind in stage.kinds])[labels]
    apart = radii[:, :, None] + radii[:, None]
    pairs = np.triu(present[:, :, None] & present[:, None], 1)
    positions, rows = np.zeros((*labels.shape, 2)), np.arange(len(labels))
    for turn in range(MAX_REDRAWS):
        positions[rows] = stream(seed, 3, turn).uniform(-stage.reach, stage.reach, positions.shape)[rows]
        gaps = np.linalg.norm(positions[rows, :, None] - positions[rows, None], axis=-1)
        rows = rows[(pairs[rows] & (gaps < apart[rows])).any((1, 2))]
        if not len(rows):
            return positions
    raise ValueError(f"counts must fit on the table, got {present[rows].sum(1).max()} objects that still touch")


def _drawn(stage, side, scenes):
    """Draw all scenes in batches, the last one padded, and return images and boxes."""
    size, images, boxes = len(scenes[0]), [], []
    for start in range(0, size, BATCH):
        part = [x[start : start + BATCH] for x in scenes]
        filled = [np.pad(x, [(0, BATCH - len(x))] + [(0, 0)] * (x.ndim - 1)) for x in part]
        image, seen = jax.tree.map(np.asarray, _draw(stage, side, *filled))
        images.append(image[: len(part[0])])
        boxes.append(_boxes(seen[: len(part[0])]))
    blank = np.zeros((0, side, side, 3), np.uint8), np.zeros((0, scenes[1].shape[1], 4), np.float32)
    return np.concatenate([blank[0], *images]), np.concatenate([blank[1], *boxes])


def _boxes(seen):
    return tight_boxes(seen.reshape(-1, *seen.shape[2:])).reshape(*seen.shape[:2], 4)


@partial(jax.jit, static_argnums=(0, 1))
def _draw(stage, side, azimuths, labels, poses, present):
    def one(azimuth, labels, poses, present):
        rays = stage.camera(azimuth).rays((side, side))

        def put(canvas, thing):
            label, pose, here = thing
            layer = stage.draw_identity(rays, label, pose[:2], pose[2])
            return canvas.add(layer._replace(opacity=layer.opacity * here)), layer.opacity > SEEN

        canvas, seen = jax.lax.scan(put, stage.empty(rays, len(labels)), (labels, poses, present))
        image = jnp.round(255.0 * jnp.clip(canvas.image, 0.0, 1.0)).astype(jnp.uint8)
        return image.transpose(1, 2, 0), seen

    return jax.vmap(one)(azimuths, labels, poses, present)
