"""Load the scenes that a configuration names."""

from dataclasses import replace
from typing import Literal

import numpy as np
from PIL import Image

from airjax.config import DATA_SETS, DataConfig
from airjax.data._placing import MOST_SEGMENTED
from airjax.data.addresses import Place, place
from airjax.data.banks import DigitBank, embedded_digits
from airjax.data.copies import local
from airjax.data.folder import describe_files, fingerprint, list_pictures, load_folder, load_still
from airjax.data.mnist import load_mnist
from airjax.data.multi_digits import multi_digits
from airjax.data.multi_dsprites_like import multi_dsprites_like
from airjax.data.omniglot import load_omniglot
from airjax.data.scenes import Scenes, load_npz
from airjax.data.shards import are_shards, list_shards, load_shards
from airjax.data.sprites import sprites
from airjax.data.tables import tables
from airjax.data.tiles import Tiles
from airjax.render3d.stage import STAGES

Split = Literal["train", "held-out"]


def load_scenes(config: DataConfig, split: Split) -> Scenes:
    """Generate or read the scenes of a split: training or held-out scenes.

    Held-out scenes of digits and sprites tell the object of each pixel (`Scenes.segmentation`), too.

    Raises:
        ValueError: the name is neither a data set, an .npz file nor a folder of pictures or of .npz files; a setting
            is out of range or does not apply to the data set; or the files of the folder have changed since `pin`.
        FileNotFoundError: a file is missing.
        ConnectionError: a file can't be downloaded.
    """
    path = _own(config)
    shards = path is not None and are_shards(path)
    _check_meant(config, "folders" if path is not None and path.is_dir() and not shards else ".npz files")
    match config.name:
        case "multi-mnist":
            return _digits(config, load_mnist(split, config.data_dir), split)
        case "multi-digits":
            return _digits(config, embedded_digits(split), split)
        case "sprites":
            size, seed = _size_and_seed(config, split)
            return sprites(
                size,
                seed=seed,
                counts=config.counts,
                canvas=config.canvas,
                channels=config.channels,
                background=config.background,
                segmentation=_segmented(config, split),
            )
        case "multi-dsprites-like":
            size, seed = _size_and_seed(config, split)
            segmentation = _segmented(config, split)
            return multi_dsprites_like(
                size, seed=seed, counts=config.counts, canvas=config.canvas, segmentation=segmentation
            )
        case "solids" | "crockery" | "crockery-round":
            size, seed = _size_and_seed(config, split)
            return tables(STAGES[config.name], size, seed=seed, counts=config.counts, canvas=config.canvas)
        case "omniglot":
            drawings = load_omniglot(split, config.data_dir, canvas=config.canvas)
            return Scenes(drawings.images, counts=drawings.strokes)
    if path is None:
        raise ValueError(f"data must be one of {', '.join(DATA_SETS)}, an .npz file or a folder, got {config.name!r}")
    own = _shards if shards else _pictures if path.is_dir() else _file
    return _part(own(path, config), config, split)


def pin(config: DataConfig) -> DataConfig:
    """Record a fingerprint of the folder's pictures, so that later changes are detected.

    Raises:
        FileNotFoundError, ValueError: see `airjax.data.folder.list_pictures`.
    """
    path = _own(config)
    if path is None or not path.is_dir():
        return config
    return replace(config, pictures=_fingerprint(path, config))


def _fingerprint(path: Place, config: DataConfig) -> str:
    if are_shards(path):
        return describe_files(path, list_shards(path), ".npz files")
    return fingerprint(path, config.every)


def _check_unchanged(path: Place, config: DataConfig) -> None:
    if config.pictures not in (None, found := _fingerprint(path, config)):
        raise ValueError(f"the pictures in {path} have changed: there were {config.pictures}, now {found}")


def _own(config: DataConfig) -> Place | None:
    """Return the path or address of the user's own file or folder, if the configuration names one."""
    path = place(config.name)
    if config.name in DATA_SETS or not (path.suffix == ".npz" or path.is_dir() or config.pictures):
        return None
    return path


def _pictures(path: Place, config: DataConfig) -> Scenes:
    shape, dark = (config.channels, config.height or config.canvas, config.canvas), config.polarity == "dark"
    _check_unchanged(path, config)
    return Scenes(
        load_folder(
            path,
            shape,
            levels=config.levels,
            channels=config.pick_channels,
            every=config.every,
            invert=dark,
            seed=config.data_seed,
            strict=config.strict,
            tiles=_tiles(config),
        )
    )


def _tiles(config: DataConfig) -> Tiles | None:
    return Tiles(config.tile, config.held_out_fraction, bool(config.still)) if config.tile else None


def find_still(config: DataConfig) -> Image.Image | None:
    """Find the still background of a folder's pictures, which tiles are compared with; None: there is none.

    Raises:
        FileNotFoundError, ValueError: see `airjax.data.folder.load_still`.
    """
    path, tiles = _own(config), _tiles(config)
    if path is None or tiles is None or not tiles.still:
        return None
    names, reading = list_pictures(path, config.every), {"levels": config.levels, "channels": config.pick_channels}
    return load_still(path, names, tiles, seed=config.data_seed, **reading)


def _shards(path: Place, config: DataConfig) -> Scenes:
    _check_unchanged(path, config)
    return load_shards(path, invert=config.polarity == "dark", seed=config.data_seed)


def _file(path: Place, config: DataConfig) -> Scenes:
    """Read the scenes of a file, shuffled like those of a folder."""
    with local(path) as file:
        scenes = load_npz(file)
    scenes = scenes[np.random.default_rng(config.data_seed).permutation(len(scenes))]
    return replace(scenes, images=255 - scenes.images) if config.polarity == "dark" else scenes


def _check_meant(config: DataConfig, own: str) -> None:
    """Refuse settings that don't apply to the data set; `own` is the kind of the user's own."""
    digits, folder, file = ("multi-mnist", "multi-digits"), "folders", ".npz files"
    meant = {
        "digit_side": digits,
        "background": (*digits, "sprites"),
        "channels": ("sprites", folder),
        "polarity": (folder, file),
        "strict": (folder,),
        "height": (folder,),
        "tile": (folder,),
        "still": (folder,),
        "levels": (folder,),
        "pick_channels": (folder,),
        "every": (folder,),
    }
    kind = config.name if config.name in DATA_SETS else own
    for setting, kinds in meant.items():
        value = getattr(config, setting)
        if value != getattr(DataConfig, setting) and kind not in kinds:
            raise ValueError(f"{setting} is a setting of {', '.join(kinds)}, not of {config.name}; got {value}")


def _size_and_seed(config: DataConfig, split: Split) -> tuple[int, int]:
    """Return the number of scenes and the seed of the generator. No two splits or data seeds share a seed."""
    if split == "train":
        return config.scenes, 2 * config.data_seed
    return config.held_out_scenes, 2 * config.data_seed + 1


def _segmented(config: DataConfig, split: Split) -> bool:
    """Return whether scenes tell the object of each pixel: those to be scored, to save memory."""
    return split == "held-out" and max(config.counts) <= MOST_SEGMENTED


def _digits(config: DataConfig, bank: DigitBank, split: Split) -> Scenes:
    size, seed = _size_and_seed(config, split)
    return multi_digits(
        bank,
        size,
        seed=seed,
        counts=config.counts,
        canvas=config.canvas,
        scale_mean=config.digit_scale,
        scale_sd=config.digit_scale_sd,
        digit_side=config.digit_side,
        max_ink=config.max_ink,
        background=config.background,
        segmentation=_segmented(config, split),
    )


def _part(scenes: Scenes, config: DataConfig, split: Split) -> Scenes:
    """Return a split of the user's own scenes, in their given order."""
    held_out = round(config.held_out_fraction * len(scenes))
    if not 0 < held_out < len(scenes):
        raise ValueError(f"{config.name} holds {len(scenes)} scenes: too few to keep some from training")
    return scenes[held_out:] if split == "train" else scenes[:held_out]
