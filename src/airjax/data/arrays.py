"""Convert arrays and pictures in memory to the input format of models.

In this module, images are uint8 of shape [n, h, w] or [n, h, w, 3]. The shape of one image is (h, w) or (h, w, 3).
Rows have shape [n, values].
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image

from airjax.config import PolarityKind
from airjax.data import images
from airjax.data.batches import channels_first
from airjax.data.images import Placement, letterbox, plain, stack


class Range(NamedTuple):
    """The values of black and white."""

    low: float
    high: float


UNIT = Range(0.0, 1.0)


def find_range(values: Shaped[np.ndarray, "*shape"]) -> Range:
    """Choose black and white: 0 and 1 for bytes and for values in [0, 1], else the minimum and the maximum."""
    if values.dtype == np.uint8:
        return UNIT
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        return UNIT
    return Range(low, high if high > low else low + 1)


def to_bytes(values: Shaped[np.ndarray, "*shape"], black_white: Range) -> UInt8[np.ndarray, "*shape"]:
    """Convert values to 0, ..., 255. Bytes are returned unchanged, other values are scaled and clipped.

    Raises:
        ValueError: values lie beyond black or white by more than the difference of the two.
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
    return images.to_bytes(values, (low, high, 1.0))


def are_pictures(images: Any) -> bool:
    """Return whether images are a non-empty list or tuple of Pillow images."""
    return isinstance(images, list | tuple) and len(images) > 0 and all(isinstance(x, Image.Image) for x in images)


def letterbox_pictures(
    pictures: Sequence[Image.Image], shape: Sequence[int]
) -> tuple[UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"], list[Placement]]:
    """Fit pictures of any size and mode into images of one shape, and return where each lies in its image.

    Raises:
        ValueError: a picture has 32 bits a value.
    """
    channels = 3 if len(shape) == 3 else 1
    fitted = [letterbox(plain(one, f"picture {i}"), (channels, shape[0], shape[1])) for i, one in enumerate(pictures)]
    return channels_last(stack(fitted)), [one.placement for one in fitted]


def to_rows(images: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Flatten an array or list of images to rows, and return the shape of an image; return other input unchanged."""
    if isinstance(images, list | tuple) and len(images) and np.ndim(images[0]) >= 2:
        images = np.stack(images)
    if len(shape := getattr(images, "shape", ())) <= 2:
        return images, None
    return np.asarray(images).reshape(shape[0], math.prod(shape[1:])), tuple(shape[1:])


def check_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape as a tuple; raise ValueError unless it is a valid shape of an image."""
    grey_or_colour = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
    if not grey_or_colour or min(shape) < 1:
        raise ValueError(f"images must be of shape (height, width) or (height, width, 3), got {tuple(shape)}")
    return tuple(shape)


def choose_shape(wanted: Sequence[int] | None, came: tuple[int, ...] | None, values: int) -> tuple[int, ...]:
    """Choose the shape of images.

    Args:
        wanted: the required shape, if any.
        came: the shape of the given images; None if they came as rows.
        values: number of values of an image.

    Raises:
        ValueError: the shape is not the required one, or not a valid shape of an image.
    """
    if wanted is None:
        return _square(values) if came is None else check_shape(came)
    expected = check_shape(wanted)
    if came not in (None, expected) or math.prod(expected) != values:
        got = f"rows of {values}" if came is None else came
        raise ValueError(f"image_shape must be the shape of images, got {expected} for {got}")
    return expected


def _square(values: int) -> tuple[int, int]:
    side = math.isqrt(values - 1) + 1
    if side**2 != values:
        warnings.warn(
            f"X has {values} features, which make no square: the last of {side} x {side} pixels stay black; "
            f"give image_shape=(height, width)",
            UserWarning,
            stacklevel=5,  # the caller of AIR.fit
        )
    return side, side


def to_images(
    rows: UInt8[np.ndarray, "n values"], shape: Sequence[int]
) -> UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"]:
    """Reshape rows to images of `shape`; missing pixels are black."""
    padded = np.pad(rows, [(0, 0), (0, math.prod(shape) - rows.shape[1])])
    return padded.reshape(len(rows), *shape)


def to_model(
    images: UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"], polarity: PolarityKind
) -> UInt8[np.ndarray, "n c h w"]:
    """Convert images to channels first, as models use; invert them if objects are dark."""
    return channels_first(255 - images if polarity == "dark" else images)


def from_model(
    canvases: Float[np.ndarray, "n c h w"], polarity: PolarityKind, black_white: Range
) -> Float[np.ndarray, "n h w"] | Float[np.ndarray, "n h w 3"]:
    """Convert a model's canvases, in [0, 1], back to the value range, axis order and polarity of the images."""
    pixels = np.clip(1 - canvases if polarity == "dark" else canvases, 0, 1)
    low, high = black_white
    return channels_last(np.float32(low) + np.float32(high - low) * pixels)


def channels_last(images: Shaped[np.ndarray, "n c h w"]) -> Shaped[np.ndarray, "n h w"] | Shaped[np.ndarray, "n h w 3"]:
    """Undo `airjax.data.batches.channels_first`."""
    return images[:, 0] if images.shape[1] == 1 else np.moveaxis(images, 1, -1)
