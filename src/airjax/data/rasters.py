"""Read the pictures of files of common kinds: PNG, JPEG, WebP, GIF and BMP by Pillow, PGM and PPM by netpbmfile."""

import io
import logging
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from airjax.data.images import Raw, unreadable, warn_cut

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Formats that are accepted for pictures that don't come from a file."""
ORIENTATION = 274
"""Tag that says which way up a picture is, in EXIF and TIFF."""
_PILLOW = (*FORMATS, "PPM")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_logger = logging.getLogger(__name__)


@lru_cache(maxsize=10_000)
def _warn(name: str) -> None:
    """Warn about damaged EXIF data, once for each picture."""
    _logger.warning("%s has damaged EXIF data, so it is not turned as they say", name)


def start_of(source: Path | io.BytesIO) -> bytes:
    """Return the first bytes of a file or buffer, by which its kind is told."""
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:132]
    with source.open("rb") as file:
        return file.read(132)


def _has_end(gif: Path | io.BytesIO) -> bool:
    """Return whether a GIF file ends with its last byte, a semicolon, but for padding."""
    if isinstance(gif, io.BytesIO):
        content = gif.getvalue()[-64:]
    else:
        with gif.open("rb") as file:
            file.seek(max(0, gif.stat().st_size - 64))
            content = file.read()
    return content.rstrip(b"\0\r\n").endswith(b";")


class PillowPictures:
    """The pictures of a PNG, JPEG, WebP, GIF or BMP file; only PNG may have more than 8 bits."""

    def __init__(self, source: Path | io.BytesIO, name: str, max_pixels: int, formats: tuple[str, ...] | None = None):
        """Open a file; raise ValueError if it is none of these kinds."""
        self._source, self._formats, self._given = source, formats, False
        try:
            self._file = Image.open(source, formats=formats or _PILLOW)
            # The other pictures in a camera's JPEG are previews.
            self._several = 1 if self._file.format == "MPO" else getattr(self._file, "n_frames", 1)
        except Exception as error:  # its errors have no common base class
            raise self._damaged(name, error) from None
        if self._file.format == "GIF" and not _has_end(source):
            warn_cut(name, self._several)
        width, height = self._file.size
        self.pixels = width * height
        if self.pixels > max_pixels:
            self.close()
            raise ValueError(f"{name} has {width} x {height} pixels, too many to read: cut it up first")

    def __len__(self) -> int:
        return self._several

    def close(self) -> None:
        """Close the file, unless its only picture has been given away, which is closed already once it is read."""
        if not self._given:
            self._file.close()

    def read(self, index: int, name: str) -> Image.Image | Raw:
        """Read one picture, turned as its EXIF orientation says; raise ValueError if it is damaged."""
        try:
            if self._file.format == "PNG" and start_of(self._source)[24] == 16:
                return self._deep(name)
            self._file.seek(index)
            self._file.load()
            turn = _TURNS.get(self._orientation(name))
            if turn is not None:
                return self._file.transpose(turn)
            self._given = self._several == 1
            return self._file if self._given else self._file.copy()
        except Exception as error:  # its errors have no common base class
            raise self._damaged(name, error) from None

    def _orientation(self, name: str) -> int:
        """Return the EXIF orientation; 1, upright, with a warning, if the EXIF data are damaged."""
        try:
            found = self._file.getexif().get(ORIENTATION, 1)
        except Exception:  # its errors have no common base class
            _warn(name)
            return 1
        return found if found in _TURNS else 1

    def _deep(self, name: str) -> Raw:
        """Read a PNG of 16 bits, of which Pillow keeps 8 where there are colours or transparent parts."""
        import imagecodecs

        if self._several > 1:
            raise ValueError("moving pictures of 16 bits are not read")
        data = self._source.getvalue() if isinstance(self._source, io.BytesIO) else self._source.read_bytes()
        try:
            values = imagecodecs.png_decode(data)
        except RuntimeError as error:  # imagecodecs' own
            raise ValueError(str(error)) from None
        values = values if values.ndim == 3 else values[..., None]
        opaque = values.shape[2] in (1, 3)
        alpha = None if opaque else values[..., -1].astype(np.float32) / (2**16 - 1)
        return turned(Raw(values if opaque else values[..., :-1], 2.0**16 - 1, alpha), self._orientation(name))

    def _damaged(self, name: str, error: BaseException) -> ValueError:
        if self._formats:
            return ValueError(f"{name} is damaged, or none of {', '.join(self._formats)}")
        return unreadable(name, error)


class NetpbmPicture:
    """The picture of a PGM or PPM file, whose header says which value is white."""

    def __init__(self, source: Path | io.BytesIO, name: str, max_pixels: int):
        """Open a file; raise ValueError if it is damaged, too large, or holds several pictures."""
        import netpbmfile

        try:
            self._file = netpbmfile.NetpbmFile(source)
        except Exception as error:  # its errors have no common base class
            raise unreadable(name, error) from None
        width, height = self._file.width, self._file.height
        self.pixels, problem = width * height, None
        if self.pixels > max_pixels:
            problem = f"has {width} x {height} pixels, too many to read: cut it up first"
        elif self._file.frames > 1:
            problem = "holds more than one picture, which is not read"
        if problem:
            self.close()
            raise ValueError(f"{name} {problem}")

    def __len__(self) -> int:
        return 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, index: int, name: str) -> Raw:
        """Read the picture; raise ValueError if it is damaged."""
        del index  # there is one
        try:
            values, most = self._file.asarray(), int(self._file.maxval)
            if not 0 < most < 2**16:
                raise ValueError(f"its largest value is {most}")
        except Exception as error:  # its errors have no common base class
            raise unreadable(name, error) from None
        if most <= 255:
            return Raw(np.clip(np.rint(values * (255 / most)), 0, 255).astype(np.uint8), 255.0)
        return Raw(values.astype(np.uint16), float(most))


def turned(raw: Raw, orientation: int) -> Raw:
    """Turn a picture as its orientation, from 1 to 8 as in EXIF, says."""

    def turn(pixels):
        if orientation in (5, 6, 7, 8):
            pixels = np.swapaxes(pixels, 0, 1)
        pixels = pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
        return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels

    return raw._replace(values=turn(raw.values), alpha=None if raw.alpha is None else turn(raw.alpha))
