"""Objects in pictures of any size: inference in overlapping tiles, whose answers are joined into one.

Of the tiles that show a place, the one that shows most around it answers for it. Near the lines where that changes,
neighbours may disagree. Then a further tile, with that place in its middle, decides.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy  # which imports its parts when they are first used
from jaxtyping import Bool, Float, Int, UInt8, UInt16

from airjax.data.tiles import cut, grid
from airjax.inference.infer import Found, describe_object, find
from airjax.inference.masks import label_images
from airjax.learning.pieces import MARGIN
from airjax.models.base import Family

BATCH = 64
"""Number of tiles inferred at once."""
AROUND = 0.8
"""Distance of the places that a tile answers for from its border, in sides of learned objects."""
MOST_AROUND = 0.35
"""The same, at most, in sides of a tile."""
NEAR = 0.5
"""Distance of the centres of two objects, in sides of the larger one, up to which they are the same."""
ALIKE = 0.4
"""Difference between the distances of a place from the borders of two tiles, in sides of learned objects, up to which
both should show the same there."""
SETTLED = 0.75
"""Radius around a doubtful place within which a further tile decides, in sides of learned objects."""
FAINTEST = 0.01
"""Least probability of a further object in a tile that counts for p(n | x)."""
MOST_LABELS = np.iinfo(np.uint16).max
"""Largest number of objects that a label image can number."""

Watch = Callable[[UInt8[np.ndarray, "n c h w"], Found], None]
"""A function of tiles and what was found in them."""


class Seen(NamedTuple):
    """An object as a tile shows it.

    Attributes:
        tile: number of the tile.
        described: what `airjax.inference.infer.describe` tells of it, with box and window in pixels of the picture.
        mask: the pixels that it is seen in.
        corner: x and y of the mask's upper left pixel.
    """

    tile: int
    described: dict[str, Any]
    mask: Bool[np.ndarray, "p q"]
    corner: tuple[int, int]

    @property
    def centre(self) -> Float[np.ndarray, "2"]:
        """The middle (x, y) of its box."""
        x0, y0, x1, y1 = self.described["box"]
        return np.array([x0 + x1, y0 + y1]) / 2

    @property
    def side(self) -> float:
        """The longer side of its box."""
        x0, y0, x1, y1 = self.described["box"]
        return max(x1 - x0, y1 - y0)

    @property
    def presence(self) -> float:
        """The probability that it is there."""
        return self.described["presence"]


class Tiled(NamedTuple):
    """What was found in a picture, in its pixels.

    Attributes:
        objects: the objects, from top to bottom.
        posterior: p(n | x), n = 0, 1, ..., if objects are there independently of one another.
        settled: number of places where tiles disagreed and a further one decided.
    """

    objects: list[Seen]
    posterior: Float[np.ndarray, " counts"]
    settled: int

    def labels(self, size: tuple[int, int]) -> UInt16[np.ndarray, "h w"]:
        """Number the pixels of the objects: 1, 2, ...; 0 for the background. `size` is the picture's (width, height).

        Raises:
            ValueError: there are more than `MOST_LABELS` objects.
        """
        if len(self.objects) > MOST_LABELS:
            raise ValueError(f"label images number at most {MOST_LABELS} objects, got {len(self.objects)}")
        labels = np.zeros(size[::-1], np.uint16)
        for number, one in enumerate(self.objects, 1):
            (x, y), (rows, columns) = one.corner, one.mask.shape
            part = labels[y : y + rows, x : x + columns]
            part[one.mask & (part == 0)] = number
        return labels


def find_in_tiles(
    model: Family, pixels: UInt8[np.ndarray, "c h w"], *, offset: int = 0, watch: Watch | None = None
) -> Tiled:
    """Find the objects in a picture that is at least as large as the model's images.

    Args:
        model: the model.
        pixels: the picture, at the scale of the model's images.
        offset: pixels by which tiles within the picture are moved; results should not depend on it.
        watch: called with all tiles and what was found in them, in batches.

    Raises:
        ValueError: the model has no attention windows, or its results are not finite.
    """
    if model.window_side is None:
        raise ValueError(f"tiles are for models of patches, got {type(model).__name__}")
    size, tile = (np.array(shape[:0:-1]) for shape in (pixels.shape, model.image_shape))
    side = model.window_side / MARGIN
    margin = min(AROUND * side, MOST_AROUND * float(tile.min()))
    layout = _Layout(grid(size.tolist(), tile.tolist(), margin, offset), tile, size)
    seen, spare = _infer(model, pixels, layout.corners, watch)
    kept, doubtful = _compare(seen, layout, side)
    first, middle = len(layout.corners), np.clip(np.rint(doubtful - tile / 2), 0, size - tile).astype(int)
    objects = _settle(kept, doubtful, _infer(model, pixels, middle, watch, first)[0], first, side)
    further = [one for one in spare if layout.answers(one) and not _near(one, objects)]
    objects.sort(key=lambda one: tuple(one.centre[::-1]))
    return Tiled(objects, count_distribution([one.presence for one in [*objects, *further]]), len(doubtful))


def count_distribution(chances: Sequence[float]) -> Float[np.ndarray, " counts"]:
    """Return the distribution of how many of some independent events happen, given the probability of each."""
    sure = sum(chance > 1 - 1e-6 for chance in chances)
    total = np.ones(1)
    for chance in chances:
        if chance <= 1 - 1e-6:
            total = np.convolve(total, [1 - chance, chance])
    return np.concatenate([np.zeros(sure), total])


class _Layout:
    """Tiles on a picture, and how far places are from their borders."""

    def __init__(self, corners: Int[np.ndarray, "t 2"], tile: Int[np.ndarray, "2"], size: Int[np.ndarray, "2"]):
        self.corners, self._tile = corners, tile
        far = 2 * size.max()
        self._low = np.where(corners == 0, -far, corners)
        self._high = np.where(corners + tile >= size, far, corners + tile)
        self._tree = scipy.spatial.KDTree(corners / tile + 0.5)

    def around(self, place: Float[np.ndarray, "2"]) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """List the tiles that show a place, and its distance from their borders, but not from the picture's border."""
        tiles = np.array(sorted(self._tree.query_ball_point(place / self._tile, 0.5 + 1e-9, p=np.inf)), int)
        return tiles, np.minimum(place - self._low[tiles], self._high[tiles] - place).min(axis=1)

    def answers(self, one: Seen) -> bool:
        """Tell whether an object's tile is the one that shows most around it."""
        tiles, distance = self.around(one.centre)
        return bool(tiles[np.argmax(distance)] == one.tile)


def _infer(
    model: Family, pixels: np.ndarray, corners: Int[np.ndarray, "t 2"], watch: Watch | None, first: int = 0
) -> tuple[list[Seen], list[Seen]]:
    """Infer tiles, numbered from `first` on: the objects in them, and in each the next one, which is less likely."""
    seen, spare = [], []
    for start in range(0, len(corners), BATCH):
        some = corners[start : start + BATCH]
        images = np.stack([cut(pixels, corner, model.image_shape) for corner in some.tolist()])
        found = find(model, images, batch=BATCH)
        if not all(np.isfinite(value).all() for value in (found.boxes, found.windows, found.presence, found.what)):
            raise ValueError("the model's results are not finite numbers: its weights are of no use")
        if watch:
            watch(images, found)
        for i, labels in enumerate(label_images(model, found)):
            own = list(_seen(model, found, i, labels, some[i], first + start + i))
            seen += own[: found.count[i]]
            spare += [one for one in own[found.count[i] :] if one.presence >= FAINTEST]
    return seen, spare


def _seen(
    model: Family, found: Found, i: int, labels: np.ndarray, corner: Int[np.ndarray, "2"], tile: int
) -> Iterator[Seen]:
    """Yield the objects of image `i`, and the next one that its count leaves out, in pixels of the picture."""
    for step in range(min(found.count[i] + 1, model.max_objects)):
        described = describe_object(model, found, i, step)
        described |= {name: (np.array(described[name]) + np.tile(corner, 2)).tolist() for name in ("box", "window")}
        y, x = np.nonzero(labels == step + 1)
        upper = np.array([x.min(), y.min()]) if len(x) else np.zeros(2, int)
        mask = np.zeros((y.max() - upper[1] + 1, x.max() - upper[0] + 1) if len(x) else (0, 0), bool)
        mask[y - upper[1], x - upper[0]] = True
        left, top = corner + upper
        yield Seen(tile, described, mask, (int(left), int(top)))


def _compare(seen: list[Seen], layout: _Layout, side: float) -> tuple[list[Seen], Float[np.ndarray, "d 2"]]:
    """Take each object from the tile that shows most around it; return them, and the places where another one differs.

    An object near the line between two tiles may lie on either side of it, so both tiles' are taken, and compared.
    """
    by_tile, able, candidates = defaultdict(list), {}, []
    for one in seen:
        by_tile[one.tile].append(one)
        tiles, distance = layout.around(one.centre)
        alike = tiles[distance >= distance.max() - ALIKE * side]
        if one.tile in alike:
            candidates.append((float(distance.max() - distance[tiles == one.tile][0]), one))
            able[id(one)] = alike
    kept = _distinct([one for _, one in sorted(candidates, key=lambda pair: pair[0])])
    doubtful: list[np.ndarray] = []
    for one in kept:
        confirmed = all(_near(one, by_tile[tile]) for tile in able[id(one)])
        if not confirmed and not any(np.linalg.norm(one.centre - place) < side / 2 for place in doubtful):
            doubtful.append(one.centre)
    return kept, np.array(doubtful, float).reshape(-1, 2)


def _settle(
    kept: list[Seen], doubtful: Float[np.ndarray, "d 2"], further: list[Seen], first: int, side: float
) -> list[Seen]:
    """Around doubtful places, take the objects of further tiles, numbered from `first` on, instead."""
    if not len(doubtful):
        return kept
    nearest = scipy.spatial.KDTree(doubtful).query([one.centre for one in kept])[0]
    stay = [one for one, distance in zip(kept, nearest) if distance > SETTLED * side]
    away = lambda one: float(np.linalg.norm(one.centre - doubtful[one.tile - first]))
    return _distinct([*stay, *sorted((one for one in further if away(one) <= SETTLED * side), key=away)])


def _distinct(objects: list[Seen]) -> list[Seen]:
    """Leave out objects that another tile's, earlier in the list, are the same as."""
    if not objects:
        return []
    centres, sides = np.array([one.centre for one in objects]), np.array([one.side for one in objects])
    pairs = scipy.spatial.KDTree(centres).query_pairs(NEAR * sides.max(), output_type="ndarray")
    same = np.linalg.norm(centres[pairs[:, 0]] - centres[pairs[:, 1]], axis=1) < NEAR * sides[pairs].max(axis=1)
    twins = defaultdict(list)
    for i, j in pairs[same]:
        if objects[i].tile != objects[j].tile:
            twins[max(i, j)].append(min(i, j))
    kept: set[int] = set()
    for i in range(len(objects)):
        if not kept.intersection(twins[i]):
            kept.add(i)
    return [objects[i] for i in sorted(kept)]


def _near(one: Seen, others: Sequence[Seen]) -> bool:
    """Tell whether one of the other objects is in the same place."""
    return any(np.linalg.norm(one.centre - other.centre) < NEAR * max(one.side, other.side) for other in others)
