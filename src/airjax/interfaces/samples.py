"""Samples of pictures to examine: whole, or cut into tiles of a size at which objects show."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from airjax.data.addresses import Place
from airjax.data.ahead import Read, folder_levels, read_pictures
from airjax.data.folder import list_pictures, report_unreadable
from airjax.data.images import Levels, letterbox, plain
from airjax.data.still import FEWEST, enough, still_background
from airjax.data.tiles import random_tiles, scaled
from airjax.learning.pieces import find_background, find_pieces, side_of_pieces, sides_of, spread_over

LOOKED_AT = 600
"""Number of pictures examined, spread evenly over all."""
SIDE = 160
"""Largest side to which they are scaled for this, in pixels."""
TILED, SEEN = 24, 96
"""Number of pictures that tiles are cut from to be examined, and number of parts by which a scale is judged."""
SHARP, SHARPEST = 10, 7
"""Side of objects, in pixels of an image, from which on they can be measured; and in the pictures' own pixels, where
they can't be seen any larger."""
AGREEING = 1.4
"""Ratio of sizes up to which they count as about the same."""


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
        still: whether tiles are those of pictures compared with a still background.
    """

    images: Float32[np.ndarray, "n h w 3"]
    size: tuple[int, int]
    levels: Levels | None
    total: int
    unreadable: tuple[str, ...]
    tile: int | None = None
    still: bool = False


class Folder(NamedTuple):
    """A folder of pictures: the names of some, how they are read, the number of all, and their still background."""

    root: Place
    names: list[str]
    levels: Levels | None
    channels: tuple[int, ...] | None
    total: int
    still: Image.Image | None = None

    def read(self, names: Sequence[str], then: Callable[[Image.Image], Any] | None = None) -> Iterator[Read[Any]]:
        """Read some of the pictures; see `airjax.data.ahead.read_pictures`."""
        return read_pictures(self.root, names, self.levels, self.channels, then)


def open_folder(root: Place, channels: tuple[int, ...] | None, every: int) -> Folder:
    """Choose some pictures of a folder, and the levels at which they are read.

    Raises:
        FileNotFoundError, ValueError: see `airjax.data.folder.list_pictures`.
    """
    names = list_pictures(root, every)
    chosen = [names[i] for i in spread_over(len(names), LOOKED_AT)]
    levels = folder_levels(root, chosen[:: max(1, len(chosen) // 100)], channels)
    return Folder(root, chosen, levels, channels, len(names))


def whole(folder: Folder) -> Sample:
    """Read whole pictures: once for their sizes, and once to fit them, since many may be large.

    Raises:
        ValueError: no picture can be read.
    """
    read = list(folder.read(folder.names, lambda picture: picture.size))
    problems = [one.problem for one in read if one.problem]
    report_unreadable(problems, len(folder.names))
    fit = lambda shape: (one.picture for one in folder.read(folder.names, _fit(shape)) if one.picture is not None)
    sizes = [one.picture for one in read if one.picture]
    return _fitted(sizes, fit, folder.levels, folder.total, tuple(problems), str(folder.root))


def compared(folder: Folder, still: bool | None) -> Folder:
    """Add the still background that pictures are compared with, if they have one.

    Args:
        folder: the folder.
        still: whether they have one; None: they do if all have one size, and a picture that they share explains them
            better than a plain or smooth background.

    Raises:
        ValueError: `still` is asked for, and too few pictures are of one size.
    """
    if still is False:
        return folder
    read = lambda names: (one.picture for one in folder.read(names) if one.picture)
    pictures = enough(read, [folder.names[i] for i in np.random.default_rng(0).permutation(len(folder.names))])
    if still is None and (len(pictures) < FEWEST or len({one.size for one in pictures}) > 1 or not _shared(pictures)):
        return folder
    return folder._replace(still=still_background(pictures))


def _shared(pictures: Sequence[Image.Image]) -> bool:
    """Tell whether a picture that all share, in the same light, is their best background."""
    fit = _fit(shape_of(min(SIDE, max(pictures[0].size)), pictures[0].size))
    return find_background(_floats(np.stack([fit(one) for one in pictures])))[0] == "mean"


def object_side(folder: Folder) -> float:
    """Find the side of objects, in pixels of the pictures; 0 if nothing stands out at any scale.

    At too coarse a scale, neighbours run together; at too fine a one, objects fall to pieces, or noise forms some. So
    it is the coarsest scale at which they can be measured and are about as large as at the next finer one.
    """
    at: dict[float, list[np.ndarray]] = {}
    names = _some(folder)
    for number, one in enumerate(folder.read(names)):
        cut = partial(_at_scales, still=folder.still, each=-(-SEEN // len(names)), seed=number)
        for factor, seen in (one.then(cut).picture or {}).items():
            at.setdefault(factor, []).extend(seen)
    parts = {factor: _floats(np.stack(at[factor])) for factor in sorted(at)}
    return _agreed_side(parts, side_of_pieces) or _agreed_side(parts, _side_by_background)


def _at_scales(
    picture: Image.Image, still: Image.Image | None, each: int, seed: int
) -> dict[float, list[UInt8[np.ndarray, "3 h w"]]]:
    """Cut parts out of a picture at its own scale, at half of that, and so on."""
    parts, factor, shape = {}, 1.0, (3, SIDE, SIDE)
    while factor * max(picture.size) > SIDE / 2:
        parts[factor] = random_tiles(scaled(picture, shape, SIDE / factor, still=still).pixels, shape, each, (seed,))
        factor /= 2
    return parts


def _agreed_side(parts: dict[float, Float32[np.ndarray, "n h w 3"]], measure: Callable[[np.ndarray], float]) -> float:
    """Return the side of objects, in pixels of the pictures, on which two neighbouring scales agree; 0 if none do."""
    sides = {factor: measure(images) for factor, images in parts.items()}
    for factor, side in sides.items():
        finer = sides.get(2 * factor, 2 * side)
        least = SHARP if 2 * factor in sides else SHARPEST
        if least <= side <= SIDE / 3 and 1 / AGREEING < finer / (2 * side) < AGREEING:
            return side / factor
    return 0.0


def _side_by_background(images: Float32[np.ndarray, "n h w 3"]) -> float:
    """Measure as `side_of_pieces` does, but with a background that may vary within an image."""
    sides = sides_of(np.concatenate(find_pieces(images, still=False).boxes))
    return float(np.median(sides)) if len(sides) else 0.0


def tiles(folder: Folder, tile: int, number: int) -> Sample:
    """Cut a number of tiles, of a side in pixels of the pictures, out of some pictures.

    Raises:
        ValueError: no picture can be read.
    """
    shape, names = (3, min(SIDE, tile), min(SIDE, tile)), _some(folder)
    each, cut = -(-number // len(names)), []
    for place, one in enumerate(folder.read(names)):
        fitted = one.then(lambda picture: scaled(picture, shape, tile, still=folder.still)).picture
        if fitted:
            cut += random_tiles(fitted.pixels, shape, each, (place,))
    if not cut:
        raise ValueError(f"{folder.root} holds no picture that can be read")
    return Sample(_floats(np.stack(cut)), (tile, tile), folder.levels, folder.total, (), tile, folder.still is not None)


def _some(folder: Folder) -> list[str]:
    return [folder.names[i] for i in spread_over(len(folder.names), TILED)]


def _floats(pixels: UInt8[np.ndarray, "n 3 h w"]) -> Float32[np.ndarray, "n h w 3"]:
    return np.ascontiguousarray(np.moveaxis(pixels, 1, -1)).astype(np.float32) / 255.0


def of_images(images: Sequence[Image.Image] | np.ndarray, source: str) -> Sample:
    """Make a sample of pictures in memory, called `source` in error messages.

    Raises:
        ValueError: there are no pictures, or the range of one's values is unknown.
    """
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
    fitted = shape_of(min(SIDE, max(size)), size)
    return Sample(_floats(np.stack(list(fit(fitted)))), size, levels, total, problems)


def _median_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    width, height = np.median(sizes, axis=0).astype(int)
    return int(width), int(height)


def shape_of(longer: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of an image whose longer side is given, for pictures of `size` = (width, height)."""
    width, height = (max(1, round(longer * side / max(size))) for side in size)
    return height, width
