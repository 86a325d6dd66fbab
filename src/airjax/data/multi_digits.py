"""Multi-MNIST: scenes of a few scattered digits (Eslami et al. 2016, section 3.1), from any bank."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8, UInt16

from airjax.config import BackgroundKind
from airjax.data._placing import Draft, blank, blocks, check_common, check_whole, place, tight_boxes, windows
from airjax.data.backgrounds import add_background
from airjax.data.banks import TILE, DigitBank
from airjax.data.scenes import Scenes

INK_THRESHOLD = 25
"""Pixels above this value (of 255) count as ink in boxes. Resampling leaves fainter fringes, which don't."""


def multi_digits(
    bank: DigitBank,
    size: int,
    *,
    seed: int,
    counts: Sequence[int] = (0, 1, 2),
    canvas: int = 50,
    scale_mean: float = 1.3,
    scale_sd: float = 0.1,
    digit_side: tuple[float, float] | None = None,
    max_ink: int | None = 255,
    background: BackgroundKind = "none",
    segmentation: bool = False,
) -> Scenes:
    """Compose scenes of `n` digits, with `n` uniform over `counts`.

    Each digit is drawn uniformly from the bank. Its 28-pixel tile is scaled by `1 / (scale_mean + scale_sd *
    normal)`, or to a side uniform in `digit_side`, and placed at a uniform sub-pixel position, entirely on the
    canvas. A pixel is the average of the bilinearly interpolated tile over the pixel's area. Digits are summed. A
    scene with a pixel above `max_ink` is redrawn (digits, scales and positions, never the count). With more than
    three digits that would take too long: only the digit that didn't fit is redrawn, and the scene restarts after
    30 misfits in a row. Digits larger than the canvas and digits without visible ink are misfits too.

    Boxes are tight around a digit's pixels above `INK_THRESHOLD`. The same arguments give the same scenes,
    and the scenes of a smaller `size` are the first of a larger one.

    Args:
        bank: Digits to draw from.
        size: Number of scenes.
        seed: Seed of the generator, at least 0.
        counts: Possible numbers of digits, all different.
        canvas: Side of the square scene, in pixels.
        scale_mean: Mean of the factor by which tiles shrink.
        scale_sd: Its standard deviation.
        digit_side: Smallest and largest side of a tile, in pixels. If given, it replaces `scale_mean` and `scale_sd`.
        max_ink: Largest sum of digits in a pixel, from 1 to 255; None allows any overlap and clips sums at 255.
        background: See `airjax.data.add_background`. It does not count towards `max_ink`.
        segmentation: Whether to tell also which digit each pixel above `INK_THRESHOLD` shows: where several do, the
            brightest. It changes nothing else.

    Returns:
        The scenes, with counts, and with boxes and labels in the order in which the digits were drawn.

    Raises:
        ValueError: If an argument is out of range, or a scene can't be placed after 1,000 redraws.
    """
    _check_bank(bank)
    check_common(size, seed, counts, canvas)
    _check_scale(scale_mean, scale_sd, digit_side, canvas)
    if max_ink is not None:
        check_whole("max_ink", max_ink, 1, 255)
    draft = blank(seed, size, counts, (canvas, canvas), segmentation)
    for block in blocks(seed, size, canvas):
        part = draft.part(block.scenes)
        brightest = np.zeros_like(part.images) if segmentation else None
        digits = _Digits(part, bank, block.length, scale_mean, scale_sd, digit_side, max_ink, brightest)
        place(digits.attempt, part, block)
    add_background(draft.images, background, seed=seed)
    return draft.finish()


@dataclass(frozen=True)
class _Digits:
    """Adds digits to a draft.

    `length` is the number of scenes that share a random stream. `brightest` holds the ink of the digit that each pixel
    shows, if the draft is to have a segmentation.
    """

    draft: Draft
    bank: DigitBank
    length: int
    scale_mean: float
    scale_sd: float
    digit_side: tuple[float, float] | None
    max_ink: int | None
    brightest: UInt8[np.ndarray, "n h w"] | None = None

    def attempt(
        self, rows: Int64[np.ndarray, " m"], slots: Int32[np.ndarray, " m"], rng: np.random.Generator
    ) -> Bool[np.ndarray, " m"]:
        """Add a digit to each of these scenes if it fits, and return whether it did."""
        which, scale, origin, usable = self._draw(rows, rng)
        patch, corner = _render(self.bank.images[which], scale, origin, self.draft.images.shape[1])
        window = windows(rows, corner, patch.shape[1])
        total = self.draft.images[window] + patch
        ink = patch > INK_THRESHOLD
        fits = usable & ink.any((1, 2))
        if self.max_ink is not None:
            fits &= total.max((1, 2)) <= self.max_ink
        self.draft.images[tuple(index[fits] for index in window)] = np.minimum(total[fits], 255)
        self.draft.boxes[rows[fits], slots[fits]] = tight_boxes(ink[fits]) + np.tile(corner[fits, ::-1], 2)
        self.draft.labels[rows[fits], slots[fits]] = self.bank.labels[which[fits]]
        self._segment(tuple(index[fits] for index in window), patch[fits], slots[fits])
        return fits

    def _segment(
        self, window: tuple[np.ndarray, ...], patch: UInt16[np.ndarray, "f w w"], slots: Int32[np.ndarray, " f"]
    ) -> None:
        """Give the pixels in which these digits are the brightest so far to them."""
        segmentation, brightest = self.draft.segmentation, self.brightest
        if segmentation is None or brightest is None:
            return
        before = np.where(segmentation[window] > 0, brightest[window], INK_THRESHOLD)  # a redrawn scene has none
        wins = patch > before
        segmentation[window] = np.where(wins, slots[:, None, None] + 1, segmentation[window])
        brightest[window] = np.where(wins, patch, brightest[window])

    def _draw(self, rows: Int64[np.ndarray, " m"], rng: np.random.Generator):
        """Draw the index of a digit, its scale, the upper left corner `y, x` of its tile, and whether the tile fits."""
        canvas = self.draft.images.shape[1]
        which = rng.integers(len(self.bank), size=self.length)[rows]
        scale, usable = (drawn[rows] for drawn in self._draw_scale(rng))
        origin = rng.random((self.length, 2))[rows] * (canvas - TILE * scale)[:, None]
        return which, scale, origin, usable

    def _draw_scale(self, rng: np.random.Generator) -> tuple[Float64[np.ndarray, " b"], Bool[np.ndarray, " b"]]:
        """Draw scales of tiles, and whether tiles fit the canvas. Those that don't are scaled to the canvas."""
        if self.digit_side is not None:
            return rng.uniform(*self.digit_side, self.length) / TILE, np.ones(self.length, bool)
        canvas = self.draft.images.shape[1]
        shrink = self.scale_mean + self.scale_sd * rng.standard_normal(self.length)
        usable = shrink * canvas >= TILE
        return 1 / np.where(usable, shrink, TILE / canvas), usable


def _render(
    tiles: UInt8[np.ndarray, "m 28 28"],
    scale: Float64[np.ndarray, " m"],
    origin: Float64[np.ndarray, "m 2"],
    canvas: int,
) -> tuple[UInt16[np.ndarray, "m w w"], Int64[np.ndarray, "m 2"]]:
    """Scale tiles and place them at their origins; return windows around them and the corners of the windows."""
    side = min(canvas, math.ceil(TILE * scale.max()) + 3)
    corner = np.clip(np.floor(origin).astype(np.int64) - 1, 0, canvas - side)
    down, across = (_area_weights(scale, origin[:, a] - corner[:, a], side) for a in (0, 1))
    patch = down @ tiles.astype(np.float32) @ across.swapaxes(1, 2)
    return np.rint(patch).astype(np.uint16), corner


def _area_weights(
    scale: Float64[np.ndarray, " m"], origin: Float64[np.ndarray, " m"], side: int
) -> Float32[np.ndarray, "m w 28"]:
    """Return the weights of a tile's pixels `j` in each pixel `i` of a window, along one axis.

    Between pixel centres the tile is interpolated with hat functions. A pixel of the window averages it over the
    extent `[a, b]` of the pixel: weight `ij` is `(H(b_i - j) - H(a_i - j)) / (b_i - a_i)`, where `H` is the integral
    of the hat. The weights of a pixel inside the tile sum to one at every scale, so brightness is preserved without
    ripples.
    """
    edges = (np.arange(side + 1) - origin[:, None]) / scale[:, None] - 0.5
    t = np.clip(edges.astype(np.float32)[:, :, None] - np.arange(TILE, dtype=np.float32), -1, 1)
    integral = t - 0.5 * t * np.abs(t)
    return np.diff(integral, axis=1) * scale.astype(np.float32)[:, None, None]


def _check_bank(bank: object) -> None:
    if not isinstance(bank, DigitBank) or bank.images.max() <= INK_THRESHOLD:
        raise ValueError(
            f"bank must be a DigitBank with some pixels above {INK_THRESHOLD}, got {type(bank).__name__}"
            + (f" with none above {bank.images.max()}" if isinstance(bank, DigitBank) else "")
        )


def _check_scale(mean: float, sd: float, side: tuple[float, float] | None, canvas: int) -> None:
    if side is not None:
        low, high = side
        if not 1 <= low <= high <= canvas:
            raise ValueError(f"digit_side must be two numbers from 1 to {canvas}, the smaller first, got {side!r}")
        return
    if not isinstance(mean, Real) or not TILE <= mean * canvas <= TILE * canvas:
        raise ValueError(
            f"scale_mean must be from {TILE} / canvas = {TILE / canvas:.3g} to {TILE}, "
            f"for tiles to fit the canvas and to be seen, got {mean!r}"
        )
    if not isinstance(sd, Real) or not 0 <= sd < math.inf:
        raise ValueError(f"scale_sd must be finite and at least 0, got {sd!r}")
