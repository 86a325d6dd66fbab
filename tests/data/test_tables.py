import numpy as np
import pytest

from airjax.data.tables import tables
from airjax.render3d import LAID_TABLE, ONE_SOLID, ROUND_TABLE


@pytest.fixture(scope="module")
def laid():
    return tables(LAID_TABLE, 150, seed=0, counts=(0, 1, 2, 3), canvas=16)


def test_smaller_sets_are_the_beginnings_of_larger_ones(laid):
    fewer = tables(LAID_TABLE, 20, seed=0, counts=(0, 1, 2, 3), canvas=16)
    for name in ("images", "counts", "boxes", "labels", "poses"):
        np.testing.assert_array_equal(getattr(fewer, name), getattr(laid[:20], name))
    assert not np.array_equal(fewer.images, tables(LAID_TABLE, 20, seed=1, counts=(0, 1, 2, 3), canvas=16).images)


def test_counts_kinds_and_rotations_are_spread(laid):
    assert set(laid.counts) == {0, 1, 2, 3}
    present = laid.labels >= 0
    assert np.bincount(laid.labels[present], minlength=3).min() > 40
    rotations = laid.poses[present][:, 2]
    assert 0 <= rotations.min() < 0.3 < 6.0 < rotations.max() < 2 * np.pi
    assert np.abs(laid.poses[present][:, :2]).max() <= LAID_TABLE.reach


def test_objects_do_not_touch(laid):
    for labels, poses, count in zip(laid.labels, laid.poses, laid.counts):
        for a in range(count):
            for b in range(a):
                apart = LAID_TABLE.size * (LAID_TABLE.kinds[labels[a]].radius + LAID_TABLE.kinds[labels[b]].radius)
                assert np.linalg.norm(poses[a, :2] - poses[b, :2]) >= apart - 1e-6


def test_boxes_are_around_what_differs_from_the_empty_table(laid):
    empty = laid.images[laid.counts == 0][0].astype(int)
    for image, box in zip(laid.images[laid.counts == 1], laid.boxes[laid.counts == 1, 0]):
        changed = np.abs(image.astype(int) - empty).max(-1) > 60
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert box[0] - 1 <= columns[0]
        assert columns[-1] + 1 <= box[2] + 1
        assert box[1] - 1 <= rows[0]
        assert rows[-1] + 1 <= box[3] + 1


@pytest.mark.slow
def test_without_repeats_all_kinds_of_a_scene_differ():
    scenes = tables(LAID_TABLE, 30, seed=0, counts=(3,), canvas=4, repeats=False)
    np.testing.assert_array_equal(np.sort(scenes.labels, axis=1), np.tile([0, 1, 2], (30, 1)))


def test_azimuths_are_known_only_where_they_differ(laid):
    assert laid.azimuths is None
    scenes = tables(ROUND_TABLE, 60, seed=0, counts=(1,), canvas=4)
    away = np.abs(scenes.azimuths - ROUND_TABLE.azimuth)
    assert ROUND_TABLE.azimuth_reach * 0.8 < away.max() <= ROUND_TABLE.azimuth_reach


def test_there_can_be_no_scenes_and_no_objects():
    assert tables(ONE_SOLID, 0, seed=0, counts=(1,)).images.shape == (0, 32, 32, 3)
    empty = tables(ONE_SOLID, 2, seed=0, counts=(0,), canvas=4)
    assert empty.boxes.shape == (2, 0, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": (9,)}, "fit on the table"),
        ({"counts": (4,), "repeats": False}, "without repeats"),
        ({"canvas": 0}, "canvas"),
        ({"seed": -1}, "seed"),
    ],
)
def test_invalid_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tables(LAID_TABLE, 2, **{"seed": 0, "counts": (1,)} | changes)
