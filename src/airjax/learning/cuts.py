"""Cut single objects out of pictures: connected pieces of pixels that lie alone and are about as large as most.

Their opacity is estimated, so that they can be put in front of others (image matting; Porter & Duff, 1984).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy  # which imports its parts when they are first used
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from airjax.learning.pieces import BODY, Pieces, deviation, sides_of, spread_of

ENOUGH = 20
"""Number of single objects that tell what objects are like."""
ALIKE, UNLIKE = 0.4, 1.2
"""Largest difference of the logarithm of a single piece's side from that of the median; twice that for its area. And
the same where objects have many sizes."""
VARIED = 2.5
"""Such a difference, in deviations of the sides of singles, that is still usual."""
EDGE = 0.6
"""Share of the threshold of pieces down to which their faint edges reach."""
FAINT = 0.275
"""Share of its maximum up to which an object's edge is faint."""
SOLID = 0.5
"""Share of an object's typical difference from the background that its inside has in any case."""
HALO = 4
"""Distance, in pixels, up to which its light or shadow is cut out, too."""
OPAQUE = 0.4
"""Share of its maximum up to which parts of a piece may hang together."""
STEP = 1.6
"""Ratio of the thresholds, one to the next, at which a large piece is taken apart."""
SPECK = 0.25
"""Share of the common area below which a part is a speck."""
RIM = 2
"""Width of the edge of an object, or of a part of a cluster, in pixels."""
TWO = 4.0
"""Sum of deviations from the median, of area and of convexity, beyond which a piece is taken for two objects."""
RAGGED = 2.5
"""Deviations of convexity beyond which a part of a cluster is not taken for an object."""
LEAST = 0.12, 0.015
"""Least standard deviations of the logarithm of area, and of convexity."""
NEIGHBOURS = np.ones((3, 3), bool)
"""Which pixels are connected to the one in the middle."""


@dataclass(frozen=True)
class Cut:
    """An object cut out of a picture.

    Attributes:
        place: where its pixels lie: number of the image, rows and columns.
        away: its difference from the background.
        alpha: its opacity.
        body: its pixels but for its faint edge, smoothed, without holes.
        box: corners x0, y0, x1, y1 of its opaque part, in pixels.
        alone: whether it is a piece of its own, not part of a cluster.
    """

    place: tuple[int, slice, slice]
    away: Float32[np.ndarray, "p q c"]
    alpha: Float32[np.ndarray, "p q"]
    body: Bool[np.ndarray, "p q"]
    box: Float[np.ndarray, "4"]
    alone: bool


def cut_singles(pieces: Pieces) -> list[Cut]:
    """Cut out the pieces that are about as large as most, don't touch the border and lie alone, with their faint edges.

    How large may be depends on how much the sizes of those differ. If there is another piece within that edge, both may
    be fragments of one object. They are cut out if only pixels much fainter than either lie between them, and so are
    such parts of a piece that is too large. Pieces that seem to be two objects are left out.
    """
    if not pieces.mask.any():
        return []
    side, area = (float(np.median(np.concatenate(sizes))) for sizes in (pieces.sides, pieces.areas))
    of_any_size = _cut_singles(pieces, _Typical(side, area, UNLIKE))
    return _cut_singles(pieces, _Typical(side, area, tolerance(spread_of(sides_of_cuts(of_any_size)))))


def tolerance(spread: float) -> float:
    """Return how much the logarithm of a single object's side may differ from the median, by its spread."""
    return min(max(VARIED * spread, ALIKE), UNLIKE)


def sides_of_cuts(cuts: list[Cut]) -> Float[np.ndarray, " k"]:
    """Return the longer side of each cut's box, in pixels."""
    return sides_of(np.array([cut.box for cut in cuts]).reshape(-1, 4))


def _cut_singles(pieces, typical):
    images = zip(pieces.labels, pieces.strength, pieces.away)
    found = [cut for index, image in enumerate(images) for cut in _of_image(index, *image, typical)]
    return _sound(found) if found else []


@dataclass(frozen=True)
class _Typical:
    """Side and area of most pieces, in pixels, and how much the logarithm of a single one's side may differ."""

    side: float
    area: float
    tolerance: float

    def fits(self, piece: Bool[np.ndarray, "p q"], strength: Float32[np.ndarray, "p q"]) -> bool:
        """Tell whether a piece is about as large."""
        x0, y0, x1, y1 = _body(piece, strength)
        side, area = math.log(max(x1 - x0, y1 - y0) / self.side), math.log(piece.sum() / self.area)
        return abs(side) <= self.tolerance and abs(area) <= 2 * self.tolerance


def _of_image(index, labels, strength, away, typical: _Typical) -> Iterator[Cut]:
    wide = _label(strength > EDGE)
    border = np.pad(np.zeros(np.subtract(labels.shape, 2), bool), 1, constant_values=True)
    places = ndimage.find_objects(wide)
    for number in np.unique(wide[strength > 1.0]):
        part = tuple(slice(max(one.start - RIM, 0), one.stop + RIM) for one in places[number - 1])
        own, seen = wide[part] == number, strength[part]
        inner = np.unique(labels[part][own & (labels[part] > 0)])
        alone = len(inner) == 1 and typical.fits(labels[part] == inner[0], seen)
        if alone:
            found = [(own, (wide[part] > 0) & ~own)]
        else:
            found = [_with_edge(one, own, seen) for one in _parts(own, seen, typical)]
        for one, others in found:
            if not (one & border[part]).any():
                yield _cut(index, part, one, others, strength, away, alone)


def _parts(piece, strength, typical, threshold=1.0) -> Iterator[Bool[np.ndarray, "p q"]]:
    """Take a piece apart at higher and higher thresholds, as long as its parts are larger than most pieces."""
    if threshold > OPAQUE * strength[piece].max():
        return
    labels = _label(piece & (strength > threshold))
    areas = np.bincount(labels.reshape(-1))
    parts = [labels == index for index in range(1, len(areas)) if areas[index] > SPECK * typical.area]
    for part in parts:
        single = len(parts) > 1 and threshold <= OPAQUE * strength[part].max() and typical.fits(part, strength)
        yield from [part] if single else _parts(part, strength, typical, STEP * threshold)


def _with_edge(part, piece, strength):
    """Add its edge to a part of a piece; and tell where the rest of the piece is."""
    rest = piece & ~part & (strength > strength[part].min())
    own = _grown(part, NEIGHBOURS, RIM) & ~_grown(rest, NEIGHBOURS)
    return own | part, piece & ~own


def _label(mask):
    """Number the connected pixels of a mask, from 1."""
    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask, NEIGHBOURS, output=labels)
    return labels


def _grown(mask, neighbours=None, times=1) -> Bool[np.ndarray, "p q"]:
    return np.asarray(ndimage.binary_dilation(mask, neighbours, times))


def _cut(index, part, own, others, strength, away, alone) -> Cut:
    """Cut out an object, with its edge and halo, but for the pixels of `others`; both are masks of a `part`."""
    masks = np.zeros((2, *strength.shape), bool)
    masks[:, *part] = own, others
    rows, columns = (
        slice(max(one.start - HALO, 0), one.stop + HALO) for one in ndimage.find_objects(masks[0].astype(np.int32))[0]
    )
    own, others = masks[:, rows, columns]
    seen, away = strength[rows, columns], away[rows, columns]
    edge = _grown(own) & ~others
    halo = _grown(own, None, HALO) & ~edge & ~_grown(others, None, HALO)
    smooth = np.asarray(ndimage.gaussian_filter(away, (1, 1, 0)))  # noise would be added to that of other pixels
    return Cut(
        place=(index, rows, columns),
        away=np.where(edge[..., None], away, smooth * halo[..., None]),
        alpha=_opacity(np.where(own, np.abs(away).max(axis=-1), 0)),
        body=np.asarray(ndimage.binary_fill_holes(own & (seen > FAINT * seen[own].max()))),
        box=_body(own, seen),
        alone=alone,
    )


def _opacity(differs: Float32[np.ndarray, "p q"]) -> Float32[np.ndarray, "p q"]:
    """Estimate opacity from how much an object's pixels differ from the background: less at its edge, 1 inside."""
    share = differs / np.median(differs[differs > BODY * differs.max()])
    inside = ndimage.binary_erosion(ndimage.binary_fill_holes(share > SOLID), NEIGHBOURS, RIM)
    return np.where(inside, 1, np.clip(share, 0, 1)).astype(np.float32)


def _body(piece, strength):
    """Find the box of the pixels of a piece that are above `BODY` of its maximum."""
    rows, columns = np.nonzero(piece & (strength > BODY * strength[piece].max()))
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


def _sound(cuts: list[Cut]) -> list[Cut]:
    """Leave out pieces that are larger than most and less convex, by far: objects that touch; and ragged parts."""
    areas = [math.log(cut.body.sum()) for cut in cuts]
    hollows = [1 - cut.body.sum() / _hull_area(cut.body) for cut in cuts]
    larger, less_convex = (_deviations(np.array(values), least) for values, least in zip((areas, hollows), LEAST))
    pairs = (larger > 0) & (less_convex > 0) & (larger + less_convex > TWO)
    return [
        cut for cut, pair, concave in zip(cuts, pairs, less_convex) if not pair and (cut.alone or concave <= RAGGED)
    ]


def _deviations(values, least):
    away = values - np.median(values)
    return away / max(deviation(away), least)


def _hull_area(mask: Bool[np.ndarray, "p q"]) -> float:
    """Return the area of the convex hull of pixels, which are squares."""
    rows, columns = np.nonzero(mask)
    corners = [np.stack([rows + down, columns + right], axis=1) for down in (0, 1) for right in (0, 1)]
    return float(scipy.spatial.ConvexHull(np.concatenate(corners)).volume)
