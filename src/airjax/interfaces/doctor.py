"""Examine pictures before training: the objects that stand out from the background, and the settings that suit them.

Nothing here is learned. The background is estimated, and the pixels that differ from it form connected pieces. The
sizes and numbers of the pieces give the image size, the maximum count and the prior over windows. Pieces are not
objects (objects that touch form one piece), so the estimates are robust statistics, and training refines them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from PIL import Image
from scipy import ndimage

from airjax.config import DATA_SETS, DataConfig, ModelConfig
from airjax.data import load_scenes
from airjax.data.folder import list_pictures, read_pictures, report_unreadable
from airjax.data.images import letterbox, plain
from airjax.models.background import linear_backgrounds
from airjax.runs import plots

LOOKED_AT = 600
"""Number of pictures examined, spread evenly over all."""
SIDE = 160
"""Largest side to which they are scaled for this, in pixels."""
SHOWN = 24
BLACK = 0.06
"""Level, of 1, up to which a background counts as black and needs no learning."""
FEW_OF_THEM = 0.1
"""Share of darker (or lighter) pixels up to which all objects count as lighter (or darker) than the background."""
BORDER = 3
"""Width of the border that is assumed to be background, in pixels."""
OBJECT = 12
"""Side that objects should have in training images, in pixels: enough to tell them apart."""
SIDES = (32, 128)
"""Least and largest side of images that is proposed, in pixels; small pictures keep their own."""
SMALL = 13
"""Side of objects, in pixels, below which only a sharper likelihood makes an object worth its prior cost."""
MARGIN = 1.4
"""Ratio of the side of a window to that of the object in it."""
MOST = 12
"""Number of objects in a picture above which inference one by one is the wrong tool."""
GRAINY = 0.05
"""Noise of the background above which pictures are smoothed before pieces are found."""
PATTERNED = 0.04
"""Mean error of a plain background above which a patterned one is tried."""
FEW = 500
"""Number of pictures below which learning without labels is doubtful."""


@dataclass(frozen=True)
class Report:
    """Statistics of pictures, and the settings proposed for them.

    Attributes:
        pictures: number of pictures.
        unreadable: for each examined picture that can't be read, the reason.
        size: median width and height, in pixels.
        colour: whether objects or background have colours.
        polarity: whether objects are `light` or `dark`, compared with the background.
        background: kind of background: one colour (`constant`), one picture (`mean`), or one per picture (`linear`).
        noise: standard deviation of the background's pixels around that, for pixels from 0 to 1.
        pattern: the part of this deviation that neighbouring pixels share.
        side: median side of a piece over the picture's longer side; 0 if nothing stands out.
        spread: robust standard deviation of the logarithm of the sides.
        counts: share of pictures with 0, 1, ... objects, estimated from the pieces.
        covered: share of the pictures' area that differs from the background.
        settings: proposed settings, named like the flags.
        doubts: reasons why AIR may be the wrong tool, one sentence each.
    """

    pictures: int
    unreadable: tuple[str, ...]
    size: tuple[int, int]
    colour: bool
    polarity: str
    background: str
    noise: float
    pattern: float
    side: float
    spread: float
    counts: tuple[float, ...]
    covered: float
    settings: dict[str, Any]
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """Pictures to examine, fitted to a common size.

    Attributes:
        images: pixels from 0 to 1.
        size: median width and height of the pictures themselves.
        total: number of all pictures, examined or not.
        unreadable: for each examined picture that can't be read, the reason.
    """

    images: Float32[np.ndarray, "n h w 3"]
    size: tuple[int, int]
    total: int
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Pieces:
    """Connected pieces of pixels that differ from the background.

    Attributes:
        boxes: corners x0, y0, x1, y1 of the pieces in each image, in pixels.
        background: kind of background: `constant`, `mean` or `linear`.
        level: its median colour, from 0 to 1.
        noise: standard deviation of the background's pixels.
        pattern: the part of this deviation that neighbouring pixels share.
        darker: share of the differing pixels that are darker than the background in some channel.
        lighter: share of the differing pixels that are lighter in some channel.
        mask: the pixels that differ.
    """

    boxes: list[Float[np.ndarray, "_ 4"]]
    background: str
    level: Float[np.ndarray, "3"]
    noise: float
    pattern: float
    darker: float
    lighter: float
    mask: Bool[np.ndarray, "n h w"]


def examine(source: str) -> tuple[Report, Sample, Pieces]:
    """Examine a folder of pictures, an .npz file or a data set.

    Raises:
        FileNotFoundError, ValueError: there are no pictures.
    """
    sample = _sample(source)
    pieces = find_pieces(sample.images)
    return report(sample, pieces), sample, pieces


def propose(source: str) -> Report:
    """Examine pictures and propose settings that suit them; see `examine`.

    Images of an .npz file are never resized or converted, so `canvas` and `channels` are not proposed for them.
    """
    found = examine(source)[0]
    fitted = () if Path(source).is_dir() else ("canvas", "channels")
    return replace(found, settings={name: value for name, value in found.settings.items() if name not in fitted})


def propose_for(images: Sequence[Image.Image] | UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"]) -> Report:
    """Examine pictures in memory and propose settings that suit them.

    `canvas` and `channels` are proposed for arrays too, although arrays already have a size and channels.

    Raises:
        ValueError: there are no pictures, or one has 32 bits per pixel.
    """
    sample = _sample_of(images, "images")
    return report(sample, find_pieces(sample.images))


def draw(sample: Sample, pieces: Pieces, path: Path) -> None:
    """Draw a few of the pictures with a frame around every piece."""
    chosen = _spread_over(len(sample.images), SHOWN)
    boxes = [pieces.boxes[i] for i in chosen]
    framed = np.full((len(chosen), max(map(len, boxes)), 4), np.nan)
    for row, found in zip(framed, boxes):
        row[: len(found)] = found
    plots.save_figure(plots.sample_figure(sample.images[chosen], framed, columns=8), path)


def _spread_over(total: int, most: int) -> list[int]:
    return [i * total // min(total, most) for i in range(min(total, most))]


def _sample(source: str) -> Sample:
    path = Path(source)
    if source not in DATA_SETS and path.is_dir():
        names, problems = list_pictures(path), []
        chosen = [names[i] for i in _spread_over(len(names), LOOKED_AT)]
        read = list(read_pictures(path, chosen))
        problems = [one.problem for one in read if one.problem]
        report_unreadable(problems, len(chosen))
        return _fitted([one.picture for one in read if one.picture], len(names), tuple(problems), source)
    return _sample_of(load_scenes(DataConfig(name=source).resolved(), "train").images, source)


def _sample_of(images: Sequence[Image.Image] | np.ndarray, source: str) -> Sample:
    chosen = {i: images[i] for i in _spread_over(len(images), LOOKED_AT)}
    pictures = [
        plain(one, f"picture {i}") if isinstance(one, Image.Image) else Image.fromarray(one)
        for i, one in chosen.items()
    ]
    return _fitted(pictures, len(images), (), source)


def _fitted(pictures: Sequence[Image.Image], total: int, problems: tuple[str, ...], source: str) -> Sample:
    if not pictures:
        raise ValueError(f"{source} holds no picture that can be read")
    width, height = (int(np.median([picture.size[axis] for picture in pictures])) for axis in (0, 1))
    side = min(SIDE, max(width, height))
    pixels = np.stack([letterbox(picture, (3, side, side)).pixels for picture in pictures])
    images = np.ascontiguousarray(np.moveaxis(pixels, 1, -1)).astype(np.float32) / 255.0
    return Sample(images, (width, height), total, problems)


# Pieces


def find_pieces(images: Float32[np.ndarray, "n h w 3"]) -> Pieces:
    """Estimate the background of images, and find connected pieces of pixels that differ from it."""
    kind, background = _background(images)
    away = images - background
    smooth = ndimage.gaussian_filter(away, (0, 1.5, 1.5, 0))
    noise, pattern = _deviation(away), _deviation(smooth)
    if noise > GRAINY:  # otherwise grains of noise would form pieces
        away = smooth
    differs = np.abs(away).max(axis=-1)
    mask = differs > max(5 * _deviation(away), 0.3 * np.quantile(differs, 0.995), 0.06)
    mask = ndimage.binary_closing(mask, np.ones((1, 3, 3))) | mask
    standing = away[mask] if mask.any() else np.zeros((1, 3))
    darker, lighter = (float(np.mean((sign * standing).max(axis=-1) > 0.05)) for sign in (-1, 1))
    level = np.median(background.reshape(-1, 3), axis=0)
    return Pieces(_boxes(mask), kind, level, noise, pattern, darker, lighter, mask)


def _deviation(values: np.ndarray) -> float:
    """Estimate a standard deviation from the median, which objects hardly change."""
    return float(1.4826 * np.median(np.abs(values)))


def _border(images: np.ndarray) -> np.ndarray:
    """Collect the pixels at the edges of images, [n, pixels, 3]."""
    b = BORDER
    parts = images[:, :b], images[:, -b:], images[:, :, :b], images[:, :, -b:]
    return np.concatenate([part.reshape(len(images), -1, images.shape[-1]) for part in parts], axis=1)


def _background(images: Float32[np.ndarray, "n h w 3"]) -> tuple[str, np.ndarray]:
    """Choose the simplest background that explains the borders: one colour, one picture, or one for each image."""
    border = _border(images)
    each = np.median(border, axis=1)[:, None, None, :]
    one = np.median(border, axis=(0, 1))[None, None, None, :]
    still = np.median(images, axis=0, keepdims=True)
    unexplained = lambda background: np.mean(np.abs(border - _border(np.broadcast_to(background, images.shape))))
    least = min(map(unexplained, (one, still, each)))
    if (
        least > PATTERNED
        and unexplained(pattern := linear_backgrounds(images, ModelConfig.background_components)) < 0.5 * least
    ):
        return "linear", pattern
    enough = 1.25 * least + 0.01
    if unexplained(one) <= enough:
        return "constant", one
    return ("mean", still) if unexplained(still) <= enough else ("linear", each)


def _boxes(mask: Bool[np.ndarray, "n h w"]) -> list[np.ndarray]:
    """Find the boxes of the connected pieces of each mask, without specks."""
    found = []
    for one in mask:
        labels = np.empty(one.shape, np.int32)
        ndimage.label(one, np.ones((3, 3)), output=labels)
        corners = [[x.start, y.start, x.stop, y.stop] for y, x in filter(None, ndimage.find_objects(labels))]
        found.append(np.array(corners, float).reshape(-1, 4))
    sides = np.concatenate([_sides(boxes) for boxes in found])
    least = max(3.0, 0.35 * np.quantile(sides, 0.75)) if len(sides) else 3.0
    return [boxes[_sides(boxes) >= least] for boxes in found]


def _sides(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)


# Settings


def report(sample: Sample, pieces: Pieces) -> Report:
    """Summarise the pieces and propose settings."""
    length = max(sample.images.shape[1:3])
    sides = np.concatenate([_sides(boxes) for boxes in pieces.boxes])
    side = float(np.median(sides)) if len(sides) else 0.0
    spread = _deviation(np.log(sides / side)) if side else 0.0
    counts = np.array([np.maximum(1, np.rint(_sides(boxes) / side)).sum() if side else 0 for boxes in pieces.boxes])
    shares = np.bincount(counts.astype(int)) / len(counts)
    found = Report(
        pictures=sample.total,
        unreadable=sample.unreadable,
        size=sample.size,
        colour=_coloured(sample, pieces),
        polarity="dark" if pieces.lighter < FEW_OF_THEM < pieces.darker else "light",
        background=pieces.background,
        noise=pieces.noise,
        pattern=pieces.pattern,
        side=side / length,
        spread=spread,
        counts=tuple(map(float, shares)),
        covered=float(pieces.mask.mean()),
        settings={},
        doubts=(),
    )
    settings = _settings(found, pieces)
    return replace(found, settings=settings, doubts=tuple(_doubts(found, settings)))


def _coloured(sample: Sample, pieces: Pieces) -> bool:
    """Tell colour from grey, by the pieces and the background."""
    chroma = np.ptp(sample.images, axis=-1)
    shown = chroma[pieces.mask] if pieces.mask.any() else chroma
    return bool(np.mean(shown > 0.12) > 0.1 or np.ptp(pieces.level) > 0.12)


def _settings(found: Report, pieces: Pieces) -> dict[str, Any]:
    """Propose settings for pictures with these statistics."""
    level = 1 - pieces.level if found.polarity == "dark" else pieces.level
    plain = found.background == "constant"
    canvas = _canvas(found)
    most = int(np.searchsorted(np.cumsum(found.counts), 0.99))
    settings: dict[str, Any] = {
        "canvas": canvas,
        "channels": 3 if found.colour else 1,
        "polarity": found.polarity,
        "max_objects": min(max(most + 1, 2), MOST),
        "scale": round(min(MARGIN * found.side, 1.0), 3) if found.side else 0.4,
        "scale_sd": round(float(np.clip(found.spread, 0.05, 0.25)), 3),
        "window": int(np.clip(2 * round(MARGIN * found.side * canvas / 2), 12, 28)),
        "attention": 64,
        "background_model": "none" if plain and level.max() < BLACK else found.background,
        "compose": "add" if min(pieces.darker, pieces.lighter) < FEW_OF_THEM else "over",
        "sd": 0.2 if found.side * canvas < SMALL else 0.25,
        "count_ratio": 1e-4,
        "learn_count": False,
        "steps": 2_000,
        "batch": min(64, max(1, found.pictures * 4 // 5)),
    }
    return settings


def _canvas(found: Report) -> int:
    """Choose the side of images: the pictures' own if small, otherwise one that gives objects `OBJECT` pixels."""
    longer, (least, most) = max(found.size), SIDES
    wanted = OBJECT / found.side if found.side else longer
    if longer <= min(1.25 * wanted, most):
        return longer
    return int(np.clip(4 * round(wanted / 4), least, min(most, longer)))


def _doubts(found: Report, settings: dict[str, Any]):
    """Give reasons why AIR may be the wrong tool, one sentence each."""
    if not found.side:
        yield "nothing stands out from the background"
        return
    pixels = found.side * settings["canvas"]
    if found.pictures < FEW:
        yield f"{found.pictures} pictures are few for learning without labels; a few thousand work well"
    if found.pattern > 0.06 or found.side > 0.9:
        yield "the background has a pattern that varies too much to be learned, so objects would be used to explain it"
        return
    if found.covered > 0.5:
        yield f"{100 * found.covered:.0f} % of the area differs from the background: hardly any background is visible"
    if pixels < 6:
        yield (
            f"objects take up {found.side:.3f} of a picture's side, {pixels:.0f} of {settings['canvas']} pixels: "
            f"cut the pictures into tiles"
        )
    if found.side > 0.7:
        yield f"objects take up {found.side:.2f} of a picture's side: they fill it, and there is nothing to count"
    beyond = sum(found.counts[MOST:])
    if beyond > 0.05:
        yield f"{100 * beyond:.0f} % of the pictures hold {MOST} objects or more: cut them into tiles"
    if found.spread > 0.6:
        yield f"objects differ in size by a factor of {np.exp(found.spread):.1f} or more, too much for one prior"
