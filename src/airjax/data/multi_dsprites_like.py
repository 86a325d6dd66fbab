"""Scenes of squares, ellipses and hearts that cover each other, in the spirit of Multi-dSprites (Kabra et al. 2019)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8

from airjax.data._placing import (
    Block,
    Draft,
    blank,
    blocks,
    boxes_around,
    check_common,
    check_whole,
    place,
    stream,
    windows,
)
from airjax.data.scenes import Scenes

FORMS = ("square", "ellipse", "heart")
"""Forms of the labels 0, 1 and 2."""

LEAST_SEEN = 1 / 3
"""Share of its pixels that each object shows at least."""

CONTRAST = 64
"""Least difference of any two colours of a scene, in at least one channel, of 255."""

_FLATNESS = 0.6
_HEART = 1.43
"""Distance of the heart's farthest point from its origin, in the units of its equation."""


def multi_dsprites_like(
    size: int,
    *,
    seed: int,
    counts: Sequence[int] = (1, 2, 3, 4, 5),
    canvas: int = 64,
    min_radius: int = 6,
    max_radius: int = 12,
    segmentation: bool = False,
) -> Scenes:
    """Compose colour scenes of `n` squares, ellipses and hearts on a plain background, `n` uniform over `counts`.

    Form, radius, rotation and position are uniform. The radius is that of a circle around the form, and this circle
    lies on the canvas. Later objects cover earlier ones, but each shows at least `LEAST_SEEN` of its pixels. Edges are
    hard. The background is grey in half of the scenes, and otherwise has a uniform colour. Objects have uniform colours
    that differ from the background's and from each other's by at least `CONTRAST` in some channel. An object that
    doesn't fit is redrawn by the rule of `airjax.data.sprites`.

    The same arguments give the same scenes, and the scenes of a smaller `size` are the first of a larger one.

    Args:
        size: Number of scenes.
        seed: Seed of the generator, at least 0.
        counts: Possible numbers of objects, all different.
        canvas: Side of the square scene, in pixels.
        min_radius: Smallest radius of an object, in pixels.
        max_radius: Largest radius of an object, in pixels.
        segmentation: Whether to tell also which object each pixel shows. It changes nothing else.

    Returns:
        The scenes, with counts, boxes tight around the parts that are seen, and labels (see `FORMS`).

    Raises:
        ValueError: If an argument is out of range, or a scene can't be placed after 1,000 redraws.
    """
    check_common(size, seed, counts, canvas)
    check_whole("max_radius", max_radius, 2, max(2, canvas // 2))
    check_whole("min_radius", min_radius, 2, max_radius)
    draft = blank(seed, size, counts, (canvas, canvas, 3), segmentation)
    for block in blocks(seed, size, canvas):
        _fill(draft.part(block.scenes), block, (min_radius, max_radius))
    return draft.finish()


def _fill(draft: Draft, block: Block, radii: tuple[int, int]) -> None:
    """Compose the scenes of a block."""
    scenes, slots = draft.labels.shape
    seen = np.zeros(draft.images.shape[:3], np.uint8) if draft.segmentation is None else draft.segmentation
    colours = np.zeros((scenes, 1 + slots, 3), np.uint8)
    colours[:, 0] = _backgrounds(block)[:scenes]
    draft = replace(draft, segmentation=seen)  # which `place` clears where scenes start again
    objects = _Objects(draft, seen, block.length, radii, colours, np.ones((scenes, slots), int))
    place(objects.attempt, draft, block)
    draft.images[...] = colours[np.arange(scenes)[:, None, None], seen]
    draft.boxes[...] = boxes_around(seen, draft.counts, slots)


def _backgrounds(block: Block) -> UInt8[np.ndarray, "b 3"]:
    """Draw the colours of the backgrounds of a block, of which about half are grey."""
    rng = stream(block.seed, 0, block.index)
    colours = rng.integers(256, size=(block.length, 3), dtype=np.uint8)
    return np.where(rng.random((block.length, 1)) < 0.5, colours[:, :1], colours)


@dataclass(frozen=True)
class _Objects:
    """Adds objects to `seen`, the segmentation of a draft.

    `length` is the number of scenes that share a random stream. `colours` holds those of the background and of the
    objects so far, and `areas` the numbers of their pixels, seen or not.
    """

    draft: Draft
    seen: UInt8[np.ndarray, "n h w"]
    length: int
    radii: tuple[int, int]
    colours: UInt8[np.ndarray, "n slots 3"]
    areas: Int64[np.ndarray, "n k"]

    def attempt(
        self, rows: Int64[np.ndarray, " m"], slots: Int32[np.ndarray, " m"], rng: np.random.Generator
    ) -> Bool[np.ndarray, " m"]:
        """Add an object to each of these scenes if it fits, and return whether it did."""
        label, radius, turn, centre, colour = self._draw(rows, rng)
        side = 2 * self.radii[1] + 1
        corner = np.clip(np.floor(centre - side / 2).astype(int), 0, max(0, self.seen.shape[1] - side))
        side = min(side, self.seen.shape[1])
        mask = _masks(label, radius, turn, centre - corner, side)
        window = windows(rows, corner, side)
        covered = np.where(mask, slots[:, None, None] + 1, self.seen[window])
        fits = self._differs(rows, slots, colour) & self._leaves(rows, slots, self.seen[window], covered)
        self.seen[tuple(index[fits] for index in window)] = covered[fits]
        where = rows[fits], slots[fits]
        self.areas[where], self.draft.labels[where] = mask.sum((1, 2))[fits], label[fits]
        self.colours[rows[fits], slots[fits] + 1] = colour[fits]
        return fits

    def _draw(self, rows: Int64[np.ndarray, " m"], rng: np.random.Generator):
        """Draw the form, radius, rotation, centre `y, x` and colour of one object per scene."""
        label = rng.integers(len(FORMS), size=self.length)[rows]
        radius = rng.uniform(*self.radii, self.length)[rows]
        turn = rng.uniform(0, 2 * np.pi, self.length)[rows]
        room = self.seen.shape[1] - 2 * radius[:, None]
        centre = radius[:, None] + rng.random((self.length, 2))[rows] * room
        return label, radius, turn, centre, rng.integers(256, size=(self.length, 3), dtype=np.uint8)[rows]

    def _differs(self, rows, slots, colour: UInt8[np.ndarray, "m 3"]) -> Bool[np.ndarray, " m"]:
        """Return whether colours differ from the background's and from those of all objects so far."""
        difference = np.abs(self.colours[rows].astype(int) - colour[:, None]).max(2)
        return np.all((difference >= CONTRAST) | (np.arange(difference.shape[1]) > slots[:, None]), axis=1)

    def _leaves(self, rows, slots, before, after) -> Bool[np.ndarray, " m"]:
        """Return whether enough of every earlier object stays visible."""
        good = np.ones(len(rows), bool)
        for slot in range(int(slots.max(initial=0))):
            lost = ((before == slot + 1) & (after != slot + 1)).sum((1, 2))
            left = (self.seen[rows] == slot + 1).sum((1, 2)) - lost
            good &= (left >= LEAST_SEEN * self.areas[rows, slot]) | (slot >= slots)
        return good


def _masks(
    label: Int64[np.ndarray, " m"],
    radius: Float64[np.ndarray, " m"],
    turn: Float64[np.ndarray, " m"],
    centre: Float64[np.ndarray, "m 2"],
    side: int,
) -> Bool[np.ndarray, "m w w"]:
    """Mark the pixels of a window whose centre lies within an object. `centre` is in pixels of the window."""
    y, x = (((np.arange(side) + 0.5 - centre[:, axis, None]) / radius[:, None]).astype(np.float32) for axis in (0, 1))
    cos, sin = (wave(turn).astype(np.float32)[:, None, None] for wave in (np.cos, np.sin))
    u, v = cos * x[:, None] + sin * y[..., None], cos * y[..., None] - sin * x[:, None]
    masks = np.zeros(u.shape, bool)
    for form, inside in enumerate((_square, _ellipse, _heart)):
        masks[label == form] = inside(u[label == form], v[label == form])
    return masks


def _square(u: Float32[np.ndarray, "m w w"], v: Float32[np.ndarray, "m w w"]) -> Bool[np.ndarray, "m w w"]:
    return np.maximum(np.abs(u), np.abs(v)) <= math.sqrt(0.5)


def _ellipse(u: Float32[np.ndarray, "m w w"], v: Float32[np.ndarray, "m w w"]) -> Bool[np.ndarray, "m w w"]:
    return u**2 + (v / _FLATNESS) ** 2 <= 1


def _heart(u: Float32[np.ndarray, "m w w"], v: Float32[np.ndarray, "m w w"]) -> Bool[np.ndarray, "m w w"]:
    u, v = _HEART * u, -_HEART * v  # rows count downwards
    return (u**2 + v**2 - 1) ** 3 <= u**2 * v**3
