"""Scenes from cameras all around: the first view is the camera's own, and the cameras are equally spaced."""

import numpy as np
import pytest
from PIL import Image
from small3d import make

from airjax.data.tables import tables
from airjax.inference.infer import Found
from airjax.render3d import LAID_TABLE, ONE_SOLID, ROUND_TABLE
from airjax.render3d.turntable import turntable
from airjax.runs import figures


def inferred(scenes):
    """Return the true objects as if they were inferred. Slots beyond a scene's count hold objects too."""
    what = np.concatenate([scenes.poses, scenes.labels[..., None]], axis=-1).astype(np.float32)
    return scenes.counts, np.where(np.isnan(what), 0.0, what).astype(np.float32)


@pytest.fixture(scope="module")
def scenes():
    return tables(ROUND_TABLE, 3, seed=0, counts=(0, 1, 3), canvas=16)


def test_the_first_view_is_the_scenes_own_image(scenes):
    around = turntable(ROUND_TABLE, *inferred(scenes), scenes.azimuths, frames=1, side=16)
    assert around.shape == (1, 3, 3, 16, 16)
    np.testing.assert_allclose(around[0].transpose(0, 2, 3, 1), scenes.images / 255.0, atol=0.51 / 255.0)


def test_cameras_go_around_at_equal_distances(scenes):
    found = inferred(scenes)
    around = turntable(ROUND_TABLE, *found, scenes.azimuths, frames=4, side=16)
    for quarter in range(4):
        azimuth = scenes.azimuths + np.float32(quarter * np.pi / 2)
        from_there = turntable(ROUND_TABLE, *found, azimuth, frames=1, side=16)
        np.testing.assert_allclose(around[quarter], from_there[0], atol=1e-4)


def test_no_frames_and_no_pixels_are_refused():
    scenes = tables(ONE_SOLID, 1, seed=0, counts=(1,), canvas=8)
    for wrong in ({"frames": 0, "side": 8}, {"frames": 2, "side": 0}):
        with pytest.raises(ValueError, match="frames and side must be at least 1"):
            turntable(ONE_SOLID, *inferred(scenes), np.zeros(1, np.float32), **wrong)


@pytest.mark.slow
def test_a_picture_larger_than_the_scene_shows_the_same(scenes):
    counts, what = inferred(scenes)
    small, large = (turntable(LAID_TABLE, counts, what, np.zeros(3, np.float32), frames=1, side=s) for s in (16, 32))
    halved = large[0].reshape(3, 3, 16, 2, 16, 2).mean((3, 5))
    assert np.abs(halved - small[0]).mean() < 0.02


@pytest.mark.slow
def test_the_animation_turns_the_inferred_scene(tmp_path):
    model = make()
    scenes = tables(model.stage, 2, seed=0, counts=(1,), canvas=12)
    count, what = inferred(scenes)
    nothing = lambda *shape: np.zeros((2, *shape), np.float32)
    unused = dict(count_probs=nothing(2), boxes=nothing(1, 4), windows=nothing(1, 4), presence=nothing(1))
    found = Found(count, where=nothing(1, 3), what=what, scene=nothing(0), canvases=nothing(2, 3, 12, 12), **unused)
    figures.draw_turntable(model.stage, scenes, found, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as moving:
        assert moving.n_frames == figures.TURN_FRAMES
        shown = []
        for frame in (0, moving.n_frames // 2):
            moving.seek(frame)
            shown.append(np.asarray(moving.convert("RGB"), float))
    side = 12 * figures.MAGNIFIED
    above, below = (np.abs(shown[0] - shown[1])[rows].max() for rows in (np.s_[: side + 1], np.s_[side + 2 :]))
    assert above == 0
    assert below > 50
