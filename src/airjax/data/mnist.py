"""MNIST's digits, read from a local folder or downloaded, and verified in either case."""

import gzip
import hashlib
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from airjax.data._download import download
from airjax.data.banks import DigitBank

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
"""Folders that MNIST is downloaded from, in the order tried."""


@dataclass(frozen=True)
class _File:
    """One IDX file: its name, the shape of its array and the SHA-256 of its uncompressed content."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def size(self) -> int:
        return 4 + 4 * len(self.shape) + math.prod(self.shape)

    @property
    def spellings(self) -> tuple[str, ...]:
        dotted = self.name.replace("-idx", ".idx")
        return (self.name, self.name + ".gz", dotted, dotted + ".gz")


_FILES = {
    "train": (
        _File(
            "train-images-idx3-ubyte",
            (60_000, 28, 28),
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        _File(
            "train-labels-idx1-ubyte",
            (60_000,),
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
    ),
    "held-out": (
        _File(
            "t10k-images-idx3-ubyte",
            (10_000, 28, 28),
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        _File(
            "t10k-labels-idx1-ubyte",
            (10_000,),
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
}


def load_mnist(split: Literal["train", "held-out"], data_dir: str | os.PathLike | None = None) -> DigitBank:
    """Load MNIST's 60,000 training digits or its 10,000 test digits.

    The uncompressed content of every file is checked against the published SHA-256, whatever its source.

    Args:
        split: "train" for the `train-*` files, "held-out" for the `t10k-*` files.
        data_dir: Folder with the IDX files, gzipped or not. Without it, they are downloaded once and kept in
            the user's cache folder.

    Returns:
        The digits, in MNIST's order.

    Raises:
        ValueError: If `split` is invalid, or a file is truncated or corrupt.
        FileNotFoundError: If `data_dir` lacks a file.
        ConnectionError: If no mirror delivers a file.
    """
    if split not in _FILES:
        raise ValueError(f"split must be 'train' or 'held-out', got {split!r}")
    contents = [_load(file, data_dir) for file in _FILES[split]]
    images, labels = (parse_idx(content) for content in contents)
    return DigitBank(images, labels.astype(np.int32))


def parse_idx(content: bytes) -> UInt8[np.ndarray, "..."]:
    """Parse the IDX format: a magic number, the shape as big-endian 32-bit integers, and the array.

    Args:
        content: A whole, uncompressed file.

    Returns:
        The array, as a writable copy.

    Raises:
        ValueError: If the magic number is not that of unsigned bytes, or the length disagrees with the shape.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"an IDX file of unsigned bytes must begin with 00 00 08, got {content[:3].hex(' ')!r}")
    start = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4))
    if len(content) != start + math.prod(shape):
        size = start + math.prod(shape)
        raise ValueError(f"an IDX file of shape {list(shape)} must have {size} bytes, got {len(content)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _load(file: _File, data_dir: str | os.PathLike | None) -> bytes:
    if data_dir is None:
        return download(f"{file.name}.gz", MIRRORS, lambda path: _read_verified(path, file))
    return _read_from(Path(data_dir), file)


def _read_from(folder: Path, file: _File) -> bytes:
    for path in (folder / spelling for spelling in file.spellings):
        if path.is_file():
            return _read_verified(path, file)
    raise FileNotFoundError(f"no MNIST file {file.name} in {folder} (looked for {', '.join(file.spellings)})")


def _read_verified(path: Path, file: _File) -> bytes:
    """Verify and return the content. Read at most one byte too many, so that a zip bomb can't fill the memory."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            content = stream.read(file.size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is truncated or corrupt: {error}") from error
    if len(content) != file.size:
        got = f"{len(content)}" if len(content) < file.size else "more"
        raise ValueError(f"{path} must hold {file.size} bytes uncompressed, got {got}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise ValueError(f"{path} is corrupt: its content must have SHA-256 {file.sha256}, got {digest}")
    return content
