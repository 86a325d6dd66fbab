"""Convert pictures of any range to 8 bits, and fit them to the image size of a model."""

import logging
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image

WELL_USED = 0.4
"""Share of the range of 8 bits that pictures use if their contrast is not stretched."""

NOT_BLACK = 0.02
"""Level of a background, of the range used, from which on it is not black."""
SKEWED = 2.0
"""Ratio of the lightest things to those that are common, over the background, from which on faint ones are lifted."""

Levels = tuple[float, float, float]
"""The values of a picture that become black and white, and gamma."""

MAX_PICTURES = 1_000_000
"""Most pictures of a file. Files that claim more are refused."""
PART_OF_16 = (10, 12, 14)
"""Numbers of bits that cameras fill of 16."""
_logger = logging.getLogger(__name__)


class Raw(NamedTuple):
    """The values of a picture as its file has them; 0 is black, unless `most` is unknown.

    Attributes:
        values: grey values, or channels; three of them are red, green and blue.
        most: the largest value that its bits can hold, which is white; None if the range is unknown (signed values,
            floats, and more than 16 bits).
        alpha: opacity, from 0 to 1; None: the picture is opaque.
    """

    values: Shaped[np.ndarray, "h w"] | Shaped[np.ndarray, "h w c"]
    most: float | None
    alpha: Float[np.ndarray, "h w"] | None = None


def unreadable(name: str, error: BaseException, kind: str = "picture") -> ValueError:
    """Make the error that says, in one line, why a file is not read."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ValueError(f"{name} is not a {kind} that can be read: {reason}")


@lru_cache(maxsize=10_000)
def warn_cut(name: str, found: int) -> None:
    """Warn about a file that ends too early, once: it is opened to count its pictures, and again to read them."""
    _logger.warning("%s ends too early: only the %d picture(s) that are still there are read", name, found)


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


def plain(picture: Image.Image | Raw, name: str, levels: Levels | None = None) -> Image.Image:
    """Convert a picture of any kind to grey ("L") or colour ("RGB"); transparent parts become white.

    Two channels become red and green.

    Args:
        picture: the picture.
        name: its name in error messages.
        levels: values that become black and white, and gamma: values beyond are clipped, and those between, from 0 to
            1, are raised to the power of 1 / gamma. None: 0, the most that the picture's bits can hold, and 1.

    Raises:
        ValueError: the range of the picture's values is unknown, and no `levels` are given.
    """
    if isinstance(picture, Raw):
        return _plain_raw(picture, name, levels)
    if picture.mode in ("F", "I") or picture.mode.startswith("I;16"):
        return _plain_raw(_raw(picture), name, levels)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    if picture.mode not in ("L", "RGB"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    return picture if levels is None else Image.fromarray(to_bytes(np.asarray(picture), levels))


def _plain_raw(raw: Raw, name: str, levels: Levels | None) -> Image.Image:
    if levels is None and raw.most is None:
        kind = raw.values.dtype
        raise ValueError(
            f"{name} has {8 * kind.itemsize} bits a value ({kind}), whose range is unknown; "
            f"give --levels BLACK WHITE GAMMA"
        )
    shown = to_bytes(raw.values, levels or (0.0, raw.most or 1.0, 1.0))
    if shown.ndim == 3 and shown.shape[2] < 3:
        shown = np.dstack([shown, np.zeros_like(shown[..., :1])]) if shown.shape[2] == 2 else shown[..., 0]
    if raw.alpha is not None:
        opacity = raw.alpha if shown.ndim == 2 else raw.alpha[..., None]
        shown = np.rint(opacity * shown + (1 - opacity) * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(shown))


def _raw(picture: Image.Image | Raw) -> Raw:
    """Return the values of a picture; those of 8 bits or fewer as `plain` shows them."""
    if isinstance(picture, Raw):
        return picture
    if picture.mode in ("F", "I"):
        return Raw(np.asarray(picture), None)
    if picture.mode.startswith("I;16"):
        return Raw(np.asarray(picture), 2.0**16 - 1)
    return Raw(np.asarray(plain(picture, "")), 255.0)


def pick(picture: Image.Image | Raw, name: str, channels: tuple[int, ...] | None) -> Image.Image | Raw:
    """Choose channels, counted from 1: one becomes grey, two red and green, three colour.

    Raises:
        ValueError: the picture lacks a channel; or `channels` is None, and it has neither one channel nor three.
    """
    if channels is None and not isinstance(picture, Raw):
        return picture
    raw = _raw(picture)
    values = raw.values if raw.values.ndim == 3 else raw.values[..., None]
    present = values.shape[2]
    if channels is None and present not in (1, 3):
        raise ValueError(f"{name} has {present} channels; choose one, two or three of them with --pick-channels")
    if channels and max(channels) > present:
        raise ValueError(f"{name} has {present} channel(s), and pick_channels asks for number {max(channels)}")
    values = values if channels is None else values[..., np.array(channels) - 1]
    return raw._replace(values=values[..., 0] if values.shape[2] == 1 else values)


def find_levels(pictures: Iterable[Image.Image | Raw]) -> Levels | None:
    """Choose levels that suit pictures.

    The values that become black and white hold all but the darkest and the lightest thousandth of the pixels. If few of
    the things on a dark background are much lighter than the others, as in fluorescence, gamma is 2; otherwise 1. None,
    the full range, is chosen for pictures of 8 bits that use at least `WELL_USED` of it and need no gamma. Transparent
    pixels don't count.
    """
    deep, values = False, []
    for picture in pictures:
        raw = _raw(picture)
        deep |= raw.values.dtype != np.uint8
        one = (raw.values if raw.alpha is None else raw.values[raw.alpha > 0]).reshape(-1)
        values.append(one[:: max(1, one.size // 10_000)].astype(np.float64))
    pixels = np.concatenate(values) if values else np.zeros(1)
    pixels = pixels[np.isfinite(pixels)]
    low, middle, common, high = np.quantile(pixels if pixels.size else np.zeros(1), (0.001, 0.5, 0.97, 0.999))
    not_black = middle - low > NOT_BLACK * (high - low)
    skewed = not_black and middle < common and high - middle > max(SKEWED * (common - middle), middle - low)
    if not deep and not skewed and high - low >= WELL_USED * 255:
        return None
    margin = 0.0 if skewed else 0.05 * (high - low) or 1.0
    return float(f"{low - margin:.4g}"), float(f"{high + margin:.4g}"), 2.0 if skewed else 1.0


def levels_of_16_bits(pictures: Iterable[Image.Image | Raw]) -> Levels | None:
    """Choose levels for pictures of 16 bits that use only 10, 12 or 14 of them, as cameras do.

    Returns:
        0, the most that these bits can hold, and 1; None if they use more, or if any picture is of another kind.
    """
    most = 0
    for picture in pictures:
        raw = _raw(picture)
        if raw.values.dtype != np.uint16 or raw.most != 2**16 - 1:
            return None
        most = max(most, int(raw.values.max()))
    bits = [bits for bits in PART_OF_16 if most < 2**bits]
    return (0.0, 2.0 ** bits[0] - 1, 1.0) if bits and most else None


def to_bytes(values: Shaped[np.ndarray, "*shape"], levels: Levels) -> UInt8[np.ndarray, "*shape"]:
    """Convert values to 0, ..., 255; those beyond black or white are clipped, and what is not a number becomes 0."""
    black, white, gamma = levels
    floats = values.astype(np.result_type(values, np.float32), copy=False)
    scaled = np.clip((np.nan_to_num(floats) - black) / (white - black), 0, 1)
    return np.rint(255 * scaled ** (1 / gamma)).astype(np.uint8)


def letterbox(
    picture: Image.Image, image_shape: tuple[int, int, int], *, factor: float | None = None, invert: bool = False
) -> Letterboxed:
    """Fit a whole picture into an image of (channels, height, width) = `image_shape`, without distortion.

    The picture is scaled and centred. The margins get the median colour of its border.

    Args:
        picture: the picture.
        image_shape: channels, height and width of the image.
        factor: scale; None: the largest at which the picture fits.
        invert: whether dark and light are swapped.
    """
    channels, height, width = image_shape
    mode = "L" if channels == 1 else "RGB"
    picture = picture if picture.mode == mode else picture.convert(mode)  # it would copy
    factor = factor or min(width / picture.width, height / picture.height)
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
    width, height = picture.size  # only the sides are copied: the picture may be large
    sides = (0, 0, width, 1), (0, height - 1, width, height), (0, 0, 1, height), (width - 1, 0, width, height)
    parts = [np.asarray(picture.crop(side)) for side in sides]
    border = np.concatenate([part.reshape(-1, *part.shape[2:]) for part in parts])
    median = np.median(border, axis=0).astype(int)
    return int(median) if median.ndim == 0 else tuple(map(int, median))


def stack(pictures: Iterable[Letterboxed]) -> UInt8[np.ndarray, "n c h w"]:
    """Stack the pixels of letterboxed pictures into one array."""
    return np.stack([one.pixels for one in pictures])
