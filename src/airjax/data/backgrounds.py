"""Backgrounds of scenes: noise and a grid (as in SuPAIR, Stelzner 2019), and a texture."""

from typing import get_args

import numpy as np
from jaxtyping import UInt8

from airjax.config import BackgroundKind
from airjax.data._placing import stream

GRID_STEP = 5
"""Distance between lines of the grid, in pixels."""

GRID_LEVEL = 0.4
"""Intensity of the grid's lines."""

NOISE_SD = 0.2
"""Standard deviation of the noise."""

WAVES = 3
"""Number of plane waves that sum to a texture."""

TEXTURE_PEAK = 127
"""Largest value of a texture, of 255. It is darker than any sprite."""

_CYCLES = (0.5, 2.0)
_BLOCK = 256

Pixels = UInt8[np.ndarray, "m h w"] | UInt8[np.ndarray, "m h w 3"]


def add_background(images: Pixels, kind: BackgroundKind, *, seed: int) -> None:
    """Add a background, in place, to scenes of objects on black. Each scene gets its own.

    With x an image of values in [0, 1]:

    - `noise`: clip(0.8 x + 0.1 + e, 0, 1), e ~ N(0, 0.2) for each pixel and channel.
    - `grid`: lines of intensity 0.4 every 5 pixels, in rows and columns, from a uniform offset.
    - `texture`: in each channel `1/4 + 1/4 sum_k a_k cos(2 pi (u_k . r) + phi_k)` over three plane waves, r in canvas
      sides. The u_k are shared by the channels: their direction is uniform, and so is their frequency, from 0.5 to 2
      cycles per canvas side. The a_k are uniform, then divided by their sum. Values are from 0 to 0.5.

    Grid and texture lie behind the objects: each pixel shows the object or the background, whichever is brighter.
    Colours are compared by their strongest channel. The backgrounds of a smaller set are the first of a larger one.

    Args:
        images: Scenes, changed in place.
        kind: Kind of background; "none" changes nothing.
        seed: Seed of the generator, at least 0.

    Raises:
        ValueError: If `kind` is not a kind of background.
    """
    if kind not in get_args(BackgroundKind):
        raise ValueError(f"background must be one of {', '.join(get_args(BackgroundKind))}, got {kind!r}")
    if kind == "none":
        return
    for index, start in enumerate(range(0, len(images), _BLOCK)):
        part, rng = images[start : start + _BLOCK], stream(seed, 0, index)
        match kind:
            case "noise":
                part[...] = _with_noise(part, rng)
            case "grid":
                part[...] = _behind(part, _grid(part.shape, rng))
            case "texture":
                part[...] = _behind(part, _texture(part.shape, rng))


def _with_noise(images: Pixels, rng: np.random.Generator) -> Pixels:
    noise = rng.standard_normal(images.shape, np.float32)
    noisy = 0.8 / 255 * images.astype(np.float32) + 0.1 + NOISE_SD * noise
    return np.rint(255 * np.clip(noisy, 0, 1)).astype(np.uint8)


def _behind(objects: Pixels, background: Pixels) -> Pixels:
    if objects.ndim == 3:
        return np.maximum(objects, background)
    strongest = lambda x: np.maximum(np.maximum(x[..., :1], x[..., 1:2]), x[..., 2:])  # much faster than max(-1)
    return np.where(strongest(objects) >= strongest(background), objects, background)


def _grid(shape: tuple[int, ...], rng: np.random.Generator) -> Pixels:
    offset = rng.integers(GRID_STEP, size=(shape[0], 2))[:, :, None]
    down, across = (np.arange(shape[1 + axis]) % GRID_STEP == offset[:, axis] for axis in (0, 1))
    level = np.uint8(round(255 * GRID_LEVEL)) * (down[:, :, None] | across[:, None, :])
    return np.broadcast_to(level.reshape(*level.shape, *(1 for _ in shape[3:])), shape)


def _texture(shape: tuple[int, ...], rng: np.random.Generator) -> Pixels:
    scenes, height, width, *colours = shape
    # Draw for a whole block even if the last one is shorter. Axes are scene, channel, wave.
    angle, phase = rng.uniform(0, 2 * np.pi, (_BLOCK, 1, WAVES)), rng.uniform(0, 2 * np.pi, (_BLOCK, 3, WAVES))
    cycles, share = rng.uniform(*_CYCLES, (_BLOCK, 1, WAVES)), rng.random((_BLOCK, 3, WAVES))
    along = lambda direction, pixels: 2 * np.pi * (cycles * direction)[:, :, None] * np.arange(pixels)[:, None] / pixels
    rows, columns = along(np.sin(angle), height) + phase[:, :, None], along(np.cos(angle), width).swapaxes(2, 3)
    share = (share / share.sum(-1, keepdims=True))[:, :, None]
    # As cos(a + b) = cos a cos b - sin a sin b, the sum over waves is a product of two matrices.
    down, across = (share * np.cos(rows), -share * np.sin(rows)), (np.cos(columns), np.sin(columns))
    waves = np.concatenate(down, 3)[:scenes].astype(np.float32) @ np.concatenate(across, 2)[:scenes].astype(np.float32)
    background = np.rint(TEXTURE_PEAK / 2 * (1 + waves)).astype(np.uint8)
    return np.moveaxis(background, 1, -1) if colours else background[:, 0]
