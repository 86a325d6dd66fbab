from pathlib import Path

import numpy as np
import pytest

from airjax.config import DataConfig
from airjax.data import embedded_digits, load_scenes, multi_digits, sprites

SMALL = {"scenes": 30, "held_out_scenes": 20, "data_seed": 3}


def assert_equal(a, b):
    for name in ("images", "counts", "boxes", "labels"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("settings", [{"digit_scale": 2.0, "digit_scale_sd": 0.2}, {"digit_side": (9.0, 18.0)}])
@pytest.mark.parametrize(("split", "size", "seed"), [("train", 30, 6), ("held-out", 20, 7)])
def test_settings_of_digits_reach_them(settings, split, size, seed):
    shared = {"counts": (1, 4), "canvas": 60, "max_ink": None, "background": "noise"}
    names = {"digit_scale": "scale_mean", "digit_scale_sd": "scale_sd"}
    plain = {names.get(name, name): value for name, value in settings.items()}
    expected = multi_digits(embedded_digits(split), size, seed=seed, **shared, **plain)
    assert_equal(load_scenes(DataConfig("multi-digits", **SMALL, **shared, **settings), split), expected)


def test_settings_of_sprites_reach_them():
    settings = {"counts": (1, 3), "canvas": 60, "channels": 3, "background": "texture"}
    expected = sprites(30, seed=6, **settings)
    assert_equal(load_scenes(DataConfig("sprites", **SMALL, **settings), "train"), expected)


def test_omniglot_is_scenes_of_the_canvas_asked_for(omniglot_dir):
    scenes = load_scenes(DataConfig("omniglot", data_dir=omniglot_dir, canvas=28), "held-out")
    assert scenes.images.shape == (900, 28, 28)
    assert (scenes.counts, scenes.boxes, scenes.labels) == (None, None, None)


@pytest.mark.parametrize("name", ["omniglot", "scenes.npz"])
@pytest.mark.parametrize("setting", [{"background": "grid"}, {"channels": 3}, {"digit_side": (9.0, 18.0)}])
def test_settings_that_do_not_apply_are_refused(name, setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))} is a setting of .*, not of {name}"):
        load_scenes(DataConfig(name, data_dir=Path("none"), **setting), "train")


@pytest.mark.parametrize("name", ["sprites", "multi-digits"])
def test_only_held_out_scenes_tell_the_object_of_each_pixel(name):
    config = DataConfig(name, **SMALL)
    assert load_scenes(config, "train").segmentation is None
    held_out = load_scenes(config, "held-out")
    np.testing.assert_array_equal(held_out.segmentation.any((1, 2)), held_out.counts > 0)
