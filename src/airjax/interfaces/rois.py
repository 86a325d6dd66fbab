"""Outlines of objects as ImageJ regions of interest, which ImageJ, Fiji and QuPath read."""

import io
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int32, UInt16
from scipy import ndimage

from airjax.files import write_atomically


def check_rois() -> None:
    """Raise ValueError unless regions of interest can be written."""
    try:
        import roifile  # noqa: F401
    except ModuleNotFoundError:
        raise ValueError("ImageJ regions need roifile: pip install 'airjax[rois]'") from None


def write_rois(labels: UInt16[np.ndarray, "h w"], path: Path) -> None:
    """Write a zip archive with the outline of each object of a label image, named by its number.

    Of an object in several parts, the largest is outlined; holes are filled. An object without a pixel is left out.
    """
    import roifile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in np.unique(labels[labels > 0]).tolist():
            region = roifile.ImagejRoi.frompoints(outline(labels == number), name=str(number))
            # A fixed time, so that the same objects make the same file.
            archive.writestr(zipfile.ZipInfo(f"{number:04d}.roi"), region.tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def outline(mask: Bool[np.ndarray, "h w"]) -> Int32[np.ndarray, "k 2"]:
    """Trace the edges of the pixels of the largest part of a mask that isn't empty, without its holes.

    Returns:
        The corners (x, y) of the outline, clockwise, in pixel edges: that of the first pixel alone is (0, 0), (1, 0),
        (1, 1), (0, 1).
    """
    parts = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, output=parts)
    largest = parts == np.argmax(np.bincount(parts[mask]))
    whole = np.asarray(ndimage.binary_fill_holes(np.pad(largest, 1)), bool)
    leads = defaultdict(list)
    for (dy, dx), corners in _SIDES.items():
        y, x = np.nonzero(whole & ~np.roll(whole, (-dy, -dx), (0, 1)))
        for row, column in zip((y - 1).tolist(), (x - 1).tolist()):
            (x0, y0), (x1, y1) = corners
            leads[column + x0, row + y0].append((column + x1, row + y1))
    at = start = min(leads, key=lambda corner: corner[::-1])
    points, heading = [], (1, 0)
    while True:
        # Where two pixels touch at a corner, turning right stays on the same one.
        following = min(leads[at], key=lambda corner: _turn(heading, corner[0] - at[0], corner[1] - at[1]))
        leads[at].remove(following)
        if (ahead := (following[0] - at[0], following[1] - at[1])) != heading or not points:
            points.append(at)
        at, heading = following, ahead
        if at == start:
            return np.array(points, np.int32)


_SIDES = {
    (-1, 0): ((0, 0), (1, 0)),
    (0, 1): ((1, 0), (1, 1)),
    (1, 0): ((1, 1), (0, 1)),
    (0, -1): ((0, 1), (0, 0)),
}
"""Where a neighbour (dy, dx) lies, and the side that a pixel shares with it: from one corner (x, y) to the next."""


def _turn(heading: tuple[int, int], x: int, y: int) -> int:
    """Tell right (-1), straight on (0) and left (1)."""
    return heading[1] * x - heading[0] * y
