"""Find the scenes that a configuration names."""

from pathlib import Path
from typing import Literal

import numpy as np

from airjax.config import DataConfig
from airjax.data.banks import DigitBank, embedded_digits
from airjax.data.mnist import load_mnist
from airjax.data.multi_digits import multi_digits
from airjax.data.omniglot import load_omniglot
from airjax.data.scenes import Scenes, load_npz
from airjax.data.sprites import sprites

NAMES = ("multi-mnist", "multi-digits", "sprites", "omniglot")


Split = Literal["train", "held-out"]


def load_scenes(config: DataConfig, split: Split) -> Scenes:
    """Make or read the scenes of a split: those to learn from, or those held out.

    Raises:
        ValueError: the name is neither a data set nor an .npz file, or a parameter is out of range or has no meaning
            for the data set.
        FileNotFoundError: a file is missing.
        ConnectionError: a file can't be downloaded.
    """
    _check_meant(config)
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
            )
        case "omniglot":
            drawings = load_omniglot(split, config.data_dir, canvas=config.canvas)
            return Scenes(drawings.images, counts=drawings.strokes)
    if Path(config.name).suffix == ".npz":
        return _part(load_npz(config.name), config, split)
    raise ValueError(f"data must be one of {', '.join(NAMES)} or an .npz file, got {config.name!r}")


def _check_meant(config: DataConfig) -> None:
    """Refuse settings that change the picture, for data sets that they wouldn't change."""
    digits, generated = ("multi-mnist", "multi-digits"), ("multi-mnist", "multi-digits", "sprites")
    for setting, names in (("digit_side", digits), ("background", generated), ("channels", ("sprites",))):
        value = getattr(config, setting)
        if value != getattr(DataConfig, setting) and config.name not in names:
            raise ValueError(f"{setting} is a setting of {', '.join(names)}, not of {config.name}; got {value}")


def _size_and_seed(config: DataConfig, split: Split) -> tuple[int, int]:
    """No two splits of any two data seeds share a generator's seed."""
    if split == "train":
        return config.scenes, 2 * config.data_seed
    return config.held_out_scenes, 2 * config.data_seed + 1


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
    )


def _part(scenes: Scenes, config: DataConfig, split: Split) -> Scenes:
    """Take a split of the scenes of a file, drawn by `data_seed`."""
    if not 0 < config.held_out_fraction < 1:
        raise ValueError(f"held_out_fraction must lie between 0 and 1, got {config.held_out_fraction}")
    held_out = round(config.held_out_fraction * len(scenes))
    if not 0 < held_out < len(scenes):
        raise ValueError(f"{config.name} holds {len(scenes)} scenes: too few to keep some from training")
    order = np.random.default_rng(config.data_seed).permutation(len(scenes))
    return scenes[np.sort(order[held_out:] if split == "train" else order[:held_out])]
