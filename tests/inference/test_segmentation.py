import numpy as np
import pytest
from pycocotools import mask as coco

from airjax.inference import segmentation
from airjax.inference.metrics import average_precision
from airjax.inference.segmentation import (
    ari_foreground,
    box_precision,
    encode,
    mask_iou,
    mask_precision,
    mean_mask_iou,
    panoptic_quality,
)

SIDE = 12
SCORES = (ari_foreground, mean_mask_iou, panoptic_quality)


def scene(*boxes):
    """Draw a label image of rectangles (x0, y0, x1, y1), numbered in order; later ones cover earlier ones."""
    labels = np.zeros((1, SIDE, SIDE), np.uint16)
    for number, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        labels[0, y0:y1, x0:x1] = number
    return labels


A, B, C = (0, 0, 4, 4), (6, 0, 10, 4), (0, 6, 4, 10)
LEFT = (0, 0, 2, 4)
"""The left half of A."""


@pytest.mark.parametrize("score", SCORES)
def test_the_truth_scores_one_however_it_is_numbered(score):
    true = np.concatenate([scene(A, B), scene(C, A, B)])
    assert score(true, true) == pytest.approx(1)
    assert score(true, np.array([0, 7, 3, 9], np.uint16)[true]) == pytest.approx(1)


def test_rand_index_by_hand():
    assert ari_foreground(scene(A, B), scene((0, 0, 10, 4))) == 0  # both in one: as good as chance
    assert ari_foreground(scene(A, B), scene((0, 0, 5, 12), (5, 0, 12, 12))) == 1  # how far they reach is not asked
    # Two clusters of 16; the second found one has lost half to the background: sums of pairs are 120 + 28 + 28 within,
    # 240 for the truth, 176 for the found ones, 496 in all.
    expected = 240 * 176 / 496
    half = scene(A, (6, 0, 8, 4))
    assert ari_foreground(scene(A, B), half) == pytest.approx((176 - expected) / ((240 + 176) / 2 - expected))


def test_scenes_with_fewer_than_two_objects_say_nothing_of_separation():
    two, one, none = scene(A, B), scene(A), scene()
    assert ari_foreground(np.concatenate([two, one, none]), np.concatenate([two, none, one])) == 1
    assert ari_foreground(one, one) is None


def test_iou_by_hand():
    np.testing.assert_allclose(mask_iou(scene(A, B)[0], scene(B, LEFT, C)[0]), [[0, 0.5, 0], [1, 0, 0]])
    assert mask_iou(scene()[0], scene(A)[0]).shape == (0, 1)


def test_mean_iou_is_of_the_best_match_and_a_missed_object_is_zero():
    assert mean_mask_iou(scene(A, B), scene(LEFT)) == pytest.approx(0.25)
    true, found = np.concatenate([scene(A, B), scene(C)]), np.concatenate([scene(B, LEFT), scene(C, A)])
    assert mean_mask_iou(true, found) == pytest.approx((0.5 + 1 + 1) / 3)


def test_panoptic_quality_by_hand():
    """A pair of IoU 3/4, one true object without a partner (its IoU is no more than 1/2), and two found ones."""
    found = scene((0, 0, 3, 4), (6, 0, 8, 4), C)
    assert panoptic_quality(scene(A, B), found) == pytest.approx(0.75 / (1 + 1 / 2 + 2 / 2))


def test_without_objects_there_is_no_score():
    none, one = scene(), scene(A)
    for score in SCORES:
        assert score(none, none) is None
    assert mean_mask_iou(none, one) is None
    assert panoptic_quality(none, one) == mean_mask_iou(one, none) == 0
    nothing, scored = np.full((1, 2), np.nan), np.full((1, 1), 0.5)
    assert mask_precision(none, one, scored) is None
    assert mask_precision(one, none, nothing) == 0
    assert box_precision(np.full((1, 1, 4), np.nan), np.ones((1, 1, 4)), scored) is None


@pytest.mark.parametrize("score", SCORES)
def test_images_of_other_shapes_are_refused(score):
    with pytest.raises(ValueError, match=r"same shape, got \[1, 12, 12\] and \[2, 12, 12\]"):
        score(scene(A), np.concatenate([scene(A)] * 2))


def random_boxes(seed, n, k):
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, SIDE - 4, (n, k, 2))
    return np.concatenate([corner, corner + rng.integers(2, 5, (n, k, 2))], axis=-1).astype(float)


def test_average_precision_of_boxes_is_the_mean_over_ten_overlaps():
    true = random_boxes(0, 40, 2)
    found = true + np.random.default_rng(1).normal(0, 0.4, true.shape)
    found[::3, 1] = np.nan
    scores = np.random.default_rng(2).uniform(size=(40, 2))
    each = [average_precision(true, found, scores, iou) for iou in np.linspace(0.5, 0.95, 10)]
    precision = box_precision(true, found, scores)
    assert precision == pytest.approx(np.mean(each), abs=1e-9)
    assert 0.1 < precision < 0.9


def test_average_precision_of_rectangular_masks_is_that_of_boxes():
    true, found = random_boxes(3, 30, 1), random_boxes(4, 30, 1)
    found[::2] = true[::2]
    scores = np.random.default_rng(5).uniform(size=(30, 1))
    masks = [np.concatenate([scene(*one.astype(int)) for one in boxes]) for boxes in (true, found)]
    assert mask_precision(*masks, scores) == pytest.approx(box_precision(true, found, scores))


def test_an_object_without_a_pixel_is_a_wrong_result():
    true, scores = scene(A), np.array([[0.6, 0.9]])
    hidden = np.where(scene(A) > 0, np.uint16(1), np.uint16(0))  # number 2 has no pixel
    assert mask_precision(true, hidden, np.array([[0.6, np.nan]])) == pytest.approx(1)
    assert mask_precision(true, hidden, scores) == pytest.approx(0.5)


def test_masks_are_encoded_as_coco_reads_them():
    rng = np.random.default_rng(0)
    for labels in (scene(A, B)[0, :, :11], rng.integers(0, 4, (9, 7)), np.ones((5, 3), int), np.zeros((4, 4), int)):
        encoded = encode(labels, 4)
        for number, one in enumerate(encoded, 1):
            expected = coco.encode(np.asfortranarray(labels == number, np.uint8))
            assert one == {"size": list(labels.shape), "counts": expected["counts"].decode()}


def test_without_pycocotools_that_is_known(monkeypatch):
    assert segmentation.coco_installed()
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.mask", None)
    assert not segmentation.coco_installed()
