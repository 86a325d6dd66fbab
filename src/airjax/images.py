"""Read pictures, safely."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 64_000_000
"""Larger pictures are refused before they are decoded."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Kinds of pictures that are taken from elsewhere than a file."""


def read_image(path: Path, image_shape: tuple[int, int, int]) -> UInt8[np.ndarray, "c h w"]:
    """Read a picture of the size that a model was trained on, as (channels, height, width) = `image_shape`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a picture, is damaged or has another size.
    """
    channels, height, width = image_shape
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file")
    try:
        with _opened(path, str(path), MAX_PIXELS) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.size != (width, height):
                got = f"{picture.size[0]} x {picture.size[1]}"
                raise ValueError(f"{path} has {got} pixels; the model was trained on {width} x {height}")
            return _pixels(picture, channels)
    except _UNREADABLE as error:
        raise ValueError(f"{path} is not a picture that can be read: {error}") from None


def fit_image(content: bytes, image_shape: tuple[int, int, int], *, max_pixels: int) -> UInt8[np.ndarray, "c h w"]:
    """Bring an encoded picture of any size to (channels, height, width) = `image_shape`.

    A larger one is shrunk, in its proportions, until it fits; a smaller one keeps its size. It lies in the middle, and
    what it doesn't fill is black.

    Raises:
        ValueError: `content` is not a picture of `FORMATS`, is damaged, or has more than `max_pixels` pixels.
    """
    channels, height, width = image_shape
    try:
        with _opened(io.BytesIO(content), "the picture", max_pixels, FORMATS) as opened:
            pixels = _pixels(ImageOps.exif_transpose(opened), channels)
    except _UNREADABLE:
        raise ValueError(f"the picture is damaged, or none of {', '.join(FORMATS)}") from None
    picture = Image.fromarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))
    picture.thumbnail((width, height), Image.Resampling.BOX, reducing_gap=None)
    fitted = Image.new(picture.mode, (width, height))
    fitted.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
    return _pixels(fitted, channels)


_UNREADABLE = (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError)


@contextmanager
def _opened(
    source: Path | io.BytesIO, name: str, max_pixels: int, formats: tuple[str, ...] | None = None
) -> Iterator[Image.Image]:
    """Open a picture without decoding it, unless it is too large."""
    with Image.open(source, formats=formats) as opened:
        width, height = opened.size
        if width * height > max_pixels:
            raise ValueError(f"{name} has {width} x {height} pixels, too many to read")
        yield opened


def _pixels(picture: Image.Image, channels: int) -> UInt8[np.ndarray, "c h w"]:
    """Decode a picture to grey (1 channel) or colour (3)."""
    if picture.mode.startswith("I;16"):  # Pillow would cut values off at 255
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
