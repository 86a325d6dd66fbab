"""The journal of a job of inference: finished batches in a file that stays usable after a kill at any moment."""

import json
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from airjax.data.folder import report_unreadable
from airjax.files import append

_logger = logging.getLogger(__name__)


class Journal:
    """A file with a line that describes the job, and then a line for each picture.

    Attributes:
        path: the file.
        batch: number of pictures in a batch.
        batches: number of batches that are done.
    """

    def __init__(self, path: Path, header: dict[str, Any], batch: int):
        """Open the journal of the job that `header` describes, or begin a new one.

        Raises:
            ValueError: the file is the journal of another job.
        """
        self.path, self.batch, self.batches = Path(path), batch, 0
        if self.path.exists():
            self._go_on(header)
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append([header])
        if self.batches:
            _logger.info("going on after %d pictures", self.batches * self.batch)

    def _go_on(self, header: dict[str, Any]) -> None:
        """Check that the job is the same, and cut off an incomplete last batch."""
        with self.path.open("r+b") as file:
            first = file.readline()
            if first.rstrip(b"\n") != json.dumps(header).encode():
                raise ValueError(f"{self.path} holds part of another inference; remove it or choose another output")
            end = file.tell()
            while len(batch := list(islice(file, self.batch))) == self.batch and batch[-1].endswith(b"\n"):
                end, self.batches = end + sum(map(len, batch)), self.batches + 1
            file.truncate(end)

    def write(self, batch: list[dict[str, Any]]) -> None:
        """Append a batch and sync it to disk."""
        self._append(batch)
        self.batches += 1

    def _append(self, lines: list[dict[str, Any]]) -> None:
        append(self.path, b"".join(json.dumps(line, allow_nan=False).encode() + b"\n" for line in lines))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the results of all readable pictures."""
        with self.path.open() as file:
            for text in islice(file, 1, None):
                line = json.loads(text)
                if "problem" not in line:
                    yield line

    def report(self) -> None:
        """Warn about skipped pictures."""
        with self.path.open() as file:
            lines = [json.loads(text).get("problem") for text in islice(file, 1, None)]
        report_unreadable([problem for problem in lines if problem], len(lines))
