"""Files that are complete or absent: the one place that writes them; and hashes of their content."""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

_TEMPORARY = r"\.[0-9a-f]{8}\.tmp"
"""How names of files end that are not complete."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file at once; see `atomically`."""
    with atomically(path) as file:
        file.write(content)


@contextmanager
def atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that replaces `path` when the block ends.

    The file lies beside `path`, under a name of its own, and can be written, read and seeked. If the process is killed,
    `path` holds all of the old content or all of the new. If the block raises, the new file is removed and `path` stays
    as it was.

    Args:
        path: the file to write; its folder must exist.

    Raises:
        OSError: the file can't be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with naming(path), temporary.open("x+b") as file:
            yield file
            _sync(file)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_remains(path: Path) -> None:
    """Remove what processes that were killed have left of `path`, or of the files below it if it is a folder."""
    mine = re.compile(re.escape(f".{path.name}") + _TEMPORARY)
    found = [file for file in path.parent.glob(".*.tmp") if mine.fullmatch(file.name)] if path.parent.is_dir() else []
    for file in (*found, *path.rglob(".*.tmp")):
        if re.search(_TEMPORARY + "$", file.name):
            file.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in errors of the operating system that don't, such as those of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def append(path: Path, content: bytes) -> None:
    """Add bytes to the end of a file and wait until they are on disk; a kill may leave only some of them."""
    with naming(path), path.open("ab") as file:
        file.write(content)
        _sync(file)


def hashed(path: Path) -> str:
    """Return the SHA-256 of a file; as long as its size and time stay the same, it is read once.

    Raises:
        OSError: the file can't be read.
    """
    stat = path.stat()
    return hashed_as(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1_000)
def hashed_as(path: Path, size: int, changed: int) -> str:
    """Return the SHA-256 of a file that has this size and time; see `hashed`."""
    del size, changed
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders can't be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
