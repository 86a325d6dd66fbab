"""Read many pictures in order, a few of them ahead on other threads; each file with several is opened once."""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import groupby
from typing import Any, Generic, NamedTuple, TypeVar

from PIL import Image

from airjax.data.addresses import Place
from airjax.data.images import Levels, Raw, find_levels, plain
from airjax.data.reading import Opened, decode, open_file, split
from airjax.data.still import OtherSizeError

AHEAD = 64
"""Number of pictures that are decoded and made small ahead."""
WHOLE_AHEAD = 2
"""Number of pictures that are decoded ahead and kept whole: few enough for large ones to fit into memory."""
LARGE = 4_000_000
"""Number of pixels from which on a picture is large."""
_large = threading.BoundedSemaphore(2)
"""Held while a large picture is decoded: what that takes is many times the size of the file."""
T, S = TypeVar("T"), TypeVar("S")
_BLOCK = 2**26
"""Bytes in which Pillow keeps a picture. Smaller blocks than 32 MiB stay with the thread that has freed them."""
if hasattr(Image.core, "set_block_size"):
    Image.core.set_block_size(_BLOCK)


class Read(NamedTuple, Generic[T]):
    """Result of reading a picture.

    Attributes:
        name: its path below the root, with forward slashes, and its number in the file if there are several.
        picture: the picture, or what was made of it; None if it can't be read.
        problem: the reason why it can't be read; None if it can.
    """

    name: str
    picture: T | None
    problem: str | None

    def then(self, make: Callable[[T], S]) -> "Read[S]":
        """Make something of the picture if it could be read; a size other than a still background's is a problem."""
        if self.picture is None:
            return Read(self.name, None, self.problem)
        try:
            return Read(self.name, _made(self.picture, self.name, make), None)
        except OtherSizeError as error:
            return Read(self.name, None, str(error))


def _made(picture: T, name: str, make: Callable[[T], S]) -> S:
    """Make something of a picture; errors about its size name it."""
    try:
        return make(picture)
    except OtherSizeError as error:
        raise OtherSizeError(f"{name} {error}") from None


def read_pictures(
    root: Place,
    names: Sequence[str],
    levels: Levels | None = None,
    channels: tuple[int, ...] | None = None,
    then: Callable[[Image.Image], Any] | None = None,
) -> Iterator[Read[Any]]:
    """Read pictures in the given order.

    Args:
        root: the folder.
        names: names of pictures below it; those of one file should follow each other.
        levels: how values become black, white and grey, as in `images.plain`.
        channels: channels to pick, as in `images.pick`.
        then: makes something small of each picture in the thread that reads it, so that many are read ahead; None:
            pictures are kept whole.
    """
    whole = lambda opened, name: plain(decode(opened, name, split(name)[1], channels), name, levels)
    read = whole if then is None else lambda opened, name: _made(whole(opened, name), name, then)
    for one in _each(root, names, read, WHOLE_AHEAD if then is None else AHEAD):
        yield Read(*one)


def raw_pictures(
    root: Place, names: Sequence[str], channels: tuple[int, ...] | None = None
) -> Iterator[Image.Image | Raw]:
    """Read pictures as they are; those that can't be read are left out, as `read_pictures` reports them."""
    read = lambda opened, name: decode(opened, name, split(name)[1], channels)
    for _, picture, _ in _each(root, names, read, WHOLE_AHEAD):
        if picture is not None:
            yield picture


def folder_levels(root: Place, names: Sequence[str], channels: tuple[int, ...] | None = None) -> Levels | None:
    """Choose how values of a folder's pictures become black, white and grey; see `images.find_levels`."""
    return find_levels(raw_pictures(root, names, channels))


def _each(
    root: Place, names: Sequence[str], read: Callable[[Opened, str], T], ahead: int
) -> Iterator[tuple[str, T | None, str | None]]:
    """Yield each name with what is read, or a problem; one thread reads those of a file that follow each other."""
    files = _Files(root)
    try:
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(names), ahead):
                groups = [
                    list(group) for _, group in groupby(names[start : start + ahead], lambda name: split(name)[0])
                ]
                for results in pool.map(lambda group: _read_group(files, group, read), groups):
                    while results:
                        yield results.pop(0)
                following = names[start + ahead : start + ahead + 1]
                files.close(but={split(name)[0] for name in following})
    finally:
        files.close()


def _read_group(
    files: "_Files", names: list[str], read: Callable[[Opened, str], T]
) -> list[tuple[str, T | None, str | None]]:
    """Read pictures of one file."""
    file = split(names[0])[0]
    try:
        opened = files.take(file)
    except (ValueError, OSError) as error:
        return [(name, None, str(error)) for name in names]
    results = []
    for name in names:
        try:
            with _large if opened.pixels >= LARGE else nullcontext():
                results.append((name, read(opened, name), None))
        except (ValueError, OSError) as error:
            results.append((name, None, str(error)))
    files.give(file, opened)
    return results


class _Files:
    """Open files, each used by one thread at a time. Those with several pictures stay open for the next ones."""

    def __init__(self, root: Place):
        self._root, self._open, self._lock = root, {}, threading.Lock()

    def take(self, file: str) -> Opened:
        """Open a file, or return it if it is open and not in use."""
        with self._lock:
            if file in self._open:
                return self._open.pop(file)
        return open_file(self._root / file, file)

    def give(self, file: str, opened: Opened) -> None:
        """Put a file back."""
        with self._lock:
            if len(opened) > 1 and file not in self._open:
                self._open[file] = opened
                return
        opened.close()

    def close(self, but: Collection[str] = ()) -> None:
        """Close files that are not in use, but some."""
        for file in self._open.keys() - set(but):
            self._open.pop(file).close()
