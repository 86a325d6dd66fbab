"""Bring arrays and pictures that are in memory into the form that models take."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image


class Range(NamedTuple):
    """The values of black and white."""

    low: float
    high: float


UNIT = Range(0.0, 1.0)


def find_range(values: Shaped[np.ndarray, "*shape"]) -> Range:
    """Choose black and white: 0 and 1 for bytes and for what lies between, else the least and the largest value."""
    if values.dtype == np.uint8:
        return UNIT
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        return UNIT
    return Range(low, high if high > low else low + 1)


def to_bytes(values: Shaped[np.ndarray, "*shape"], black_white: Range) -> UInt8[np.ndarray, "*shape"]:
    """Bring values to 0, ..., 255: bytes are left as they are, others scaled and cut off at black and white.

    Raises:
        ValueError: values are so far beyond that they must be of another range.
    """
    if values.dtype == np.uint8:
        return values
    low, high = black_white
    width = high - low
    if values.min() < low - width or values.max() > high + width:
        raise ValueError(
            f"X must hold uint8 or values from {low:g} to {high:g} as in fit, "
            f"got values from {values.min():g} to {values.max():g}"
        )
    floats = values.astype(np.result_type(values, np.float32), copy=False)
    return np.rint(255 * np.clip((floats - low) / width, 0, 1)).astype(np.uint8)


def are_pictures(images: Any) -> bool:
    """Tell whether images are a list of Pillow's pictures."""
    return isinstance(images, list | tuple) and len(images) > 0 and all(isinstance(x, Image.Image) for x in images)


def stack(images: Any) -> Any:
    """Make one array of a list of arrays, and leave all else as it is."""
    is_list = isinstance(images, list | tuple) and len(images) and np.ndim(images[0]) >= 2
    return np.stack(images) if is_list else images


def check_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Raise ValueError unless a shape is one of images."""
    grey_or_colour = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
    if not grey_or_colour or min(shape) < 1:
        raise ValueError(f"images must be of shape (height, width) or (height, width, 3), got {tuple(shape)}")
    return tuple(shape)


def square(features: int) -> tuple[int, int]:
    """Choose height and width of images given as rows of `features` pixels: the smallest square that holds them."""
    side = math.isqrt(features - 1) + 1
    if side**2 != features:
        warnings.warn(
            f"X has {features} features, which make no square: the last of {side} x {side} pixels stay black; "
            f"give image_shape=(height, width)",
            UserWarning,
            stacklevel=5,  # that of the call of fit,
        )
    return side, side


def to_images(rows: UInt8[np.ndarray, "n p"], shape: Sequence[int]) -> UInt8[np.ndarray, "n *shape"]:
    """Turn rows of pixels into images of `shape`, filled up with black."""
    padded = np.pad(rows, [(0, 0), (0, math.prod(shape) - rows.shape[1])])
    return padded.reshape(len(rows), *shape)
