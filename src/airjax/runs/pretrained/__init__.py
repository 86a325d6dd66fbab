"""Trained models in two files, `config.json` and `model.safetensors`: from the package, a folder, or the Hub.

The model of a fixed camera has a third one, `still.png`, the still background that pictures are compared with.

Nothing is pickled. The configuration is JSON, and every value in it is checked. The weights are safetensors, and the
configuration holds the hashes of the other files.
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from airjax.config import MOST_OBJECTS, Config, DataConfig, ModelConfig, PolarityKind
from airjax.data.images import Levels
from airjax.data.reading import open_picture
from airjax.files import write_atomically
from airjax.models.base import Family
from airjax.models.build import build_model
from airjax.runs import checkpoint, record

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FORMAT = 6
_SINCE = {"levels": 3, "pick_channels": 4, "tile": 5, "still": 6}
"""The format from which on a configuration has a value."""
_MOST_BYTES = 2**30
_MOST_JSON = 2**20
_MOST = 100_000
"""Largest size allowed in a configuration."""
_MOST_RATIO = 1e40
_MOST_SIDE = 4_096
_KEYS = {"format", "image_shape", "levels", "model", "pick_channels", "polarity", "sha256", "still", "tile"}


class PretrainedError(RuntimeError):
    """A trained model is missing, damaged, or not a model of this package."""


class Trained(NamedTuple):
    """A trained model, with its configuration, and how its pictures were read.

    Attributes:
        model: the model.
        config: the configuration it was built from.
        polarity: `dark` if it was trained on inverted pictures of dark objects.
        levels: the values of pictures that became black and white, and gamma; None: the full range, and 1.
        pick_channels: the channels taken of its pictures, from 1 on; None: all.
        tile: width, in pixels of its pictures, of the tiles cut out of them; None: it was trained on whole ones.
        still: the still background that pictures are compared with (`airjax.data.still`); None: they are not compared.
    """

    model: Family
    config: ModelConfig
    polarity: PolarityKind
    levels: Levels | None
    pick_channels: tuple[int, ...] | None
    tile: int | None
    still: Image.Image | None

    def with_trajectories(self, number: int) -> "Trained":
        """Return the same model, whose inference chooses the best of another number of trajectories.

        Raises:
            ValueError: the number is below 1, or not 1 though the model has no attention or is one of scenes in 3D.
        """
        config = dataclasses.replace(self.config, trajectories=number)
        Config(model=config)  # checks it
        blank = eqx.filter_eval_shape(lambda: build_model(config, self.model.image_shape, key=jax.random.PRNGKey(0)))
        weights = jax.tree.leaves(self.model)
        return self._replace(config=config, model=jax.tree.unflatten(jax.tree.structure(blank), weights))


def names() -> list[str]:
    """List the models that come with the package."""
    return sorted(entry.name for entry in resources.files(__name__).iterdir() if (entry / CONFIG).is_file())


def load(source: str | Path) -> Family:
    """Load a trained model: `airjax.load("multi-mnist")`.

    Args:
        source: see `from_pretrained`.

    Raises:
        RunError, CheckpointError, PretrainedError: see `from_pretrained`.
    """
    return from_pretrained(source).model


def from_pretrained(source: str | Path) -> Trained:
    """Load a trained model, with its configuration, and how its pictures were read.

    Args:
        source: the name of a model of the package (`names`), a run's folder, a folder written by
            `save_pretrained`, or `OWNER/NAME` on the Hugging Face Hub (needs `airjax[hub]`).

    Raises:
        RunError, CheckpointError: the source is a run's folder that can't be used.
        PretrainedError: there is no such model, or its files are damaged or not from this package.
    """
    folder = Path(source)
    if str(source) in names():
        with resources.as_file(resources.files(__name__) / str(source)) as packaged:
            return _read(packaged)
    if (folder / record.RECORD).is_file():
        config = record.read_record(folder).config
        data = config.data
        read = data.polarity, data.levels, data.pick_channels, data.tile
        return Trained(record.load_model(folder), config.model, *read, record.load_still(folder))
    if folder.is_dir():
        return _read(folder)
    if str(source).count("/") == 1 and not str(source).startswith((".", "/")):
        return _read(_download(str(source)))
    raise PretrainedError(f"{source} is neither a folder nor one of {', '.join(names())}")


def save_pretrained(source: Path, folder: Path, *, half: bool = False) -> None:
    """Write the model of a run to a folder that `from_pretrained` reads, laid out as on the Hub.

    Args:
        source: a run's folder, or any other source that `from_pretrained` reads.
        folder: the folder for `config.json`, `model.safetensors`, `still.png` if there is a still background, and a
            model card (`README.md`, with the training settings); made if absent.
        half: whether weights are stored in 16 bits, at half the size.

    Raises:
        RunError, CheckpointError, PretrainedError: see `from_pretrained`.
        FileExistsError: the folder already holds a model.
    """
    trained = from_pretrained(source)
    if (Path(folder) / CONFIG).exists():
        raise FileExistsError(f"{folder} holds a model already; choose another folder")
    model = jax.tree.map(lambda x: x.astype(jnp.float16), trained.model) if half else trained.model
    weights, still = checkpoint.to_bytes(model), trained.still and record.still_bytes(trained.still)
    config = {
        "format": FORMAT,
        "image_shape": trained.model.image_shape,
        "model": dataclasses.asdict(trained.config),
        "polarity": trained.polarity,
        "levels": trained.levels,
        "pick_channels": trained.pick_channels,
        "tile": trained.tile,
        "still": still and hashlib.sha256(still).hexdigest(),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_atomically(Path(folder) / WEIGHTS, weights)
    if still:
        write_atomically(Path(folder) / record.STILL, still)
    write_atomically(Path(folder) / CARD, _card(Path(source), trained).encode())
    write_atomically(
        Path(folder) / CONFIG, json.dumps(config, indent=2).encode()
    )  # last, as a sign that the model is complete


def _card(source: Path, trained: Trained) -> str:
    channels, height, width = trained.model.image_shape
    lines = [
        "---\nlibrary_name: airjax\ntags: [attend-infer-repeat, object-discovery, unsupervised]\n---\n",
        "# A model of airjax\n",
        f"Attend, Infer, Repeat for images of {width} x {height} pixels and {channels} channel(s), 0 to",
        f"{trained.model.max_objects} objects. Load it with `airjax.load(FOLDER)`.\n",
    ]
    if (source / record.RECORD).is_file():
        settings = dataclasses.asdict(record.read_record(source).config)
        del settings["data"]["data_dir"]  # private
        settings["data"]["name"] = Path(settings["data"]["name"]).name
        lines += ["Trained with:\n", "```json", json.dumps(settings, indent=2, default=str), "```\n"]
    return "\n".join(lines)


def _download(name: str) -> Path:
    """Fetch a model's files from the Hub into its cache."""
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError:
        raise PretrainedError(
            f"{name} is not a folder; models of the Hub need another package: pip install 'airjax[hub]'"
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS, record.STILL]))
    except Exception as error:  # its errors have no common base class
        raise PretrainedError(f"{name} can't be fetched from the Hub: {error}") from None


def _read(folder: Path) -> Trained:
    path = folder / CONFIG
    content = _bytes(path, _MOST_JSON)
    try:
        config, shape, read, digests = _parse(json.loads(content))
        build = lambda: build_model(config, shape, key=jax.random.PRNGKey(0))
        expected = eqx.filter_eval_shape(build)
    except record.MALFORMED as error:
        raise PretrainedError(f"{path} is not a valid configuration: {error}") from None
    weights = _hashed(folder / WEIGHTS, digests.weights)
    model = _restore(weights, expected, folder / WEIGHTS)
    if (name := checkpoint.not_finite(model)) is not None:
        raise PretrainedError(f"{folder / WEIGHTS} is damaged: its weights {name} are not finite numbers")
    return Trained(model, config, *read, _still(folder / record.STILL, digests.still))


def _still(path: Path, digest: str | None) -> Image.Image | None:
    if digest is None:
        return None
    try:
        return open_picture(io.BytesIO(_hashed(path, digest)), str(path))
    except ValueError as error:
        raise PretrainedError(str(error)) from None


def _hashed(path: Path, digest: str) -> bytes:
    """Read a file whose hash the configuration holds."""
    content = _bytes(path, _MOST_BYTES)
    if hashlib.sha256(content).hexdigest() != digest:
        raise PretrainedError(f"{path} is damaged: its SHA-256 is not the one in {CONFIG}")
    return content


def _bytes(path: Path, most: int) -> bytes:
    try:
        if path.stat().st_size > most:
            raise PretrainedError(f"{path} has {path.stat().st_size} bytes, more than the {most} allowed")
        return path.read_bytes()
    except OSError as error:
        raise PretrainedError(f"{path} can't be read: {error.strerror}") from None


def _restore(weights: bytes, expected: Family, path: Path) -> Family:
    """Restore weights stored in 32 or 16 bits."""
    half = jax.tree.map(lambda x: np.broadcast_to(np.float16(0), x.shape), expected)
    try:
        try:
            return checkpoint.from_bytes(weights, expected, path)
        except checkpoint.CheckpointError:
            # By numpy: JAX would compile a program for every shape.
            restored = checkpoint.from_bytes(weights, half, path)
            return jax.tree.map(lambda x: jax.device_put(x.astype(np.float32)), restored)
    except checkpoint.CheckpointError as error:
        raise PretrainedError(str(error)) from None


_Read = tuple[PolarityKind, Levels | None, tuple[int, ...] | None, int | None]
"""How pictures were read: polarity, levels, channels and tile."""


class _Digests(NamedTuple):
    """Hashes of the files beside a configuration."""

    weights: str
    still: str | None


def _parse(content: Any) -> tuple[ModelConfig, tuple[int, int, int], _Read, _Digests]:
    """Check every value of a configuration before a model is built from it."""
    form = content.get("format") if isinstance(content, Mapping) else FORMAT
    if isinstance(form, int) and form in range(1, FORMAT):  # 1: former names of settings and weights
        content = {**content, **{name: None for name, since in _SINCE.items() if since > form}}
    elif form != FORMAT:
        raise ValueError(f"format must be from 1 to {FORMAT}, got {form}; a newer airjax may read it")
    if not isinstance(content, Mapping) or content.keys() != _KEYS:
        raise ValueError(f"it must hold {', '.join(sorted(_KEYS))}")
    shape = tuple(content["image_shape"])
    if len(shape) != 3 or shape[0] not in (1, 3) or not all(type(s) is int and 1 <= s <= _MOST_SIDE for s in shape):
        raise ValueError(f"image_shape must be channels (1 or 3), height and width (at most {_MOST_SIDE}), got {shape}")
    config = _model_config(content["model"])
    if form in (1, 2) and shape[1] != shape[2] and config.objects == "patches":
        raise ValueError(f"it is of format {form}, in which windows of oblong images were stretched; train it again")
    if content["polarity"] not in ("light", "dark"):
        raise ValueError(f"polarity must be light or dark, got {content['polarity']}")
    levels = None if content["levels"] is None else tuple(content["levels"])
    channels = None if content["pick_channels"] is None else tuple(content["pick_channels"])
    DataConfig(levels=levels, pick_channels=channels, tile=content["tile"])  # type: ignore[arg-type]  # checks them
    digests = _Digests(content["sha256"], content["still"])
    if not isinstance(digests.weights, str) or not isinstance(digests.still, str | None):
        raise ValueError("sha256 must be text, and still text or null")
    if digests.still is not None and content["tile"] is None:
        raise ValueError("a still background is for a model of tiles")
    read = content["polarity"], levels, channels, content["tile"]
    return config, (shape[0], shape[1], shape[2]), read, digests  # type: ignore[return-value]


def _model_config(values: dict[str, Any]) -> ModelConfig:
    for name, value in values.items():
        sizes, most = value if isinstance(value, list) else [value], _MOST_RATIO if "ratio" in name else _MOST
        if any(isinstance(v, int | float) and not abs(v) <= most for v in sizes):
            raise ValueError(f"{name} must be at most {most:g}, got {value}")
    config = record.from_json(ModelConfig, values)
    if config.max_objects > MOST_OBJECTS:
        raise ValueError(f"max_objects must be at most {MOST_OBJECTS}, got {config.max_objects}")
    return config
