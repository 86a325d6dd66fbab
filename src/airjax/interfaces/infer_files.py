"""Inference over any number of pictures, in batches, in little memory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray
from PIL import Image

from airjax.config import check_channels
from airjax.data.addresses import Address, Place, is_pattern, matching, place, several_addresses
from airjax.data.ahead import AHEAD, Read, raw_pictures, read_pictures
from airjax.data.folder import is_picture, list_numbers, list_pictures, report_unreadable
from airjax.data.images import Letterboxed, Levels, Placement, is_on_light, letterbox, levels_of_16_bits, stack
from airjax.data.reading import split
from airjax.inference.infer import Found, describe_found, find_and_count
from airjax.inference.masks import label_images
from airjax.interfaces import regions
from airjax.interfaces.doubts import Doubts, doubt_polarity
from airjax.models.base import Family

LOOKED_AT = 100
"""Number of pictures, spread evenly over all, by which levels are chosen where none are given."""
_logger = logging.getLogger(__name__)

Watch = Callable[[Any, dict[str, Any], np.ndarray], None]
"""A function of a picture, its results, which it may add to, and its label image, in the picture's own pixels."""


class Pictures(NamedTuple):
    """Pictures to infer.

    Attributes:
        root: the folder, or its address, that names are relative to.
        names: paths below it, with forward slashes; pictures that share a file have numbers (`airjax.data.reading`).
        strict: whether an unreadable picture is an error; otherwise it is skipped.
    """

    root: Place
    names: list[str]
    strict: bool


def gather(paths: Sequence[Path | str], every: int = 1) -> Pictures:
    """List the pictures of the named files, all pictures of one folder, or those that one pattern matches.

    A named file must be readable; unreadable files of a folder or a pattern are skipped.

    Args:
        paths: files, single pictures of files (`stack.tif#3`), one folder, or one pattern (`folder/**/*.png`); all may
            be addresses.
        every: of a file with several pictures, only every so many-th is taken.

    Raises:
        FileNotFoundError: a path doesn't exist.
        UnreachableError: an address can't be read.
        ValueError: there are no pictures, a folder or a pattern is named beside other paths, or a picture is named
            twice.
    """
    if not paths:
        raise ValueError("images must name at least one file or a folder, got none")
    places = [place(str(path)) for path in paths]
    patterns = [str(path) for path in paths if is_pattern(str(path))]
    if patterns or any(path.is_dir() for path in places):
        if len(paths) > 1:
            one = "pattern" if patterns else "folder"
            raise ValueError(f"images must be files, or one folder or pattern, got a {one} among {len(paths)} paths")
        return _matched(patterns[0], every) if patterns else _folder(places[0], every)
    return _named(places, every)


def _folder(root: Place, every: int) -> Pictures:
    return Pictures(root, list_pictures(root, every), strict=False)


def _matched(pattern: str, every: int) -> Pictures:
    root, found = matching(pattern)
    if not (names := list_numbers(root, [name for name in found if is_picture(name)], every)):
        raise ValueError(f"{pattern} matches no picture")
    return Pictures(root, names, strict=False)


def _named(places: Sequence[Place], every: int) -> Pictures:
    """List the pictures of files that are named one by one."""
    for path in places:
        file, number = split(str(path))
        if number is not None and path.is_file():
            raise ValueError(f"{path} is named like picture {number} of another file; rename it")
        if not place(file).is_file():
            raise FileNotFoundError(f"{path} does not exist or is not a file")
    remote = {isinstance(path, Address) for path in places}
    if len(remote) > 1:
        raise ValueError("images must all be files of this machine, or all be addresses, got both")
    root = several_addresses() if remote == {True} else Path()
    names = list_numbers(root, [str(path) for path in places], every)
    if len(set(names)) < len(names):
        raise ValueError("images must be different files, got one twice")
    return Pictures(root, names, strict=True)


def files_of(names: Sequence[str]) -> list[str]:
    """Return the files of pictures, each once, in their order."""
    return list(dict.fromkeys(split(name)[0] for name in names))


def choose_levels(pictures: Pictures, channels: tuple[int, ...] | None = None) -> Levels | None:
    """Choose levels for pictures of which nothing is known, and log them; None: the most that their bits hold.

    See `airjax.data.images.levels_of_16_bits`. Up to `LOOKED_AT` pictures are read, if all have 16 bits.
    """
    some = pictures.names[:: -(-len(pictures.names) // LOOKED_AT)]
    levels = levels_of_16_bits(raw_pictures(pictures.root, some, channels))
    if levels:
        _logger.info("the pictures use %d of 16 bits: --levels 0 %d 1", int(levels[1]).bit_length(), levels[1])
    return levels


@dataclass(frozen=True)
class Inference:
    """A job of inference: model, pictures and options.

    Attributes:
        model: the model.
        pictures: the pictures, in batches of `together`; the last batch may be smaller.
        invert: whether dark and light are swapped first.
        samples: trajectories for p(n | x).
        key: random key; each batch derives its own from its index.
        levels: how values of the pictures become black, white and grey; see `airjax.data.images.plain`.
        channels: channels of the pictures to pick; see `airjax.data.images.pick`.
        kind: what is inferred: pictures, or tiles of them.
    """

    kind: ClassVar[str] = "pictures"
    model: Family
    pictures: Pictures
    invert: bool
    samples: int
    key: PRNGKeyArray
    levels: Levels | None = None
    channels: tuple[int, ...] | None = None

    def __post_init__(self):
        check_channels(self.channels)

    @property
    def together(self) -> int:
        """Number of pictures in a batch."""
        return AHEAD

    @property
    def settings(self) -> dict[str, Any]:
        """Options in plain numbers and lists, by the names of their flags."""
        return {
            "polarity": self.invert,
            "trajectories": self.model.trajectories,
            "samples": self.samples,
            "seed": np.asarray(self.key).tolist(),
            "levels": self.levels,
            "channels": self.channels,
        }

    def batches(
        self, first: int = 0, watch: Watch | None = None, doubts: Doubts | None = None, *, whole: bool = True
    ) -> Iterator[list[dict[str, Any]]]:
        """Infer batch by batch, from batch `first` on.

        Args:
            first: number of batches to skip.
            watch: called with every picture; without it, no label images are made.
            doubts: the doubts about the batches before, to which those that follow are added.
            whole: whether `watch` needs the pictures, which are read a second time for it, as many may be large.

        Yields:
            For each batch, a dictionary a picture: its `image` (name), `id` (place in the list, from 1), and either
            `problem`, why it can't be read, or its `width` and `height` and the results of
            `airjax.inference.infer.describe`, with boxes and windows in the picture's own pixels.

        Raises:
            ValueError: `samples` is below 1; a picture can't be read, if that is an error.
        """
        names = self.pictures.names[first * AHEAD :]
        read, again = self._read(names, self.fit), self._read(names if watch and whole else [])
        doubts = doubts or Doubts(self.model, self.kind)
        for index in range(first, -(-len(self.pictures.names) // AHEAD)):
            batch = list(islice(read, AHEAD))
            if index == first:
                self.doubt_polarity(batch)
            inferred = self._infer_batch(batch, index, doubts)
            if watch:
                self._show(inferred, watch, again if whole else repeat(None))
            yield inferred.lines
        doubts.report()

    def _read(self, names: Sequence[str], then: Callable[[Image.Image], Any] | None = None) -> Iterator[Read[Any]]:
        return read_pictures(self.pictures.root, names, self.levels, self.channels, then)

    @property
    def fit(self) -> Callable[[Image.Image], "Fitted"]:
        """What makes the model's image of a picture; it does not hold the model."""
        return partial(_fit, image_shape=self.model.image_shape, invert=self.invert)

    def doubt_polarity(self, batch: Sequence[Read["Fitted"]]) -> None:
        """Warn if the pictures of a batch have the other polarity; see `airjax.interfaces.doubts`."""
        light = [one.picture.on_light for one in batch if one.picture]
        doubt_polarity(self.model, light, inverted=self.invert)

    def infer_batch(self, batch: list[Read["Fitted"]], index: int, doubts: Doubts) -> list[dict[str, Any]]:
        """Infer a batch that has been read and fitted; see `batches`.

        Args:
            batch: the pictures of the batch, read with `fit`.
            index: the batch's place, from 0.
            doubts: doubts to which those about this batch are added.

        Raises:
            ValueError: see `batches`.
        """
        return self._infer_batch(batch, index, doubts).lines

    def _infer_batch(self, batch: list[Read["Fitted"]], index: int, doubts: Doubts) -> "_Inferred":
        inferred = self._describe(batch, index)
        if inferred.fitted:
            doubts.see(stack(inferred.fitted.values()), inferred.found)
        return inferred

    def _show(self, inferred: "_Inferred", watch: Watch, again: Iterator[Read[Any] | None]) -> None:
        """Call `watch` with every readable picture of a batch; they and their label images are made one by one."""
        label_images_of = iter(label_images(self.model, inferred.found))
        for line, one in zip(inferred.lines, again):
            if "problem" in line:
                continue
            placement = inferred.fitted[line["image"]].placement
            if one is not None and (one.picture is None or one.picture.size != placement.size):
                raise ValueError(f"{line['image']} has changed while it was read")
            watch(one and one.picture, line, regions.in_picture(next(label_images_of), placement))

    def _describe(self, batch: list[Read["Fitted"]], index: int) -> "_Inferred":
        problems = [one.problem for one in batch if one.problem]
        if problems and self.pictures.strict:
            raise ValueError(problems[0])
        fitted = {one.name: Letterboxed(*one.picture[:2]) for one in batch if one.picture}
        found, posterior = self._infer([one.pixels for one in fitted.values()], index)
        _check_finite(found, posterior, list(fitted))
        described = describe_found(self.model, found, posterior)
        placed = {name: in_own_pixels(told, fitted[name]) for name, told in zip(fitted, described)}
        places = range(index * AHEAD + 1, (index + 1) * AHEAD + 1)
        lines = [
            {"image": one.name, "id": place, **placed.get(one.name, {"problem": one.problem})}
            for one, place in zip(batch, places)
        ]
        return _Inferred(lines, fitted, jax.tree.map(lambda x: x[: len(fitted)], found))

    def _infer(self, pixels: list[np.ndarray], index: int) -> tuple[Found, np.ndarray]:
        """Infer a batch, padded to a fixed size so that one compiled program serves all; results are padded, too."""
        size = min(AHEAD, len(self.pictures.names))
        blank = np.zeros((size - len(pixels), *self.model.image_shape), np.uint8)
        stacked, key = np.stack([*pixels, *blank]), jax.random.fold_in(self.key, index)
        return find_and_count(self.model, stacked, samples=self.samples, key=key)


def _check_finite(found: Found, posterior: np.ndarray, names: list[str]) -> None:
    """Raise ValueError if results are not finite; they come in the order of the names, padded."""
    values = [np.asarray(value)[: len(names)].reshape(len(names), -1) for value in (posterior, *jax.tree.leaves(found))]
    bad = np.flatnonzero(~np.isfinite(np.concatenate(values, axis=1)).all(1)) if names else []
    if len(bad):
        raise ValueError(f"the model's results for {names[bad[0]]} are not finite numbers: its weights are of no use")


class Fitted(NamedTuple):
    """An image made of a picture, as `Letterboxed`, and whether the picture's border is light."""

    pixels: np.ndarray
    placement: Placement
    on_light: bool


def _fit(picture: Image.Image, image_shape: tuple[int, int, int], invert: bool) -> Fitted:
    return Fitted(*letterbox(picture, image_shape, invert=invert), is_on_light(picture))


class _Inferred(NamedTuple):
    """A batch: its lines, its readable pictures by name, and what was found in those, in their order."""

    lines: list[dict[str, Any]]
    fitted: dict[str, Letterboxed]
    found: Found


def in_own_pixels(found: dict[str, Any], fitted: Letterboxed) -> dict[str, Any]:
    """Convert the results of a letterboxed picture to its own pixels, and add its `width` and `height`."""
    width, height = fitted.placement.size
    moved = [to_own_pixels(one, fitted.placement) for one in found["objects"]]
    return {"width": width, "height": height, **found, "objects": moved}


def to_own_pixels(described: dict[str, Any], placement: Placement) -> dict[str, Any]:
    """Convert the box and window of an object, as `describe` gives them, to its picture's own pixels."""
    moved = dict(described)
    for name in ("box", "window"):
        corners = placement.to_picture(np.array(moved[name]))
        moved[name] = [round(float(value), 3) for value in corners]
    return moved


def readable(inference: Inference) -> Iterator[dict[str, Any]]:
    """Yield the results of all readable pictures; warn about the others at the end."""
    problems, total = [], 0
    for batch in inference.batches():
        problems += [one["problem"] for one in batch if "problem" in one]
        total += len(batch)
        yield from (one for one in batch if "problem" not in one)
    report_unreadable(problems, total)
