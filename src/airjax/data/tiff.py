"""Read the pictures of TIFF files: pages, and the times and depths of ImageJ and OME stacks.

A picture is all samples and channels of one place in a stack. What the values mean (`_meaning`) comes from the page's
own tags: photometric interpretation, number of bits, colour map, kind of extra samples, orientation.
"""

import io
import logging
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from airjax.data.images import MAX_PICTURES, Raw
from airjax.data.rasters import ORIENTATION, turned

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF."""
_IN_A_PICTURE = "YXSC"
"""Axes that belong to one picture: height, width, samples, channels. Every index of the others is another picture."""
_REDUCED, _MASK = 1, 4
_PHOTOMETRIC = 262
_WHITE, _BLACK, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_JPEG = (7, 33007, 34892)
"""Compressions that decode YCbCr to RGB."""
_ASSOCIATED, _UNASSOCIATED = 1, 2


class _Complaints(logging.Filter):
    """Keeps the errors that tifffile logs, rather than raises, while a thread reads a file."""

    def __init__(self):
        super().__init__()
        self.local = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        lines = getattr(self.local, "lines", None)
        if lines is not None and record.levelno >= logging.ERROR:
            lines.append(record.getMessage())
        return lines is None


_complaints = _Complaints()
logging.getLogger("tifffile").addFilter(_complaints)


@contextmanager
def _guarded(name: str) -> Iterator[None]:
    """Turn all that is wrong with a file into ValueError, with one sentence."""
    _complaints.local.lines = []
    try:
        yield
        if _complaints.local.lines:
            raise ValueError(_complaints.local.lines[0])
    except _UnknownKindError as error:
        raise ValueError(f"{name} {error}") from None
    except Exception as error:  # its errors and those of codecs have no common base class
        reason = re.sub(r"<[^<>]*> ?", "", str(error)).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(f"{name} is not a picture that can be read: {reason}") from None
    finally:
        _complaints.local.lines = None


class _UnknownKindError(Exception):
    """A file is sound, but its pictures are of a kind that is not read."""


class _Place(NamedTuple):
    """Place of a picture: the series, and the index along each axis that is not part of a picture."""

    series: Any
    indices: dict[int, int]


class TiffPictures:
    """The pictures of an open TIFF file."""

    def __init__(self, source: Path | io.BytesIO, name: str, max_pixels: int):
        """Open a file and find its pictures.

        Raises:
            ValueError: it is damaged or holds no picture.
        """
        import tifffile

        self._max_pixels = max_pixels
        with _guarded(name):
            # Otherwise planes in other files of an OME data set would be counted again for each of them.
            self._file = tifffile.TiffFile(source, _multifile=False)
        try:
            with _guarded(name):
                self._places = _places(self._file)
        except ValueError:
            self.close()
            raise
        sides = [dict(zip(place.series.axes, place.series.shape)) for place in self._places[:1]]
        self.pixels = sum(side["Y"] * side["X"] for side in sides)

    def __len__(self) -> int:
        return len(self._places)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, index: int, name: str) -> Raw:
        """Read one picture.

        Raises:
            ValueError: it is damaged, too large or of a kind that is not read.
        """
        with _guarded(name):
            place = self._places[index]
            sides = dict(zip(place.series.axes, place.series.shape))
            if sides["Y"] * sides["X"] > self._max_pixels:
                raise _UnknownKindError(f"has {sides['X']} x {sides['Y']} pixels, too many to read: cut it up first")
            page, values = _values(place)
            tag = page.tags.get(ORIENTATION)
            return turned(_meaning(page, values), 1 if tag is None else int(tag.value))


def _places(file: Any) -> list[_Place]:
    """Find all pictures of a file: those of stacks in their order, and separate pages in that of the file."""
    if file.is_ome and len(file.pages) > 1 and file.series[0].kind != "ome":
        raise _UnknownKindError("is part of an OME data set in several files, which is not read")
    places = []
    for series in file.series:
        if not {"Y", "X"} <= set(series.axes):
            raise _UnknownKindError(f"has axes {series.axes}, without height and width")
        if not int(series.keyframe.subfiletype) & (_REDUCED | _MASK):
            outer = [axis for axis, kind in enumerate(series.axes) if kind not in _IN_A_PICTURE]
            lengths = [series.shape[axis] for axis in outer]
            if math.prod(lengths) > MAX_PICTURES:
                raise _UnknownKindError(f"claims to hold {math.prod(lengths)} pictures, too many to read")
            indices = np.ndindex(*lengths)
            places += [_Place(series, dict(zip(outer, where))) for where in indices]
    if not places:
        raise _UnknownKindError("holds no picture")
    if all(place.series.kind == "generic" for place in places):  # grouped by their size
        places.sort(key=lambda place: place.series.pages[int(_blocks(place)[0])].index)
    return places


def _leading(series: Any) -> int:
    """Return how many of a series' axes count its pages, or blocks of that size; the others lie within a page."""
    blocks = series.size // series.keyframe.size
    for leading in range(len(series.shape) + 1):
        if math.prod(series.shape[:leading]) == blocks and {"Y", "X"} <= set(series.axes[leading:]):
            return leading
    raise _UnknownKindError(f"has axes {series.axes} that don't fit its pages")


def _blocks(place: _Place) -> Shaped[np.ndarray, " channels"]:
    """Return which pages a picture lies in: one, or one for each channel."""
    series, leading = place.series, _leading(place.series)
    shape = series.shape[:leading]
    numbers = np.arange(math.prod(shape)).reshape(shape)
    return np.ravel(numbers[tuple(place.indices.get(axis, slice(None)) for axis in range(leading))])


def _values(place: _Place) -> tuple[Any, Shaped[np.ndarray, "h w c"]]:
    """Read a picture's values, and the page that describes them."""
    series, leading = place.series, _leading(place.series)
    within = range(leading, len(series.shape))
    pages, parts = [], []
    for block in _blocks(place):
        page, values = _read_block(series, int(block))
        values = values.reshape(series.shape[leading:])
        parts.append(values[tuple(place.indices.get(axis, slice(None)) for axis in within)])
        pages.append(page)
    kinds = "C" + "".join(series.axes[axis] for axis in within if axis not in place.indices)
    whole, order = np.stack(parts), [kinds.index("Y"), kinds.index("X")]
    order += [axis for axis in range(len(kinds)) if axis not in order]
    whole = whole.transpose(order)
    if sum(size > 1 for size in whole.shape[2:]) > 1:
        raise _UnknownKindError("has several channels of several samples each, which is not read")
    return pages[0], whole.reshape(*whole.shape[:2], -1)


def _read_block(series: Any, block: int) -> tuple[Any, np.ndarray]:
    """Read a page, or what would be one where a single page describes a whole stack."""
    key = series.keyframe
    if len(series.pages) * key.size == series.size:
        if (page := series.pages[block]) is None:
            raise _UnknownKindError("lacks the values of this picture")
        page = page.aspage()
        return page, page.asarray(maxworkers=1)
    if series.dataoffset is None:
        raise _UnknownKindError(f"has axes {series.axes} that don't fit its pages")
    kind = np.dtype(key.dtype).newbyteorder(key.parent.byteorder)
    offset = series.dataoffset + block * key.size * kind.itemsize
    return key, key.parent.filehandle.read_array(kind, key.size, offset)


def _meaning(page: Any, values: Shaped[np.ndarray, "h w c"]) -> Raw:
    """Convert stored values so that 0 is black, colours are red, green and blue, and opacity is apart."""
    photometric, kind, bits = _photometric(page), values.dtype.kind, page.bitspersample
    if photometric == _PALETTE:
        return _with_palette(page, values)
    values, alpha = _without_alpha(page, values)
    most = 2**bits - 1 if kind in "bu" else None
    if photometric == _WHITE:
        values = ~values if most is None or kind == "b" else most - values
    if most is not None and bits <= 8:
        return Raw(values if bits == 8 else np.rint(values * (255 / most)).astype(np.uint8), 255.0, alpha)
    native = values.astype(values.dtype.newbyteorder("="))
    return Raw(native, float(most) if most is not None and bits <= 16 else None, alpha)


def _without_alpha(page: Any, values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Split values from their opacity, from 0 to 1, if one of the extra samples is that."""
    extra = list(page.extrasamples) if values.shape[2] == page.samplesperpixel else []
    for place, kind in enumerate(extra, values.shape[2] - len(extra)):
        if kind in (_ASSOCIATED, _UNASSOCIATED):
            top = {"f": 1, "b": 1, "i": 2 ** (page.bitspersample - 1) - 1}
            alpha = values[..., place].astype(np.float32) / top.get(values.dtype.kind, 2**page.bitspersample - 1)
            alpha, values = np.clip(alpha, 0, 1), np.delete(values, place, axis=2)
            return (_divided(values, alpha) if kind == _ASSOCIATED else values), alpha
    return values, None


def _photometric(page: Any) -> int:
    """Return a page's photometric interpretation; raise _UnknownKindError unless it is one that is read."""
    found, kind = page.photometric, np.dtype(page.dtype).kind
    if _PHOTOMETRIC not in page.tags:
        raise _UnknownKindError("doesn't say whether 0 is black or white")
    decoded = found == _YCBCR and page.compression in _JPEG
    if found not in (_WHITE, _BLACK, _RGB, _PALETTE) and not decoded:
        raise _UnknownKindError(f"has colours of kind {getattr(found, 'name', found)}, not grey, RGB or a palette")
    if kind not in "buif" or not isinstance(page.bitspersample, int) or (found == _WHITE and kind == "f"):
        raise _UnknownKindError(f"has values of a kind that is not read ({page.dtype}, {page.bitspersample} bits)")
    return int(found)


def _with_palette(page: Any, values: Shaped[np.ndarray, "h w c"]) -> Raw:
    """Look up colours. A map has 16 bits; some programs write 8."""
    if page.colormap is None or values.shape[2] > 1:
        raise _UnknownKindError("has a palette of a kind that is not read")
    colours = page.colormap >> 8 if page.colormap.max() > 255 else page.colormap
    return Raw(np.moveaxis(colours[:, values[..., 0].astype(int)], 0, -1).astype(np.uint8), 255.0)


def _divided(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Undo that colours were multiplied by opacity."""
    divided = values / np.where(alpha > 0, alpha, 1)[..., None]
    if values.dtype.kind == "f":
        return divided.astype(values.dtype)
    return np.clip(np.rint(divided), 0, np.iinfo(values.dtype).max).astype(values.dtype)
