"""Sprites: scenes of a few non-overlapping circles, squares and diamonds (as in SuPAIR, Stelzner 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from airjax.config import BackgroundKind, ChannelsKind
from airjax.data._placing import Draft, blank, blocks, check_common, check_whole, place, windows
from airjax.data.backgrounds import add_background
from airjax.data.images import shape_of
from airjax.data.scenes import Scenes

SHAPES = ("circle", "square", "diamond")
"""Shapes of the labels 0, 1 and 2."""

_DARKEST = 0.5


def sprites(
    size: int,
    *,
    seed: int,
    counts: Sequence[int] = (0, 1, 2),
    canvas: int = 50,
    min_side: int = 12,
    max_side: int = 16,
    channels: ChannelsKind = 1,
    background: BackgroundKind = "none",
    segmentation: bool = False,
) -> Scenes:
    """Compose scenes of `n` circles, squares and diamonds, by default on black, with `n` uniform over `counts`.

    Shape, side and position are uniform whole numbers. Sprites lie entirely on the canvas and have hard edges. A
    grey sprite has the intensity `255 * u` with `u` uniform in [0.5, 1]. In a coloured one, the strongest channel has
    this intensity and the others a random share of it. No two bounding boxes intersect, though they may touch: a
    scene is redrawn (never its count) until this holds. With more than three sprites, only the one that didn't fit
    is redrawn, and the scene restarts after 30 misfits in a row.

    The same arguments give the same scenes, and the scenes of a smaller `size` are the first of a larger one.

    Args:
        size: Number of scenes.
        seed: Seed of the generator, at least 0.
        counts: Possible numbers of sprites, all different.
        canvas: Side of the square scene, in pixels.
        min_side: Smallest side of a sprite's box, in pixels.
        max_side: Largest side of a sprite's box, in pixels.
        channels: 1 for grey images `[n, h, w]`, 3 for colour `[n, h, w, 3]`.
        background: See `airjax.data.add_background`; grid and texture are darker than any sprite and lie behind.
        segmentation: Whether to tell also which sprite each pixel shows. It changes nothing else.

    Returns:
        The scenes, with counts, tight boxes and labels (see `SHAPES`).

    Raises:
        ValueError: If an argument is out of range, or a scene can't be placed after 1,000 redraws.
    """
    check_common(size, seed, counts, canvas)
    check_whole("max_side", max_side, 1, canvas)
    check_whole("min_side", min_side, 1, max_side)
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels!r}")
    draft = blank(seed, size, counts, shape_of(channels, canvas, canvas), segmentation)
    for block in blocks(seed, size, canvas):
        part = draft.part(block.scenes)
        place(_Sprites(part, block.length, min_side, max_side).attempt, part, block)
    add_background(draft.images, background, seed=seed)
    return draft.finish()


@dataclass(frozen=True)
class _Sprites:
    """Adds sprites to a draft. `length` is the number of scenes that share a random stream."""

    draft: Draft
    length: int
    min_side: int
    max_side: int

    def attempt(
        self, rows: Int64[np.ndarray, " m"], slots: Int32[np.ndarray, " m"], rng: np.random.Generator
    ) -> Bool[np.ndarray, " m"]:
        """Add a sprite to each of these scenes if it fits, and return whether it did."""
        label, side, origin, colour = self._draw(rows, rng)
        boxes = np.concatenate([origin, origin + side[:, None]], 1)[:, [1, 0, 3, 2]].astype(np.float32)
        fits = np.logical_not(_intersect(boxes, self.draft.boxes[rows]).any(axis=1))
        corner = np.minimum(origin, self.draft.images.shape[1] - self.max_side)[fits]
        mask = _masks(label[fits], side[fits], origin[fits] - corner, self.max_side)
        window = windows(rows[fits], corner, self.max_side)
        scene, y, x = (index[mask] for index in np.broadcast_arrays(*window))
        self.draft.images[scene, y, x] = np.repeat(colour[fits], mask.sum((1, 2)), axis=0)
        if self.draft.segmentation is not None:
            self.draft.segmentation[scene, y, x] = np.repeat(slots[fits] + 1, mask.sum((1, 2)))
        self.draft.boxes[rows[fits], slots[fits]] = boxes[fits]
        self.draft.labels[rows[fits], slots[fits]] = label[fits]
        return fits

    def _draw(self, rows: Int64[np.ndarray, " m"], rng: np.random.Generator):
        """Draw the shape, side, upper left corner `y, x` and colour of one sprite per scene."""
        label = rng.integers(len(SHAPES), size=self.length)[rows]
        side = rng.integers(self.min_side, self.max_side + 1, size=self.length)[rows]
        room = self.draft.images.shape[1] - side + 1
        origin = np.floor(rng.random((self.length, 2))[rows] * room[:, None]).astype(np.int64)
        intensity = rng.uniform(_DARKEST, 1, self.length)[rows]
        share = rng.random((self.length, *self.draft.images.shape[3:]))[rows]
        share /= share.max(-1, keepdims=True) if share.ndim == 2 else share
        colour = share * (intensity[:, None] if share.ndim == 2 else intensity)
        return label, side, origin, np.rint(255 * colour).astype(np.uint8)


def _intersect(new: Float32[np.ndarray, "m 4"], old: Float32[np.ndarray, "m k 4"]) -> Bool[np.ndarray, "m k"]:
    """Return which pairs of boxes intersect. Boxes of NaN intersect no other."""
    return np.all((new[:, None, :2] < old[..., 2:]) & (old[..., :2] < new[:, None, 2:]), axis=-1)


def _masks(
    label: Int64[np.ndarray, " m"],
    side: Int64[np.ndarray, " m"],
    offset: Int64[np.ndarray, "m 2"],
    window: int,
) -> Bool[np.ndarray, "m w w"]:
    """Mark the pixels of a window whose centre lies within a sprite at `offset`."""
    centre = offset + (side[:, None] - 1) / 2
    dy, dx = (np.abs(np.arange(window) - centre[:, axis, None]) for axis in (0, 1))
    dy, dx, radius = dy[:, :, None], dx[:, None, :], side[:, None, None] / 2
    shapes = [dy**2 + dx**2 <= radius**2, np.maximum(dy, dx) <= radius, dy + dx <= radius]
    return np.stack(shapes)[label, np.arange(len(label))]
