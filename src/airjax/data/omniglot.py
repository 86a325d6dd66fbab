"""Omniglot's handwritten characters (Lake et al. 2015), from a local folder or downloaded.

The data set has 1,623 characters of 50 alphabets, each drawn once by each of 20 people: 32,460 drawings.
"""

import hashlib
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from PIL import Image

from airjax.data._archives import read_folder, read_zip
from airjax.data._download import download
from airjax.data._placing import check_whole
from airjax.data.banks import every_fifth

MIRRORS = (
    "https://raw.githubusercontent.com/brendenlake/omniglot/057f034baf2ecb8530bc5710e5a23584d2a519cc/python/",
    "https://github.com/brendenlake/omniglot/raw/master/python/",
)
"""Folders that Omniglot is downloaded from, in the order tried: the data set's own repository."""

SIDE = 105
"""Side of a published drawing, in pixels."""

_SHA256 = {
    "images_background.zip": "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
    "images_evaluation.zip": "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
}
_SETS = ("background", "evaluation", "background_small1", "background_small2")
_NAME = r"(?:.*/)?([^/]+)/character(\d+)/\d+_(\d+)\."
_BATCH = 1024

Key = tuple[str, int, int]
"""Alphabet, character and drawer."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Drawings:
    """Drawings of characters, ordered by alphabet, character and drawer.

    Attributes:
        images: White strokes on black, from 0 to 255.
        alphabets: Name of each drawing's alphabet.
        characters: Number of each drawing's character within its alphabet, from 1.
        drawers: Number of the person who drew it, from 1 to 20, within its alphabet.
        strokes: Number of strokes of each drawing; None unless known for all.
    """

    images: UInt8[np.ndarray, "n canvas canvas"]
    alphabets: tuple[str, ...]
    characters: Int32[np.ndarray, " n"]
    drawers: Int32[np.ndarray, " n"]
    strokes: Int32[np.ndarray, " n"] | None

    def __len__(self) -> int:
        """Count the drawings."""
        return len(self.images)


def load_omniglot(
    split: Literal["train", "held-out"], data_dir: str | os.PathLike | None = None, *, canvas: int = 50
) -> Drawings:
    """Load drawings of the training characters, or of the held-out ones: every fifth character of each alphabet.

    All drawings that are found form one data set. The published division into background and evaluation alphabets is
    not kept. A drawing that is found twice counts once. Nothing is unpacked to disk.

    Args:
        split: "held-out" for the 5th, 10th, ... character of each alphabet, "train" for the others.
        data_dir: Folder with any of the published archives `images_background.zip`, `images_evaluation.zip`,
            `images_background_small1.zip` and `images_background_small2.zip`, or with their unpacked content
            (`ALPHABET/characterNN/NNNN_NN.png`, optionally in one more folder). Numbers of strokes are read from
            the corresponding archives `strokes_*.zip`, or from their unpacked content. Without `data_dir`, the first
            two archives are downloaded once and kept in the user's cache folder.
        canvas: Side of the images in pixels, from 1 to 105. Each pixel is the average over its area.

    Returns:
        The drawings of the split.

    Raises:
        ValueError: If an argument is out of range, or an archive or a drawing is damaged.
        FileNotFoundError: If `data_dir` has no drawing.
        ConnectionError: If no mirror delivers an archive.
    """
    if split not in ("train", "held-out"):
        raise ValueError(f"split must be 'train' or 'held-out', got {split!r}")
    check_whole("canvas", canvas, 1, SIDE)
    folder = _downloaded() if data_dir is None else Path(data_dir)
    drawn = _read(folder, "images", "png", bytes)
    if not drawn:
        names = ", ".join(f"images_{name}.zip" for name in _SETS)
        raise FileNotFoundError(f"no Omniglot drawing in {data_dir} (looked for {names} and */characterNN/*.png)")
    keys, strokes = _chosen(sorted(drawn), split), _read(folder, "strokes", "txt", _count_strokes)
    alphabets, characters, drawers = zip(*keys)
    return Drawings(
        _draw([(key, drawn[key]) for key in keys], canvas),
        alphabets,
        np.array(characters, np.int32),
        np.array(drawers, np.int32),
        np.array([strokes[key] for key in keys], np.int32) if strokes.keys() >= set(keys) else None,
    )


def _downloaded() -> Path:
    """Download missing archives to the cache, and return its folder."""
    verified = lambda sha256: lambda path: _verified(path, sha256)
    paths = [download(name, MIRRORS, verified(sha256)) for name, sha256 in _SHA256.items()]
    return paths[0].parent


def _verified(path: Path, sha256: str) -> Path:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != sha256:
        raise ValueError(f"{path} is corrupt: it must have SHA-256 {sha256}, got {digest}")
    return path


def _read(folder: Path, kind: Literal["images", "strokes"], suffix: str, parse: Callable[[bytes], T]) -> dict[Key, T]:
    """Read drawings, or their strokes, from all archives and folders that exist."""
    pattern = re.compile(_NAME + suffix)
    globs = tuple(f"{above}*/character*/*.{suffix}" for above in ("", "*/"))
    found = read_folder(folder, globs, pattern, parse)
    for path in (folder / f"{kind}_{name}.zip" for name in _SETS):
        if path.is_file():
            found |= read_zip(path, pattern, parse)
    return {(alphabet, int(character), int(drawer)): part for (alphabet, character, drawer), part in found.items()}


def _count_strokes(content: bytes) -> int:
    """Count the runs of points between the words START and BREAK."""
    runs = re.split(r"START|BREAK", content.decode("ascii"))
    if not (count := sum(bool(run.strip()) for run in runs)):
        raise ValueError("a file of strokes has none")
    return count


def _chosen(keys: list[Key], split: Literal["train", "held-out"]) -> list[Key]:
    """Select the drawings of a split's characters."""
    characters = sorted({key[:2] for key in keys})
    held_out = every_fifth(np.array([alphabet for alphabet, _ in characters])) == (split == "held-out")
    chosen = {character for character, wanted in zip(characters, held_out) if wanted}
    if not chosen:
        raise ValueError(
            f"each Omniglot alphabet found has too few characters to hold out the fifth: {len(characters)} in all"
        )
    return [key for key in keys if key[:2] in chosen]


def _draw(drawings: list[tuple[Key, bytes]], canvas: int) -> UInt8[np.ndarray, "n canvas canvas"]:
    """Decode drawings, and average them over the area of each pixel of the canvas."""
    edges = np.arange(canvas + 1) * (SIDE / canvas)
    weights = np.diff(np.clip(edges[:, None] - np.arange(SIDE), 0, 1), axis=0).astype(np.float32) * (canvas / SIDE)
    images = np.empty((len(drawings), canvas, canvas), np.uint8)
    for start in range(0, len(drawings), _BATCH):
        ink = np.stack([_decode(*drawing) for drawing in drawings[start : start + _BATCH]])
        images[start : start + _BATCH] = np.rint(weights @ ink @ weights.T)
    return images


def _decode(key: Key, content: bytes) -> Float32[np.ndarray, "105 105"]:
    """Read a drawing of black strokes on white as white strokes on black."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            if picture.size != (SIDE, SIDE):
                raise ValueError(f"it has {picture.size[0]} x {picture.size[1]} pixels, not {SIDE} x {SIDE}")
            return 255 - np.asarray(picture.convert("L"), np.float32)
    except Exception as error:  # Pillow raises many kinds of errors
        alphabet, character, drawer = key
        raise ValueError(
            f"the drawing of {alphabet}/character{character:02} by drawer {drawer} can't be read: {error}"
        ) from error
