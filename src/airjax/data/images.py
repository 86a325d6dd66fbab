"""Read pictures safely from files, and fit them to the image size of a model."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 64_000_000
"""Most pixels of a picture. Larger ones are refused before they are decoded."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Formats that are accepted for pictures that don't come from a file."""

_DAMAGED = (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError)


class Placement(NamedTuple):
    """Position and scale of a picture in the image it was fitted into.

    Attributes:
        size: the picture's (width, height), in its own pixels.
        factor: scale, in pixels of the image per pixel of the picture.
        left: x of the picture's left edge, in pixels of the image.
        top: y of its upper edge, in pixels of the image.
    """

    size: tuple[int, int]
    factor: float
    left: float
    top: float

    def to_picture(self, boxes: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]:
        """Convert boxes (x0, y0, x1, y1) from pixels of the image to pixels of the picture, clipped to the picture."""
        corner, limit = np.array([self.left, self.top] * 2), np.array(self.size * 2)
        return np.clip((boxes - corner) / self.factor, 0, limit)


class Letterboxed(NamedTuple):
    """An image for a model, made of a picture.

    Attributes:
        pixels: the image.
        placement: where the picture lies in the image.
    """

    pixels: UInt8[np.ndarray, "c h w"]
    placement: Placement


def open_picture(
    source: Path | io.BytesIO,
    name: str | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
) -> Image.Image:
    """Decode a picture of 8 or 16 bits a channel to grey ("L") or colour ("RGB").

    It is rotated as its EXIF orientation says, and transparent parts become white.

    Args:
        source: Path of a file, or a buffer with its content.
        name: Name of the picture in error messages; by default the path.
        max_pixels: Most pixels that a picture may have.
        formats: Formats that are read; by default all that Pillow supports.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not a picture, is damaged, too large, or has 32 bits a channel.
    """
    name = name or str(source)
    if isinstance(source, Path) and not source.is_file():
        raise FileNotFoundError(f"{name} does not exist or is not a file")
    damaged = lambda error: f"{name} is not a picture that can be read: {error}"
    if formats:
        damaged = lambda _: f"{name} is damaged, or none of {', '.join(formats)}"
    try:
        opened = Image.open(source, formats=formats)
    except _DAMAGED as error:
        raise ValueError(damaged(error)) from None
    with opened:
        if opened.size[0] * opened.size[1] > max_pixels:
            raise ValueError(f"{name} has {opened.size[0]} x {opened.size[1]} pixels, too many to read")
        try:
            turned = ImageOps.exif_transpose(opened)
            turned.load()
        except _DAMAGED as error:
            raise ValueError(damaged(error)) from None
        return plain(turned, name)


def plain(picture: Image.Image, name: str) -> Image.Image:
    """Convert a picture of any mode to grey ("L") or colour ("RGB"); transparent parts become white.

    Raises:
        ValueError: the picture, called `name` in the message, has 32 bits a pixel.
    """
    if picture.mode in ("F", "I"):
        raise ValueError(f"{name} has 32 bits a pixel, whose range is unknown; save it with 8 or 16")
    if picture.mode.startswith("I;16"):  # Pillow would clip values at 255
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def letterbox(picture: Image.Image, image_shape: tuple[int, int, int], *, invert: bool = False) -> Letterboxed:
    """Fit a whole picture into an image of (channels, height, width) = `image_shape`, without distortion.

    The picture is scaled to the largest size that fits and centred. The margins get the median colour of its border.
    With `invert`, dark and light are swapped.
    """
    channels, height, width = image_shape
    picture = picture.convert("L" if channels == 1 else "RGB")
    factor = min(width / picture.width, height / picture.height)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    scaled = picture if size == picture.size else picture.resize(size, Image.Resampling.BILINEAR)
    corner = (width - size[0]) // 2, (height - size[1]) // 2
    if size != (width, height):
        whole = Image.new(picture.mode, (width, height), _border_colour(scaled))
        whole.paste(scaled, corner)
        scaled = whole
    pixels = np.asarray(scaled)
    pixels = pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
    return Letterboxed(255 - pixels if invert else pixels, Placement(picture.size, factor, *map(float, corner)))


def shape_of(channels: int, height: int, width: int) -> tuple[int, ...]:
    """Return the shape with channels last: (height, width) for grey images, (height, width, 3) for colour."""
    return (height, width) if channels == 1 else (height, width, channels)


def is_on_light(picture: Image.Image) -> bool:
    """Return whether a picture's border is light, as with dark objects on a light background."""
    return bool(np.mean(_border_colour(picture)) > 127)


def _border_colour(picture: Image.Image) -> int | tuple[int, ...]:
    pixels = np.asarray(picture)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    median = np.median(border, axis=0).astype(int)
    return int(median) if median.ndim == 0 else tuple(map(int, median))


def stack(pictures: Iterable[Letterboxed]) -> UInt8[np.ndarray, "n c h w"]:
    """Stack the pixels of letterboxed pictures into one array."""
    return np.stack([one.pixels for one in pictures])
