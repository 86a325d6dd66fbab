from dataclasses import fields

import pytest

from airjax.config import Config, DataConfig, ModelConfig, TrainConfig
from airjax.runs import presets


def test_default_is_the_default_configuration():
    assert presets.load("default") == Config()


@pytest.mark.parametrize("name", presets.names())
def test_every_setting_of_a_preset_changes_the_configuration(name):
    settings = {key.replace("-", "_"): value for key, value in presets.read(name).items()}
    made, default = presets.load(name), Config()
    parts = [(made.data, default.data), (made.model, default.model), (made.train, default.train)]
    changed = {
        f.name for ours, theirs in parts for f in fields(ours) if getattr(ours, f.name) != getattr(theirs, f.name)
    }
    assert changed == set(settings)


def test_the_papers_sizes():
    model = presets.load("paper").model
    assert (model.window, model.hidden, model.code_size, model.max_objects) == (28, 256, 50, 3)
    assert (model.embed_channels, model.embed_hidden, model.patch_hidden) == (0, 0, 200)
    assert not model.residual_glimpses


def test_no_name_means_two_settings():
    names = [field.name for part in (DataConfig, ModelConfig, TrainConfig) for field in fields(part)]
    assert len(set(names)) == len(names)


def test_a_file_of_a_presets_name_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast").write_text("steps = 3\n")
    assert presets.read("fast")["steps"] != 3


def test_an_unknown_name_is_refused_and_the_known_ones_named():
    with pytest.raises(
        FileNotFoundError,
        match=r"fats is neither a file nor one of accurate, crockery, crockery-round, difference, fast, multi-dsprites",
    ):
        presets.load("fats")
