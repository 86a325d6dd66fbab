"""Examine pictures before training: the objects that stand out from the background, and the settings that suit them.

Nothing here is learned. The background is estimated, and the pixels that differ from it form connected pieces. The
sizes and numbers of the pieces give the image size, the maximum count and the prior over windows. Pieces are not
objects (objects that touch form one piece), so the estimates are robust statistics, and training refines them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from airjax.config import DATA_SETS, DataConfig
from airjax.data import load_scenes
from airjax.data.addresses import place
from airjax.data.images import Levels
from airjax.data.shards import are_shards
from airjax.data.tiles import TILES
from airjax.interfaces import samples
from airjax.interfaces.samples import SIDE, Folder, Sample
from airjax.learning.cuts import ENOUGH, cut_singles, sides_of_cuts, tolerance
from airjax.learning.pieces import FAINTEST, MARGIN, Pieces, find_pieces, spread_of, spread_over
from airjax.runs import plots

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
TINY = 6
"""Side of objects, in pixels of an image, below which they are too small to tell apart."""
TILE, NARROWEST = 5.0, 3.0
"""Side of tiles, in sides of objects, and the least where objects are crowded."""
FEW_ENOUGH = 6
"""Number of objects that tiles should hold at most: more are harder to learn."""
EVIDENCE = 1_000.0
"""Squared contrast of a faint object, in variances of the likelihood: so many make it found early in training."""
STEPS, BATCHES = 1_500, (8, 32)
"""Number of steps, and least and largest batch."""
SECONDS, LEAST_COST, COST = 420, 2.4e-3, {"add": 5e-8, "over": 1e-7}
"""Time that training may take on one core; what an image costs in any case, and for each value of the canvas of each
object, or, with local steps, of the canvas and of twice every block; all in seconds."""
PRICE = 0.2
"""Share of a faint object's evidence that another object has to add: residuals of the others are no objects."""
EDGES = {"add": 0.5, "over": 0.3}
"""Edge of boxes: an object that covers what is behind it may have almost the colour of that in some part."""
TOUCHING = 0.5
"""Share of pictures with objects that touch from which on the bound is learned only from the other pictures."""
GAIN = 0.05
"""Growth of the standard deviation with what objects change: no object is drawn more exactly."""
INHIBITION = 0.5
"""Share by which attention weighs less what remains in the middle of a placed window (`ModelConfig.inhibition`)."""
TRAJECTORIES = 8
"""Number of trajectories from which inference chooses the best: twice as many change few counts."""
SHARPEST = 0.03
"""Least standard deviation of the likelihood."""
LARGER = 1.5
"""Side of an object, in sides of the median one, that a block of the canvas holds in any case."""
SHOWN_AS_WELL = 1.2
"""Side of an object, in sides of the one that a window is made for, up to which it is drawn about as well."""
SPREADS, WINDOWS = (0.05, 0.5), (12, 28)
"""Least and largest relative spread of windows, and side of windows in pixels, that is proposed."""
VARYING = 0.4
"""Deviation of the background, in contrasts of objects, from which on it varies too much."""
_logger = logging.getLogger(__name__)
FEW, FEWEST = 500, 20
"""Number of pictures below which learning without labels is doubtful, and below which large ones are cut up at once."""


@dataclass(frozen=True)
class Report:
    """Statistics of pictures, and the settings proposed for them.

    Attributes:
        pictures: number of pictures.
        unreadable: for each examined picture that can't be read, the reason.
        tile: width of the tiles, in pixels, that pictures are to be cut into; what follows is then told of tiles, not
            of pictures. None: whole pictures suit the model.
        still: whether pictures are compared with what stands still behind their objects before they are cut up; what
            follows is then told of the difference.
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
        side: median side of an object over the picture's longer side, by the pieces that are single objects, if there
            are enough, or by all; 0 if nothing stands out.
        spread: robust standard deviation of the logarithm of the sides.
        large: side, as above, that one piece in ten exceeds.
        counts: share of pictures with 0, 1, ... objects, estimated from the pieces.
        touching: share of pictures with a piece larger than one object, as objects that touch make.
        covered: share of the pictures' area that differs from the background.
        settings: proposed settings, named like the flags.
        doubts: reasons why AIR may be the wrong tool, one sentence each.
    """

    pictures: int
    unreadable: tuple[str, ...]
    tile: int | None
    still: bool
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
    large: float
    counts: tuple[float, ...]
    touching: float
    covered: float
    settings: dict[str, Any]
    doubts: tuple[str, ...]


def examine(
    source: str,
    *,
    channels: tuple[int, ...] | None = None,
    every: int = 1,
    tile: int | None = None,
    still: bool | None = None,
) -> tuple[Report, Sample, Pieces]:
    """Examine a folder of pictures, an .npz file or a data set.

    Args:
        source: the folder or file, or its address, or the data set.
        channels: channels of a folder's pictures to pick; see `airjax.data.images.pick`.
        every: of a folder's files with several pictures, only every so many-th picture is looked at.
        tile: width, in pixels, of tiles of a folder's pictures; None: tiles are chosen where they are needed.
        still: whether tiles are compared with what stands still behind objects; None: where pictures show that it does.

    Raises:
        FileNotFoundError, ValueError: there are no pictures, or a setting is out of range.
    """
    path, settings = place(source), DataConfig(pick_channels=channels, every=every, tile=tile)
    if source in DATA_SETS or not path.is_dir() or are_shards(path):
        return _examined(
            samples.of_images(load_scenes(replace(settings, name=source).resolved(), "train").images, source)
        )
    _logger.info("looking at %s", source)
    folder = samples.open_folder(path, channels, every)
    if tile is not None:
        return _examined(samples.tiles(samples.compared(folder, still), tile, samples.LOOKED_AT))
    found = _examined(samples.whole(folder))
    return (_needs_tiles(found[0]) and _tiled(samples.compared(folder, still), found[0])) or found


def _examined(sample: Sample) -> tuple[Report, Sample, Pieces]:
    pieces = find_pieces(sample.images, still=sample.tile is None)
    return report(sample, pieces), sample, pieces


def _needs_tiles(found: Report) -> bool:
    """Tell whether pictures are large, and too few, or their objects too many or too small in the largest image."""
    unlike = not found.side or found.side * SIDES[1] < TINY or sum(found.counts[MOST:]) > CROWDED
    return max(found.size) > 1.25 * SIDES[1] and (unlike or found.pictures < FEWEST)


def _tiled(folder: Folder, whole: Report) -> tuple[Report, Sample, Pieces] | None:
    """Examine tiles, up to `TILE` objects wide, that hold about `FEW_ENOUGH`.

    None if nothing stands out, or what does is so large that tiles would be as large as pictures: a maze, a frame.

    Some tiles tell the size of objects and their number, and so how large tiles are to be.
    """
    _logger.info("looking for the size of objects, for a minute or two")
    if not (side := samples.object_side(folder)):
        return None
    first = min(max(SIDES[0], round(TILE * side)), max(whole.size))
    some = _examined(samples.tiles(folder, first, samples.LOOKED_AT // 4))[0]
    if not some.side:
        return None
    wide = TILE * min(1.0, np.sqrt(FEW_ENOUGH / max(1, _most(some))))
    tile = max(SIDES[0], round(max(NARROWEST, wide) * some.side * max(some.size)))
    if tile >= max(whole.size):
        return None
    return _examined(replace(samples.tiles(folder, tile, samples.LOOKED_AT), unreadable=whole.unreadable))


def propose(source: str, **reading: Any) -> Report:
    """Examine pictures and propose settings that suit them; see `examine`.

    Images of an .npz file are never resized or converted, so `canvas` and `channels` are not proposed for them.
    """
    found = examine(source, **reading)[0]
    path = place(source)
    of_folders = ("canvas", "height", "tile", "still", "levels", "channels")
    fitted = () if path.is_dir() and not are_shards(path) else of_folders
    return replace(found, settings={name: value for name, value in found.settings.items() if name not in fitted})


def propose_for(images: Sequence[Image.Image] | UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"]) -> Report:
    """Examine pictures in memory and propose settings that suit them.

    `canvas` and `channels` are proposed for arrays too, although arrays already have a size and channels.

    Raises:
        ValueError: there are no pictures, or one has 32 bits per pixel.
    """
    sample = samples.of_images(images, "images")
    return report(sample, find_pieces(sample.images))


def draw(sample: Sample, pieces: Pieces, path: Path) -> None:
    """Draw a few of the pictures with a frame around every piece."""
    chosen = spread_over(len(sample.images), SHOWN)
    boxes = [pieces.boxes[i] for i in chosen]
    plots.save_figure(plots.sample_figure(sample.images[chosen], boxes, columns=8), path)


def report(sample: Sample, pieces: Pieces) -> Report:
    """Summarise the pieces and propose settings."""
    length = max(sample.images.shape[1:3])
    singles = sides_of_cuts(cut_singles(pieces))
    sides = singles if len(singles) >= ENOUGH else np.concatenate(pieces.sides)
    side, large = map(float, np.quantile(sides, [0.5, 0.9])) if len(sides) else (0.0, 0.0)
    spread = spread_of(sides)
    usual = side * np.exp(tolerance(spread))
    counts = _counts(pieces, usual)
    shares = np.bincount(counts) / len(counts)
    touching = np.mean([bool((one > usual).any()) for one in pieces.sides])
    colour = _coloured(sample, pieces)
    found = Report(
        pictures=sample.total,
        unreadable=sample.unreadable,
        tile=sample.tile,
        still=sample.still,
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
        large=large / length,
        counts=tuple(map(float, shares)),
        touching=float(touching),
        covered=float(pieces.mask.mean()),
        settings={},
        doubts=(),
    )
    settings = _settings(found, pieces)
    return replace(found, settings=settings, doubts=tuple(_doubts(found, settings, pieces)))


def _counts(pieces: Pieces, usual: float) -> np.ndarray:
    """Count the objects of each picture: one in a piece no larger than usual, and by their area in those that are."""
    sides, areas = pieces.sides, pieces.areas
    single = np.concatenate(areas)[np.concatenate(sides) <= usual]
    typical = np.median(single) if len(single) else np.inf
    of_pieces = (np.where(own > usual, np.maximum(np.rint(area / typical), 1), 1) for own, area in zip(sides, areas))
    return np.array([int(one.sum()) for one in of_pieces])


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
    height, width = samples.shape_of(longer, found.size)
    most = _most(found)
    settings: dict[str, Any] = {
        "canvas": width,
        "height": None if height == width else height,
        "tile": found.tile,
        "still": found.still or None,
        "levels": found.levels,
        "channels": 3 if found.colour else 1,
        "polarity": found.polarity,
        "max_objects": min(max(most + 1, 2), MOST),
        "scale": round(min(MARGIN * found.side, 1.0), 3) if found.side else 0.4,
        "scale_sd": round(float(np.clip(found.spread, *SPREADS)), 3),
        "window": _window(found, longer),
        "attention": 64,
        "inhibition": INHIBITION,
        "trajectories": TRAJECTORIES,
        "background_model": "none" if plain and level.max() < BLACK else found.background,
        "block": _block(found, (height, width)),
        "compose": compose,
        "sd": _sd(found, longer),
        "sd_gain": 0.0 if found.background == "linear" else GAIN,
        "edge": EDGES[compose],
        "count_ratio": float(f"{np.exp(-PRICE * EVIDENCE / 2):.1g}"),
        "anneal_steps": 500,
        "learn_count": False,
        "paste": 30.0,
        "apart": found.touching > TOUCHING,
        "steps": STEPS,
    }
    objects, block = settings["max_objects"], settings["block"]
    pixels = height * width * objects if block is None else height * width + 2 * objects * block**2
    values = settings["channels"] * pixels
    affordable = int(np.clip(SECONDS / STEPS / (LEAST_COST + COST[compose] * values), *BATCHES))
    settings["batch"] = min(affordable, max(1, (TILES if found.tile else found.pictures) * 4 // 5))
    return settings


def _window(found: Report, longer: int) -> int:
    """Choose the side of windows, in pixels, that holds the detail of typical objects and of larger ones."""
    side = max(found.side, found.large / SHOWN_AS_WELL)
    return int(np.clip(2 * round(MARGIN * side * longer / 2), *WINDOWS))


def _most(found: Report) -> int:
    """Return the number of objects that hardly any picture exceeds."""
    return int(np.searchsorted(np.cumsum(found.counts), 0.99))


def _block(found: Report, canvas: tuple[int, int]) -> int | None:
    """Choose the part of the canvas that an object may change, which holds windows of larger objects, too.

    None, all of it, if that is less than twice the part, or if the background is linear, whose code is inferred again
    behind every object.
    """
    side = MARGIN * found.side * max(canvas) * max(LARGER, np.exp(2 * found.spread))
    block = 4 * int(np.ceil(side / 4)) + 4
    return block if 2 * block**2 < canvas[0] * canvas[1] and found.background != "linear" else None


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
    if found.pattern > max(VARYING * typical, FAINTEST[0]) or found.side > 0.9:
        yield (
            "the background has a pattern that varies too much to be learned, so objects would be used to explain it: "
            "take a detector that learns from boxes, such as YOLO"
        )
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
