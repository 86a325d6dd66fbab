"""Former names: what settings and weights were called before, so that old runs, models and commands still work."""

import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from airjax.config import Config, DataConfig, ModelConfig, TrainConfig, without_effect

SETTINGS = {"ground": "background_model", "ground_size": "background_components"}
"""Settings by their former names."""
REMOVED = {"count_rate": 1.0, "count_table": []}
"""Settings that are gone, with the default that still means nothing."""
ADDED = {
    "apart": False,
    "block": None,
    "edge": 0.15,
    "every": 1,
    "height": None,
    "inhibition": 0.0,
    "levels": None,
    "paste": 0.0,
    "paste_alone": 200,
    "pasted_scenes": 3_000,
    "pick_channels": None,
    "sd_gain": 0.0,
    "still": None,
    "tile": None,
    "trajectories": 1,
}
"""Settings that records of former versions lack, with the value that they had in effect."""
_WEIGHT = re.compile(r"\.ground(?=[.\[]|$)")


class RemovedSettingError(ValueError):
    """A record has a value for a setting that this version no longer has."""


def renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give settings their present names, and leave out the removed ones.

    Args:
        settings: settings by name, from JSON.

    Raises:
        RemovedSettingError: a removed setting is not at its default.
    """
    for name, default in REMOVED.items():
        if settings.get(name, default) != default:
            raise RemovedSettingError(f"{name} is {settings[name]}, and this version has no such setting")
    return {SETTINGS.get(name, name): value for name, value in settings.items() if name not in REMOVED}


def config(data: DataConfig, model: ModelConfig, train: TrainConfig) -> Config:
    """Make the configuration of a record; settings without effect, which former versions took, get their defaults."""
    vain = without_effect(asdict(model) | asdict(train))
    reset = lambda part: replace(part, **{field.name: field.default for field in fields(part) if field.name in vain})
    return Config(data, reset(model), reset(train))


def weight(name: str) -> str:
    """Give a weight, named by its path in the model or the state, its present name."""
    return _WEIGHT.sub(".background", name)
