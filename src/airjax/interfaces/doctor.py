"""Examine pictures before training: the objects that stand out from the background, and the settings that suit them.

Nothing here is learned. The background is estimated, and the pixels that differ from it form connected pieces. The
sizes and numbers of the pieces give the image size, the maximum count and the prior over windows. Pieces are not
objects (objects that touch form one piece), so the estimates are robust statistics, and training refines them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from airjax.config import DATA_SETS, DataConfig
from airjax.data import load_scenes
from airjax.data.ahead import Read, folder_levels, read_pictures
from airjax.data.folder import list_pictures, report_unreadable
from airjax.data.images import Levels, letterbox, plain
from airjax.data.tiles import TILES, random_tiles, scaled
from airjax.learning.pieces import MARGIN, Pieces, deviation, find_pieces, side_of_pieces, sides_of, spread_over
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
OBJECT = 14
"""Side that objects should have in training images, in pixels: enough to tell them apart."""
SIDES = (32, 128)
"""Least and largest side of images that is proposed, in pixels; small pictures keep their own."""
MOST = 12
"""Number of objects from which on pictures are cut into tiles."""
CROWDED = 0.05
"""Share of such pictures from which on that is done."""
TINY, SHARP = 6, 10
"""Sides of objects, in pixels of an image: below the first they are too small to tell apart; from the second on, they
can be measured."""
TILE, NARROWEST = 5.0, 3.0
"""Side of tiles, in sides of objects, and the least where objects are crowded."""
FEW_ENOUGH = 6
"""Number of objects that tiles should hold at most: more are harder to learn."""
TILED, SEEN = 24, 96
"""Number of pictures that tiles are cut from to be examined, and number of parts by which a scale is judged."""
AGREEING = 1.4
"""Ratio of sizes up to which they count as about the same."""
EVIDENCE = 1_000.0
"""Squared contrast of a faint object, in variances of the likelihood: so many make it found early in training."""
STEPS, BATCHES = 1_500, (8, 32)
"""Number of steps, and least and largest batch."""
SECONDS, LEAST_COST, COST = 420, 2.4e-3, {"add": 5e-8, "over": 1e-7}
"""Time that training may take on one core; what an image costs in any case, and for each value of each object's canvas;
all in seconds."""
PRICE = 0.2
"""Share of a faint object's evidence that another object has to add: residuals of the others are no objects."""
EDGES = {"add": 0.5, "over": 0.3}
"""Edge of boxes: an object that covers what is behind it may have almost the colour of that in some part."""
GAIN = 0.15
"""Growth of the standard deviation with what objects change: no object is drawn more exactly."""
SHARPEST = 0.03
"""Least standard deviation of the likelihood."""
LARGER = 1.5
"""Side of a piece, in sides of the median piece, from which on it counts as more than one object."""
VARYING = 0.4
"""Deviation of the background, in contrasts of objects, from which on it varies too much."""
FEW = 500
"""Number of pictures below which learning without labels is doubtful."""


@dataclass(frozen=True)
class Report:
    """Statistics of pictures, and the settings proposed for them.

    Attributes:
        pictures: number of pictures.
        unreadable: for each examined picture that can't be read, the reason.
        tile: width of the tiles, in pixels, that pictures are to be cut into; what follows is then told of tiles, not
            of pictures. None: whole pictures suit the model.
        size: median width and height, in pixels.
        colour: whether objects or background have colours.
        polarity: whether objects are `light` or `dark`, compared with the background.
        background: kind of background: one colour (`constant`), one picture (`mean`), one picture in varying light
            (`smooth`), or one per picture (`linear`).
        levels: values that become black and white, and gamma; None: the full range, and 1.
        contrast: energy of a faint object, the sum of its squared difference from the background over pixels and
            channels, at the size of the sample.
        noise: standard deviation of the background's pixels around that, for pixels from 0 to 1.
        pattern: the part of this deviation that neighbouring pixels share.
        side: median side of a piece over the picture's longer side; 0 if nothing stands out.
        spread: robust standard deviation of the logarithm of the sides.
        counts: share of pictures with 0, 1, ... objects, estimated from the pieces.
        touching: share of pictures with a piece larger than one object, as objects that touch make.
        covered: share of the pictures' area that differs from the background.
        settings: proposed settings, named like the flags.
        doubts: reasons why AIR may be the wrong tool, one sentence each.
    """

    pictures: int
    unreadable: tuple[str, ...]
    tile: int | None
    size: tuple[int, int]
    colour: bool
    polarity: str
    background: str
    noise: float
    pattern: float
    levels: Levels | None
    contrast: float
    side: float
    spread: float
    counts: tuple[float, ...]
    touching: float
    covered: float
    settings: dict[str, Any]
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """Pictures to examine, fitted to a common size.

    Attributes:
        images: pixels from 0 to 1.
        size: median width and height of the pictures themselves.
        levels: values that became black and white, and gamma; None: the full range, and 1.
        total: number of all pictures, examined or not.
        unreadable: for each examined picture that can't be read, the reason.
        tile: width of tiles, in pixels, if `images` are tiles of pictures, and `size` is theirs.
    """

    images: Float32[np.ndarray, "n h w 3"]
    size: tuple[int, int]
    levels: Levels | None
    total: int
    unreadable: tuple[str, ...]
    tile: int | None = None


def examine(source: str, *, channels: tuple[int, ...] | None = None, every: int = 1) -> tuple[Report, Sample, Pieces]:
    """Examine a folder of pictures, an .npz file or a data set.

    Args:
        source: the folder, file or data set.
        channels: channels of a folder's pictures to pick; see `airjax.data.images.pick`.
        every: of a folder's files with several pictures, only every so many-th picture is looked at.

    Raises:
        FileNotFoundError, ValueError: there are no pictures, or a setting is out of range.
    """
    path, settings = Path(source), DataConfig(pick_channels=channels, every=every)
    if source in DATA_SETS or not path.is_dir():
        return _examined(_sample_of(load_scenes(replace(settings, name=source).resolved(), "train").images, source))
    folder = _open(path, channels, every)
    whole = _examined(_whole(folder))
    return (_needs_tiles(whole[0]) and _tiled(folder)) or whole


def _examined(sample: Sample) -> tuple[Report, Sample, Pieces]:
    pieces = find_pieces(sample.images, still=sample.tile is None)
    return report(sample, pieces), sample, pieces


def propose(source: str, *, channels: tuple[int, ...] | None = None, every: int = 1) -> Report:
    """Examine pictures and propose settings that suit them; see `examine`.

    Images of an .npz file are never resized or converted, so `canvas` and `channels` are not proposed for them.
    """
    found = examine(source, channels=channels, every=every)[0]
    fitted = () if Path(source).is_dir() else ("canvas", "height", "tile", "levels", "channels")
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
    chosen = spread_over(len(sample.images), SHOWN)
    boxes = [pieces.boxes[i] for i in chosen]
    plots.save_figure(plots.sample_figure(sample.images[chosen], boxes, columns=8), path)


# Samples


class _Folder(NamedTuple):
    """A folder of pictures: the names of some, how they are read, and the number of all."""

    root: Path
    names: list[str]
    levels: Levels | None
    channels: tuple[int, ...] | None
    total: int

    def read(self, names: Sequence[str], then: Callable[[Image.Image], Any] | None = None) -> Iterator[Read[Any]]:
        """Read some of the pictures; see `airjax.data.ahead.read_pictures`."""
        return read_pictures(self.root, names, self.levels, self.channels, then)


def _open(root: Path, channels: tuple[int, ...] | None, every: int) -> _Folder:
    names = list_pictures(root, every)
    chosen = [names[i] for i in spread_over(len(names), LOOKED_AT)]
    levels = folder_levels(root, chosen[:: max(1, len(chosen) // 100)], channels)
    return _Folder(root, chosen, levels, channels, len(names))


def _whole(folder: _Folder) -> Sample:
    """Read whole pictures: once for their sizes, and once to fit them, since many may be large."""
    read = list(folder.read(folder.names, lambda picture: picture.size))
    problems = [one.problem for one in read if one.problem]
    report_unreadable(problems, len(folder.names))
    fit = lambda shape: (one.picture for one in folder.read(folder.names, _fit(shape)) if one.picture is not None)
    sizes = [one.picture for one in read if one.picture]
    return _fitted(sizes, fit, folder.levels, folder.total, tuple(problems), str(folder.root))


def _needs_tiles(found: Report) -> bool:
    """Tell whether objects are too many, or too small in an image of the largest size."""
    large = max(found.size) > 1.25 * SIDES[1]
    return large and (not found.side or found.side * SIDES[1] < TINY or sum(found.counts[MOST:]) > CROWDED)


def _tiled(folder: _Folder) -> tuple[Report, Sample, Pieces] | None:
    """Examine tiles, up to `TILE` objects wide, that hold about `FEW_ENOUGH`; None if nothing stands out.

    Some tiles tell the size of objects and their number, and so how large tiles are to be.
    """
    if not (side := _object_side(folder)):
        return None
    some = _examined(_sample_tiles(folder, max(SIDES[0], round(TILE * side)), LOOKED_AT // 4))[0]
    if not some.side:
        return None
    wide = TILE * min(1.0, np.sqrt(FEW_ENOUGH / max(1, _most(some))))
    tile = max(SIDES[0], round(max(NARROWEST, wide) * some.side * max(some.size)))
    return _examined(_sample_tiles(folder, tile, LOOKED_AT))


def _object_side(folder: _Folder) -> float:
    """Find the side of objects, in pixels of the pictures; 0 if nothing stands out at any scale.

    At too coarse a scale, neighbours run together; at too fine a one, objects fall to pieces, or noise forms some. So
    it is the coarsest scale at which they can be measured and are about as large as at the next finer one.
    """
    at: dict[float, list[np.ndarray]] = {}
    names = _some(folder)
    for number, one in enumerate(folder.read(names)):
        factor = 1.0
        while one.picture and factor * max(one.picture.size) > SIDE / 2:
            pixels = scaled(one.picture, (3, SIDE, SIDE), SIDE / factor).pixels
            seen = random_tiles(pixels, (3, SIDE, SIDE), -(-SEEN // len(names)), (number,))
            at.setdefault(factor, []).extend(seen)
            factor /= 2
    parts = {factor: _floats(np.stack(at[factor])) for factor in sorted(at)}
    return _agreed_side(parts, side_of_pieces) or _agreed_side(parts, _side_by_background)


def _agreed_side(parts: dict[float, Float32[np.ndarray, "n h w 3"]], measure: Callable[[np.ndarray], float]) -> float:
    """Return the side of objects, in pixels of the pictures, on which two neighbouring scales agree; 0 if none do."""
    sides = {factor: measure(images) for factor, images in parts.items()}
    for factor, side in sides.items():
        finer = sides.get(2 * factor, 2 * side)
        if SHARP <= side <= SIDE / 3 and 1 / AGREEING < finer / (2 * side) < AGREEING:
            return side / factor
    return 0.0


def _side_by_background(images: Float32[np.ndarray, "n h w 3"]) -> float:
    """Measure as `side_of_pieces` does, but with a background that may vary within an image."""
    sides = sides_of(np.concatenate(find_pieces(images, still=False).boxes))
    return float(np.median(sides)) if len(sides) else 0.0


def _sample_tiles(folder: _Folder, tile: int, number: int) -> Sample:
    """Cut a number of tiles, of a side in pixels of the pictures, out of some pictures."""
    shape, names = (3, min(SIDE, tile), min(SIDE, tile)), _some(folder)
    each, tiles = -(-number // len(names)), []
    for place, one in enumerate(folder.read(names)):
        if one.picture:
            tiles += random_tiles(scaled(one.picture, shape, tile).pixels, shape, each, (place,))
    return Sample(_floats(np.stack(tiles)), (tile, tile), folder.levels, folder.total, (), tile)


def _some(folder: _Folder) -> list[str]:
    return [folder.names[i] for i in spread_over(len(folder.names), TILED)]


def _floats(pixels: UInt8[np.ndarray, "n 3 h w"]) -> Float32[np.ndarray, "n h w 3"]:
    return np.ascontiguousarray(np.moveaxis(pixels, 1, -1)).astype(np.float32) / 255.0


def _sample_of(images: Sequence[Image.Image] | np.ndarray, source: str) -> Sample:
    chosen = {i: images[i] for i in spread_over(len(images), LOOKED_AT)}
    pictures = [
        plain(one, f"picture {i}") if isinstance(one, Image.Image) else Image.fromarray(one)
        for i, one in chosen.items()
    ]
    return _fitted(
        [one.size for one in pictures], lambda shape: map(_fit(shape), pictures), None, len(images), (), source
    )


def _fit(shape: tuple[int, int]) -> Callable[[Image.Image], np.ndarray]:
    """Return a function that fits a picture into an image of (height, width) = `shape`, in colour."""
    return lambda picture: letterbox(picture, (3, *shape)).pixels


def _fitted(
    sizes: Sequence[tuple[int, int]],
    fit: Callable[[tuple[int, int]], Iterable[np.ndarray]],
    levels: Levels | None,
    total: int,
    problems: tuple[str, ...],
    source: str,
) -> Sample:
    """Make a sample of pictures of these sizes; `fit` reads them, fitted to one (height, width)."""
    if not sizes:
        raise ValueError(f"{source} holds no picture that can be read" + (f": {problems[0]}" if problems else ""))
    size = _median_size(sizes)
    fitted = _shape(min(SIDE, max(size)), size)
    return Sample(_floats(np.stack(list(fit(fitted)))), size, levels, total, problems)


def _median_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    width, height = np.median(sizes, axis=0).astype(int)
    return int(width), int(height)


def _shape(longer: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of an image whose longer side is given, for pictures of `size` = (width, height)."""
    width, height = (max(1, round(longer * side / max(size))) for side in size)
    return height, width


# Settings


def report(sample: Sample, pieces: Pieces) -> Report:
    """Summarise the pieces and propose settings."""
    length = max(sample.images.shape[1:3])
    sides = np.concatenate([sides_of(boxes) for boxes in pieces.boxes])
    side = float(np.median(sides)) if len(sides) else 0.0
    spread = deviation(np.log(sides / side)) if side else 0.0
    counts = np.array([np.maximum(1, np.rint(sides_of(boxes) / side)).sum() if side else 0 for boxes in pieces.boxes])
    shares = np.bincount(counts.astype(int)) / len(counts)
    touching = np.mean([bool((sides_of(boxes) > LARGER * side).any()) for boxes in pieces.boxes])
    colour = _coloured(sample, pieces)
    found = Report(
        pictures=sample.total,
        unreadable=sample.unreadable,
        tile=sample.tile,
        size=sample.size,
        colour=colour,
        polarity="dark" if pieces.lighter < FEW_OF_THEM < pieces.darker else "light",
        background=pieces.background,
        noise=pieces.noise,
        pattern=pieces.pattern,
        levels=sample.levels,
        contrast=_contrast(pieces, colour),
        side=side / length,
        spread=spread,
        counts=tuple(map(float, shares)),
        touching=float(touching),
        covered=float(pieces.mask.mean()),
        settings={},
        doubts=(),
    )
    settings = _settings(found, pieces)
    return replace(found, settings=settings, doubts=tuple(_doubts(found, settings, pieces)))


def _coloured(sample: Sample, pieces: Pieces) -> bool:
    """Tell colour from grey, by the pieces and the background."""
    chroma = np.ptp(sample.images, axis=-1)
    shown = chroma[pieces.mask] if pieces.mask.any() else chroma
    return bool(np.mean(shown > 0.12) > 0.1 or np.ptp(pieces.level) > 0.12)


def _contrast(pieces: Pieces, colour: bool) -> float:
    """Measure the energy of a faint object: one in five is fainter."""
    energies = pieces.energies
    if not len(energies):
        return 0.0
    return float(np.quantile(energies.sum(axis=1) if colour else energies.mean(axis=1), 0.2))


def _settings(found: Report, pieces: Pieces) -> dict[str, Any]:
    """Propose settings for pictures with these statistics."""
    level = 1 - pieces.level if found.polarity == "dark" else pieces.level
    plain = found.background == "constant"
    compose = "add" if min(pieces.darker, pieces.lighter) < FEW_OF_THEM else "over"
    longer = _longer(found)
    height, width = _shape(longer, found.size)
    most = _most(found)
    settings: dict[str, Any] = {
        "canvas": width,
        "height": None if height == width else height,
        "tile": found.tile,
        "levels": found.levels,
        "channels": 3 if found.colour else 1,
        "polarity": found.polarity,
        "max_objects": min(max(most + 1, 2), MOST),
        "scale": round(min(MARGIN * found.side, 1.0), 3) if found.side else 0.4,
        "scale_sd": round(float(np.clip(found.spread, 0.05, 0.25)), 3),
        "window": int(np.clip(2 * round(MARGIN * found.side * longer / 2), 12, 28)),
        "attention": 64,
        "background_model": "none" if plain and level.max() < BLACK else found.background,
        "compose": compose,
        "sd": _sd(found, longer),
        "sd_gain": 0.0 if found.background == "linear" else GAIN,
        "edge": EDGES[compose],
        "count_ratio": float(f"{np.exp(-PRICE * EVIDENCE / 2):.1g}"),
        "anneal_steps": 500,
        "learn_count": False,
        "paste": 30.0,
        "steps": STEPS,
    }
    values = height * width * settings["channels"] * settings["max_objects"]
    affordable = int(np.clip(SECONDS / STEPS / (LEAST_COST + COST[compose] * values), *BATCHES))
    settings["batch"] = min(affordable, max(1, (TILES if found.tile else found.pictures) * 4 // 5))
    return settings


def _most(found: Report) -> int:
    """Return the number of objects that hardly any picture exceeds."""
    return int(np.searchsorted(np.cumsum(found.counts), 0.99))


def _sd(found: Report, longer: int) -> float:
    """Choose the likelihood's standard deviation: sharp enough for faint objects, but not sharper than the noise."""
    shrunk = longer / min(SIDE, max(found.size))
    sd = np.sqrt(found.contrast * shrunk**2 / EVIDENCE)
    return round(float(np.clip(sd, max(SHARPEST, found.noise), 0.3)), 3)


def _longer(found: Report) -> int:
    """Choose the longer side of images: the pictures' own if small, else one that gives objects `OBJECT` pixels."""
    longer, (least, most) = max(found.size), SIDES
    wanted = OBJECT / found.side if found.side else longer
    if longer <= min(1.25 * wanted, most):
        return longer
    return int(np.clip(4 * round(wanted / 4), least, min(most, longer)))


def _doubts(found: Report, settings: dict[str, Any], pieces: Pieces):
    """Give reasons why AIR may be the wrong tool, one sentence each."""
    if not found.side:
        yield "nothing stands out from the background"
        return
    longer = max(settings["canvas"], settings["height"] or 0)
    pixels = found.side * longer
    if found.pictures < FEW and not found.tile:
        yield f"{found.pictures} pictures are few for learning without labels; a few thousand work well"
    typical = np.median(np.abs(pieces.away[pieces.mask]).max(axis=-1))
    if found.pattern > VARYING * typical or found.side > 0.9:
        yield "the background has a pattern that varies too much to be learned, so objects would be used to explain it"
        return
    if found.covered > 0.5:
        yield f"{100 * found.covered:.0f} % of the area differs from the background: hardly any background is visible"
    if pixels < TINY:
        yield (
            f"objects take up {found.side:.3f} of a picture's side, {pixels:.0f} of {longer} pixels: "
            f"{'too few to tell them apart' if found.tile else 'cut the pictures into tiles'}"
        )
    if found.side > 0.7:
        yield f"objects take up {found.side:.2f} of a picture's side: they fill it, and there is nothing to count"
    beyond = sum(found.counts[MOST:])
    if beyond > CROWDED:
        kind, cut = ("tiles", "") if found.tile else ("pictures", ": cut them into tiles")
        yield f"{100 * beyond:.0f} % of the {kind} hold {MOST} objects or more{cut}"
    if found.spread > 0.6:
        yield f"objects differ in size by a factor of {np.exp(found.spread):.1f} or more, too much for one prior"
