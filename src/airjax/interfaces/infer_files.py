"""Inference over any number of pictures, in little memory, resumable after a stop.

Results go to a journal, one line per picture, batch by batch. When all pictures are done, the journal is converted to
the requested formats (`airjax.interfaces.formats`).
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from airjax.data.folder import AHEAD, Read, list_pictures, read_pictures, report_frames, report_unreadable
from airjax.data.images import Letterboxed, Levels, Placement, is_on_light, letterbox
from airjax.files import append
from airjax.inference.infer import describe
from airjax.interfaces import formats
from airjax.models.base import Family

FULL = 0.05
"""Share of pictures with the largest count from which on that is doubted."""
_logger = logging.getLogger(__name__)


class Pictures(NamedTuple):
    """Pictures to infer.

    Attributes:
        root: the folder that names are relative to.
        names: paths below it, with forward slashes.
        strict: whether an unreadable picture is an error; otherwise it is skipped.
    """

    root: Path
    names: list[str]
    strict: bool


def gather(paths: Sequence[Path]) -> Pictures:
    """List the named files, or all pictures of one folder.

    A named file must be readable; unreadable files of a folder are skipped.

    Raises:
        FileNotFoundError: a path doesn't exist.
        ValueError: there are no pictures, a folder is named beside other paths, or a file is named twice.
    """
    if not paths:
        raise ValueError("images must name at least one file or a folder, got none")
    if any(path.is_dir() for path in paths):
        if len(paths) > 1:
            raise ValueError(f"images must be files, or one folder, got a folder among {len(paths)} paths")
        names = list_pictures(paths[0])
        report_frames(paths[0], names)
        return Pictures(paths[0], names, strict=False)
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist or is not a file")
    names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise ValueError("images must be different files, got one twice")
    report_frames(Path(), names)
    return Pictures(Path(), names, strict=True)


@dataclass(frozen=True)
class Inference:
    """A job of inference: model, pictures and options.

    Attributes:
        model: the model.
        pictures: the pictures, in batches of `AHEAD`; the last batch may be smaller.
        invert: whether dark and light are swapped first.
        samples: trajectories for p(n | x).
        key: random key; each batch derives its own from its index.
        levels: how values of the pictures become black, white and grey; see `airjax.data.images.plain`.
    """

    model: Family
    pictures: Pictures
    invert: bool
    samples: int
    key: PRNGKeyArray
    levels: Levels | None = None

    def batches(
        self, first: int = 0, watch: Callable[[Image.Image, dict[str, Any]], None] | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """Infer batch by batch, from batch `first` on.

        Args:
            first: number of batches to skip.
            watch: called with every picture and its results.

        Yields:
            For each batch, a dictionary a picture: its `image` (name), `id` (place in the list, from 1), and either
            `problem`, why it can't be read, or its `width` and `height` and the results of
            `airjax.inference.infer.describe`, with boxes and windows in the picture's own pixels.

        Raises:
            ValueError: `samples` is below 1; a picture can't be read, if that is an error.
        """
        read = read_pictures(self.pictures.root, self.pictures.names[first * AHEAD :], self.levels)
        counts = []
        for index in range(first, -(-len(self.pictures.names) // AHEAD)):
            batch = list(islice(read, AHEAD))
            if index == first:
                self._doubt_polarity([one.picture for one in batch if one.picture])
            lines = self._describe(batch, index)
            counts += [line["count"] for line in lines if "count" in line]
            for one, line in zip(batch, lines):
                if watch and one.picture:
                    watch(one.picture, line)
            yield lines
        self._doubt_counts(np.array(counts))

    def _doubt_counts(self, counts: np.ndarray) -> None:
        """Warn if many pictures hold as many objects as the model can find, so that there may be more."""
        most = self.model.max_objects
        if (full := np.sum(counts == most)) > FULL * len(counts):
            _logger.warning(
                "%d of %d pictures hold %d objects, the most that this model can find (--max-objects in training): "
                "they may hold more",
                *(full, len(counts), most),
            )

    def _doubt_polarity(self, pictures: list[Image.Image]) -> None:
        """Warn about pictures with a light background where the model expects a black one."""
        if not pictures or not self.model.on_black:
            return
        light = np.mean([is_on_light(picture) for picture in pictures]) > 0.5
        if light != self.invert:
            seen, other = ("light", "dark") if light else ("dark", "light")
            _logger.warning(
                "the pictures have a %s background, which this model takes for objects; did you mean --polarity %s?",
                *(seen, other),
            )

    def _describe(self, batch: list[Read], index: int) -> list[dict[str, Any]]:
        problems = [one.problem for one in batch if one.problem]
        if problems and self.pictures.strict:
            raise ValueError(problems[0])
        shape = self.model.image_shape
        fitted = {one.name: letterbox(one.picture, shape, invert=self.invert) for one in batch if one.picture}
        described = self._infer([one.pixels for one in fitted.values()], index)
        found = {name: _placed(told, fitted[name]) for name, told in zip(fitted, described)}
        places = range(index * AHEAD + 1, (index + 1) * AHEAD + 1)
        return [
            {"image": one.name, "id": place, **found.get(one.name, {"problem": one.problem})}
            for one, place in zip(batch, places)
        ]

    def _infer(self, pixels: list[np.ndarray], index: int) -> list[dict[str, Any]]:
        """Infer a batch, padded to a fixed size so that one compiled program serves all."""
        size = min(AHEAD, len(self.pictures.names))
        blank = np.zeros((size - len(pixels), *self.model.image_shape), np.uint8)
        stacked, key = np.stack([*pixels, *blank]), jax.random.fold_in(self.key, index)
        return describe(self.model, stacked, samples=self.samples, key=key)[: len(pixels)]


def _placed(found: dict[str, Any], fitted: Letterboxed) -> dict[str, Any]:
    """Convert the results of a letterboxed picture to its own pixels."""
    width, height = fitted.placement.size
    moved = [to_own_pixels(one, fitted.placement) for one in found["objects"]]
    return {"width": width, "height": height, **found, "objects": moved}


def to_own_pixels(described: dict[str, Any], placement: Placement) -> dict[str, Any]:
    """Convert the box and window of an object, as `describe` gives them, to its picture's own pixels."""
    moved = dict(described)
    for name in ("box", "window"):
        if moved[name] is not None:
            corners = placement.to_picture(np.array(moved[name]))
            moved[name] = [round(float(value), 3) for value in corners]
    return moved


def readable(inference: Inference) -> Iterator[dict[str, Any]]:
    """Yield the results of all readable pictures; warn about the others at the end."""
    problems, total = [], 0
    for batch in inference.batches():
        problems += [one["problem"] for one in batch if "problem" in one]
        total += len(batch)
        yield from (one for one in batch if "problem" not in one)
    report_unreadable(problems, total)


class Outputs(NamedTuple):
    """Files to write.

    Attributes:
        coco: COCO results (`airjax.interfaces.formats.write_coco`).
        parquet: a table (`airjax.interfaces.formats.write_parquet`).
        overlay: a folder for pictures with boxes.
    """

    coco: Path | None = None
    parquet: Path | None = None
    overlay: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """List the requested outputs."""
        return [path for path in self if path is not None]

    @property
    def journal(self) -> Path:
        """Path of the journal of an unfinished job, beside the first output."""
        return self.paths[0].with_name(f".{self.paths[0].name}.partial")


def to_files(inference: Inference, outputs: Outputs, *, force: bool = False, progress: bool = True) -> None:
    """Infer all pictures into files. The same call resumes after a stop.

    Args:
        inference: the job.
        outputs: the files to write.
        force: whether to replace files that exist.
        progress: whether to show a progress bar on stderr.

    Raises:
        ValueError: an output exists, or a journal of another inference; see `Inference.batches` and
            `airjax.interfaces.formats.check_parquet`.
    """
    taken = [path for path in outputs.paths if path.exists() and not (path == outputs.overlay and _is_empty(path))]
    if taken and not force and not outputs.journal.exists():
        raise ValueError(f"{taken[0]} exists; choose another name or give --force")
    if outputs.parquet:
        formats.check_parquet()
    watch = None if outputs.overlay is None else partial(_overlay, outputs.overlay, inference.pictures)
    journal = Journal(outputs.journal, inference)
    columns = TextColumn("inferring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("", total=len(inference.pictures.names), completed=journal.batches * AHEAD)
        for batch in inference.batches(journal.batches, watch):
            journal.write(batch)
            bar.advance(task, len(batch))
    if outputs.coco:
        formats.write_coco(journal, outputs.coco)
    if outputs.parquet:
        formats.write_parquet(journal, outputs.parquet)
    journal.report()
    journal.path.unlink()


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _overlay(folder: Path, pictures: Pictures, picture: Image.Image, found: dict[str, Any]) -> None:
    name = Path(found["image"]).name if pictures.strict else found["image"]
    formats.write_overlay(picture, found, folder / (name if name.endswith(".png") else f"{name}.png"))


class Journal:
    """The journal of a job: finished batches in a file that stays usable after a kill at any moment."""

    def __init__(self, path: Path, inference: Inference):
        """Open the journal of this job, or begin a new one.

        Raises:
            ValueError: the file is the journal of another job.
        """
        header = _describe_inference(inference)
        self.path, self.batches = Path(path), 0
        if self.path.exists():
            self._go_on(header)
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append([header])
        if self.batches:
            _logger.info("going on after %d pictures", self.batches * AHEAD)

    def _go_on(self, header: dict[str, Any]) -> None:
        """Check that the job is the same, and cut off an incomplete last batch."""
        with self.path.open("r+b") as file:
            first = file.readline()
            if first.rstrip(b"\n") != json.dumps(header).encode():
                raise ValueError(f"{self.path} holds part of another inference; remove it or choose another output")
            end = file.tell()
            while len(batch := list(islice(file, AHEAD))) == AHEAD and batch[-1].endswith(b"\n"):
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


def _describe_inference(inference: Inference) -> dict[str, Any]:
    """Describe a job so that it can be told from any other."""
    weights = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(inference.model))
    pictures = json.dumps([str(inference.pictures.root.resolve()), inference.pictures.names]).encode()
    return {
        "model": hashlib.sha256(weights).hexdigest(),
        "pictures": hashlib.sha256(pictures).hexdigest(),
        "invert": inference.invert,
        "samples": inference.samples,
        "key": np.asarray(inference.key).tolist(),
        "levels": inference.levels,
    }
