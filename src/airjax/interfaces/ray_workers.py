"""What workers of Ray do: some read the pictures of a batch, others hold the model and infer it.

What passes between them and the command is bytes and JSON, so that nothing depends on how Ray stores objects.
"""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from airjax.data.addresses import Address, Place, UnreachableError
from airjax.data.ahead import Read, read_pictures
from airjax.data.images import Levels, Placement
from airjax.interfaces.console import keep_kinds_of_numbers
from airjax.interfaces.doubts import Doubts
from airjax.interfaces.infer_files import Fitted, Inference
from airjax.interfaces.jobs import hash_of_files

UNREACHABLE = "unreachable: "
"""Beginning of the error of a batch whose pictures can't be reached."""
Row = dict[str, Any]
"""A batch on its way through Ray: its `index` and what is known of it so far."""


@dataclass(frozen=True)
class Reader:
    """What is needed to read a batch of pictures and to fit them to a model.

    Attributes:
        root: the folder, or its address.
        levels: how values become black, white and grey.
        channels: channels to pick.
        fit: what makes the model's image of a picture (`Inference.fit`).
    """

    root: Place
    levels: Levels | None
    channels: tuple[int, ...] | None
    fit: Callable[[Image.Image], Fitted]

    def read(self, row: Row) -> Row:
        """Read a batch that is given by its names, and by their states where they are at an address."""
        names, states = json.loads(row["names"]), json.loads(row["states"])
        root = self.root
        if isinstance(root, Address) and states:
            root = root.knowing({name: tuple(state) for name, state in states.items()})
        with _told() as told:
            try:
                packed = _packed(read_pictures(root, names, self.levels, self.channels, self.fit))
                read = hash_of_files(root, names)
            except UnreachableError as error:
                return _failed(row, UNREACHABLE + str(error))
        return {"index": row["index"], "first": row["first"], **packed, "read": read, "told": json.dumps(told)}


class Worker:
    """An actor that holds a model and its compiled program."""

    def __init__(self, inference: Inference):
        keep_kinds_of_numbers()
        self._inference = inference

    def __call__(self, row: Row) -> Row:
        """Infer a batch that has been read."""
        if row.get("error"):
            return _failed(row, row["error"])
        batch, model = list(_unpacked(row)), self._inference.model
        before = 0 if row["first"] else 1  # the size of things is doubted in the first batch alone
        doubts = Doubts(model, self._inference.kind, total=before)
        with _told() as told:
            try:
                if row["first"]:
                    self._inference.doubt_polarity(batch)
                lines = self._inference.infer_batch(batch, row["index"], doubts)
            except ValueError as error:
                return _failed(row, str(error))
        seen = doubts.seen | {"total": doubts.total - before}
        return {
            "index": row["index"],
            "lines": json.dumps(lines, allow_nan=False),
            "doubts": json.dumps(seen),
            "read": row["read"],
            "told": json.dumps(json.loads(row["told"]) + told),
            "error": "",
        }


def _failed(row: Row, error: str) -> Row:
    """Say, in the place of results, why there are none."""
    empty = {name: "" for name in ("lines", "doubts", "read", "told", "about")}
    return {"index": row["index"], "first": row.get("first", False), **empty, "pixels": b"", "error": error}


def _packed(batch: Iterator[Read[Any]]) -> Row:
    about, pixels = [], []
    for one in batch:
        told: dict[str, Any] = {"name": one.name, "problem": one.problem}
        if one.picture is not None:
            placement = one.picture.placement._asdict()
            told |= {"shape": one.picture.pixels.shape, "placement": placement, "on_light": one.picture.on_light}
            pixels.append(np.ascontiguousarray(one.picture.pixels).tobytes())
        about.append(told)
    return {"about": json.dumps(about), "pixels": b"".join(pixels), "error": ""}


def _unpacked(row: Row) -> Iterator[Read[Any]]:
    start = 0
    for told in json.loads(row["about"]):
        fitted = None
        if told["problem"] is None:
            size = int(np.prod(told["shape"]))
            pixels = np.frombuffer(row["pixels"], np.uint8, size, start).reshape(told["shape"])
            place = told["placement"] | {"size": tuple(told["placement"]["size"])}
            fitted, start = Fitted(pixels, Placement(**place), told["on_light"]), start + size
        yield Read(told["name"], fitted, told["problem"])


class _Kept(logging.Handler):
    """Keeps warnings in a list."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def _told() -> Iterator[list[str]]:
    """Keep the package's warnings, which are to be told by the command."""
    kept, logger = _Kept(), logging.getLogger("airjax")
    logger.addHandler(kept)
    try:
        yield kept.lines
    finally:
        logger.removeHandler(kept)
