"""Settings by name or from a TOML file: `fast`, `paper`, or a file's path (`airjax train --config ...`)."""

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from airjax.config import Config, DataConfig, ModelConfig, TrainConfig
from airjax.runs.former import SETTINGS


def names() -> list[str]:
    """List the settings that come with the package."""
    return sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))


def read(source: str) -> dict[str, Any]:
    """Read settings that come with the package by name, or those of a TOML file by path; names have underscores.

    Raises:
        FileNotFoundError: there is no such name or file.
        ValueError: the file is not TOML, or sets an unknown name.
    """
    file = _folder() / f"{source}.toml" if source in names() else Path(source)
    if not file.is_file():
        raise FileNotFoundError(f"{source} is neither a file nor one of {', '.join(names())}")
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also raised for bytes that are not text
        raise ValueError(f"{source} is not a TOML file: {error}") from None
    known = [field.name for part in (DataConfig, ModelConfig, TrainConfig) for field in dataclasses.fields(part)]
    settings = {SETTINGS.get(name, name): value for name, value in named(settings).items()}
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ValueError(
                f"{source} sets {name}, which is not a setting" + (f"; did you mean {near[0]}?" if near else "")
            )
    return settings


def load(name: str) -> Config:
    """Make the configuration `default`, or another that comes with the package, by name.

    Raises:
        FileNotFoundError: there is none of this name.
        ValueError: a setting is out of range.
    """
    read_in = {} if name == "default" else read(name)
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in read_in.items()}
    pick = lambda kind: kind(**{f.name: settings[f.name] for f in dataclasses.fields(kind) if f.name in settings})
    return Config(pick(DataConfig), pick(ModelConfig), pick(TrainConfig))


def named(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Spell the names of settings with underscores."""
    return {name.replace("-", "_"): value for name, value in settings.items()}


def _folder():
    return resources.files("airjax.runs.presets")
