"""Scores of masks, in numpy: adjusted Rand index, mean IoU, panoptic quality, and COCO's average precision.

Masks of many scenes come as label images: the number of the object that each pixel shows, 0 for the background. True
and found objects need not have the same numbers. An object without a pixel counts nowhere, except as a wrong result in
the average precision.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import scipy  # which imports its parts when they are first used
from jaxtyping import Float, Int, Integer, Shaped

PAIRED = 0.5
"""IoU above which a found and a true object are a pair for the panoptic quality, as the paper of that score has it."""

Labels = Integer[np.ndarray, "_ _ _"]
"""Label images [scenes, h, w]."""


def ari_foreground(true: Labels, found: Labels) -> float | None:
    """Average the adjusted Rand index over scenes, taken over the pixels of true objects (ARI-FG).

    Found background is a cluster like any object. Scenes with fewer than two objects are left out: of one object, the
    index says only whether each single pixel of it was found.

    Returns:
        The mean, or None if no scene has two objects.
    """
    from sklearn.metrics import adjusted_rand_score  # imported here because it takes a second

    _check_pair(true, found)
    pairs = [(one[one > 0], other[one > 0]) for one, other in zip(true, found)]
    scores = [adjusted_rand_score(*pair) for pair in pairs if len(np.unique(pair[0])) > 1]
    return float(np.mean(scores)) if scores else None


def mask_iou(true: Integer[np.ndarray, "h w"], found: Integer[np.ndarray, "h w"]) -> Float[np.ndarray, "t p"]:
    """Compute the IoU of each true object of a scene, in the order of numbers, with each found one."""
    (true_sizes, found_sizes), shared = _overlaps(true, found)
    return shared / (true_sizes[:, None] + found_sizes - shared)


def mean_mask_iou(true: Labels, found: Labels) -> float | None:
    """Average, over the true objects of all scenes, the IoU of each mask with the one matched to it.

    Masks are matched one to one so that the sum of their IoU is largest. An object without a match counts as 0.

    Returns:
        The mean, or None if there is no true object.
    """
    _check_pair(true, found)
    tables = [mask_iou(one, other) for one, other in zip(true, found)]
    objects = sum(len(table) for table in tables)
    total = sum(float(table[scipy.optimize.linear_sum_assignment(table, maximize=True)].sum()) for table in tables)
    return total / objects if objects else None


def panoptic_quality(true: Labels, found: Labels) -> float | None:
    """Compute the panoptic quality (Kirillov et al. 2019) of one class, objects, over all scenes.

    A true and a found object whose IoU is above `PAIRED` are a pair; no object can be in two. The quality is the sum
    of the pairs' IoU, divided by the number of pairs plus half of the number of objects without a partner.

    Returns:
        The quality, or None if there is neither a true nor a found object.
    """
    _check_pair(true, found)
    total, objects = 0.0, 0
    for one, other in zip(true, found):
        table = mask_iou(one, other)
        total += float(table[table > PAIRED].sum())
        objects += sum(table.shape)
    return 2 * total / objects if objects else None


def coco_installed() -> bool:
    """Return whether pycocotools, which scores and masks in COCO's format need, can be imported."""
    try:
        import pycocotools.mask  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def encode(labels: Shaped[np.ndarray, "h w"], number: int) -> list[dict[str, Any]]:
    """Encode the masks of objects 1, ..., `number` as COCO does: `size` [h, w], and `counts`, run lengths as text.

    The time it takes grows with the pixels of the picture and of the objects, not with their product.

    Args:
        labels: the number of each pixel's object, 0 for the background.
        number: number of objects, some of which may have no pixel.
    """
    from pycocotools import mask as coco

    height, width = labels.shape
    flat = labels.T.reshape(-1)  # COCO counts runs down the columns
    places = np.flatnonzero(flat)
    places = places[np.argsort(flat[places], kind="stable")]
    ends = np.searchsorted(flat[places], np.arange(1, number + 2))
    encoded = []
    for start, stop in pairwise(ends):
        raw: Any = {"size": [height, width], "counts": _runs(places[start:stop], height * width)}
        encoded.append(raw | {"counts": coco.frPyObjects(raw, height, width)["counts"].decode()})
    return encoded


def _runs(places: Int[np.ndarray, " k"], size: int) -> list[int]:
    """Return the lengths of the runs of pixels that are not in a mask, that are, that are not, ...

    Args:
        places: sorted places of the mask's pixels.
        size: number of all pixels.
    """
    if not len(places):
        return [size]
    last = np.append(np.diff(places) > 1, True)
    first = np.append(True, last[:-1])
    bounds = np.stack([places[first], places[last] + 1], axis=1).reshape(-1)
    runs = np.diff(bounds, prepend=0, append=size).tolist()
    return runs if runs[-1] else runs[:-1]


def mask_precision(true: Labels, found: Labels, scores: Float[np.ndarray, "scenes P"]) -> float | None:
    """Compute COCO's average precision of masks, over IoU 0.5, 0.55, ..., 0.95, with pycocotools.

    Args:
        true: the true objects.
        found: the found objects, numbered from 1.
        scores: of each found object, at the place of its number less one; NaN where there is none. One without a pixel
            is a wrong result.

    Returns:
        The average precision, or None if there is no true object.

    Raises:
        ModuleNotFoundError: pycocotools is not installed.
    """
    _check_pair(true, found)

    def masks(scene: int, labels: np.ndarray, numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
        for number in numbers:
            mask = labels[scene] == number
            yield {"image_id": scene, "segmentation": encode(mask.astype(np.uint8), 1)[0], "area": int(mask.sum())}

    scenes = range(len(true))
    truth = [one for i in scenes for one in masks(i, true, np.unique(true[i][true[i] > 0]).tolist())]
    given = [(i, np.flatnonzero(~np.isnan(scores[i]))) for i in scenes]
    results = [
        one | {"score": float(scores[i, place])}
        for i, places in given
        for place, one in zip(places, masks(i, found, (places + 1).tolist()))
    ]
    return _precision(true.shape, truth, results, "segm")


def box_precision(
    true: Float[np.ndarray, "scenes T 4"], found: Float[np.ndarray, "scenes P 4"], scores: Float[np.ndarray, "scenes P"]
) -> float | None:
    """Compute COCO's average precision of boxes, over IoU 0.5, 0.55, ..., 0.95, with pycocotools.

    Boxes and scores are padded with NaN; see `mask_precision` for the rest.
    """
    truth = [_box(scene, true[scene, place]) for scene, place in _present(true)]
    present = _present(found)
    results = [_box(scene, found[scene, place]) | {"score": float(scores[scene, place])} for scene, place in present]
    return _precision((len(true), 1, 1), truth, results, "bbox")


def _present(boxes: np.ndarray) -> list[list[int]]:
    return np.argwhere(~np.isnan(boxes).any(axis=-1)).tolist()


def _box(scene: int, corners: np.ndarray) -> dict[str, Any]:
    x0, y0, x1, y1 = map(float, corners)
    return {"image_id": scene, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}


def _precision(
    shape: tuple[int, ...], truth: list[dict], results: list[dict], kind: Literal["segm", "bbox"]
) -> float | None:
    """Score results against the truth, all of one category; `shape` is the number of scenes, their height and width."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not truth or not results:  # pycocotools can't load an empty list of results
        return 0.0 if truth else None
    common = {"category_id": 1, "iscrowd": 0}
    with contextlib.redirect_stdout(io.StringIO()):
        known, found = COCO(), COCO()
        for part, ones in ((known, truth), (found, results)):
            annotations = [one | common | {"id": number} for number, one in enumerate(ones, start=1)]
            images = [{"id": scene, "height": shape[1], "width": shape[2]} for scene in range(shape[0])]
            dataset: Any = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
            part.dataset = dataset
            part.createIndex()
        evaluated = COCOeval(known, found, kind)
        evaluated.evaluate()
        evaluated.accumulate()
    precision = evaluated.eval["precision"][:, :, 0, 0, -1]
    return float(np.mean(precision[precision > -1]))


def _overlaps(
    true: np.ndarray, found: np.ndarray
) -> tuple[tuple[Int[np.ndarray, " t"], Int[np.ndarray, " p"]], Int[np.ndarray, "t p"]]:
    """Count the pixels of each true and each found object, and those that each pair shares."""
    (one, rows), (other, columns) = (np.unique(labels, return_inverse=True) for labels in (true, found))
    table = np.zeros((len(one), len(other)), np.int64)
    np.add.at(table, (rows.ravel(), columns.ravel()), 1)
    sizes = table.sum(1)[one > 0], table.sum(0)[other > 0]
    return sizes, table[one > 0][:, other > 0]


def _check_pair(true: np.ndarray, found: np.ndarray) -> None:
    if true.shape != found.shape:
        raise ValueError(f"true and found must have the same shape, got {list(true.shape)} and {list(found.shape)}")
