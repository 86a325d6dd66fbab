"""Find connected pieces of pixels that stand out from the background of images. Nothing is learned for it.

Pieces are not objects: objects that touch form one piece. But many objects are pieces of their own, which tell the size
and the number of objects, and from which scenes of known objects can be pasted together (`airjax.learning.pasting`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32
from scipy import ndimage

from airjax.common_values import common_colour, common_picture
from airjax.config import ModelConfig
from airjax.models.backgrounds.linear import linear_backgrounds
from airjax.models.backgrounds.smooth import smooth_backgrounds

MARGIN = 1.3
"""Ratio of the side of a window to that of the object in it."""
PATTERNED = 0.04
"""Mean error of a smooth background above which a patterned one is tried."""
SHARED = 8
"""Number of images from which on a picture that they share is tried as background; that of fewer shows objects."""
CAP = 0.1
"""Error above which a pixel counts as an object's, when backgrounds are compared."""
LEARNT = 200
"""Largest number of images that a background that they share is made of, and of those on which it is compared."""
LARGE = 16
"""Least side of images on which a smooth background is tried, in pixels."""
BLUR = 1.0
"""Standard deviation, in pixels, by which pictures are smoothed before pieces are found."""
FAINTEST = 0.02, 0.06
"""Least difference from the background that counts; and from a linear one, which is less exact near objects."""
BODY = 0.35
"""Share of a piece's maximum from which on pixels count for its box."""
SPECK = 0.25
"""Share of the common side of pieces below which they are specks."""
THRESHOLDS, TRIED_ON, ALIKE = 9, 150, 0.9
"""Number of thresholds that are tried, number of pictures for that, and share of the most area that is enough."""


@dataclass(frozen=True)
class Pieces:
    """Connected pieces of pixels that differ from the background.

    Attributes:
        boxes: corners x0, y0, x1, y1 of the pieces in each image, in pixels.
        labels: for each pixel the number of its piece, from 1 in the order of the boxes; 0: it is in none.
        away: the images minus their backgrounds.
        strength: how much each pixel differs, smoothed; pixels of pieces are above 1.
        background: kind of background: `constant`, `mean`, `smooth` or `linear`.
        level: its median colour, from 0 to 1.
        noise: standard deviation of the background's pixels.
        pattern: the part of this deviation that neighbouring pixels share.
        darker: share of the differing pixels that are darker than the background in some channel.
        lighter: share of the differing pixels that are lighter in some channel.
    """

    boxes: list[Float[np.ndarray, "_ 4"]]
    labels: Int32[np.ndarray, "n h w"]
    away: Float32[np.ndarray, "n h w c"]
    strength: Float32[np.ndarray, "n h w"]
    background: str
    level: Float[np.ndarray, " c"]
    noise: float
    pattern: float
    darker: float
    lighter: float

    @property
    def mask(self) -> Bool[np.ndarray, "n h w"]:
        """The pixels of pieces."""
        return self.labels > 0

    @property
    def sides(self) -> list[Float[np.ndarray, " _"]]:
        """The longer side of each image's pieces, in pixels."""
        return [sides_of(boxes) for boxes in self.boxes]

    @property
    def areas(self) -> list[Int[np.ndarray, " _"]]:
        """The number of pixels of each image's pieces."""
        return [np.bincount(labels.reshape(-1))[1:] for labels in self.labels]

    @property
    def energies(self) -> Float[np.ndarray, "pieces c"]:
        """The squared differences of all pieces from the background, summed over pixels, for each channel."""
        sums = [
            np.stack([np.bincount(labels.reshape(-1), channel.reshape(-1), len(boxes) + 1) for channel in squares])
            for boxes, labels, squares in zip(self.boxes, self.labels, np.moveaxis(self.away**2, -1, 1))
        ]
        return np.concatenate(sums, axis=1)[:, np.concatenate([np.arange(total.shape[1]) > 0 for total in sums])].T


def find_pieces(images: Float32[np.ndarray, "n h w c"], *, still: bool = True) -> Pieces:
    """Estimate the background of images, and find connected pieces of pixels that differ from it.

    Args:
        images: the images.
        still: whether they may share one picture as background, as those of a fixed camera do, and tiles don't.
    """
    kind, background = find_background(images, still=still)
    away = (images - background).astype(np.float32)
    noise = _noise(away)
    smooth = ndimage.gaussian_filter(away, (0, BLUR, BLUR, 0))  # grains of noise would form pieces
    differs = np.abs(smooth).max(axis=-1)
    least = least_difference(away, FAINTEST[kind == "linear"])
    threshold = _threshold(differs[spread_over(len(differs), TRIED_ON)], least)
    boxes, labels = label_pieces(differs, threshold)
    mask = labels > 0
    standing = smooth[mask] if mask.any() else np.zeros((1, images.shape[-1]))
    pattern = deviation(smooth[~mask]) if not mask.all() else 0.0
    darker, lighter = (float(np.mean((sign * standing).max(axis=-1) > 0.05)) for sign in (-1, 1))
    level = common_colour(background)
    return Pieces(boxes, labels, away, differs / threshold, kind, level, noise, pattern, darker, lighter)


def side_of_pieces(images: Float32[np.ndarray, "n h w c"]) -> float:
    """Return the median side of the pieces that differ from each image's own median colour; 0 if none does.

    This is quick, and rougher than `find_pieces`.
    """
    away = images - np.median(images, axis=(1, 2), keepdims=True)
    differs = np.abs(ndimage.gaussian_filter(away, (0, BLUR, BLUR, 0))).max(axis=-1)
    sides = sides_of(np.concatenate(label_pieces(differs, _threshold(differs, least_difference(away)))[0]))
    return float(np.median(sides)) if len(sides) else 0.0


def least_difference(away: Float[np.ndarray, "n h w c"], faintest: float = FAINTEST[0]) -> float:
    """Return the least difference from the background, after smoothing, that is no noise: five deviations."""
    return float(max(5 * _noise(away) / (2 * np.sqrt(np.pi) * BLUR), faintest))


def _noise(away: np.ndarray) -> float:
    """Estimate the standard deviation of noise from the steps between neighbouring pixels."""
    steps = np.abs(np.diff(away, axis=2))
    return float(np.quantile(steps, 0.683)) / np.sqrt(2) if steps.size else 0.0  # right even if noise ends at black


def _threshold(differs: Float32[np.ndarray, "n h w"], least: float) -> float:
    """Choose the difference from the background, at least `least`, above which pixels form pieces.

    Of the thresholds whose pieces of about the median size, less those of other sizes, cover nearly the most area, it
    is the lowest. No size has to be known for it, and specks of noise don't win by their number.
    """
    most = 0.6 * np.quantile(differs, 0.995)
    if most <= least:
        return float(least)
    tried = np.geomspace(least, most, THRESHOLDS)
    alike = ndimage.uniform_filter1d([_alike(differs, threshold) for threshold in tried], 3)
    return float(next(one for one, number in zip(tried, alike) if number >= ALIKE * max(alike)))


def _alike(differs, threshold):
    sides = sides_of(np.concatenate(label_pieces(differs, threshold)[0]))
    if not len(sides):
        return 0.0
    near = np.abs(np.log(sides / np.median(sides))) < 0.5
    return float((2 * np.sum(near) - len(sides)) * np.median(sides) ** 2)


def deviation(values: np.ndarray) -> float:
    """Estimate a standard deviation from the median, which objects hardly change."""
    return float(1.4826 * np.median(np.abs(values)))


def spread_of(sides: Float[np.ndarray, " k"]) -> float:
    """Estimate the standard deviation of the logarithm of sides; 0 if there are none."""
    return deviation(np.log(sides / np.median(sides))) if len(sides) else 0.0


def find_background(images: Float32[np.ndarray, "n h w c"], *, still: bool = True) -> tuple[str, np.ndarray]:
    """Choose the simplest background that explains the images about as well as any other.

    Backgrounds are made of every other image, and compared by their errors on the rest: one colour, one picture, one
    picture in varying light, and where none of them will do, one for each image.
    """
    some = lambda images: images[spread_over(len(images), LEARNT)]
    learnt, held_out = map(some, (images[::2], images[1::2]) if len(images) > 3 else (images, images))
    candidates: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "constant": lambda of, by: np.broadcast_to(common_colour(by), of.shape),
    }
    if still and len(images) >= SHARED:
        candidates["mean"] = lambda of, by: np.broadcast_to(common_picture(by), of.shape)
    if len(images) >= SHARED and min(images.shape[1:3]) >= LARGE:  # on smaller images, a field could draw objects
        candidates["smooth"] = smooth_backgrounds
    errors = {kind: _error(held_out, fit(held_out, learnt)) for kind, fit in candidates.items()}
    least = min(errors.values())
    if least > PATTERNED and len(images) >= 4 * ModelConfig.background_components:  # fewer could be learned by heart
        pattern = linear_backgrounds(images, ModelConfig.background_components)
        if _error(images, pattern) < 0.5 * least:
            return "linear", pattern
    kind = next(kind for kind, error in errors.items() if error <= 1.15 * least + 0.002)
    return kind, candidates[kind](images, some(images))


def _error(images, background):
    """Average the error of a background; that of pixels of objects is capped."""
    return float(np.mean(np.minimum(np.abs(images - background), CAP)))


def label_pieces(
    differs: Float32[np.ndarray, "n h w"], threshold: float
) -> tuple[list[np.ndarray], Int32[np.ndarray, "n h w"]]:
    """Find connected pieces above a threshold, without specks: their boxes, and the number of each pixel's piece.

    A box holds the pixels above `BODY` of the piece's own maximum: a low threshold reaches beyond a piece's edge.
    """
    found, labels = [], np.empty(differs.shape, np.int32)
    for one, into in zip(differs, labels):
        ndimage.label(one > threshold, np.ones((3, 3)), output=into)
        highest = np.zeros(into.max() + 1, one.dtype)
        np.maximum.at(highest, into.reshape(-1), one.reshape(-1))  # `ndimage.maximum` would sort all pixels
        body = np.where(one > BODY * highest[into], into, 0)
        corners = [[x.start, y.start, x.stop, y.stop] for y, x in ndimage.find_objects(body)]
        found.append(np.array(corners, float).reshape(-1, 4))
    least = max(3.0, SPECK * common_side(np.concatenate(found)))
    boxes = []
    for one, into in zip(found, labels):
        kept = sides_of(one) >= least
        boxes.append(one[kept])
        into[:] = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)])[into]
    return boxes, labels


def sides_of(boxes: Float[np.ndarray, "k 4"]) -> Float[np.ndarray, " k"]:
    """Return the longer side of each box."""
    return (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)


def common_side(boxes: np.ndarray) -> float:
    """Return the median of the boxes' sides, each weighed by its box's area, so that specks don't count."""
    sides = sides_of(boxes)
    order = np.argsort(sides)
    areas = np.cumsum(np.prod(boxes[order, 2:] - boxes[order, :2], axis=1))
    return float(sides[order][np.searchsorted(areas, areas[-1] / 2)]) if len(boxes) else 0.0


def spread_over(total: int, most: int) -> list[int]:
    """Choose at most `most` of `total` indices, evenly spread."""
    return [i * total // min(total, most) for i in range(min(total, most))]
