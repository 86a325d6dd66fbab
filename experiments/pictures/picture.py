"""A picture and what is in it."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np


class Picture(NamedTuple):
    """A picture and what is in it.

    Attributes:
        pixels: the picture.
        boxes: corners x0, y0, x1, y1 of the things in it, in pixels.
        parts: those of things that the border hides more than half of.
        jpeg: quality of the file if it is to be JPEG.
    """

    pixels: np.ndarray
    boxes: list[list[float]]
    parts: list[list[float]]
    jpeg: int | None = None


Make = Callable[[np.random.Generator], Iterator[Picture]]


def box_of(mask: np.ndarray) -> list[float]:
    """Return the box of the pixels of a mask."""
    y, x = np.nonzero(mask)
    return [float(edge) for edge in (x.min(), y.min(), x.max() + 1, y.max() + 1)]
