from dataclasses import replace

import numpy as np
import pytest

from airjax.data.tables import tables
from airjax.inference.infer import Found
from airjax.inference.poses import pose_scores, rotation_error
from airjax.render3d import LAID_TABLE, ROUND_TABLE


@pytest.fixture(scope="module")
def scenes():
    return tables(ROUND_TABLE, 40, seed=0, counts=(0, 1, 3), canvas=8)


def found(scenes, **changes):
    """Find exactly what is there, in another order."""
    what = np.concatenate([scenes.poses, scenes.labels[..., None]], axis=-1).astype(np.float32)
    order = np.where(np.arange(3) < scenes.counts[:, None], scenes.counts[:, None] - 1 - np.arange(3), np.arange(3))
    n = len(scenes)
    values = {
        "count": scenes.counts,
        "count_probs": np.zeros((n, 4), np.float32),
        "boxes": np.zeros((n, 3, 4), np.float32),
        "windows": np.zeros((n, 3, 4), np.float32),
        "presence": np.ones((n, 3), np.float32),
        "where": np.zeros((n, 3, 3), np.float32),
        "what": np.nan_to_num(np.take_along_axis(what, order[..., None], axis=1)),
        "scene": scenes.azimuths[:, None],
        "canvases": np.zeros((n, 4, 3, 8, 8), np.float32),
    }
    return Found(**values | changes)


def test_what_is_right_scores_in_full_in_any_order(scenes):
    scores = pose_scores(ROUND_TABLE, found(scenes), scenes)
    assert scores["matched"] == scores["identity_accuracy"] == 1.0
    assert scores["position_error"] == pytest.approx(0.0, abs=1e-6)
    assert scores["rotation_error_deg"] == pytest.approx(0.0, abs=1e-3)
    assert scores["azimuth_error_deg"] == pytest.approx(0.0, abs=1e-3)


def test_errors_are_told_in_their_units(scenes):
    what = found(scenes).what + np.array([0.16, 0.0, np.radians(20), 0.0], np.float32)
    scores = pose_scores(ROUND_TABLE, found(scenes, what=what, scene=scenes.azimuths[:, None] + 0.1), scenes)
    assert scores["position_error"] == pytest.approx(0.16 / (2 * ROUND_TABLE.reach), abs=1e-4)
    assert scores["rotation_error_deg"] == pytest.approx(20.0, abs=1e-2)
    assert scores["azimuth_error_deg"] == pytest.approx(np.degrees(0.1), abs=1e-2)


def test_rotations_are_scored_by_kind_too(scenes):
    what, cups = found(scenes).what, found(scenes).what[..., 3] == 0
    what[..., 2] += np.radians(np.where(cups, 30.0, 10.0)).astype(np.float32)
    scores = pose_scores(LAID_TABLE, found(scenes, what=what), scenes)
    assert scores["rotation_error_deg_cup"] == pytest.approx(30.0, abs=1e-2)
    assert scores["rotation_error_deg_plate"] == pytest.approx(10.0, abs=1e-2)
    assert "rotation_error_deg_bowl" not in scores


def test_wrong_kinds_and_lost_objects_are_counted(scenes):
    what = found(scenes).what
    what[..., 3] = (what[..., 3] + 1) % 3
    assert pose_scores(LAID_TABLE, found(scenes, what=what), scenes)["identity_accuracy"] == 0.0
    fewer = pose_scores(LAID_TABLE, found(scenes, count=np.minimum(scenes.counts, 1)), scenes)
    assert fewer["matched"] == pytest.approx(np.minimum(scenes.counts, 1).sum() / scenes.counts.sum())
    none = pose_scores(LAID_TABLE, found(scenes, count=0 * scenes.counts), scenes)
    assert none["matched"] == 0.0
    assert none["identity_accuracy"] is None


def test_what_looks_the_same_is_no_error():
    true, symmetry = np.array([0.1, 0.1, 0.1]), np.array([1, 3, 4])
    turned = true + 2 * np.pi / symmetry
    np.testing.assert_allclose(rotation_error(turned, true, symmetry), 0.0, atol=1e-12)
    np.testing.assert_allclose(rotation_error(true + np.pi / symmetry, true, symmetry), np.pi / symmetry)


def test_nothing_known_scores_nothing(scenes):

    unknown = replace(scenes, poses=None, azimuths=None)
    assert set(pose_scores(LAID_TABLE, found(scenes), unknown).values()) == {None}
