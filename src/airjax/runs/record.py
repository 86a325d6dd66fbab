"""A run's folder, which `airjax train` writes and every other command reads.

run.json           the resolved configuration, image shape, versions, commit and device
metrics.jsonl      one line per chunk of steps; tensorboard/ has the same numbers
checkpoints/       safetensors files with their hashes
pictures/          the paper's figure, drawn during training
still.png          the still background that pictures are compared with, if they are (`--still`)
"""

import dataclasses
import functools
import io
import json
import platform
import subprocess
import typing
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from PIL import Image

from airjax.config import Config, ModelConfig, TrainConfig
from airjax.data.reading import open_picture
from airjax.files import write_atomically
from airjax.learning import trainer
from airjax.models.base import Family
from airjax.runs import checkpoint, former
from airjax.runs.former import ADDED, RemovedSettingError, renamed

RECORD = "run.json"
CHECKPOINTS = "checkpoints"
PICTURES = "pictures"
STILL = "still.png"
_PACKAGES = ("airjax", "jax", "jaxlib", "equinox", "optax", "numpy")


_MOST_SIDE = 2**16
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError, ArithmeticError, MemoryError)
"""What happens when settings from a file are not what they should be."""


class RunError(RuntimeError):
    """A run's folder can't be used."""


class Record(NamedTuple):
    """The settings and image shape of a run, enough to rebuild its model and its data.

    Attributes:
        config: the resolved configuration.
        image_shape: (channels, height, width).
    """

    config: Config
    image_shape: tuple[int, int, int]

    def blank_state(self) -> trainer.State:
        """Return the shapes and dtypes of the run's state, into which a checkpoint can be restored."""
        return _blank(self.config.model, self.config.train, self.image_shape, jnp.result_type(float))


@functools.lru_cache(maxsize=32)
def _blank(model: ModelConfig, train: TrainConfig, image_shape: tuple[int, int, int], of: jnp.dtype) -> trainer.State:
    """Trace how a state is made, once for equal settings and type of floats: a command asks several times."""
    del of
    return eqx.filter_eval_shape(trainer.init, model, train, image_shape)


def check_folder(folder: Path, record: Record) -> None:
    """Check that the folder is absent, empty or holds this same run; write nothing.

    Raises:
        RunError: the folder is a file, holds another run, or holds files but no run.
    """
    path = Path(folder) / RECORD
    if not Path(folder).exists():
        return
    if not Path(folder).is_dir():
        raise RunError(f"{folder} is a file; choose another --out")
    if path.exists():
        differences = _differences(read_record(folder), record)
        if differences:
            raise RunError(f"{folder} holds a run with other settings ({'; '.join(differences)}); choose another --out")
        return
    # A run that was killed before its record was complete leaves only a lock and temporary files.
    if any(entry.name != ".lock" and not entry.match(f".{RECORD}.*") for entry in Path(folder).iterdir()):
        raise RunError(f"{folder} is not empty and holds no run; choose another --out")


def write_record(folder: Path, record: Record) -> None:
    """Write the record of a run, unless the folder already holds it.

    Raises:
        RunError: see `check_folder`.
    """
    check_folder(folder, record)
    path = Path(folder) / RECORD
    if path.exists():
        return
    content = {
        "config": dataclasses.asdict(record.config),
        "image_shape": record.image_shape,
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "commit": _commit(),
        "device": str(jax.devices()[0]),
    }
    write_atomically(path, json.dumps(content, indent=2, default=str).encode())


def read_record(folder: Path) -> Record:
    """Read the record of the run in `folder`.

    Raises:
        RunError: there is no run, or its record is damaged.
    """
    path = Path(folder) / RECORD
    if not path.is_file():
        raise RunError(f"{folder} holds no run: it has no {RECORD}")
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}") from None
    try:
        channels, height, width = (int(side) for side in content["image_shape"])
        if channels not in (1, 3) or not all(1 <= side <= _MOST_SIDE for side in (height, width)):
            raise ValueError(f"image_shape must be channels (1 or 3), height and width, got {content['image_shape']}")
        record = Record(from_json(Config, content["config"]), (channels, height, width))  # type: ignore[arg-type]
        former = "height" not in content["config"]["data"]
        if former and height != width and record.config.model.objects == "patches":
            raise RemovedSettingError("images are oblong, and windows were stretched as they are")
        record.blank_state()
    except RemovedSettingError as error:
        raise RunError(f"{path}: {error}; the version that wrote it can read it (see `commit` there)") from None
    except MALFORMED as error:
        raise RunError(f"{path} {_whose(content)}: {str(error) or type(error).__name__}") from None
    return record


def _whose(content: Any) -> str:
    """Say which version wrote a record that can't be read: another one, or this one, so that the record is damaged."""
    try:
        wrote = content["versions"]["airjax"], content["commit"]
    except (KeyError, TypeError):
        return "is damaged"
    here = metadata.version("airjax"), _commit()
    if wrote == here:
        return "is damaged"
    spelt = [f"airjax {version}{f' (commit {commit})' if commit else ''}" for version, commit in (wrote, here)]
    return f"was written by {spelt[0]}, which can read it, and can't be read by {spelt[1]}"


def load_model(folder: Path) -> Family:
    """Load the model of the newest valid checkpoint of the run in `folder`.

    Raises:
        RunError: there is no run, or no checkpoint yet.
        checkpoint.CheckpointError: there are checkpoints, but none is valid.
    """
    found = checkpoint.restore_newest(Path(folder) / CHECKPOINTS, read_record(folder).blank_state())
    if found is None:
        raise RunError(f"{folder} holds no checkpoint yet")
    if (name := checkpoint.not_finite(found[1].model)) is not None:
        raise RunError(f"{folder} holds a model whose weights {name} are not finite numbers; train it again")
    return found[1].model


def write_still(folder: Path, find: Callable[[], Image.Image | None]) -> None:
    """Write the still background of a run, unless it has none or the folder already holds it; then it is not sought."""
    path = Path(folder) / STILL
    if not path.exists() and (still := find()) is not None:
        write_atomically(path, still_bytes(still))


def still_bytes(still: Image.Image) -> bytes:
    """Encode a still background; PNG checks its own content."""
    buffer = io.BytesIO()
    still.save(buffer, format="PNG")
    return buffer.getvalue()


def load_still(folder: Path) -> Image.Image | None:
    """Load the still background of the run in `folder`; None: it has none.

    Raises:
        RunError: there is no run, or its still background is missing or damaged.
    """
    if not read_record(folder).config.data.still:
        return None
    try:
        return open_picture(Path(folder) / STILL)
    except (OSError, ValueError) as error:
        raise RunError(f"the still background of the run can't be read: {error}") from None


def _commit() -> str | None:
    """Return the commit of this code; None if it is not in a git checkout (an installed package)."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _differences(old: Record, new: Record) -> list[str]:
    """Name the settings in which two runs differ."""
    found = [] if old.image_shape == new.image_shape else [f"images {old.image_shape}, not {new.image_shape}"]
    for part in dataclasses.fields(Config):
        before, after = getattr(old.config, part.name), getattr(new.config, part.name)
        for item in dataclasses.fields(before):
            was, now = getattr(before, item.name), getattr(after, item.name)
            if was != now:
                found.append(f"{item.name} {was}, not {now}")
    return found


def from_json(kind: Any, value: Any) -> Any:
    """Convert JSON of a configuration back into its type; missing and unknown names are errors."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        value = {name: default for name, default in ADDED.items() if name in hints} | renamed(value)
        if missing := hints.keys() - value.keys():  # defaults can't stand in: they may have changed since
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        make = former.config if kind is Config else kind
        return make(**{name: from_json(hints[name], item) for name, item in value.items()})
    if kind == Path | None:
        return None if value is None else Path(value)
    return tuple(value) if isinstance(value, list) else value
