"""Scores of counts and boxes, in numpy.

Boxes are `(x_min, y_min, x_max, y_max)` in any one unit. Those of many scenes come as one array, padded with
rows of NaN where a scene has fewer objects than the array has rows.
"""

import numpy as np
import scipy  # which imports its parts when they are first used
from jaxtyping import Bool, Float, Int, Integer


def count_accuracy(predicted: Integer[np.ndarray, " n"], counts: Integer[np.ndarray, " n"]) -> float:
    """Compute the share of scenes whose count is right.

    Raises:
        ValueError: There are no scenes, or not as many predictions as counts.
    """
    _check_scenes(predicted=predicted, counts=counts)
    if not len(counts):
        raise ValueError("counts must hold at least one scene, got none")
    return float(np.mean(np.asarray(predicted) == np.asarray(counts)))


def confusion(
    predicted: Integer[np.ndarray, " n"], counts: Integer[np.ndarray, " n"], max_count: int
) -> Int[np.ndarray, "rows columns"]:
    """Count the scenes by true and predicted number of objects.

    Args:
        predicted: Predicted counts.
        counts: True counts.
        max_count: The largest count, of both kinds.

    Returns:
        A square table of `max_count + 1` rows (true) and columns (predicted).

    Raises:
        ValueError: A count lies outside 0..max_count, or there aren't as many predictions as counts.
    """
    _check_scenes(predicted=predicted, counts=counts)
    for name, values in (("predicted", predicted), ("counts", counts)):
        if len(values) and not (values.min() >= 0 and values.max() <= max_count):
            raise ValueError(f"{name} must lie in 0..{max_count}, got {values.min()}..{values.max()}")
    table = np.zeros((max_count + 1, max_count + 1), dtype=np.int64)
    np.add.at(table, (counts, predicted), 1)
    return table


def box_iou(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Compute the intersection over union of each box of `a` with each of `b`; 0 for empty or NaN boxes."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    union = _area(a)[:, None] + _area(b)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def match_boxes(true: Float[np.ndarray, "n 4"], predicted: Float[np.ndarray, "m 4"]) -> Int[np.ndarray, "k 2"]:
    """Pair true with predicted boxes one to one so that the sum of their IoU is largest.

    Returns:
        Rows of (index into `true`, index into `predicted`), sorted by the first. Boxes that don't overlap are
        never a pair.
    """
    overlap = box_iou(true, predicted)
    pairs = np.stack(scipy.optimize.linear_sum_assignment(overlap, maximize=True), axis=-1)
    return pairs[overlap[pairs[:, 0], pairs[:, 1]] > 0].astype(np.int64)


def mean_iou(
    true_boxes: Float[np.ndarray, "scenes T 4"], predicted_boxes: Float[np.ndarray, "scenes P 4"]
) -> float | None:
    """Average, over the true objects of all scenes, the IoU of each with the predicted box matched to it.

    An object without a match counts as 0, so that leaving out hard objects doesn't pay. Superfluous
    predictions cost nothing here: `average_precision` and the count accuracy see them.

    Returns:
        The mean, or None if there is no true object.
    """
    ious = _matched_ious(true_boxes, predicted_boxes)
    objects = int(_present(true_boxes).sum())
    return float(ious.sum() / objects) if objects else None


def average_precision(
    true_boxes: Float[np.ndarray, "scenes T 4"],
    predicted_boxes: Float[np.ndarray, "scenes P 4"],
    scores: Float[np.ndarray, "scenes P"],
    iou: float = 0.5,
) -> float | None:
    """Compute the average precision the COCO way, at one IoU.

    In each scene predictions choose, by descending score, the free true box that they overlap most, if by
    `iou` or more. Precision, made non-increasing in recall, is then averaged over the recalls 0, 0.01, ...,
    1. Unlike COCO's tool we do not cut off a scene's predictions after the first 100.

    Returns:
        The average precision, or None if there is no true object.

    Raises:
        ValueError: `iou` isn't in (0, 1], arrays differ in their number of scenes, or a predicted box has no
            score.
    """
    _check_scenes(true_boxes=true_boxes, predicted_boxes=predicted_boxes, scores=scores)
    objects, shown = int(_present(true_boxes).sum()), _present(predicted_boxes)
    if not 0 < iou <= 1:
        raise ValueError(f"iou must lie in (0, 1], got {iou}")
    if np.isnan(scores[shown]).any():
        raise ValueError("scores must be given for every predicted box, got NaN for a box that is present")
    if not objects:
        return None
    order = np.argsort(-scores[shown], kind="stable")
    return _interpolated_precision(_hits(true_boxes, predicted_boxes, scores, iou)[shown][order], objects)


def _check_scenes(**arrays: np.ndarray) -> None:
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"{', '.join(lengths)} must have as many scenes each, got {', '.join(map(str, lengths.values()))}"
        )


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=-1)


def _present(boxes: Float[np.ndarray, "*shape 4"]) -> Bool[np.ndarray, "*shape"]:
    return np.logical_not(np.isnan(boxes).any(axis=-1))


def _matched_ious(true_boxes: np.ndarray, predicted_boxes: np.ndarray) -> Float[np.ndarray, " pairs"]:
    _check_scenes(true_boxes=true_boxes, predicted_boxes=predicted_boxes)
    ious = [np.zeros(0)]
    for true, predicted in zip(true_boxes, predicted_boxes):
        true, predicted = true[_present(true)], predicted[_present(predicted)]
        pairs = match_boxes(true, predicted)
        ious.append(box_iou(true, predicted)[pairs[:, 0], pairs[:, 1]])
    return np.concatenate(ious)


def _hits(
    true_boxes: np.ndarray, predicted_boxes: np.ndarray, scores: np.ndarray, iou: float
) -> Bool[np.ndarray, "scenes P"]:
    """Mark each prediction that found an object; absent boxes come last and are never marked."""
    hits = np.zeros(scores.shape, dtype=bool)
    for scene, (true, predicted) in enumerate(zip(true_boxes, predicted_boxes)):
        overlap = box_iou(predicted, true[_present(true)])  # 0 for absent predictions, so never a hit
        for i in np.argsort(-scores[scene], kind="stable"):
            # The last one of equals, and the same slack below 1, as in COCO's tool.
            best = overlap.shape[1] - 1 - int(np.argmax(overlap[i, ::-1])) if overlap.shape[1] else None
            if best is not None and overlap[i, best] >= min(iou, 1 - 1e-10):
                hits[scene, i], overlap[:, best] = True, -1
    return hits


def _interpolated_precision(hits: Bool[np.ndarray, " k"], objects: int) -> float:
    """Average the precision at 101 recalls; `hits` is sorted by descending score."""
    found = np.cumsum(hits)
    precision = np.maximum.accumulate((found / np.arange(1, len(hits) + 1))[::-1])[::-1]
    place = np.searchsorted(found / objects, np.linspace(0, 1, 101), side="left")
    return float(np.sum(precision[place[place < len(hits)]]) / 101)
