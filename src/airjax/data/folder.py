"""List folders of pictures, and read them, fitted to one size and decoded once into a memory-mapped cache."""

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pooch
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console
from rich.progress import track

from airjax.data.addresses import Address, Place, state_of
from airjax.data.ahead import Read, read_pictures
from airjax.data.images import Levels, letterbox, shape_of
from airjax.data.reading import SEVERAL, SUFFIXES, count, numbered, split
from airjax.data.still import enough, still_background
from airjax.data.tiles import Tiles, are_few, chosen_pictures, random_tiles, scaled
from airjax.files import atomically, hashed, write_atomically

READER = 3
"""Counts changes of what is read of a file, which make cached arrays stale."""
_NAMED, _COUNTING = 5, 4
_logger = logging.getLogger(__name__)


def list_pictures(root: Place, every: int = 1) -> list[str]:
    """List the pictures below `root` as sorted paths with forward slashes.

    Hidden files and folders are skipped. Links to files are followed, since version control of data creates them;
    links to folders and broken links are skipped. Folders that may not be read are left out with a warning. Files that
    may hold several pictures are opened to count them.

    Args:
        root: the folder.
        every: of a file with several pictures, only every so many-th is listed, from the first on.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: it holds no picture.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} does not exist or is not a folder")
    if isinstance(root, Address):
        names, lost = [name for name in root.names() if is_picture(name)], 0
    else:
        names, lost = _walk(root)
    if not names:
        links = f", but {lost} links that lead nowhere" if lost else ""
        raise ValueError(f"{root} holds no picture ({', '.join(sorted(SUFFIXES))}){links}")
    return list_numbers(root, sorted(names), every)


def is_picture(name: str) -> bool:
    """Tell whether a path below a folder names a picture, and is not hidden."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _walk(root: Path) -> tuple[list[str], int]:
    """List the files of pictures below a folder, and count links that lead nowhere."""
    names, lost = [], 0
    for folder, below, files in os.walk(root, onerror=lambda error: _logger.warning("left out a folder: %s", error)):
        below[:] = [name for name in below if not name.startswith(".")]
        for file in filter(is_picture, files):
            path = Path(folder) / file
            if path.is_file():
                names.append(path.relative_to(root).as_posix())
            else:
                lost += path.is_symlink()
    return names, lost


def list_numbers(root: Place, files: Sequence[str], every: int = 1) -> list[str]:
    """List the pictures of files: all in a file of its own by its name, and several in a file by number.

    Args:
        root: the folder that paths are relative to.
        files: paths of files; those that name a picture by number stay as they are.
        every: of a file with several pictures, only every so many-th is listed, from the first on.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    opened = [file for file in files if Path(file).suffix.lower() in SEVERAL]
    with ThreadPoolExecutor(_COUNTING) as pool:
        counts = dict(zip(opened, pool.map(lambda file: _count(root / file), opened)))
    names = []
    for file in files:
        several = counts.get(file, 1)
        names += [numbered(file, k + 1) for k in range(0, several, every)] if several > 1 else [file]
    return names


def _count(path: Place) -> int:
    return _counted(path.absolute(), *state_of(path))


@lru_cache(maxsize=1_000_000)
def _counted(path: Place, size: int, changed: int | str) -> int:
    """Count the pictures of a file as it was at some time, once: a command lists its folder several times."""
    del size, changed
    return count(path)


def report_unreadable(problems: Sequence[str], total: int) -> None:
    """Log a warning about pictures that were skipped."""
    if problems:
        some = "; ".join(problems[:_NAMED]) + ("; ..." if len(problems) > _NAMED else "")
        _logger.warning("left out %d of %d pictures: %s", len(problems), total, some)


def fingerprint(root: Place, every: int = 1) -> str:
    """Describe the pictures of a folder by their number and a hash of their names and sizes.

    Raises:
        FileNotFoundError, ValueError: see `list_pictures`.
    """
    return describe_files(root, list_pictures(root, every), "pictures")


def describe_files(root: Place, names: Sequence[str], kind: str) -> str:
    """Describe files of a kind by their number and a hash of their names and sizes."""
    listing = json.dumps([(name, size) for name, (size, _) in states(root, names)])
    return f"{len(names)} {kind}, {hashlib.sha256(listing.encode()).hexdigest()[:12]}"


def states(root: Place, names: Sequence[str]) -> Iterator[tuple[str, tuple[int, int | str]]]:
    """Yield each name with size and time of its file, or its version at an address."""
    last, state = None, None
    for name in names:
        if state is None or split(name)[0] != last:
            last = split(name)[0]
            state = state_of(root / last)
        yield name, state


def load_folder(
    root: Place,
    image_shape: tuple[int, int, int],
    *,
    levels: Levels | None = None,
    channels: tuple[int, ...] | None = None,
    every: int = 1,
    invert: bool = False,
    seed: int = 0,
    strict: bool = False,
    tiles: Tiles | None = None,
) -> UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"]:
    """Read the pictures below `root`, fitted to (channels, height, width) = `image_shape` and shuffled by `seed`.

    The first call decodes them, with a progress bar, into a file in the user's cache folder. The result is mapped from
    that file and may be larger than memory. Later calls with the same pictures only map the file, also for a folder at
    an address. Pictures that can't be read are skipped with a warning.

    Args:
        root: the folder.
        image_shape: the (channels, height, width) of the images.
        levels: how values become black, white and grey, as in `images.plain`.
        channels: channels to pick, as in `images.pick`.
        every: of a file with several pictures, only every so many-th is read.
        invert: whether to swap dark and light.
        seed: seed of the random order, which makes any slice a random sample.
        strict: whether a picture that can't be read is an error.
        tiles: the tiles to cut out of the pictures at random; None: whole pictures.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: no picture can be read; with `strict`, some picture can't be read.
    """
    names = list_pictures(root, every)
    path = cached(root, states(root, names), (*image_shape, levels, channels, invert, seed, *(tiles or ())))
    if not is_sound(path):
        if tiles is None:
            fit, cut = lambda picture: letterbox(picture, image_shape, invert=invert).pixels, lambda pixels, _: [pixels]
            places = {name: [place] for name, place in zip(names, shuffled_places(len(names), seed))}
        else:
            fit, places = None, _places_of_tiles(names, seed, tiles)
            cut = lambda pixels, own: _tiles(pixels, image_shape, own, len(places), seed)
        chosen = [name for name in names if name in places]  # in the order of files, since videos are read in theirs
        read = read_pictures(root, chosen, levels, channels, fit)
        if tiles is not None:
            still = load_still(root, names, tiles, levels=levels, channels=channels, seed=seed)
            scale = lambda picture: scaled(picture, image_shape, tiles.side, invert=invert, still=still).pixels
            read = (one.then(scale) for one in read)
        decode(read, places, cut, image_shape, path)
    problems = json.loads(path.with_suffix(".json").read_text())["problems"]
    if strict and problems:
        raise ValueError(problems[0])
    report_unreadable(problems, len(names))
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    if not len(images):
        raise ValueError(f"{root} holds no picture that can be read: {problems[0]}")
    return images


def load_still(
    root: Place,
    names: Sequence[str],
    tiles: Tiles,
    *,
    levels: Levels | None = None,
    channels: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Image.Image | None:
    """Find the still background that pictures are compared with before tiles are cut; None: they are not compared.

    It is told by pictures that no tile is held out of; see `airjax.data.still`.

    Raises:
        ValueError: too few of these pictures can be read, or are of one size.
    """
    if not tiles.still:
        return None
    chosen = chosen_pictures(list(names), seed)[0]
    return _still(root, tuple(states(root, chosen[math.ceil(tiles.held_out * len(chosen)) :])), levels, channels)


@lru_cache(maxsize=1)
def _still(
    root: Place,
    known: tuple[tuple[str, tuple[int, int | str]], ...],
    levels: Levels | None,
    channels: tuple[int, ...] | None,
) -> Image.Image:
    """Find the still background of pictures as their files were at some time, once: training asks for it twice."""
    read = lambda names: (one.picture for one in read_pictures(root, names, levels, channels) if one.picture)
    return still_background(enough(read, [name for name, _ in known]))


def is_sound(path: Path) -> bool:
    """Return whether pictures are in the cache; warn if they are, but damaged."""
    if not path.with_suffix(".json").is_file():
        return False
    try:
        told = json.loads(path.with_suffix(".json").read_text())
        if told["sha256"] == hashed(path) and isinstance(told["problems"], list):
            return True
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    _logger.warning("%s, which holds pictures that were read before, is damaged; they are read again", path)
    return False


def cached(root: Place, known: Iterable[tuple[str, tuple[int, int | str]]], settings: tuple) -> Path:
    """Return the path of the cached array. It depends on names, sizes and times of the files, and on the settings."""
    content = json.dumps([READER, str(root.resolve()), settings, [(name, *state) for name, state in known]])
    return Path(pooch.os_cache("airjax")) / "pictures" / f"{hashlib.sha256(content.encode()).hexdigest()[:24]}.npy"


def shuffled_places(size: int, seed: int) -> list[int]:
    """Return the place of each of so many images in a random order."""
    return np.argsort(_order(size, seed)).tolist()


def _order(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(size)


def _places_of_tiles(names: list[str], seed: int, tiles: Tiles) -> dict[str, list[int]]:
    """Give every tile its place: those that are held out first, in random order, then the others."""
    chosen, number = chosen_pictures(names, seed)
    held_out = round(tiles.held_out * len(chosen) * number)
    order = [*_order(held_out, seed), *(held_out + _order(len(chosen) * number - held_out, seed))]
    return {name: [int(place) for place in order[i * number :][:number]] for i, name in enumerate(chosen)}


def _tiles(
    pixels: UInt8[np.ndarray, "c h w"], image_shape: tuple[int, int, int], own: list[int], pictures: int, seed: int
) -> list[UInt8[np.ndarray, "c th tw"]]:
    """Cut the tiles with these places out of one of a number of pictures."""
    turned = are_few(pixels, image_shape, pictures)
    return random_tiles(pixels, image_shape, len(own), (seed, *own[:1]), turned=turned)


def decode(
    pictures: Iterator[Read[Any]],
    places: dict[str, list[int]],
    cut: Callable[[Any, list[int]], Iterable[UInt8[np.ndarray, "c h w"]]],
    image_shape: tuple[int, int, int],
    path: Path,
) -> None:
    """Decode pictures into `path`. Then write a JSON file of problems, which marks it as complete.

    The last images move to the places of those that can't be read.

    Args:
        pictures: the pictures, or what is made of them as they are read.
        places: places of each picture's images.
        cut: makes a picture's images, for their places.
        image_shape: the (channels, height, width) of the images.
        path: the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    problems, shape, bar = {}, shape_of(*image_shape), Console(stderr=True)
    total = sum(map(len, places.values()))
    with atomically(path) as file:
        np.lib.format.write_array_header_1_0(file, _header(total, shape))
        start, size = file.tell(), int(np.prod(shape))
        for read in track(pictures, "reading", len(places), console=bar, disable=not bar.is_terminal):
            own = places[read.name]
            if read.picture is None:
                problems |= dict.fromkeys(own, read.problem)
                continue
            for place, pixels in zip(own, cut(read.picture, own)):
                file.seek(start + place * size)
                file.write(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)).tobytes())
        done = total - len(problems)
        moved = [place for place in range(done, total) if place not in problems]
        for gap, place in zip(sorted(problems), moved):
            file.seek(start + place * size)
            content = file.read(size)
            file.seek(start + gap * size)
            file.write(content)
        file.truncate(start + done * size)
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, _header(done, shape))
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # it is a file on disk
    found = list(dict.fromkeys(problems[place] for place in sorted(problems)))
    write_atomically(path.with_suffix(".json"), json.dumps({"problems": found, "sha256": digest}).encode())


def _header(count: int, shape: tuple[int, ...]) -> dict:
    return {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
