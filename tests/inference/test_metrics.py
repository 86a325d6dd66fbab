import itertools

import numpy as np
import pytest

from airjax.inference.metrics import (
    average_precision,
    box_iou,
    confusion,
    count_accuracy,
    match_boxes,
    mean_iou,
)

NONE = [np.nan] * 4


def _boxes(rng, n):
    corner = rng.uniform(0, 10, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(1, 8, (n, 2))], axis=1)


def test_accuracy_and_confusion_by_hand():
    predicted, counts = np.array([0, 1, 3, 2, 2]), np.array([0, 1, 2, 2, 1])
    assert count_accuracy(predicted, counts) == 3 / 5
    expected = [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]]
    np.testing.assert_array_equal(confusion(predicted, counts, 3), expected)


def test_the_diagonal_of_the_confusion_is_the_accuracy():
    predicted, counts = np.random.default_rng(0).integers(0, 4, (2, 100))
    table = confusion(predicted, counts, 5)
    assert table.shape == (6, 6)
    assert table.sum() == 100
    assert np.trace(table) / 100 == count_accuracy(predicted, counts)


def test_counts_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"counts must lie in 0..2, got 1..3"):
        confusion(np.array([1, 2]), np.array([1, 3]), 2)
    with pytest.raises(ValueError, match=r"predicted must lie in 0..2, got -1..2"):
        confusion(np.array([-1, 2]), np.array([1, 1]), 2)
    with pytest.raises(ValueError, match="at least one scene"):
        count_accuracy(np.zeros(0, int), np.zeros(0, int))


def test_iou_by_hand():
    a = np.array([[0.0, 0, 2, 2], [0, 0, 0, 0]])
    b = np.array([[1.0, 1, 3, 3], [0, 0, 2, 2], [2, 0, 4, 2], [0, 0, 0, 0], NONE])
    np.testing.assert_allclose(box_iou(a, b), [[1 / 7, 1, 0, 0, 0], [0, 0, 0, 0, 0]])


def test_iou_laws():
    rng = np.random.default_rng(0)
    a, b = _boxes(rng, 6), _boxes(rng, 5)
    iou = box_iou(a, b)
    assert (iou >= 0).all()
    assert (iou <= 1).all()
    np.testing.assert_allclose(iou, box_iou(b, a).T)
    np.testing.assert_allclose(np.diag(box_iou(a, a)), 1)
    np.testing.assert_allclose(iou, box_iou(3 * a + 7, 3 * b + 7))


def test_iou_agrees_with_counting_pixels():
    rng = np.random.default_rng(1)
    corner = rng.integers(0, 10, (2, 4, 2))
    a, b = np.concatenate([corner, corner + rng.integers(1, 10, (2, 4, 2))], axis=-1).astype(float)
    y, x = np.mgrid[:20, :20] + 0.5
    masks = [[(box[0] < x) & (x < box[2]) & (box[1] < y) & (y < box[3]) for box in boxes] for boxes in (a, b)]
    counted = [[(m & n).sum() / (m | n).sum() for n in masks[1]] for m in masks[0]]
    np.testing.assert_allclose(box_iou(a, b), counted)


def test_the_match_is_the_best_of_all_permutations():
    rng = np.random.default_rng(2)
    for _ in range(20):
        true, predicted = _boxes(rng, 3), _boxes(rng, 4)
        iou = box_iou(true, predicted)
        best = max(iou[range(3), list(p)].sum() for p in itertools.permutations(range(4), 3))
        pairs = match_boxes(true, predicted)
        assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
        np.testing.assert_allclose(iou[pairs[:, 0], pairs[:, 1]].sum(), best)


def test_boxes_that_do_not_overlap_are_not_matched():
    assert match_boxes(np.array([[0.0, 0, 1, 1]]), np.array([[5.0, 5, 6, 6]])).shape == (0, 2)
    assert match_boxes(np.zeros((0, 4)), np.ones((2, 4))).shape == (0, 2)


def test_mean_iou_counts_a_missed_object_as_zero():
    true = np.array([[[0.0, 0, 2, 2], [5, 5, 7, 7]], [[0, 0, 2, 2], NONE], [NONE, NONE]])
    predicted = np.array([[[1.0, 1, 3, 3]], [[0, 0, 2, 2]], [[0, 0, 9, 9]]])
    np.testing.assert_allclose(mean_iou(true, predicted), (1 / 7 + 0 + 1) / 3)


def test_without_objects_there_is_no_mean():
    nothing, something = np.full((2, 3, 4), np.nan), np.ones((2, 1, 4)) * [0, 0, 1, 1]
    assert mean_iou(nothing, something) is None
    assert mean_iou(something, nothing) == 0
    assert average_precision(nothing, something, np.ones((2, 1))) is None
    assert average_precision(something, nothing, np.ones((2, 3))) == 0


def test_average_precision_by_hand():
    """Three objects. By score: hit, miss, hit; one object is never found.

    Recall 1/3 comes at precision 1, recall 2/3 at precision 2/3: recalls 0, ..., 0.33 (34 of them) get 1,
    0.34, ..., 0.66 (33) get 2/3 and the other 34 get 0.
    """
    box, other, far = [0.0, 0, 2, 2], [4.0, 4, 6, 6], [8.0, 8, 9, 9]
    true = np.array([[box, other], [box, NONE]])
    predicted = np.array([[box, far, NONE], [box, NONE, NONE]])
    scores = np.array([[0.9, 0.8, np.nan], [0.7, 1.0, 0.2]])
    np.testing.assert_allclose(average_precision(true, predicted, scores), (34 + 33 * 2 / 3) / 101)


def test_precision_counts_as_the_best_at_any_higher_recall():
    """Miss, hit, hit of three: precision 0, 1/2, 2/3, which counts as 2/3 for the 67 recalls up to 0.66."""
    true = np.array([[[0.0, 0, 2, 2], [4, 4, 6, 6], [8, 8, 9, 9]]])
    predicted = np.array([[[20.0, 20, 22, 22], [0, 0, 2, 2], [4, 4, 6, 6]]])
    found = average_precision(true, predicted, np.array([[0.9, 0.8, 0.7]]))
    np.testing.assert_allclose(found, 67 * 2 / 3 / 101)


def test_an_object_is_found_once_only():
    true, twice = np.array([[[0.0, 0, 2, 2], [8, 8, 9, 9]]]), np.array([[[0.0, 0, 2, 2], [0, 0, 2, 2]]])
    np.testing.assert_allclose(average_precision(true, twice, np.array([[0.5, 0.4]])), 51 / 101)


def test_average_precision_of_the_truth_is_one_and_order_is_immaterial():
    rng = np.random.default_rng(3)
    true = np.stack([_boxes(rng, 3) for _ in range(5)])
    assert average_precision(true, true, rng.uniform(size=(5, 3)), iou=1.0) == pytest.approx(1)
    predicted, scores = true + rng.normal(0, 1, true.shape), rng.uniform(size=(5, 3))
    turned = average_precision(true[::-1], predicted[::-1, ::-1], scores[::-1, ::-1])
    assert turned == average_precision(true, predicted, scores)
    assert 0 < turned < 1


@pytest.mark.parametrize(
    ("iou", "expected"), [(0.3, 0.6633663366336634), (0.5, 0.6633663366336634), (0.75, 0.16831683168316824)]
)
def test_average_precision_equals_pycocotools(iou, expected):
    """The expected values are those of pycocotools 2.0.11 for these boxes."""
    true = [
        [[2, 5, 16, 13], [7, 5, 16, 16], [24, 26, 37, 41]],
        [NONE, NONE, NONE],
        [[28, 23, 44, 41], [8, 9, 19, 28], [19, 19, 27, 27]],
    ]
    predicted = [
        [[26, 23, 34, 41], [6, 5, 17, 17], NONE, NONE],
        [[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], NONE],
        [[27, 20, 47, 42], [6, 11, 19, 25], [7, 7, 16, 29], [0, 0, 10, 10]],
    ]
    scores = [[0.65, 0.9, 0.2, 0.6], [0.6, 0.25, 0.3, 0.5], [0.75, 0.3, 0.7, 0.65]]
    found = average_precision(np.array(true, float), np.array(predicted, float), np.array(scores), iou)
    assert found == pytest.approx(expected, abs=1e-12)


def test_boxes_without_scores_and_thresholds_out_of_range_are_refused():
    box = np.array([[[0.0, 0, 1, 1]]])
    with pytest.raises(ValueError, match="scores must be given"):
        average_precision(box, box, np.array([[np.nan]]))
    for iou in (0.0, 1.5):
        with pytest.raises(ValueError, match="iou must lie"):
            average_precision(box, box, np.ones((1, 1)), iou)
