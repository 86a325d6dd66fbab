"""Read pictures safely from files of many kinds, each by the library that reads it right, or refuse them.

A file holds one picture or several: pages, frames, times, depths. Picture 3 of `file.tif` is named `file.tif#3`; a
picture that is alone in its file has the file's name.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from airjax.data import tiff
from airjax.data.images import Levels, Raw, pick, plain

MAX_PIXELS = 64_000_000
"""Most pixels of a picture. Larger ones are refused before they are decoded."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Formats that are accepted for pictures that don't come from a file."""
VIDEOS = frozenset((".avi", ".mkv", ".mov", ".mp4", ".webm"))
"""Suffixes of videos."""
SEVERAL = VIDEOS | {".apng", ".czi", ".dcm", ".gif", ".tif", ".tiff", ".webp"}
"""Suffixes of files that may hold several pictures."""
SUFFIXES = SEVERAL | {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm"}
"""Suffixes of pictures, in lower or upper case."""

_PILLOW = (*FORMATS, "PPM")
_DAMAGED = (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError, EOFError)
_NUMBERED = re.compile(r"(.+)#([1-9][0-9]{0,8})")


@runtime_checkable
class Opened(Protocol):
    """The pictures of an open file."""

    def __len__(self) -> int: ...

    def read(self, index: int, name: str) -> Image.Image | Raw:
        """Read one picture, counted from 0 and named in errors; raise ValueError if it can't be read."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def numbered(file: str, number: int) -> str:
    """Name one of several pictures of a file; `number` counts from 1."""
    return f"{file}#{number}"


def split(name: str) -> tuple[str, int | None]:
    """Return the file of a picture, and its number in that file, from 1; None if the name has none."""
    found = _NUMBERED.fullmatch(name)
    if found and Path(found[1]).suffix.lower() in SEVERAL:
        return found[1], int(found[2])
    return name, None


def open_picture(
    source: Path | io.BytesIO,
    name: str | None = None,
    *,
    levels: Levels | None = None,
    channels: tuple[int, ...] | None = None,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
) -> Image.Image:
    """Decode a picture to grey ("L") or colour ("RGB"), with 8 bits a channel.

    It is turned as its EXIF orientation says, and transparent parts become white.

    Args:
        source: Path of a file, which may end in the picture's number, or a buffer with the content of a file.
        name: Name of the picture in error messages; by default the path.
        levels: How values become black, white and grey; see `airjax.data.images.plain`.
        channels: Channels to pick; see `airjax.data.images.pick`.
        max_pixels: Most pixels that a picture may have.
        formats: Formats that are read, of `FORMATS`; by default every kind.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not a picture, is damaged, too large, of a kind that is not read, or one of several without a
            number; or its range is unknown, and no `levels` are given.
    """
    name = name or str(source)
    number = None
    if isinstance(source, Path):
        file, number = split(str(source))
        source = Path(file)
    with opening(source, name, max_pixels=max_pixels, formats=formats) as opened:
        return plain(decode(opened, name, number, channels), name, levels)


def decode(
    opened: Opened, name: str, number: int | None = None, channels: tuple[int, ...] | None = None
) -> Image.Image | Raw:
    """Read a picture of an open file as it is, turned as its EXIF orientation says; see `open_picture`.

    Args:
        opened: the file.
        name: name of the picture in error messages.
        number: number of the picture, from 1; None: the only one.
        channels: channels to pick; see `airjax.data.images.pick`.

    Raises:
        ValueError: there is no such picture, or it can't be read; or there are several, and `number` is None.
    """
    if number is None and len(opened) > 1:
        hint = "; name it .apng to read them all" if name.lower().endswith(".png") else ""
        raise ValueError(f"{name} holds {len(opened)} pictures, where one is expected{hint}")
    if number is not None and number > len(opened):
        raise ValueError(f"{name} is missing: the file holds {len(opened)} picture(s)")
    return pick(opened.read((number or 1) - 1, name), name, channels)


def count(path: Path) -> int:
    """Count the pictures of a file; 0 if it can't be read."""
    try:
        with opening(path, str(path)) as opened:
            return len(opened)
    except (ValueError, OSError):
        return 0


@contextmanager
def opening(
    source: Path | io.BytesIO, name: str, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = None
) -> Iterator[Opened]:
    """Open a file, and close it in the end; see `open_file`."""
    opened = open_file(source, name, max_pixels=max_pixels, formats=formats)
    try:
        yield opened
    finally:
        opened.close()


def open_file(
    source: Path | io.BytesIO, name: str, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = None
) -> Opened:
    """Open a file with the library for its content; videos are told by their suffix.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not a picture, or a package that reads it is missing.
    """
    if isinstance(source, Path) and not source.is_file():
        raise FileNotFoundError(f"{name} does not exist or is not a file")
    start, suffix = _start(source), source.suffix.lower() if isinstance(source, Path) else ""
    if formats is None:
        if start.startswith(tiff.MAGIC):
            return tiff.TiffPictures(source, name, max_pixels)
        if start[128:132] == b"DICM" or suffix == ".dcm":
            from airjax.data.dicom import DicomPictures

            return DicomPictures(source, name, max_pixels)
        if isinstance(source, Path) and (start.startswith(b"ZISRAWFILE") or suffix == ".czi"):
            from airjax.data.czi import CziPictures

            return CziPictures(source, name, max_pixels)
        if isinstance(source, Path) and suffix in VIDEOS:
            from airjax.data.video import VideoPictures

            return VideoPictures(source, name, max_pixels)
        if start[:2] in (b"P2", b"P3", b"P5", b"P6"):
            return NetpbmPicture(source, name, max_pixels)
    return PillowPictures(source, name, max_pixels, formats)


def _start(source: Path | io.BytesIO) -> bytes:
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:132]
    with source.open("rb") as file:
        return file.read(132)


class PillowPictures:
    """The pictures of a PNG, JPEG, WebP, GIF or BMP file; only PNG may have more than 8 bits."""

    def __init__(self, source: Path | io.BytesIO, name: str, max_pixels: int, formats: tuple[str, ...] | None = None):
        """Open a file; raise ValueError if it is none of these kinds."""
        self._source, self._formats = source, formats
        try:
            self._file = Image.open(source, formats=formats or _PILLOW)
            # The other pictures in a camera's JPEG are previews.
            self._several = 1 if self._file.format == "MPO" else getattr(self._file, "n_frames", 1)
        except _DAMAGED as error:
            raise self._damaged(name, error) from None
        width, height = self._file.size
        if width * height > max_pixels:
            self.close()
            raise ValueError(f"{name} has {width} x {height} pixels, too many to read")

    def __len__(self) -> int:
        return self._several

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, index: int, name: str) -> Image.Image | Raw:
        """Read one picture, turned as its EXIF orientation says; raise ValueError if it is damaged."""
        try:
            if self._file.format == "PNG" and _start(self._source)[24] == 16:
                return self._deep()
            self._file.seek(index)
            turned = ImageOps.exif_transpose(self._file)
            turned.load()
        except _DAMAGED as error:
            raise self._damaged(name, error) from None
        return turned

    def _deep(self) -> Raw:
        """Read a PNG of 16 bits, of which Pillow keeps 8 where there are colours or transparent parts."""
        import imagecodecs

        if self._several > 1:
            raise ValueError("moving pictures of 16 bits are not read")
        self._file.load()  # finds damage that the other library doesn't
        data = self._source.getvalue() if isinstance(self._source, io.BytesIO) else self._source.read_bytes()
        try:
            values = imagecodecs.png_decode(data)
        except RuntimeError as error:  # imagecodecs' own
            raise ValueError(str(error)) from None
        values = values if values.ndim == 3 else values[..., None]
        opaque = values.shape[2] in (1, 3)
        alpha = None if opaque else values[..., -1].astype(np.float32) / (2**16 - 1)
        orientation = self._file.getexif().get(tiff.ORIENTATION, 1)
        return tiff.turned(Raw(values if opaque else values[..., :-1], 2.0**16 - 1, alpha), orientation)

    def _damaged(self, name: str, error: BaseException) -> ValueError:
        if self._formats:
            return ValueError(f"{name} is damaged, or none of {', '.join(self._formats)}")
        return ValueError(f"{name} is not a picture that can be read: {error}")


class NetpbmPicture:
    """The picture of a PGM or PPM file, whose header says which value is white."""

    def __init__(self, source: Path | io.BytesIO, name: str, max_pixels: int):
        """Open a file; raise ValueError if it is damaged, too large, or holds several pictures."""
        import netpbmfile

        try:
            self._file = netpbmfile.NetpbmFile(source)
        except Exception as error:  # its errors have no common base class
            raise self._damaged(name, error) from None
        width, height = self._file.width, self._file.height
        problem = None
        if width * height > max_pixels:
            problem = f"has {width} x {height} pixels, too many to read"
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
            values = self._file.asarray()
        except Exception as error:  # its errors have no common base class
            raise self._damaged(name, error) from None
        most = self._file.maxval
        if most <= 255:
            scaled = np.rint(values * (255 / most))
            return Raw(np.clip(scaled, 0, 255).astype(np.uint8), 255.0)
        return Raw(values.astype(np.uint16), float(most))

    def _damaged(self, name: str, error: BaseException) -> ValueError:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return ValueError(f"{name} is not a picture that can be read: {reason}")
