"""Pictures in a folder: found, fitted to one size, and decoded once into a cache that is mapped into memory."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console
from rich.progress import track

from airjax.data.images import letterbox, open_picture, shape_of
from airjax.files import write_atomically

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
"""Files taken for pictures, whatever the case."""
AHEAD = 64
"""Pictures that are decoded before they are asked for: few enough for any memory."""
_NAMED = 5
_logger = logging.getLogger(__name__)


class Read(NamedTuple):
    """What came of reading a picture.

    Attributes:
        name: its path below the root, with forward slashes.
        picture: the picture; None if it can't be read.
        problem: why not.
    """

    name: str
    picture: Image.Image | None
    problem: str | None


def list_pictures(root: Path) -> list[str]:
    """List the pictures below `root`, sorted: paths with forward slashes.

    Hidden files and folders are left out. Links are followed to files, as version control of data makes them, but not
    to folders; those that lead nowhere are left out.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no picture.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} does not exist or is not a folder")
    names, lost = [], 0
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]
        for file in files:
            path = Path(folder) / file
            if path.suffix.lower() not in SUFFIXES or file.startswith("."):
                continue
            if path.is_file():
                names.append(path.relative_to(root).as_posix())
            else:
                lost += path.is_symlink()
    if not names:
        links = f", but {lost} links that lead nowhere" if lost else ""
        raise ValueError(f"{root} holds no picture ({', '.join(sorted(SUFFIXES))}){links}")
    return sorted(names)


def read_pictures(root: Path, names: Sequence[str]) -> Iterator[Read]:
    """Read pictures in their order, a few of them ahead on other threads."""

    def read(name: str) -> Read:
        try:
            return Read(name, open_picture(root / name, name), None)
        except (ValueError, OSError) as error:
            return Read(name, None, str(error))

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(names), AHEAD):
            yield from pool.map(read, names[start : start + AHEAD])


def report_unreadable(problems: Sequence[str], total: int) -> None:
    """Warn of pictures that were left out."""
    if problems:
        some = "; ".join(problems[:_NAMED]) + ("; ..." if len(problems) > _NAMED else "")
        _logger.warning("left out %d of %d pictures: %s", len(problems), total, some)


def fingerprint(root: Path) -> str:
    """Describe which pictures a folder holds: their number, and a hash of names and sizes.

    Raises:
        FileNotFoundError, ValueError: see `list_pictures`.
    """
    names = list_pictures(root)
    listing = json.dumps([(name, (root / name).stat().st_size) for name in names])
    return f"{len(names)} pictures, {hashlib.sha256(listing.encode()).hexdigest()[:12]}"


def load_folder(
    root: Path, image_shape: tuple[int, int, int], *, invert: bool = False, seed: int = 0, strict: bool = False
) -> UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"]:
    """Read the pictures below `root`, fitted to (channels, height, width) = `image_shape`, in an order drawn by `seed`.

    They are decoded once, with a progress bar, into a file in the user's cache folder, and mapped into memory from
    there: an array may be larger than memory. Another call with the same pictures only maps it again. Pictures that
    can't be read are left out, with a warning.

    Args:
        root: the folder.
        image_shape: what to fit them to (`airjax.data.images.letterbox`).
        invert: whether dark turns light.
        seed: draws their order, so that every stretch of them is a sample.
        strict: whether a picture that can't be read is an error.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no picture that can be read; with `strict`, it holds one that can't.
    """
    names = list_pictures(root)
    path = _cached(root, names, (*image_shape, invert, seed))
    if not path.with_suffix(".json").is_file():
        _decode(
            root, [names[i] for i in np.random.default_rng(seed).permutation(len(names))], image_shape, invert, path
        )
    problems = json.loads(path.with_suffix(".json").read_text())["problems"]
    if strict and problems:
        raise ValueError(problems[0])
    report_unreadable(problems, len(names))
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    if not len(images):
        raise ValueError(f"{root} holds no picture that can be read")
    return images


def _cached(root: Path, names: Sequence[str], settings: tuple) -> Path:
    """Name the file in the cache for these very files and settings."""
    state = [(name, (stat := (root / name).stat()).st_size, stat.st_mtime_ns) for name in names]
    content = json.dumps([str(root.resolve()), settings, state])
    return Path(pooch.os_cache("airjax")) / "pictures" / f"{hashlib.sha256(content.encode()).hexdigest()[:24]}.npy"


def _decode(root: Path, names: Sequence[str], image_shape: tuple[int, int, int], invert: bool, path: Path) -> None:
    """Decode pictures into `path`, and last, as a sign that it is complete, say beside it which could not be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    problems, done, shape, bar = [], 0, shape_of(*image_shape), Console(stderr=True)
    try:
        with partial.open("w+b") as file:
            np.lib.format.write_array_header_1_0(file, _header(len(names), shape))
            for read in track(
                read_pictures(root, names), "reading", len(names), console=bar, disable=not bar.is_terminal
            ):
                if read.picture is None:
                    problems.append(read.problem)
                    continue
                pixels = letterbox(read.picture, image_shape, invert=invert).pixels
                file.write(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)).tobytes())
                done += 1
            file.seek(0)
            np.lib.format.write_array_header_1_0(file, _header(done, shape))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    write_atomically(path.with_suffix(".json"), json.dumps({"problems": problems}).encode())


def _header(count: int, shape: tuple[int, ...]) -> dict:
    return {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
