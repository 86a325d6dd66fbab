"""Read pictures safely from files of many kinds, each by the library that reads it right, or refuse them.

A file holds one picture or several: pages, frames, times, depths. Picture 3 of `file.tif` is named `file.tif#3`; a
picture that is alone in its file has the file's name.
"""

import io
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from PIL import Image

from airjax.data import tiff
from airjax.data.addresses import Address, Place
from airjax.data.copies import copies, naming_source
from airjax.data.images import MAX_PICTURES, Levels, Raw, pick, plain
from airjax.data.rasters import FORMATS as FORMATS
from airjax.data.rasters import NetpbmPicture, PillowPictures, start_of

MAX_PIXELS = 64_000_000
"""Most pixels of a picture. Larger ones are refused before they are decoded."""
VIDEOS = frozenset((".avi", ".mkv", ".mov", ".mp4", ".webm"))
"""Suffixes of videos."""
SEVERAL = VIDEOS | {".apng", ".czi", ".dcm", ".gif", ".tif", ".tiff", ".webp"}
"""Suffixes of files that may hold several pictures."""
SUFFIXES = SEVERAL | {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm"}
"""Suffixes of pictures, in lower or upper case."""

_NUMBERED = re.compile(r"(.+)#([1-9][0-9]{0,8})")


@runtime_checkable
class Opened(Protocol):
    """The pictures of an open file.

    Attributes:
        pixels: number of pixels of a picture, as far as that is known before it is read; otherwise 0.
    """

    pixels: int

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


def count(path: Place) -> int:
    """Count the pictures of a file; 0 if it can't be read."""
    try:
        with opening(path, str(path)) as opened:
            return len(opened)
    except (ValueError, OSError):
        return 0


@contextmanager
def opening(
    source: Place | io.BytesIO, name: str, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = None
) -> Iterator[Opened]:
    """Open a file, and close it in the end; see `open_file`."""
    opened = open_file(source, name, max_pixels=max_pixels, formats=formats)
    try:
        yield opened
    finally:
        opened.close()


def open_file(
    source: Place | io.BytesIO, name: str, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = None
) -> Opened:
    """Open a file with the library for its content; videos are told by their suffix.

    Raises:
        FileNotFoundError: the file does not exist.
        UnreachableError: it is at an address that can't be read.
        ValueError: it is not a picture, claims to hold too many, or a package that reads it is missing.
    """
    if isinstance(source, Address):
        return _Copied(source, name, max_pixels=max_pixels, formats=formats)
    if isinstance(source, Path) and not source.is_file():
        raise FileNotFoundError(f"{name} does not exist or is not a file")
    opened = _open(source, name, max_pixels, formats)
    if len(opened) > MAX_PICTURES:
        opened.close()
        raise ValueError(f"{name} claims to hold {len(opened)} pictures, too many to read")
    return opened


def _open(source: Path | io.BytesIO, name: str, max_pixels: int, formats: tuple[str, ...] | None) -> Opened:
    start, suffix = start_of(source), source.suffix.lower() if isinstance(source, Path) else ""
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


class _Copied:
    """The pictures of a file at an address, read from a copy that stays until they are closed."""

    def __init__(self, source: Address, name: str, **options: Any):
        with ExitStack() as stack:
            path = stack.enter_context(copies.reading(source))
            self._naming_source = partial(naming_source, path, source)
            with self._naming_source():
                self._opened = open_file(path, name, **options)
            self._copy = stack.pop_all()
        self.pixels = self._opened.pixels

    def __len__(self) -> int:
        return len(self._opened)

    def read(self, index: int, name: str) -> Image.Image | Raw:
        """Read one picture; raise ValueError if it can't be read."""
        with self._naming_source():
            return self._opened.read(index, name)

    def close(self) -> None:
        """Close the copy, and give it back."""
        self._opened.close()
        self._copy.close()
