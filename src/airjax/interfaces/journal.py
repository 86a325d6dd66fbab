"""The journal of a job of inference: finished batches in a file that stays usable after a kill at any moment."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from airjax.data.folder import report_unreadable
from airjax.files import append

_logger = logging.getLogger(__name__)
_HASH = "sha256"
"""A name that only the last line of a batch has."""


class Journal:
    """A file with a line that describes the job, a line for each picture, and one that ends each batch.

    The line that ends a batch has a note, the hash of the files that were read, and the hash of the batch's lines.

    Attributes:
        path: the file.
        batches: number of batches that are done.
        done: number of pictures that are done.
        note: the note of the last of those batches; None if there is none.
    """

    def __init__(self, path: Path, header: dict[str, Any], read: Callable[[int], str], *, force: bool = False):
        """Open the journal of the job that `header` describes, or begin a new one.

        Args:
            path: the file.
            header: what tells this job from any other; its names are used in error messages.
            read: returns the hash of the files of a batch, by its number from 0.
            force: whether to begin anew if the file is of another job, or of other pictures.

        Raises:
            ValueError: the file is the journal of another job, or pictures have changed since.
        """
        self.path, self._read = Path(path), read
        self.batches, self.done, self.note = 0, 0, None
        if not self.path.exists() or not self._go_on(json.loads(json.dumps(header)), force):
            self.batches, self.done, self.note = 0, 0, None
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.unlink(missing_ok=True)
            append(self.path, _line(header))
        if self.batches:
            _logger.info("going on after %d pictures", self.done)

    def _go_on(self, header: dict[str, Any], force: bool) -> bool:
        """Count the batches that are done, and cut off what follows; return False if there is nothing to go on from."""
        with self.path.open("r+b") as file:
            first = file.readline()
            if not first.endswith(b"\n"):
                return False  # killed at the very beginning
            problem, end = difference(_parsed(first), header), file.tell()
            while not problem and (found := _next_batch(file)):
                if found["read"] != self._read(self.batches):
                    problem = "holds results of pictures that have changed since"
                self._count(found["pictures"], found["note"])
                end = file.tell()
            if not problem:
                self._cut(file, end)
                return True
        if not force:
            raise ValueError(f"{self.path} {problem}; give --force to begin anew, or choose another output")
        return False

    def _cut(self, file: BinaryIO, end: int) -> None:
        """Remove what follows the last sound batch; warn if that is more than a batch that was half written."""
        file.seek(end)
        whole = file.read().split(b"\n")[:-1]
        if any(f'"{_HASH}"'.encode() in line for line in whole):
            _logger.warning("%s is damaged; what follows its first %d pictures is inferred again", self.path, self.done)
        file.truncate(end)

    def _count(self, pictures: int, note: Any) -> None:
        self.batches, self.done, self.note = self.batches + 1, self.done + pictures, note

    def write(self, batch: Sequence[dict[str, Any]], note: Any = None) -> None:
        """Append a batch with a note, a value in JSON, and sync it to disk."""
        lines = b"".join(map(_line, batch))
        end = {"pictures": len(batch), "note": note, "read": self._read(self.batches)}
        append(self.path, lines + _line(end | {_HASH: _hash(lines, end)}))
        self._count(len(batch), note)

    def _lines(self) -> Iterator[dict[str, Any]]:
        with self.path.open("rb") as file:
            for text in islice(file, 1, None):
                if _HASH not in (line := json.loads(text)):
                    yield line

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the results of all readable pictures."""
        return (line for line in self._lines() if "problem" not in line)

    def report(self) -> None:
        """Warn about skipped pictures."""
        report_unreadable([line["problem"] for line in self._lines() if "problem" in line], self.done)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any]:
    """Parse a line; one that is damaged is like an empty one."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _hash(lines: bytes, end: dict[str, Any]) -> str:
    return hashlib.sha256(lines + _line(end)).hexdigest()


def difference(found: dict[str, Any], header: dict[str, Any]) -> str | None:
    """Say what tells the job of a journal from this one; None if they are the same."""
    if found == header:
        return None
    names = [name for name in header if found.get(name) != header[name]]
    if len(names) == len(header) or not names:
        return "holds part of another inference, or is damaged"
    return f"holds part of another inference: it differs in {', '.join(names)}"


def _next_batch(file: BinaryIO) -> dict[str, Any] | None:
    """Read the next batch, and return its last line; None if it is incomplete or damaged, or there is none."""
    lines = b""
    while (line := file.readline()).endswith(b"\n"):
        end = _parsed(line)
        if not end:
            return None
        if _HASH in end:
            return end if end.pop(_HASH) == _hash(lines, end) else None
        lines += line
    return None
