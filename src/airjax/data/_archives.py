"""Read the files of zip archives and folders whose names fit a pattern, into memory and with limits."""

import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

MAX_FILE = 2**18
"""Bytes that a file may hold."""

MAX_ARCHIVE = 2**29
"""Bytes that an archive may say it holds, unpacked."""

T = TypeVar("T")


def read_zip(path: Path, pattern: re.Pattern[str], parse: Callable[[bytes], T]) -> dict[tuple[str, ...], T]:
    """Read the members of a zip archive whose whole name fits the pattern; nothing is written to disk.

    Args:
        path: The archive.
        pattern: What names of members must fit; others are passed over.
        parse: Turns a member's content into what is wanted of it; raises ValueError if it can't.

    Returns:
        What was wanted, by the pattern's groups.

    Raises:
        ValueError: If the archive is damaged or too large, a name in it is unsafe, or a member can't be parsed.
    """
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name, groups in _names(archive, pattern):
                with archive.open(name) as file:
                    found[groups] = parse(_limited(file.read(MAX_FILE + 1)))
    except Exception as error:  # a damaged archive can raise almost anything
        raise ValueError(f"{path} can't be read: {error}") from error
    return found


def read_folder(
    folder: Path, globs: tuple[str, ...], pattern: re.Pattern[str], parse: Callable[[bytes], T]
) -> dict[tuple[str, ...], T]:
    """Read the files below a folder that one of the globs finds and whose path in it fits the pattern.

    Args:
        folder: Where to look.
        globs: What to look for.
        pattern: What paths, with forward slashes and relative to the folder, must fit.
        parse: See `read_zip`.

    Returns:
        What was wanted, by the pattern's groups.

    Raises:
        ValueError: If a file is too large or can't be parsed.
    """
    found = {}
    for path in (path for glob in globs for path in folder.glob(glob)):
        if match := pattern.fullmatch(path.relative_to(folder).as_posix()):
            try:
                with path.open("rb") as file:
                    found[match.groups()] = parse(_limited(file.read(MAX_FILE + 1)))
            except ValueError as error:
                raise ValueError(f"{path} can't be read: {error}") from error
    return found


def _names(archive: zipfile.ZipFile, pattern: re.Pattern[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Name the members that fit, once it is clear that none is unsafe and all together not too large."""
    members = archive.infolist()
    for name in (member.filename for member in members):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise ValueError(f"it has a member with the unsafe name {name!r}")
    if (size := sum(member.file_size for member in members)) > MAX_ARCHIVE:
        raise ValueError(f"it holds {size} bytes, more than {MAX_ARCHIVE}")
    fitting = ((member.filename, pattern.fullmatch(member.filename)) for member in members)
    return ((name, match.groups()) for name, match in fitting if match)


def _limited(content: bytes) -> bytes:
    """Refuse what was read up to one byte too many; more is never read, lest a bomb fill the memory."""
    if len(content) > MAX_FILE:
        raise ValueError(f"a file holds more than {MAX_FILE} bytes")
    return content
