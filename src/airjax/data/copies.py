"""Copies of files at addresses on this machine: made when a file is opened, kept for a while in case it is again."""

import atexit
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from airjax.data.addresses import Address, Place
from airjax.data.temporary import temporary_folder
from airjax.files import hashed

KEPT = 2**28
"""Bytes of copies that are kept though nothing reads them."""


@dataclass
class _Copy:
    """A copy: its path, its size in bytes, and the number of its readers."""

    path: Path
    size: int
    readers: int = 0


class Copies:
    """The copies of a process, in a temporary folder that is removed when the process ends."""

    def __init__(self):
        self._copies: OrderedDict[tuple, _Copy] = OrderedDict()
        self._lock, self._made = threading.Lock(), 0

    @cached_property
    def _folder(self) -> Path:
        made = ExitStack()
        atexit.register(made.close)
        return made.enter_context(temporary_folder("airjax-copies-"))

    @contextmanager
    def reading(self, address: Address) -> Iterator[Path]:
        """Lend the path of a copy, which stays as long as the block lasts.

        Raises:
            FileNotFoundError, UnreachableError: see `Address.fetch`.
        """
        key = (str(address), *address.state())
        copy = self._take(key) or self._make(address, key)
        try:
            yield copy.path
        finally:
            self._give(copy)

    def _take(self, key: tuple) -> _Copy | None:
        with self._lock:
            if (copy := self._copies.get(key)) is not None:
                copy.readers += 1
                self._copies.move_to_end(key)
            return copy

    def _make(self, address: Address, key: tuple) -> _Copy:
        """Copy a file, outside of the lock; if another thread has been faster, its copy is used."""
        with self._lock:
            self._made += 1
            path = self._folder / f"{self._made}{PurePosixPath(str(address)).suffix}"
        try:
            address.fetch(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if (other := self._take(key)) is not None:
            path.unlink()
            return other
        with self._lock:
            copy = self._copies[key] = _Copy(path, path.stat().st_size, readers=1)
            return copy

    def _give(self, copy: _Copy) -> None:
        """Take a copy back, and remove the oldest ones that nothing reads if there are too many bytes."""
        with self._lock:
            copy.readers -= 1
            kept = sum(one.size for one in self._copies.values())
            for key, one in list(self._copies.items()):
                if kept <= KEPT:
                    return
                if not one.readers:
                    one.path.unlink(missing_ok=True)
                    kept -= self._copies.pop(key).size


copies = Copies()
"""The copies of this process."""


@contextmanager
def naming_source(copy: Path, source: Address) -> Iterator[None]:
    """Name the address, in place of its copy, in a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace(str(copy), str(source))) from None


@contextmanager
def local(file: Place) -> Iterator[Path]:
    """Lend the path of a file on this machine: its own, or that of a copy, in whose place errors name the address.

    Raises:
        FileNotFoundError, UnreachableError: see `Address.fetch`.
    """
    if not isinstance(file, Address):
        yield file
        return
    with copies.reading(file) as copy, naming_source(copy, file):
        yield copy


def content_of(file: Place) -> str | None:
    """Return the hash of a file's content, or the version that its store tells; None if it can't be read."""
    try:
        if isinstance(file, Address) and file.state()[1]:
            return ":".join(map(str, file.state()))
        with local(file) as path:
            return hashed(path)
    except OSError:
        return None
