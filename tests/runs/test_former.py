"""Runs, models and settings with the names of before."""

import json

import commands
import jax
import numpy as np
import pytest

import airjax
from airjax.config import ModelConfig
from airjax.models.build import build_model
from airjax.runs import checkpoint, former, presets
from airjax.runs.record import RECORD, RunError, load_model, read_record


@pytest.fixture
def old_run(tmp_path, tmp_path_factory):
    """A run as it was written before settings were renamed and removed."""
    run = commands.copied(commands.trained_run(tmp_path_factory), tmp_path / "run")
    record = json.loads((run / RECORD).read_text())
    model = record["config"]["model"]
    model |= {"ground": model.pop("background_model"), "ground_size": model.pop("background_components")}
    model |= {"count_rate": 1.0, "count_table": []}
    for part in record["config"].values():
        for name in former.ADDED.keys() & part.keys():
            del part[name]
    (run / RECORD).write_text(json.dumps(record))
    return run


def test_an_old_run_loads_with_the_same_model(old_run, tmp_path_factory):
    new = commands.trained_run(tmp_path_factory)
    assert read_record(old_run) == read_record(new)
    for one, other in zip(*(jax.tree.leaves(load_model(run)) for run in (old_run, new)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_old_run_of_oblong_images_is_refused_with_who_can_read_it(old_run):
    """Their windows were as oblong as they."""
    record = json.loads((old_run / RECORD).read_text())
    record["image_shape"][1] += 4
    (old_run / RECORD).write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"oblong.*the version that wrote it can read it"):
        read_record(old_run)


def test_a_removed_setting_that_meant_something_is_refused_with_who_can_read_it(old_run):
    record = json.loads((old_run / RECORD).read_text())
    record["config"]["model"]["count_rate"] = 2.0
    (old_run / RECORD).write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"count_rate is 2\.0.*the version that wrote it can read it"):
        read_record(old_run)


def test_settings_without_effect_which_were_taken_before_get_their_defaults(old_run):
    record = json.loads((old_run / RECORD).read_text())
    record["config"]["train"] |= {"samples": 9}
    record["config"]["model"] |= {"draw_steps": 1}
    (old_run / RECORD).write_text(json.dumps(record))
    config = read_record(old_run).config
    assert (config.train.samples, config.model.draw_steps) == (5, 5)
    load_model(old_run)


def test_weights_of_a_background_are_found_under_their_former_name(tmp_path):
    config = ModelConfig(background_model="mean", window=5, hidden=4, patch_hidden=4)
    model = build_model(config, (1, 12, 12), key=jax.random.PRNGKey(0))
    content = checkpoint.to_bytes(model)
    old = content.replace(b".background.image", b".ground.image")
    assert old != content
    length = int.from_bytes(old[:8], "little") - len(content) + len(old)
    restored = checkpoint.from_bytes(length.to_bytes(8, "little") + old[8:], model, tmp_path)
    np.testing.assert_array_equal(restored.background.image, model.background.image)


def test_a_file_of_settings_may_use_former_names(tmp_path):
    (tmp_path / "old.toml").write_text('ground = "mean"\nground-size = 3\n')
    assert presets.read(str(tmp_path / "old.toml")) == {"background_model": "mean", "background_components": 3}


@pytest.mark.parametrize("name", ["multi-mnist", "sprites", "crockery"])
def test_models_of_the_package_are_of_the_former_format_and_load(name):
    assert airjax.load(name).max_objects == 3
