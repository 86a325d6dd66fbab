"""What lies behind or over the objects of a scene: noise and a grid (as in SuPAIR, Stelzner 2019), and a texture."""

from typing import get_args

import numpy as np
from jaxtyping import UInt8

from airjax.config import BackgroundKind
from airjax.data._placing import stream

GRID_STEP = 5
"""Pixels from one line of the grid to the next."""

GRID_LEVEL = 0.4
"""Intensity of the grid's lines."""

NOISE_SD = 0.2
"""Standard deviation of the noise."""

WAVES = 3
"""Plane waves that a texture is the sum of."""

TEXTURE_PEAK = 127
"""Brightest that a texture may be, of 255: darker than any sprite."""

_CYCLES = (0.5, 2.0)
_BLOCK = 256

Pixels = UInt8[np.ndarray, "m h w"] | UInt8[np.ndarray, "m h w 3"]


def add_background(images: Pixels, kind: BackgroundKind, *, seed: int) -> None:
    """Put a background into scenes that show objects on black, in place; every scene gets its own.

    With x an image of values in [0, 1]:

    - `noise`: clip(0.8 x + 0.1 + e, 0, 1), e ~ N(0, 0.2) for each pixel and channel.
    - `grid`: lines of intensity 0.4 every 5 pixels down and across, from a uniform offset.
    - `texture`: in each channel `1/4 + 1/4 sum_k a_k cos(2 pi (u_k . r) + phi_k)` over three plane waves, r in canvas
      sides. The u_k, shared by the channels, have a uniform direction and uniformly 0.5 to 2 cycles a canvas; the
      a_k are uniform, then divided by their sum. Values are from 0 to 0.5.

    Grid and texture lie behind the objects: of the two, the brighter is seen, colours being compared by their
    strongest channel. The first scenes of a larger set get the backgrounds of a smaller one.

    Args:
        images: Scenes, to be changed.
        kind: What to put; "none" changes nothing.
        seed: Which backgrounds; at least 0.

    Raises:
        ValueError: If there is no such kind.
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


def _behind(objects: Pixels, ground: Pixels) -> Pixels:
    if objects.ndim == 3:
        return np.maximum(objects, ground)
    strongest = lambda x: np.maximum(np.maximum(x[..., :1], x[..., 1:2]), x[..., 2:])  # far quicker than max(-1)
    return np.where(strongest(objects) >= strongest(ground), objects, ground)


def _grid(shape: tuple[int, ...], rng: np.random.Generator) -> Pixels:
    offset = rng.integers(GRID_STEP, size=(shape[0], 2))[:, :, None]
    down, across = (np.arange(shape[1 + axis]) % GRID_STEP == offset[:, axis] for axis in (0, 1))
    level = np.uint8(round(255 * GRID_LEVEL)) * (down[:, :, None] | across[:, None, :])
    return np.broadcast_to(level.reshape(*level.shape, *(1 for _ in shape[3:])), shape)


def _texture(shape: tuple[int, ...], rng: np.random.Generator) -> Pixels:
    scenes, height, width, *colours = shape
    # Drawn for a whole block, as the last block may be a part of one; axes are scene, channel, wave.
    angle, phase = rng.uniform(0, 2 * np.pi, (_BLOCK, 1, WAVES)), rng.uniform(0, 2 * np.pi, (_BLOCK, 3, WAVES))
    cycles, share = rng.uniform(*_CYCLES, (_BLOCK, 1, WAVES)), rng.random((_BLOCK, 3, WAVES))
    along = lambda direction, pixels: 2 * np.pi * (cycles * direction)[:, :, None] * np.arange(pixels)[:, None] / pixels
    rows, columns = along(np.sin(angle), height) + phase[:, :, None], along(np.cos(angle), width).swapaxes(2, 3)
    share = (share / share.sum(-1, keepdims=True))[:, :, None]
    # cos(a + b) = cos a cos b - sin a sin b makes the sum over waves a product of two matrices.
    down, across = (share * np.cos(rows), -share * np.sin(rows)), (np.cos(columns), np.sin(columns))
    waves = np.concatenate(down, 3)[:scenes].astype(np.float32) @ np.concatenate(across, 2)[:scenes].astype(np.float32)
    ground = np.rint(TEXTURE_PEAK / 2 * (1 + waves)).astype(np.uint8)
    return np.moveaxis(ground, 1, -1) if colours else ground[:, 0]
