"""Shared code of the scene generators: argument checks, random streams, and placement of objects."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, UInt8

from airjax.data.scenes import Scenes

MAX_REDRAWS = 1000
"""Number of misfits in a scene after which the generator gives up."""

WHOLE_SCENE = 3
"""Scenes of at most this many objects are redrawn as a whole, larger ones object by object."""

PATIENCE = 30
"""Number of misfits in a row after which a scene of many objects is restarted."""

MOST_SEGMENTED = 255
"""Largest number of objects that a segmentation, in bytes, can tell apart."""

_BLOCK_SCENES = 2048
_BLOCK_PIXELS = 2**24


Attempt = Callable[
    [Int64[np.ndarray, " m"], Int32[np.ndarray, " m"], np.random.Generator],
    Bool[np.ndarray, " m"],
]
"""Draw one object for each of the given rows, add it at the given slot if it fits, and return whether it did.

The object of a row must depend on the generator and the row alone, not on which other rows are given.
"""


@dataclass(frozen=True)
class Draft:
    """Scenes under construction. Counts are known, and objects are added one by one.

    `segmentation` is None unless it is wanted.
    """

    images: UInt8[np.ndarray, "n ..."]
    counts: Int32[np.ndarray, " n"]
    boxes: Float32[np.ndarray, "n k 4"]
    labels: Int32[np.ndarray, "n k"]
    segmentation: UInt8[np.ndarray, "n h w"] | None = None

    def part(self, scenes: slice) -> "Draft":
        """Return a view of some scenes. Objects added to the view are added here too."""
        seen = None if self.segmentation is None else self.segmentation[scenes]
        return Draft(self.images[scenes], self.counts[scenes], self.boxes[scenes], self.labels[scenes], seen)

    def clear(self, rows: Int64[np.ndarray, " m"]) -> None:
        """Remove all objects from these scenes."""
        self.images[rows], self.boxes[rows], self.labels[rows] = 0, np.nan, -1
        if self.segmentation is not None:
            self.segmentation[rows] = 0

    def finish(self) -> Scenes:
        """Check and return the scenes."""
        return Scenes(self.images, self.counts, self.boxes, self.labels, segmentation=self.segmentation)


@dataclass(frozen=True)
class Block:
    """Scenes that are drawn together. `length` depends on the canvas only, not on the total number of scenes."""

    seed: int
    index: int
    length: int
    scenes: slice

    def rng(self, turn: int) -> np.random.Generator:
        """Create the random stream of one turn."""
        return stream(self.seed, 1 + self.index, turn)


def stream(seed: int, *key: int) -> np.random.Generator:
    """Create the random stream of a seed and a key."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def blocks(seed: int, size: int, canvas: int) -> Iterator[Block]:
    """Split `size` scenes into blocks, to limit memory."""
    length = max(1, min(_BLOCK_SCENES, _BLOCK_PIXELS // canvas**2))
    for index, start in enumerate(range(0, size, length)):
        yield Block(seed, index, length, slice(start, min(start + length, size)))


def blank(seed: int, size: int, counts: Sequence[int], shape: tuple[int, ...], segmentation: bool) -> Draft:
    """Draw the counts uniformly and allocate arrays for the objects, and for the segmentation if it is wanted."""
    if segmentation and max(counts) > MOST_SEGMENTED:
        raise ValueError(f"counts must be at most {MOST_SEGMENTED} for a segmentation, got {max(counts)}")
    drawn = np.asarray(counts, np.int32)[stream(seed, 0).integers(len(counts), size=size)]
    boxes = np.full((size, max(counts), 4), np.nan, np.float32)
    labels = np.full((size, max(counts)), -1, np.int32)
    seen = np.zeros((size, *shape[:2]), np.uint8) if segmentation else None
    return Draft(np.zeros((size, *shape), np.uint8), drawn, boxes, labels, seen)


def place(attempt: Attempt, draft: Draft, block: Block) -> None:
    """Add objects, one per scene and turn, until each scene of the block has its count.

    If an object doesn't fit, a scene of at most `WHOLE_SCENE` objects restarts empty. Further objects never make a
    misfit fit, so this is equivalent to rejection sampling of whole scenes. A scene of more objects redraws only the
    misfit. It restarts after `PATIENCE` misfits in a row, since it may already be full.

    Args:
        attempt: Draws an object for each of the given scenes of the draft.
        draft: The scenes of the block, without objects.
        block: Provides the random streams.

    Raises:
        ValueError: If a scene has more than `MAX_REDRAWS` misfits.
    """
    counts = draft.counts
    placed, streak, misfits = (np.zeros_like(counts) for _ in range(3))
    turn = 0
    while (rows := np.flatnonzero(placed < counts)).size:
        fits = attempt(rows, placed[rows], block.rng(turn))
        good, bad = rows[fits], rows[~fits]
        placed[good] += 1
        streak[good] = 0
        streak[bad] += 1
        misfits[bad] += 1
        _give_up_if(misfits > MAX_REDRAWS, counts)
        anew = bad[(counts[bad] <= WHOLE_SCENE) | (streak[bad] >= PATIENCE)]
        placed[anew] = streak[anew] = 0
        draft.clear(anew)
        turn += 1


def tight_boxes(ink: Bool[np.ndarray, "m h w"]) -> Float32[np.ndarray, "m 4"]:
    """Find the tight box `x0, y0, x1, y1` around each mask, far edges exclusive. No mask may be empty."""
    rows, columns = np.any(ink, axis=2), np.any(ink, axis=1)
    first = (columns.argmax(1), rows.argmax(1))
    last = (ink.shape[2] - columns[:, ::-1].argmax(1), ink.shape[1] - rows[:, ::-1].argmax(1))
    return np.stack([*first, *last], 1).astype(np.float32)


def boxes_around(
    segmentation: UInt8[np.ndarray, "n h w"], counts: Int32[np.ndarray, " n"], slots: int
) -> Float32[np.ndarray, "n {slots} 4"]:
    """Find the tight box around the pixels of each object; each must have one. Boxes beyond the count are NaN."""
    boxes = np.full((len(counts), slots, 4), np.nan, np.float32)
    for slot in range(slots):
        if (rows := np.flatnonzero(counts > slot)).size:
            boxes[rows, slot] = tight_boxes(segmentation[rows] == slot + 1)
    return boxes


def windows(
    rows: Int64[np.ndarray, " m"], corner: Int64[np.ndarray, "m 2"], side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return indices of a square window in each of these scenes, given its upper left corner `y, x`."""
    y, x = (corner[:, axis, None] + np.arange(side) for axis in (0, 1))
    return rows[:, None, None], y[:, :, None], x[:, None, :]


def check_whole(name: str, value: Any, low: int, high: int | None = None) -> None:
    """Raise ValueError unless `value` is a whole number from `low` to `high`."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not low <= int(value) <= (int(value) if high is None else high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be a whole number {allowed}, got {value!r}")


def check_common(size: int, seed: int, counts: Sequence[int], canvas: int) -> None:
    """Raise ValueError unless the arguments common to all generators are valid."""
    check_whole("size", size, 0)
    check_whole("seed", seed, 0)
    check_whole("canvas", canvas, 1)
    if not isinstance(counts, Sequence) or isinstance(counts, str) or not counts:
        raise ValueError(f"counts must be a sequence of at least one whole number, got {counts!r}")
    for count in counts:
        check_whole("each of counts", count, 0)
    if len(set(counts)) != len(counts):
        raise ValueError(f"counts must not repeat a number, got {counts!r}")


def _give_up_if(hopeless: Bool[np.ndarray, " b"], counts: Int32[np.ndarray, " b"]) -> None:
    if hopeless.any():
        count = counts[hopeless].min()
        raise ValueError(
            f"counts must be placeable on the canvas, got {count} objects that still did not fit after "
            f"{MAX_REDRAWS} redraws: use a larger canvas, smaller objects, or fewer of them"
        )
