"""Score a model on scenes (docs/model.md says how each number is defined)."""

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from airjax import inference, metrics
from airjax.data import Scenes
from airjax.family import Family
from airjax.scenes3d.in_mujoco import redraw
from airjax.scenes3d.model import AIR3D
from airjax.scenes3d.scores import pose_scores


def evaluate(model: Family, scenes: Scenes, *, key: PRNGKeyArray, samples: int = 100) -> dict:
    """Compute every score that `scenes` allow; the others are None.

    Args:
        model: a trained model.
        scenes: images, and counts and boxes where they are known.
        key: fixes the samples.
        samples: K of the importance-weighted bound and of the count posterior.

    Returns:
        Plain numbers and lists, ready for JSON. Bounds are in nats per image.
    """
    images = inference.channels_first(scenes.images)
    found = inference.find(model, images)
    bounds = inference.bound(model, images, samples=samples, key=key)
    posterior_mode = np.argmax(bounds.count_posterior, axis=1)
    return {
        "scenes": len(scenes),
        "count_accuracy_sampled": _accuracy(bounds.sampled_count, scenes),
        "count_accuracy_mode": _accuracy(found.count, scenes),
        "count_accuracy_posterior": _accuracy(posterior_mode, scenes),
        "confusion": confusion(model, found.count, scenes),
        **box_scores(found, scenes),
        **(pose_scores(model.stage, found, scenes) if isinstance(model, AIR3D) else {}),
        "elbo": float(np.mean(bounds.elbo, dtype=np.float64)),
        f"iw_bound_{samples}": float(np.mean(bounds.iw_bound, dtype=np.float64)),
    }


def by_mujoco(model: Family, scenes: Scenes) -> Scenes:
    """Draw scenes again by a renderer that a model in 3D was not built on.

    Raises:
        ValueError: it is a model of patches; see also `airjax.scenes3d.in_mujoco.redraw`.
    """
    if not isinstance(model, AIR3D):
        raise ValueError("renderer is for models of solids or crockery, got one of patches")
    return redraw(model.stage, scenes)


def _accuracy(predicted: np.ndarray, scenes: Scenes) -> float | None:
    return None if scenes.counts is None else metrics.count_accuracy(predicted, scenes.counts)


def confusion(model: Family, predicted: np.ndarray, scenes: Scenes) -> list[list[int]] | None:
    """Tabulate how often each count (row) was taken for each count (column)."""
    if scenes.counts is None:
        return None
    largest = max(model.max_objects, int(scenes.counts.max(initial=0)))
    return metrics.confusion(predicted, scenes.counts, largest).tolist()


def box_scores(found: inference.Found, scenes: Scenes) -> dict[str, float | None]:
    """Compare the boxes of the objects found, up to q's most likely count, with the true ones."""
    if scenes.boxes is None:
        return {"mean_iou": None, "ap50": None}
    present = np.arange(found.boxes.shape[1]) < found.count[:, None]
    boxes = np.where(present[..., None], found.boxes, np.nan)
    return {
        "mean_iou": metrics.mean_iou(scenes.boxes, boxes),
        "ap50": metrics.average_precision(scenes.boxes, boxes, found.presence),
    }


def quick_scores(model: Family, scenes: Scenes, found: inference.Found) -> dict[str, float]:
    """Compute the few scores that are logged during training, on few scenes and what was found in them."""
    bounds = inference.bound(model, inference.channels_first(scenes.images), samples=1, key=jax.random.PRNGKey(0))
    logged = {"held_out_elbo": float(np.mean(bounds.elbo))}
    if scenes.counts is not None:
        logged["held_out_count_accuracy"] = metrics.count_accuracy(found.count, scenes.counts)
    if isinstance(model, AIR3D):
        poses = pose_scores(model.stage, found, scenes)
        logged |= {f"held_out_{name}": value for name, value in poses.items() if value is not None}
    return logged
