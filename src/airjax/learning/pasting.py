"""Paste scenes of known objects together from pieces of the pictures themselves (Dwibedi et al., 2017).

Most objects lie alone in some picture, where they are connected pieces. Cut out and pasted onto emptied pictures, they
make scenes whose objects are known, in which objects touch and cover one another. No labels are needed. The recogniser
learns from these scenes what one object is, where the bound alone leaves it open: two objects in one window, or one
object in two.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, UInt8
from scipy import ndimage

from airjax.learning.cuts import ENOUGH, Cut, cut_singles, sides_of_cuts
from airjax.learning.pieces import MARGIN, Pieces, find_pieces, spread_over

LOOKED_AT = 600
"""Largest number of images from which pieces are cut."""
BESIDE = 0.5
"""Share of objects that are pasted beside another one."""
COVERED = 0.2
"""Largest share of an object's box that lies in the box of another one."""
TRIES = 8
"""Places that are tried for an object."""
CUT = 0.05
"""Share of pieces at the border from which on objects are pasted across it, too."""


class Pasted(NamedTuple):
    """Scenes of known objects.

    Attributes:
        images: the scenes.
        where: window (log scale, x, y) of each object; zeros where there is none.
        counts: number of objects.
    """

    images: UInt8[np.ndarray, "n c h w"]
    where: Float32[np.ndarray, "n N 3"]
    counts: Int32[np.ndarray, " n"]


class Pasting(NamedTuple):
    """What `paste` makes of images.

    Attributes:
        scenes: scenes of known objects.
        apart: numbers of the images, of those looked at, in which no objects seem to touch.
    """

    scenes: Pasted
    apart: Int[np.ndarray, " k"]


def paste(images: UInt8[np.ndarray, "n c h w"], max_objects: int, scenes: int, *, seed: int) -> Pasting | None:
    """Paste scenes together from the single pieces of images, with up to `max_objects` objects in each.

    Returns None if there are too few single pieces.
    """
    rng = np.random.default_rng((seed, 1))
    looked_at = np.array(spread_over(len(images), LOOKED_AT))
    pixels = np.ascontiguousarray(np.moveaxis(images[looked_at], 1, -1)).astype(np.float32) / 255.0
    pieces = find_pieces(pixels)
    cuts = cut_singles(pieces)
    if len(cuts) < ENOUGH:
        return None
    backgrounds = pixels - pieces.away
    textured = [_textured(cut, backgrounds) for cut in cuts]
    table = _Table(
        _emptied(pixels, backgrounds, pieces, rng), textured, _directions(pieces), _across_border(pieces), rng
    )
    drawn = [table.scene(int(rng.integers(max_objects + 1)), max_objects) for _ in range(scenes)]
    scene_images, where, counts = map(np.stack, zip(*drawn))
    quantised = np.rint(255 * np.clip(scene_images, 0, 1)).astype(np.uint8)
    pasted = Pasted(np.ascontiguousarray(np.moveaxis(quantised, -1, 1)), where, counts)
    return Pasting(pasted, looked_at[_apart(pieces, cuts)])


def _emptied(pixels, backgrounds, pieces: Pieces, rng) -> np.ndarray:
    """Replace the pieces of images by their background, and noise like that around them."""
    hidden = ndimage.binary_dilation(pieces.mask, np.ones((1, 3, 3)), iterations=2)[..., None]
    noise = np.float32(pieces.noise) * rng.standard_normal(pixels.shape, np.float32)
    return np.where(hidden, backgrounds + noise, pixels)


def _textured(cut: Cut, backgrounds) -> Cut:
    """Add to an opaque object the texture of its background, which it lacks as it is a difference from that."""
    behind = backgrounds[cut.place]
    return replace(cut, away=cut.away + cut.alpha[..., None] * (behind - _mean(behind, cut.alpha)))


def _mean(image, alpha):
    """Return the mean colour of the pixels behind an object."""
    return np.einsum("hwc,hw->c", image, alpha) / max(alpha.sum(), 1e-6)


def _apart(pieces: Pieces, cuts: list[Cut]) -> Bool[np.ndarray, " n"]:
    """Mark images all of whose pieces are single objects; of those that the border cuts, no large one may be."""
    singles = np.bincount([cut.place[0] for cut in cuts if cut.alone], minlength=len(pieces.boxes))
    at_border = [_at_border(boxes, pieces) for boxes in pieces.boxes]
    usual = sides_of_cuts(cuts).max()
    small = [not (sides[border] > usual).any() for sides, border in zip(pieces.sides, at_border)]
    return np.array(small) & (singles == [np.sum(~border) for border in at_border])


def _at_border(boxes, pieces: Pieces) -> Bool[np.ndarray, " k"]:
    height, width = pieces.labels.shape[1:]
    return (boxes[:, :2] <= 0).any(axis=1) | (boxes[:, 2:] >= [width, height]).any(axis=1)


def _directions(pieces: Pieces) -> np.ndarray:
    """Find the directions from pieces to their nearest neighbours, as angles."""
    angles = [np.zeros(0)]
    for boxes in pieces.boxes:
        if len(boxes) > 1:
            centres = (boxes[:, :2] + boxes[:, 2:]) / 2
            offsets = centres[None] - centres[:, None]
            distance = np.hypot(*np.moveaxis(offsets, -1, 0)) + np.diag(np.full(len(boxes), np.inf))
            nearest = offsets[np.arange(len(boxes)), distance.argmin(axis=1)]
            angles.append(np.arctan2(nearest[:, 1], nearest[:, 0]))
    return np.concatenate(angles)


def _across_border(pieces: Pieces) -> bool:
    return bool(_at_border(np.concatenate(pieces.boxes), pieces).mean() > CUT)


@dataclass(frozen=True)
class _Table:
    """What scenes are pasted together from."""

    empty: Float32[np.ndarray, "n h w c"]
    cuts: list[Cut]
    directions: Float[np.ndarray, " k"]
    across: bool
    rng: np.random.Generator

    def scene(self, count: int, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Paste one scene: image, windows, and the number of objects for which a place was found."""
        empty = self.empty[self.rng.integers(len(self.empty))]
        scene, height, width = empty.copy(), *empty.shape[:2]
        longer, where = max(height, width), np.zeros((most, 3), np.float32)
        boxes = []
        for _ in range(count):
            cut = self.cuts[self.rng.integers(len(self.cuts))]
            for _ in range(TRIES):
                corner = self._corner(cut, boxes, height, width)
                if (seen := self._fits(cut, corner, boxes, height, width)) is not None:
                    break
            else:
                continue
            part, own = seen
            alpha = cut.alpha[own]
            hidden = alpha[..., None] * (_mean(empty[part], alpha) - scene[part])
            scene[part] += hidden + cut.away[own]
            x0, y0, x1, y1 = cut.box + np.tile(corner, 2)
            side = max(x1 - x0, y1 - y0)
            where[len(boxes)] = (
                math.log(MARGIN * side / longer),
                (x0 + x1) / width - 1,
                (y0 + y1) / height - 1,
            )
            boxes.append((x0, y0, x1, y1))
        return scene, where, np.array(len(boxes), np.int32)

    def _corner(self, cut: Cut, boxes, height, width) -> np.ndarray:
        """Propose a place for a piece, of which some lie beside others: the corner (x, y) of its pixels."""
        low, inner = cut.box[:2], cut.box[2:] - cut.box[:2]
        if boxes and len(self.directions) and self.rng.random() < BESIDE:
            x0, y0, x1, y1 = boxes[self.rng.integers(len(boxes))]
            angle = self.rng.choice(self.directions)
            towards = np.array([math.cos(angle), math.sin(angle)])
            reach = np.min((np.array([x1 - x0, y1 - y0]) + inner) / 2 / np.maximum(np.abs(towards), 1e-6))
            centre = np.array([x0 + x1, y0 + y1]) / 2 + towards * reach * self.rng.uniform(0.7, 1.2)
            return np.rint(centre - inner / 2 - low).astype(int)
        beyond = inner // 3 if self.across else 0
        free = np.maximum(np.array([width, height]) - inner + beyond, 0)
        return np.rint(self.rng.integers(-beyond, free + 1) - low).astype(int)

    def _fits(self, cut: Cut, corner, boxes, height, width):
        """Find the part of the scene that a piece covers, unless it covers too much of others or lies outside."""
        (x, y), (rows, columns) = corner, cut.alpha.shape
        x0, y0, x1, y1 = cut.box + np.tile(corner, 2)
        seen = (min(x1, width) - max(x0, 0), min(y1, height) - max(y0, 0))
        if min(seen) <= 0 or seen[0] * seen[1] < (0.5 if self.across else 1.0) * (x1 - x0) * (y1 - y0):
            return None
        for a0, b0, a1, b1 in boxes:
            shared = max(min(x1, a1) - max(x0, a0), 0) * max(min(y1, b1) - max(y0, b0), 0)
            if shared > COVERED * min((x1 - x0) * (y1 - y0), (a1 - a0) * (b1 - b0)):
                return None
        part = slice(max(y, 0), min(y + rows, height)), slice(max(x, 0), min(x + columns, width))
        own = slice(part[0].start - y, part[0].stop - y), slice(part[1].start - x, part[1].stop - x)
        return part, own
