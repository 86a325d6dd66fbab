"""Several .npz files of a folder as one data set, which may be larger than memory."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from airjax.data.addresses import Address, Place
from airjax.data.ahead import Read
from airjax.data.copies import local
from airjax.data.folder import cached, decode, is_picture, is_sound, shuffled_places, states
from airjax.data.scenes import Scenes, load_npz
from airjax.files import write_atomically

SUFFIX = ".npz"


class _Shard(NamedTuple):
    """What a file holds: the shape of its images, and their counts, if they are known."""

    shape: tuple[int, ...]
    counts: list[int] | None


def are_shards(root: Place) -> bool:
    """Tell whether a folder holds .npz files, and no pictures."""
    return root.is_dir() and bool(list_shards(root)) and not _has_pictures(root)


def list_shards(root: Place) -> list[str]:
    """List the .npz files of a folder, but not of folders in it, by name."""
    names = root.names() if isinstance(root, Address) else [path.name for path in root.glob(f"*{SUFFIX}")]
    return sorted(name for name in names if name.endswith(SUFFIX) and "/" not in name and not name.startswith("."))


def _has_pictures(root: Place) -> bool:
    if isinstance(root, Address):
        return any(map(is_picture, root.names()))
    return any(is_picture(path.relative_to(root).as_posix()) for path in root.rglob("*"))


def load_shards(root: Place, *, invert: bool = False, seed: int = 0) -> Scenes:
    """Read the images, and counts where they are known, of all .npz files of a folder, shuffled by `seed`.

    The first call writes the images, file by file, into one file in the user's cache folder, from which they are mapped
    into memory, as those of `airjax.data.folder.load_folder` are.

    Args:
        root: the folder, or its address.
        invert: whether to swap dark and light.
        seed: seed of the random order.

    Raises:
        ValueError: a file can't be read; files differ in the size or colour of their images, or only some have counts.
    """
    names = list_shards(root)
    path = cached(root, states(root, names), ("shards", invert, seed))
    counts = path.with_suffix(".counts.json")
    if not (counts.is_file() and is_sound(path)):
        _write(root, names, invert, seed, path, counts)
    known = json.loads(counts.read_text())
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    return Scenes(images, counts=None if known is None else np.array(known, np.int32))


def _write(root: Place, names: list[str], invert: bool, seed: int, path: Path, counts: Path) -> None:
    """Write the cached images, and before them their counts."""
    shards = {name: _look(root / name) for name in names}
    (_, height, width, *colours), known = _agreed(root, shards), [shard.counts for shard in shards.values()]
    total = sum(shard.shape[0] for shard in shards.values())
    order, places, start = shuffled_places(total, seed), {}, 0
    for name, shard in shards.items():
        places[name] = order[start : start + shard.shape[0]]
        start += shard.shape[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    content = None
    if None not in known:
        every = [count for one in known for count in one or ()]
        content = [count for _, count in sorted(zip(order, every))]
    write_atomically(counts, json.dumps(content).encode())

    def read() -> Iterator[Read[Any]]:
        for name in names:
            with local(root / name) as path:
                images = load_npz(path).images
            yield Read(name, 255 - images if invert else images, None)

    first = lambda image: image[None] if image.ndim == 2 else np.moveaxis(image, -1, 0)
    decode(read(), places, lambda images, _: map(first, images), (3 if colours else 1, height, width), path)


def _agreed(root: Place, shards: dict[str, _Shard]) -> tuple[int, ...]:
    """Return the shape of the first file's images; raise ValueError if the other files differ in kind."""
    (name, first), *others = shards.items()
    for other, shard in others:
        if shard.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"{root} must hold images of one size: those of {name} have shape {list(first.shape[1:])}, "
                f"those of {other} {list(shard.shape[1:])}"
            )
        if (shard.counts is None) != (first.counts is None):
            raise ValueError(f"{root} must have counts in all of its files or in none: {name} and {other} differ")
    return first.shape


def _look(file: Place) -> _Shard:
    """Look at a file without reading its images."""
    with local(file) as path:
        try:
            with zipfile.ZipFile(path) as archive, archive.open("images.npy") as images:
                np.lib.format.read_magic(images)
                shape = np.lib.format.read_array_header_1_0(images)[0]
            with np.load(path, allow_pickle=False) as arrays:
                counts = arrays["counts"].tolist() if "counts" in arrays.files else None
        except Exception as error:  # a damaged archive or header can raise almost anything
            raise ValueError(f"{path} can't be read as an npz file with images: {error}") from None
    if len(shape) not in (3, 4) or (counts is not None and len(counts) != shape[0]):
        raise ValueError(f"{file} must hold images of shape [n, h, w] or [n, h, w, 3] and as many counts")
    return _Shard(tuple(shape), counts)
