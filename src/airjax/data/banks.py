"""Banks of labelled digits, to compose scenes from."""

from dataclasses import dataclass
from typing import Literal, no_type_check

import numpy as np
from jaxtyping import Bool, Float64, Int32, Shaped, UInt8
from PIL import Image

TILE = 28
"""Side of a digit's tile, in pixels, as in MNIST."""

_ENLARGEMENT = 20 / 8
_MARGIN = 2
_CONTRAST = (96, 216)
_HELD_OUT_EVERY = 5


@no_type_check  # __post_init__ checks, with the same errors whether or not annotations are enforced
@dataclass(frozen=True, eq=False)
class DigitBank:
    """Labelled pictures of single digits, white on black, each in a tile of 28 by 28 pixels.

    Attributes:
        images: Pixels from 0 to 255.
        labels: Class of each digit, from 0 to 9 if the bank holds decimal digits.

    Raises:
        ValueError: If an array has the wrong shape or dtype, or the bank is empty.
    """

    images: UInt8[np.ndarray, "n 28 28"]
    labels: Int32[np.ndarray, " n"]

    def __post_init__(self):
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        if images.dtype != np.uint8 or images.shape[1:] != (TILE, TILE) or not images.size:
            raise ValueError(
                f"images must be uint8 of shape [n, {TILE}, {TILE}] with n at least 1, "
                f"got {images.dtype} of shape {list(images.shape)}"
            )
        if labels.dtype != np.int32 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"labels must be int32 of shape [{len(images)}], got {labels.dtype} of shape {list(labels.shape)}"
            )

    def __len__(self) -> int:
        """Count the digits."""
        return len(self.images)


def embedded_digits(split: Literal["train", "held-out"]) -> DigitBank:
    """Load scikit-learn's small digits, enlarged to look like MNIST. This needs no download.

    The 1,797 pictures of 8 by 8 pixels (the test part of the UCI "optical recognition of handwritten digits"
    set) are enlarged to 20 by 20 with a bicubic filter. Their contrast is raised until strokes are white and
    the paper is black, and they are centred in a 28-pixel tile. In each class, every fifth picture is held out.
    The same writers occur in both splits.

    Args:
        split: "train" for about four fifths of the pictures, "held-out" for the rest.

    Returns:
        The digits, in scikit-learn's order.

    Raises:
        ValueError: If `split` is neither.
    """
    if split not in ("train", "held-out"):
        raise ValueError(f"split must be 'train' or 'held-out', got {split!r}")
    from sklearn.datasets import load_digits  # imported here because it takes a second

    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    chosen = every_fifth(labels) == (split == "held-out")
    tiles = np.stack([_enlarge(glyph) for glyph in pixels[chosen].reshape(-1, 8, 8)])
    return DigitBank(tiles, labels[chosen].astype(np.int32))


def every_fifth(labels: Shaped[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Mark every fifth item of each class as held out."""
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        held_out[np.flatnonzero(labels == label)[_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY]] = True
    return held_out


def _enlarge(glyph: Float64[np.ndarray, "8 8"]) -> UInt8[np.ndarray, "28 28"]:
    """Enlarge an 8 by 8 glyph with values from 0 to 16 to a tile with values from 0 to 255."""
    padded = Image.fromarray(np.pad(glyph * (255 / 16), _MARGIN).astype(np.float32))
    reach = TILE / _ENLARGEMENT / 2
    low, high = (padded.width / 2 - reach, padded.width / 2 + reach)
    tile = np.asarray(padded.resize((TILE, TILE), Image.Resampling.BICUBIC, box=(low, low, high, high)))
    paper, ink = _CONTRAST
    return np.rint(255 * np.clip((tile - paper) / (ink - paper), 0, 1)).astype(np.uint8)
