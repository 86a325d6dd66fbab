"""A folder of Parquet files, each of a fixed list of pictures, and a manifest of those that are finished.

The pictures of a job fall into partitions by their order: the first so many batches, the next so many, ... A partition
is written when all of its batches are inferred, in whatever order they arrive, and then entered into the manifest. Both
are complete or absent, so that after a kill at any moment exactly the partitions that the manifest lacks are inferred.
"""

import json
import logging
import re
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airjax.data.folder import report_unreadable
from airjax.files import hashed, remove_remains, write_atomically
from airjax.interfaces import tabular
from airjax.interfaces.doubts import Doubts
from airjax.interfaces.infer_files import Inference
from airjax.interfaces.jobs import describe_inference, hash_of_batch, hash_of_several
from airjax.interfaces.journal import difference

MANIFEST = "_manifest.json"
"""Name of the manifest; readers of folders of Parquet files pass over names that begin like this."""
FORMAT = 1
BATCHES, MOST = 16, 2_000
"""Least number of batches of a partition, and number of partitions above which they hold more."""
_PART = "part-{:06d}.parquet"
_PARTS = re.compile(r"part-[0-9]{6,}\.parquet")
_NAMED = 5
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """A batch that is inferred.

    Attributes:
        index: its place among all batches, from 0.
        lines: a dictionary a picture, as `Inference.batches` yields them.
        doubts: numbers of pictures that are doubted (`Doubts.seen`).
        read: hash of the files that were read.
    """

    index: int
    lines: list[dict[str, Any]]
    doubts: dict[str, int]
    read: str


class Partitions:
    """The partitions of a job.

    Attributes:
        folder: where they are written.
        inference: the job.
    """

    def __init__(self, folder: Path, inference: Inference, *, force: bool = False):
        """Open the folder of a job that was begun, or begin a new one.

        Args:
            folder: where partitions are written; made if it is absent.
            inference: the job.
            force: whether to begin anew if the folder holds another job, a finished one, or other pictures.

        Raises:
            ValueError: the folder holds any of these, or files of another kind.
        """
        self.folder, self.inference = folder, inference
        self._total = -(-len(inference.pictures.names) // inference.together)
        self._each = max(BATCHES, -(-self._total // MOST))
        self._waiting: dict[int, dict[int, Batch]] = defaultdict(dict)
        self._job = json.loads(json.dumps(describe_inference(inference) | {"batches of a partition": self._each}))
        self._finished: dict[str, dict[str, Any]] = {}
        remove_remains(folder)
        if not self._go_on(force):
            self._begin()
        if self._finished:
            _logger.info("going on after %d pictures", self.done)

    @property
    def done(self) -> int:
        """Number of pictures in finished partitions."""
        return sum(one["pictures"] for one in self._finished.values())

    @property
    def unfinished(self) -> list[int]:
        """List the batches, by their places, whose partitions are not finished."""
        places = range(-(-self._total // self._each))
        return [index for place in places if _PART.format(place) not in self._finished for index in self._of(place)]

    def add(self, batch: Batch) -> None:
        """Take a batch; if its partition is complete, write that."""
        place = batch.index // self._each
        self._waiting[place][batch.index] = batch
        if len(self._waiting[place]) == len(self._of(place)):
            found = self._waiting.pop(place)
            self._write(place, [found[index] for index in self._of(place)])

    def finish(self, *, told: bool = True) -> None:
        """Mark the job as finished, and warn of what is doubtful; `told`: say how many objects were found."""
        self._write_manifest(finished=True)
        every = self._finished.values()
        sums = {name: sum(one["doubts"][name] for one in every) for name in ("total", "full", "left")}
        Doubts(self.inference.model, self.inference.kind, **sums).report()
        unreadable = sum(one["unreadable"] for one in every)
        problems = [problem for one in every for problem in one["problems"]][:unreadable]
        report_unreadable(problems + [""] * (unreadable - len(problems)), self.done)
        if told:
            objects = sum(one["objects"] for one in every)
            _logger.info("found %d objects in %d pictures", objects, self.done - unreadable)

    def _of(self, place: int) -> range:
        """Return the batches of a partition."""
        return range(place * self._each, min((place + 1) * self._each, self._total))

    def _write(self, place: int, batches: list[Batch]) -> None:
        lines = [line for batch in batches for line in batch.lines]
        path = self.folder / _PART.format(place)
        tabular.write_parquet(lines, path, problems=True)
        problems = [line["problem"] for line in lines if "problem" in line]
        self._finished[path.name] = {
            "pictures": len(lines),
            "unreadable": len(problems),
            "problems": problems[: _NAMED + 1],
            "objects": sum(line.get("count", 0) for line in lines),
            "doubts": {name: sum(batch.doubts[name] for batch in batches) for name in ("total", "full", "left")},
            "read": hash_of_several([batch.read for batch in batches]),
            "sha256": hashed(path),
        }
        self._write_manifest()

    def _write_manifest(self, *, finished: bool = False) -> None:
        parts = dict(sorted(self._finished.items()))
        content = {"format": FORMAT, "finished": finished, "job": self._job, "partitions": parts}
        write_atomically(self.folder / MANIFEST, json.dumps(content, indent=1).encode())

    def _begin(self) -> None:
        """Remove partitions of another job, and write the manifest of this one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._finished = {}
        (self.folder / MANIFEST).unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if _PARTS.fullmatch(path.name):
                path.unlink()
        self._write_manifest()

    def _go_on(self, force: bool) -> bool:
        """Find the partitions that are finished; return False if there is nothing to go on from."""
        problem = self._problem()
        if problem is None:
            return True
        if problem and not force:
            raise ValueError(f"{self.folder} {problem}; give --force to begin anew, or choose another output")
        return False

    def _problem(self) -> str | None:
        """Say why the job can't go on in the folder; "": there is nothing yet; None: it can."""
        path = self.folder / MANIFEST
        if not path.exists():
            there = self.folder.is_dir() and any(self.folder.iterdir())
            return "holds files of something else" if there else ""
        try:
            known = json.loads(path.read_bytes())
            if known["format"] != FORMAT:
                return "was written by another version of airjax"
            job, finished, self._finished = known["job"], known["finished"], dict(known["partitions"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return f"holds a {MANIFEST} that is damaged"
        if other := difference(job, self._job):
            return other
        return "holds a finished inference" if finished else self._changed()

    def _changed(self) -> str | None:
        """Forget damaged partitions, with a warning; say if pictures of the others have changed since."""
        for name in [name for name in self._finished if not self._is_sound(name)]:
            _logger.warning("%s is damaged; its pictures are inferred again", self.folder / name)
            del self._finished[name]
        names = list(self._finished)
        with ThreadPoolExecutor() as pool:
            for name, read in zip(names, pool.map(self._read, names)):
                if read != self._finished[name]["read"]:
                    return "holds results of pictures that have changed since"
        return None

    def _is_sound(self, name: str) -> bool:
        try:
            return self._finished[name]["sha256"] == hashed(self.folder / name)
        except (OSError, KeyError, TypeError):
            return False

    def _read(self, name: str) -> str:
        batches = self._of(int(name.removeprefix("part-").removesuffix(".parquet")))
        return hash_of_several([hash_of_batch(self.inference, index) for index in batches])
