"""Read files that match a pattern from zip archives and folders, into memory and within size limits."""

import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

MAX_FILE = 2**18
"""Largest size of a file, in bytes."""

MAX_ARCHIVE = 2**29
"""Largest unpacked size that an archive may declare, in bytes."""

T = TypeVar("T")


def read_zip(path: Path, pattern: re.Pattern[str], parse: Callable[[bytes], T]) -> dict[tuple[str, ...], T]:
    """Read the members of a zip archive whose full name matches a pattern. Nothing is written to disk.

    Args:
        path: The archive.
        pattern: Pattern for the full names of members. Members that don't match are skipped.
        parse: Converts the content of a member. It raises ValueError if it can't.

    Returns:
        The parsed contents, keyed by the groups of the pattern.

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
    """Read the files below a folder that match one of the globs and whose relative path matches a pattern.

    Args:
        folder: Folder to search.
        globs: Glob patterns of the files to consider.
        pattern: Pattern for paths relative to the folder, with forward slashes.
        parse: See `read_zip`.

    Returns:
        The parsed contents, keyed by the groups of the pattern.

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
    """List the members that match, after checking that no name is unsafe and the total size is within the limit."""
    members = archive.infolist()
    for name in (member.filename for member in members):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise ValueError(f"it has a member with the unsafe name {name!r}")
    if (size := sum(member.file_size for member in members)) > MAX_ARCHIVE:
        raise ValueError(f"it holds {size} bytes, more than {MAX_ARCHIVE}")
    fitting = ((member.filename, pattern.fullmatch(member.filename)) for member in members)
    return ((name, match.groups()) for name, match in fitting if match)


def _limited(content: bytes) -> bytes:
    """Refuse content above the limit. Callers read at most one byte more, so that a zip bomb can't fill the memory."""
    if len(content) > MAX_FILE:
        raise ValueError(f"a file holds more than {MAX_FILE} bytes")
    return content
