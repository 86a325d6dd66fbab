"""Settings that mean nothing beside the others."""

from dataclasses import fields

import equinox as eqx
import jax
import pytest

from airjax.config import Config, ModelConfig, TrainConfig, without_effect
from airjax.models.build import build_model

OF_MODEL = {field.name for field in fields(ModelConfig)}
SMALL = {"embed_channels": 2, "embed_hidden": 4, "head_hidden": 4}
CASES = [
    ({"patch_hidden": 9}, {"patches": "draw"}, {"patches": "conv"}),
    ({"patch_channels": 3}, {}, {"patches": "conv"}),
    ({"draw_steps": 10}, {"patches": "conv"}, {"patches": "draw"}),
    ({"draw_hidden": 9}, {}, {"patches": "draw"}),
    ({"background_components": 3}, {"background_model": "smooth"}, {"background_model": "linear"}),
    ({"sd": 0.2}, {"likelihood": "bernoulli"}, {}),
    ({"sd_gain": 0.1}, {"likelihood": "bernoulli"}, {}),
    ({"learn_sd": True}, {"likelihood": "bernoulli"}, {}),
    ({"sd_anneal_steps": 7}, {}, {"sd_start": 0.5}),
    ({"count_ratio": 0.2}, {"count_prior": "uniform"}, {}),
    ({"anneal_steps": 7}, {"count_ratio_start": None}, {}),
    ({"learn_count_after": 7}, {"learn_count": False}, {}),
    ({"samples": 7}, {}, {"objective": "vimco"}),
    ({"temperature": 0.7}, {"objective": "vimco"}, {"objective": "concrete"}),
    ({"baseline_learning_rate": 0.7}, {}, {"objective": "nvil"}),
    ({"paste": 1.0}, {"objective": "nvil"}, {}),
    ({"apart": True}, {}, {"paste": 1.0}),
    ({"paste_alone": 7}, {}, {"paste": 1.0}),
    ({"pasted_scenes": 7}, {}, {"paste": 1.0}),
    ({"window": 9}, {"objects": "solids"}, {}),
    ({"hidden": 9}, {"objects": "solids"}, {}),
    ({"attention": 4}, {"objects": "solids"}, {}),
    ({"patches": "conv"}, {"objects": "solids"}, {}),
    ({"code_size": 3}, {"objects": "solids"}, {}),
    ({"residual_glimpses": False}, {"objects": "solids"}, {}),
    ({"difference": True}, {"objects": "solids"}, {}),
    ({"background_model": "mean"}, {"objects": "solids"}, {}),
    ({"compose": "over"}, {"objects": "solids"}, {}),
    ({"edge": 0.7}, {"objects": "solids"}, {}),
    ({"scale": 0.7}, {"objects": "solids"}, {}),
    ({"scale_sd": 0.7}, {"objects": "solids"}, {}),
    ({"position_sd": 0.7}, {"objects": "solids"}, {}),
    ({"learn_where": False}, {"objects": "solids"}, {}),
    ({"paste": 1.0}, {"objects": "solids"}, {}),
]
"""A setting, others beside which it has no effect, and others beside which it has one."""
NAMES = ["-".join([*case[0], *map(str, case[1].values())]) for case in CASES]


def configured(settings):
    model = {name: value for name, value in settings.items() if name in OF_MODEL}
    return ModelConfig(**model), TrainConfig(**{name: settings[name] for name in settings.keys() - model.keys()})


@pytest.mark.parametrize(("setting", "vain", "fit"), CASES, ids=NAMES)
def test_a_setting_without_effect_is_refused(setting, vain, fit):
    (name,) = setting
    with pytest.raises(ValueError, match=f"^{name} has no effect unless .*; leave it out, got {setting[name]}$"):
        Config(model=configured(setting | vain)[0], train=configured(setting | vain)[1])
    model, train = configured(setting | fit)
    assert Config(model=model, train=train).model == model


@pytest.mark.parametrize("vain", [{"objects": "solids"}, {"patches": "draw"}, {"likelihood": "bernoulli"}], ids=str)
def test_what_is_refused_changes_no_model(vain):
    refused = {name: value for setting, beside, _ in CASES for name, value in setting.items() if beside == vain}
    of_model = {name: value for name, value in refused.items() if name in OF_MODEL}
    assert of_model
    build = lambda given: build_model(ModelConfig(**SMALL | given), (3, 16, 16), key=jax.random.PRNGKey(0))
    assert eqx.tree_equal(build(vain), build(vain | of_model))
    assert not eqx.tree_equal(build(vain), build(vain | {"embed_hidden": 5}))


def test_defaults_have_an_effect_or_are_not_told():
    assert without_effect({}) == {}
    assert without_effect({"objective": "nvil", "paste": 0.0}) == {}


def test_the_first_reason_is_told():
    assert without_effect({"objects": "solids", "patch_hidden": 3, "patches": "draw"}) == {
        "patches": "objects is patches",
        "patch_hidden": "objects is patches",
    }
