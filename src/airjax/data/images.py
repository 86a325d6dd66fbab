"""Read pictures safely from files, and fit them to the image size of a model."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 64_000_000
"""Most pixels of a picture. Larger ones are refused before they are decoded."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Formats that are accepted for pictures that don't come from a file."""

WELL_USED = 0.4
"""Share of the range of 8 bits that pictures use if their contrast is not stretched."""

NOT_BLACK = 0.02
"""Level of a background, of the range used, from which on it is not black."""
SKEWED = 2.0
"""Ratio of the lightest things to those that are common, over the background, from which on faint ones are lifted."""

Levels = tuple[float, float, float]
"""The values of a picture that become black and white, and gamma."""

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
    levels: Levels | None = None,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
) -> Image.Image:
    """Decode a picture to grey ("L") or colour ("RGB"), with 8 bits a channel.

    It is rotated as its EXIF orientation says, and transparent parts become white.

    Args:
        source: Path of a file, or a buffer with its content.
        name: Name of the picture in error messages; by default the path.
        levels: How values become black, white and grey; see `plain`.
        max_pixels: Most pixels that a picture may have.
        formats: Formats that are read; by default all that Pillow supports.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not a picture, is damaged, too large, or has 32 bits a channel and no `levels` are given.
    """
    name = name or str(source)
    return plain(decode(source, name, max_pixels=max_pixels, formats=formats), name, levels)


def decode(
    source: Path | io.BytesIO, name: str, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = None
) -> Image.Image:
    """Decode a picture as it is, rotated as its EXIF orientation says; see `open_picture`."""
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
        return turned


def frames(path: Path) -> int:
    """Count the frames or pages of a picture file, of which only the first is read; 0 if it can't be read."""
    try:
        with Image.open(path) as opened:
            return getattr(opened, "n_frames", 1)
    except _DAMAGED:
        return 0


def plain(picture: Image.Image, name: str, levels: Levels | None = None) -> Image.Image:
    """Convert a picture of any mode to grey ("L") or colour ("RGB"); transparent parts become white.

    Args:
        picture: the picture.
        name: its name in error messages.
        levels: values that become black and white, and gamma: values beyond are clipped, and those between, from 0 to
            1, are raised to the power of 1 / gamma. None: 0, the most that 8 or 16 bits can hold, and 1.

    Raises:
        ValueError: the picture has 32 bits a pixel, and no `levels` are given.
    """
    if is_deep(picture):
        if levels is None and not picture.mode.startswith("I;16"):
            raise ValueError(f"{name} has 32 bits a pixel, whose range is unknown; give --levels BLACK WHITE")
        return Image.fromarray(to_bytes(np.asarray(picture), levels or (0.0, 2.0**16 - 1, 1.0)))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    picture = picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    return picture if levels is None else Image.fromarray(to_bytes(np.asarray(picture), levels))


def is_deep(picture: Image.Image) -> bool:
    """Return whether a picture, as `decode` returns it, has more than 8 bits a channel."""
    return picture.mode in ("F", "I") or picture.mode.startswith("I;16")


def find_levels(pictures: Iterable[Image.Image]) -> Levels | None:
    """Choose levels that suit pictures that `decode` has read.

    The values that become black and white hold all but the darkest and the lightest thousandth of the pixels. If few of
    the things on a dark background are much lighter than the others, as in fluorescence, gamma is 2; otherwise 1. None,
    the full range, is chosen for pictures of 8 bits that use at least `WELL_USED` of it and need no gamma.
    """
    deep, values = False, []
    for picture in pictures:
        deep |= is_deep(picture)
        one = np.asarray(picture if is_deep(picture) else plain(picture, "")).astype(np.float64).reshape(-1)
        values.append(one[:: max(1, one.size // 10_000)])
    pixels = np.concatenate(values) if values else np.zeros(1)
    low, middle, common, high = np.quantile(pixels[np.isfinite(pixels)], (0.001, 0.5, 0.97, 0.999))
    not_black = middle - low > NOT_BLACK * (high - low)
    skewed = not_black and middle < common and high - middle > max(SKEWED * (common - middle), middle - low)
    if not deep and not skewed and high - low >= WELL_USED * 255:
        return None
    margin = 0.0 if skewed else 0.05 * (high - low) or 1.0
    return float(f"{low - margin:.4g}"), float(f"{high + margin:.4g}"), 2.0 if skewed else 1.0


def to_bytes(values: Shaped[np.ndarray, "*shape"], levels: Levels) -> UInt8[np.ndarray, "*shape"]:
    """Convert values to 0, ..., 255; those beyond black or white are clipped, and what is not a number becomes 0."""
    black, white, gamma = levels
    floats = values.astype(np.result_type(values, np.float32), copy=False)
    scaled = np.clip((np.nan_to_num(floats) - black) / (white - black), 0, 1)
    return np.rint(255 * scaled ** (1 / gamma)).astype(np.uint8)


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
