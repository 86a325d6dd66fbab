"""Score a model on scenes (docs/model.md says how each number is defined)."""

import logging
from collections.abc import Iterable
from dataclasses import replace

import jax
import numpy as np
from jaxtyping import Float, Float32, PRNGKeyArray, UInt8

from airjax.data import Scenes
from airjax.data.batches import channels_first
from airjax.inference import infer, metrics, segmentation
from airjax.inference.masks import label_images
from airjax.inference.poses import pose_scores
from airjax.inference.tiled import find_in_tiles
from airjax.models.base import Family
from airjax.render3d.mujoco_renderer import MuJoCoRenderer
from airjax.render3d.stage import Stage

_logger = logging.getLogger(__name__)


def evaluate(model: Family, scenes: Scenes, *, key: PRNGKeyArray, samples: int = 100) -> dict:
    """Compute all scores for which `scenes` hold the truth; the others are None.

    Args:
        model: a trained model.
        scenes: images, and counts, boxes and segmentation where they are known.
        key: fixes the samples.
        samples: K of the importance-weighted bound and of the count posterior.

    Returns:
        Plain numbers and lists, ready for JSON. Bounds are in nats per image.
    """
    images = channels_first(scenes.images)
    found = infer.find(model, images)
    bounds = infer.bound(model, images, samples=samples, key=key)
    posterior_mode = np.argmax(bounds.count_posterior, axis=1)
    return {
        "scenes": len(scenes),
        "count_accuracy_sampled": _accuracy(bounds.sampled_count, scenes),
        "count_accuracy_mode": _accuracy(found.count, scenes),
        "count_accuracy_posterior": _accuracy(posterior_mode, scenes),
        "confusion": confusion(model, found.count, scenes),
        **box_scores(found, scenes),
        **mask_scores(model, found, scenes),
        **(pose_scores(model.stage, found, scenes) if model.stage else {}),
        "elbo": float(np.mean(bounds.elbo, dtype=np.float64)),
        f"iw_bound_{samples}": float(np.mean(bounds.iw_bound, dtype=np.float64)),
    }


def evaluate_tiled(
    model: Family, pictures: Iterable[tuple[UInt8[np.ndarray, "c h w"], Float[np.ndarray, "_ 4"]]]
) -> dict[str, int | float | None]:
    """Score counts and boxes in whole pictures, which are inferred in tiles.

    Args:
        model: a trained model.
        pictures: pictures at the scale of the model's images, and the true boxes in them; one is in memory at a time.

    Returns:
        The number of `pictures`; `count_accuracy`, the share with the true count; `count_error`, the mean error of the
        count; `count_error_relative`, the sum of the errors over the number of objects; and the scores of boxes.
    """
    true, found, presence = [], [], []
    for pixels, boxes in pictures:
        objects = find_in_tiles(model, pixels).objects
        true.append(boxes)
        found.append(np.array([one.described["box"] for one in objects]).reshape(-1, 4))
        presence.append(np.array([one.presence for one in objects]))
    counts, counted = (np.array([len(one) for one in boxes]) for boxes in (true, found))
    errors = np.abs(counts - counted)
    scored = _box_scores(*map(_padded, (true, found, presence)))
    return {
        "pictures": len(counts),
        "count_accuracy": float(np.mean(errors == 0)),
        "count_error": float(np.mean(errors)),
        "count_error_relative": float(errors.sum() / counts.sum()) if counts.any() else None,
        **scored,
    }


def _padded(rows: list[np.ndarray]) -> Float32[np.ndarray, "n most *rest"]:
    """Stack arrays of different lengths, filled up with NaN."""
    padded = np.full((len(rows), max(map(len, rows)), *rows[0].shape[1:]), np.nan, np.float32)
    for into, row in zip(padded, rows):
        into[: len(row)] = row
    return padded


def by_mujoco(model: Family, scenes: Scenes) -> Scenes:
    """Render the scenes of a 3D model again with MuJoCo, which the model was not built on.

    Raises:
        ValueError: the model is 2D; see also `redraw`.
    """
    if model.stage is None:
        raise ValueError("renderer is for models of solids or crockery, got one of patches")
    return redraw(model.stage, scenes)


def redraw(stage: Stage, scenes: Scenes) -> Scenes:
    """Render the scenes of a stage again with MuJoCo; counts, labels and poses stay.

    Raises:
        ValueError: counts, labels or poses are not known, or see `MuJoCoRenderer`.
    """
    if scenes.counts is None or scenes.labels is None or scenes.poses is None:
        raise ValueError("scenes must have counts, labels and poses to be drawn again")
    renderer = MuJoCoRenderer(stage, scenes.images.shape[1:3])
    azimuths = np.full(len(scenes), stage.azimuth) if scenes.azimuths is None else scenes.azimuths
    known = zip(scenes.counts, scenes.labels, scenes.poses, azimuths)
    images = [renderer(labels[:count], poses[:count], float(azimuth)) for count, labels, poses, azimuth in known]
    return replace(scenes, images=np.array(images, np.uint8).reshape(len(scenes), *scenes.images.shape[1:3], 3))


def _accuracy(predicted: np.ndarray, scenes: Scenes) -> float | None:
    return None if scenes.counts is None else metrics.count_accuracy(predicted, scenes.counts)


def confusion(model: Family, predicted: np.ndarray, scenes: Scenes) -> list[list[int]] | None:
    """Tabulate how often each count (row) was taken for each count (column)."""
    if scenes.counts is None:
        return None
    largest = max(model.max_objects, int(scenes.counts.max(initial=0)))
    return metrics.confusion(predicted, scenes.counts, largest).tolist()


def box_scores(found: infer.Found, scenes: Scenes) -> dict[str, float | None]:
    """Compare the boxes of the objects found, up to q's most likely count, with the true ones."""
    if scenes.boxes is None:
        return dict.fromkeys(("mean_iou", "ap50", "box_ap"))
    return _box_scores(scenes.boxes, np.where(found.present[..., None], found.boxes, np.nan), found.presence)


def _box_scores(true: np.ndarray, found: np.ndarray, presence: np.ndarray) -> dict[str, float | None]:
    return {
        "mean_iou": metrics.mean_iou(true, found),
        "ap50": metrics.average_precision(true, found, presence),
        "box_ap": segmentation.box_precision(true, found, presence) if _can_score("box_ap") else None,
    }


def mask_scores(model: Family, found: infer.Found, scenes: Scenes) -> dict[str, float | None]:
    """Compare the masks of the objects found, as far as they are seen, with the true ones.

    The adjusted Rand index asks only which object a pixel belongs to, not how far objects reach. So for it, each pixel
    belongs to the object that changes it most, however little.
    """
    true = scenes.segmentation
    if true is None:
        return dict.fromkeys(("ari_fg", "mask_mean_iou", "panoptic_quality", "mask_ap"))
    labels, scores = label_images(model, found), np.where(found.present, found.presence, np.nan)
    return {
        "ari_fg": segmentation.ari_foreground(true, label_images(model, found, everywhere=True)),
        "mask_mean_iou": segmentation.mean_mask_iou(true, labels),
        "panoptic_quality": segmentation.panoptic_quality(true, labels),
        "mask_ap": segmentation.mask_precision(true, labels, scores) if _can_score("mask_ap") else None,
    }


def _can_score(name: str) -> bool:
    if not (installed := segmentation.coco_installed()):
        _logger.warning("%s is left out: it needs pycocotools: pip install 'airjax[coco]'", name)
    return installed


def quick_scores(model: Family, scenes: Scenes, found: infer.Found) -> dict[str, float]:
    """Compute the scores logged during training, from a few scenes and their results."""
    bounds = infer.bound(model, channels_first(scenes.images), samples=1, key=jax.random.PRNGKey(0))
    logged = {"held_out_elbo": float(np.mean(bounds.elbo))}
    if scenes.counts is not None:
        logged["held_out_count_accuracy"] = metrics.count_accuracy(found.count, scenes.counts)
    if model.stage:
        poses = pose_scores(model.stage, found, scenes)
        logged |= {f"held_out_{name}": value for name, value in poses.items() if value is not None}
    return logged
