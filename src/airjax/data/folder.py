"""Read folders of pictures, fitted to one size and decoded once into a memory-mapped cache."""

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

from airjax.data.images import Levels, decode, find_levels, frames, letterbox, open_picture, shape_of
from airjax.files import atomically, write_atomically

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
"""Suffixes of pictures, in lower or upper case."""
AHEAD = 64
"""Number of pictures that are decoded ahead: few enough to fit into memory."""
_NAMED, _OPENED = 5, 100
_logger = logging.getLogger(__name__)


class Read(NamedTuple):
    """Result of reading a picture.

    Attributes:
        name: its path below the root, with forward slashes.
        picture: the picture; None if it can't be read.
        problem: the reason why it can't be read; None if it can.
    """

    name: str
    picture: Image.Image | None
    problem: str | None


def list_pictures(root: Path) -> list[str]:
    """List the pictures below `root` as sorted paths with forward slashes.

    Hidden files and folders are skipped. Links to files are followed, since version control of data creates them;
    links to folders and broken links are skipped.

    Raises:
        FileNotFoundError: the folder does not exist.
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


def read_pictures(root: Path, names: Sequence[str], levels: Levels | None = None) -> Iterator[Read]:
    """Read pictures in the given order, a few of them ahead on other threads; `levels` as in `images.plain`."""

    def read(name: str) -> Read:
        try:
            return Read(name, open_picture(root / name, name, levels=levels), None)
        except (ValueError, OSError) as error:
            return Read(name, None, str(error))

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(names), AHEAD):
            yield from pool.map(read, names[start : start + AHEAD])


def folder_levels(root: Path, names: Sequence[str]) -> Levels | None:
    """Choose how values of a folder's pictures become black, white and grey; see `images.find_levels`."""

    def readable() -> Iterator[Image.Image]:
        for name in names:
            try:
                yield decode(root / name, name)
            except (ValueError, OSError):
                continue  # reported where pictures are read

    return find_levels(readable())


def report_frames(root: Path, names: Sequence[str]) -> None:
    """Log a warning if some pictures hold several frames or pages; up to `_OPENED` of them are opened for it."""
    some = names[:: -(-len(names) // _OPENED)]
    several = {name: number for name in some if (number := frames(root / name)) > 1}
    if several:
        name, number = next(iter(several.items()))
        _logger.warning(
            "%d of %d pictures looked at hold several frames (%s: %d); only the first of each is read",
            *(len(several), len(some), name, number),
        )


def report_unreadable(problems: Sequence[str], total: int) -> None:
    """Log a warning about pictures that were skipped."""
    if problems:
        some = "; ".join(problems[:_NAMED]) + ("; ..." if len(problems) > _NAMED else "")
        _logger.warning("left out %d of %d pictures: %s", len(problems), total, some)


def fingerprint(root: Path) -> str:
    """Describe the pictures of a folder by their number and a hash of their names and sizes.

    Raises:
        FileNotFoundError, ValueError: see `list_pictures`.
    """
    names = list_pictures(root)
    listing = json.dumps([(name, (root / name).stat().st_size) for name in names])
    return f"{len(names)} pictures, {hashlib.sha256(listing.encode()).hexdigest()[:12]}"


def load_folder(
    root: Path,
    image_shape: tuple[int, int, int],
    *,
    levels: Levels | None = None,
    invert: bool = False,
    seed: int = 0,
    strict: bool = False,
) -> UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"]:
    """Read the pictures below `root`, fitted to (channels, height, width) = `image_shape` and shuffled by `seed`.

    The first call decodes them, with a progress bar, into a file in the user's cache folder. The result is mapped from
    that file and may be larger than memory. Later calls with the same pictures only map the file. Pictures that can't
    be read are skipped with a warning.

    Args:
        root: the folder.
        image_shape: the (channels, height, width) of the images.
        levels: how values become black, white and grey, as in `images.plain`.
        invert: whether to swap dark and light.
        seed: seed of the random order, which makes any slice a random sample.
        strict: whether a picture that can't be read is an error.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: no picture can be read; with `strict`, some picture can't be read.
    """
    names = list_pictures(root)
    path = _cached(root, names, (*image_shape, levels, invert, seed))
    if not path.with_suffix(".json").is_file():
        shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
        _decode(read_pictures(root, shuffled, levels), len(names), image_shape, invert, path)
    problems = json.loads(path.with_suffix(".json").read_text())["problems"]
    if strict and problems:
        raise ValueError(problems[0])
    report_unreadable(problems, len(names))
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    if not len(images):
        raise ValueError(f"{root} holds no picture that can be read")
    return images


def _cached(root: Path, names: Sequence[str], settings: tuple) -> Path:
    """Return the path of the cached array. It depends on names, sizes and times of the files, and on the settings."""
    state = [(name, (stat := (root / name).stat()).st_size, stat.st_mtime_ns) for name in names]
    content = json.dumps([str(root.resolve()), settings, state])
    return Path(pooch.os_cache("airjax")) / "pictures" / f"{hashlib.sha256(content.encode()).hexdigest()[:24]}.npy"


def _decode(pictures: Iterator[Read], total: int, image_shape: tuple[int, int, int], invert: bool, path: Path) -> None:
    """Decode pictures into `path`. Then write a JSON file of problems beside it, which marks it as complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    problems, done, shape, bar = [], 0, shape_of(*image_shape), Console(stderr=True)
    with atomically(path) as file:
        np.lib.format.write_array_header_1_0(file, _header(total, shape))
        for read in track(pictures, "reading", total, console=bar, disable=not bar.is_terminal):
            if read.picture is None:
                problems.append(read.problem)
                continue
            pixels = letterbox(read.picture, image_shape, invert=invert).pixels
            file.write(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)).tobytes())
            done += 1
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, _header(done, shape))
    write_atomically(path.with_suffix(".json"), json.dumps({"problems": problems}).encode())


def _header(count: int, shape: tuple[int, ...]) -> dict:
    return {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
