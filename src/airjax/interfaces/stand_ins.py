"""Settings for flags that aren't given: those of `--config`, of a data set, or by the look of pictures."""

import dataclasses
import inspect
import logging
from collections import ChainMap
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import cyclopts

from airjax.config import DATA_SETS, DataConfig, ModelConfig, TrainConfig, is_address, without_effect
from airjax.interfaces.console import check_outside, flags

_logger = logging.getLogger("airjax")


def stand_ins(app: cyclopts.App, arguments: Sequence[str]) -> tuple[cyclopts.config.Dict, ...]:
    """Choose settings for flags of `train` and `scenes` that aren't given, the first source first.

    Settings that we choose are left out where they have no effect beside flags; those of the user's file are not.

    Args:
        app: the command line.
        arguments: its words.

    Raises:
        ValueError, FileNotFoundError: see `airjax.runs.presets.read` and `airjax.interfaces.doctor.propose`.
        cyclopts.CycloptsError: the words can't be parsed.
    """
    from airjax.runs.presets import names, read

    app.config = ()
    if not arguments or arguments[0] not in ("train", "scenes"):
        return ()
    command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    if command.__name__ != arguments[0]:
        return ()  # only its help was asked for
    trains, data, file = arguments[0] == "train", bound.arguments["data"], bound.arguments.get("config")
    check_outside(bound.arguments["out"], data)
    sources = {} if file is None else {file: read(file)}
    if data in DATA_SETS and data in names():
        of_data = {field.name for field in dataclasses.fields(DataConfig)}
        sources[data] = {name: value for name, value in read(data).items() if trains or name in of_data}
    elif data not in DATA_SETS and trains and (is_address(data) or Path(data).exists()):
        sources["the look of the pictures"] = _by_look(data, **_reading(bound, sources.get(file, {})))
    vain = without_effect(dict(ChainMap(_changed(bound), *sources.values())))
    return tuple(
        _stand_in(arguments[0], settings, source, () if source == file and file not in names() else vain)
        for source, settings in sources.items()
    )


def _changed(bound: inspect.BoundArguments) -> dict[str, Any]:
    """List the settings of model and training that flags have changed."""
    parts = [part for part in bound.arguments.values() if isinstance(part, ModelConfig | TrainConfig)]
    every = [(field, getattr(part, field.name)) for part in parts for field in dataclasses.fields(part)]
    return {field.name: value for field, value in every if value != field.default}


def _stand_in(command: str, settings: dict[str, Any], source: str, but: Collection[str]) -> cyclopts.config.Dict:
    # Without the command's name around them, cyclopts drops settings that are named like a command, such as `scenes`.
    chosen = {name.replace("_", "-"): value for name, value in settings.items() if name not in but}
    return cyclopts.config.Dict({command: chosen}, source=source)


def _reading(bound: inspect.BoundArguments, by_file: dict[str, Any]) -> dict[str, Any]:
    """Return how pictures are read, as flags or a file of settings say."""
    given = bound.arguments.get("scenes") or DataConfig()
    channels = given.pick_channels or by_file.get("pick_channels")
    every = given.every if given.every != DataConfig.every else by_file.get("every", DataConfig.every)
    return {
        "channels": tuple(channels) if channels else None,
        "every": every,
        "tile": given.tile or by_file.get("tile"),
        "still": by_file.get("still") if given.still is None else given.still,
    }


def _by_look(data: str, **reading: Any) -> dict[str, Any]:
    """Choose settings that suit the pictures, and log them."""
    from airjax.interfaces.doctor import propose
    from airjax.interfaces.settings import merge

    settings = merge({}, propose(data, **reading))
    _logger.info("settings by the look of the pictures (your own flags win): %s", flags(settings))
    return settings
