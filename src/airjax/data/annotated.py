"""Pictures with annotated objects, and how they become scenes of a model's size."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from airjax.data._placing import MOST_SEGMENTED
from airjax.data.ahead import Read, read_pictures
from airjax.data.images import Letterboxed, Levels, Placement, letterbox, shape_of
from airjax.data.scenes import Scenes
from airjax.data.tiles import scaled

TOLERANCE = 1.0
"""Distance, in pixels of a picture, up to which a box may reach beyond its edges; there it is clipped."""

Masks = Callable[[], Bool[np.ndarray, "k h w"]]
"""A function that decodes the masks of a picture's objects."""


class Annotated(NamedTuple):
    """A picture and its objects.

    Attributes:
        name: path of the picture below the folder of pictures.
        source: the file of the annotations, for error messages.
        size: width and height that the annotations tell; None if they don't.
        boxes: corners `x0, y0, x1, y1` of the objects, in pixels of the picture, or in its sides if `relative`.
        labels: class of each object.
        masks: decodes the masks, in the picture's own pixels; None if they are not known.
        relative: whether boxes are in units of the picture's width and height.
    """

    name: str
    source: Path
    size: tuple[int, int] | None
    boxes: Float[np.ndarray, "k 4"]
    labels: Int[np.ndarray, " k"]
    masks: Masks | None = None
    relative: bool = False


class Reading(NamedTuple):
    """How pictures are read, as in training.

    Attributes:
        image_shape: (channels, height, width) of the model's images.
        levels: how values of the pictures become black, white and grey; see `airjax.data.images.plain`.
        invert: whether dark and light are swapped.
        channels: channels of the pictures to pick; see `airjax.data.images.pick`.
        still: the still background that tiles are compared with; see `airjax.data.still`.
    """

    image_shape: tuple[int, int, int]
    levels: Levels | None = None
    invert: bool = False
    channels: tuple[int, ...] | None = None
    still: Image.Image | None = None


def to_scenes(root: Path, annotated: Sequence[Annotated], reading: Reading) -> Scenes:
    """Read pictures below `root`, and fit them with their objects into images.

    A pixel of the segmentation shows what the nearest pixel of the picture does; where masks overlap, the smallest one.

    Raises:
        FileNotFoundError: A picture is missing.
        ValueError: A picture can't be read or has another size than annotated, or a box is outside of it.
    """
    _check_there(root, annotated)
    counts = np.array([len(one.labels) for one in annotated], np.int32)
    shape, most = shape_of(*reading.image_shape), int(counts.max())
    masked = most <= MOST_SEGMENTED and all(one.masks is not None for one in annotated)
    images, segmentation = (np.zeros((len(annotated), *side), np.uint8) for side in (shape, shape[:2]))
    boxes = np.full((len(annotated), most, 4), np.nan, np.float32)
    labels = np.full((len(annotated), most), -1, np.int32)
    fit = lambda picture: letterbox(picture, reading.image_shape, invert=reading.invert)
    read = read_pictures(root, [one.name for one in annotated], reading.levels, reading.channels, fit)
    for index, (one, fitted) in enumerate(_fitted(annotated, read)):
        images[index] = np.moveaxis(fitted.pixels, 0, -1).reshape(shape)
        boxes[index, : counts[index]] = into_image(_inside(one, fitted.placement.size), fitted.placement)
        labels[index, : counts[index]] = one.labels
        if masked and one.masks is not None:
            segmentation[index] = _segmentation(one.masks(), fitted.placement, shape[:2])
    return Scenes(images, counts, boxes, labels, segmentation=segmentation if masked else None)


def to_scaled(
    root: Path, annotated: Sequence[Annotated], reading: Reading, tile: int
) -> Iterator[tuple[UInt8[np.ndarray, "c h w"], Float[np.ndarray, "k 4"]]]:
    """Read pictures below `root` one by one, scaled so that `tile` pixels are as wide as the model's images.

    Yields:
        The scaled picture, and the boxes of its objects in it.

    Raises:
        FileNotFoundError, ValueError: see `to_scenes`.
    """
    _check_there(root, annotated)
    fit = lambda picture: scaled(picture, reading.image_shape, tile, invert=reading.invert, still=reading.still)
    whole = read_pictures(root, [one.name for one in annotated], reading.levels, reading.channels)
    read = (one.then(fit) for one in whole)  # large ones, so not ahead
    for one, fitted in _fitted(annotated, read):
        yield fitted.pixels, into_image(_inside(one, fitted.placement.size), fitted.placement)


def _check_there(root: Path, annotated: Sequence[Annotated]) -> None:
    for one in annotated:
        if not (root / one.name).is_file():
            raise FileNotFoundError(
                f"{one.source} tells of the picture {one.name}, which is missing in {root} (see --pictures)"
            )


def into_image(boxes: Float[np.ndarray, "k 4"], placement: Placement) -> Float[np.ndarray, "k 4"]:
    """Convert boxes from pixels of a picture to pixels of the image it was fitted into."""
    return boxes * placement.factor + np.array([placement.left, placement.top] * 2)


def _fitted(
    annotated: Sequence[Annotated], read: Iterator[Read[Letterboxed]]
) -> Iterator[tuple[Annotated, Letterboxed]]:
    """Check pictures that are read in the order of their annotations, and that have been fitted into images."""
    for one, (name, fitted, problem) in zip(annotated, read):
        if fitted is None:
            raise ValueError(problem)
        if one.size not in (None, fitted.placement.size):
            told, found = ("{} x {}".format(*size) for size in (one.size, fitted.placement.size))
            raise ValueError(f"{one.source} says that {name} has {told} pixels, but it has {found}")
        yield one, fitted


def _inside(one: Annotated, size: tuple[int, int]) -> Float[np.ndarray, "k 4"]:
    """Return the boxes in pixels of the picture, clipped to it by `TOLERANCE` at most."""
    limit = np.array(size * 2, float)
    boxes = one.boxes * limit if one.relative else one.boxes
    outside = ~((boxes >= -TOLERANCE) & (boxes <= limit + TOLERANCE)).all(1)
    clipped = np.clip(boxes, 0, limit)
    bad = np.flatnonzero(outside | ~(clipped[:, :2] < clipped[:, 2:]).all(1))
    if len(bad):
        box = ", ".join(f"{value:g}" for value in boxes[bad[0]])
        raise ValueError(
            f"{one.source}: a box of {one.name} is outside of its {size[0]} x {size[1]} pixels, or empty: corners {box}"
        )
    return clipped


def _segmentation(
    masks: Bool[np.ndarray, "k h w"], placement: Placement, shape: tuple[int, ...]
) -> UInt8[np.ndarray, "rows columns"]:
    """Fit the masks of a picture's objects into an image, as numbers from 1 on; 0 is the background."""
    width, height = placement.size
    numbers = np.zeros((height, width), np.uint8)
    for index in np.argsort(-masks.sum((1, 2)), kind="stable"):
        numbers[masks[index]] = index + 1
    rows, there = _nearest(height, placement.top, placement.factor, shape[0])
    columns, here = _nearest(width, placement.left, placement.factor, shape[1])
    return numbers[np.ix_(rows, columns)] * np.outer(there, here)


def _nearest(size: int, start: float, factor: float, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel of the picture that each pixel of the image shows, along one axis, and whether it shows one."""
    places = np.floor((np.arange(length) + 0.5 - start) / factor).astype(int)
    return np.clip(places, 0, size - 1), (places >= 0) & (places < size)
