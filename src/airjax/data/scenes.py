"""Images of scenes with their annotations: the type that all scene data sets of this package return."""

import os
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Int32, Integer, Shaped, UInt8

from airjax.config import MOST_OBJECTS
from airjax.files import atomically

_DTYPES = {
    "counts": np.dtype(np.int32),
    "boxes": np.dtype(np.float32),
    "labels": np.dtype(np.int32),
    "poses": np.dtype(np.float32),
    "azimuths": np.dtype(np.float32),
    "segmentation": np.dtype(np.uint8),
}


@no_type_check  # __post_init__ checks, with the same errors whether or not annotations are enforced
@dataclass(frozen=True, eq=False)
class Scenes:
    """Images of `n` scenes, with the number, places and classes of their objects where known.

    `boxes`, `labels` and `poses` have room for `k` objects, at least the largest count. If `counts` is known, their
    row `i` is filled for the first `counts[i]` objects, and is NaN (boxes and poses) or -1 (labels) beyond.

    Attributes:
        images: Pixels from 0 to 255, grey `[n, h, w]` or colour `[n, h, w, 3]`.
        counts: Number of objects of each scene.
        boxes: Corners `x0, y0, x1, y1` in pixels. The far edges are exclusive: one pixel is
            `[x, y, x + 1, y + 1]`.
        labels: Class of each object.
        poses: Position `x, y` on the table, and rotation in radians, of each object (`airjax.render3d`).
        azimuths: Azimuth of each scene's camera, in radians; None unless it differs between scenes.
        segmentation: The object that each pixel shows: 1, ..., `counts[i]` in the order of the rows, or 0 for the
            background. An object that is wholly hidden has no pixel.

    Raises:
        ValueError: If an array has the wrong shape or dtype, or disagrees with `counts`.
    """

    images: UInt8[np.ndarray, "n h w"] | UInt8[np.ndarray, "n h w 3"]
    counts: Int32[np.ndarray, " n"] | None = None
    boxes: Float32[np.ndarray, "n k 4"] | None = None
    labels: Int32[np.ndarray, "n k"] | None = None
    poses: Float32[np.ndarray, "n k 3"] | None = None
    azimuths: Float32[np.ndarray, " n"] | None = None
    segmentation: UInt8[np.ndarray, "n h w"] | None = None

    def __post_init__(self):
        _check_array("images", self.images, np.dtype(np.uint8), ("n", "h", "w"), ("n", "h", "w", 3))
        n = len(self.images)
        if n and not self.images.size:
            raise ValueError(f"images must have at least one pixel, got shape {list(self.images.shape)}")
        if self.counts is not None:
            _check_array("counts", self.counts, _DTYPES["counts"], (n,))
            if n and self.counts.min() < 0:
                raise ValueError(f"counts must be at least 0, got {self.counts.min()}")
            if n and self.counts.max() > MOST_OBJECTS:
                raise ValueError(f"counts must be at most {MOST_OBJECTS}, got {self.counts.max()}")
        if self.boxes is not None:
            _check_array("boxes", self.boxes, _DTYPES["boxes"], (n, "max_count", 4))
            _check_rows("boxes", ~np.isnan(self.boxes), self.counts, "NaN")
        if self.labels is not None:
            _check_array("labels", self.labels, _DTYPES["labels"], (n, "max_count"))
            _check_rows("labels", (self.labels != -1)[..., None], self.counts, "-1")
        if self.poses is not None:
            _check_array("poses", self.poses, _DTYPES["poses"], (n, "max_count", 3))
            _check_rows("poses", ~np.isnan(self.poses), self.counts, "NaN")
        if self.azimuths is not None:
            _check_array("azimuths", self.azimuths, _DTYPES["azimuths"], (n,))
        if self.segmentation is not None:
            _check_array("segmentation", self.segmentation, _DTYPES["segmentation"], self.images.shape[:3])
            _check_segmentation(self.segmentation, self.counts)

    def __len__(self) -> int:
        """Count the scenes."""
        return len(self.images)

    def __getitem__(self, index: slice | Integer[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> "Scenes":
        """Select scenes by a slice, an array of positions or a mask.

        Args:
            index: Scenes to select; for the single scene `i`, use `scenes[i : i + 1]`.

        Returns:
            The selected scenes, in the order of `index`.

        Raises:
            TypeError: If `index` is a single number.
        """
        if not isinstance(index, slice | np.ndarray):
            raise TypeError(f"index must be a slice or an array (one scene is scenes[i : i + 1]), got {index!r}")
        return Scenes(**{name: array[index] for name, array in _arrays(self).items()})


def load_npz(path: str | os.PathLike) -> Scenes:
    """Read scenes from an npz file.

    The file holds `images` and, where known, `counts`, `boxes`, `labels`, `poses`, `azimuths` and `segmentation`. Other
    keys are ignored. Integers and floats of another width are converted. Pickled objects are never loaded.

    Args:
        path: Path of the file.

    Returns:
        The scenes of the file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not an npz, can't be read, has no `images`, or its arrays are not valid
            `Scenes`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        arrays = _read_arrays(path)
    except Exception as error:  # a damaged archive or header can raise almost anything
        raise ValueError(f"{path} can't be read as an npz file: {error}") from error
    if "images" not in arrays:
        raise ValueError(f"{path} has no array called images")
    try:
        return Scenes(**arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def save_npz(path: str | os.PathLike, scenes: Scenes) -> None:
    """Write scenes to an npz file that `load_npz` reads, either completely or not at all.

    Args:
        path: Path of the file, used as it is: no suffix is added. The folder must exist.
        scenes: Scenes to write. Arrays that are None are omitted.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {path.parent}")
    arrays: dict[str, Any] = dict(_arrays(scenes))
    with atomically(path) as file:
        np.savez_compressed(file, **arrays)


def _arrays(scenes: Scenes) -> dict[str, np.ndarray]:
    """Return the arrays that are not None, by name."""
    arrays = ((field.name, getattr(scenes, field.name)) for field in fields(scenes))
    return {name: array for name, array in arrays if array is not None}


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not a zip archive")
    with np.load(path, allow_pickle=False) as file:
        known = [field.name for field in fields(Scenes) if field.name in file.files]
        return {name: _same_kind(name, file[name]) for name in known}


def _same_kind(name: str, array: np.ndarray) -> np.ndarray:
    """Convert integers and floats of any width to the expected one. `Scenes` refuses everything else."""
    dtype = _DTYPES.get(name, array.dtype)
    family = np.integer if dtype.kind in "iu" else np.floating
    if array.dtype == dtype or not np.issubdtype(array.dtype, family):
        return array
    if dtype.kind in "iu" and array.size and not _fits(array, np.iinfo(dtype)):
        return array
    return array.astype(dtype)


def _fits(array: np.ndarray, limits: np.iinfo) -> bool:
    return bool(limits.min <= array.min() and array.max() <= limits.max)


def _check_array(name: str, array: object, dtype: np.dtype, *shapes: tuple[int | str, ...]) -> None:
    allowed = " or ".join("[" + ", ".join(map(str, shape)) + "]" for shape in shapes)
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} must be a {dtype} array of shape {allowed}, got {type(array).__name__}")
    fits = any(_matches(array.shape, shape) for shape in shapes)
    if not fits or array.dtype != dtype:
        raise ValueError(f"{name} must be {dtype} of shape {allowed}, got {array.dtype} of shape {list(array.shape)}")


def _matches(shape: tuple[int, ...], pattern: tuple[int | str, ...]) -> bool:
    return len(shape) == len(pattern) and all(isinstance(p, str) or s == p for s, p in zip(shape, pattern))


def _check_rows(name: str, known: Shaped[np.ndarray, "n k d"], counts: np.ndarray | None, blank: str) -> None:
    """Check that exactly the first `counts` rows of each scene are filled."""
    if counts is None or not len(counts):
        return
    if known.shape[1] < counts.max():
        raise ValueError(f"{name} must have room for {counts.max()} objects, the largest count, got {known.shape[1]}")
    expected = (np.arange(known.shape[1]) < counts[:, None])[..., None]
    if bad := np.flatnonzero((known != expected).any((1, 2))).tolist():
        raise ValueError(
            f"{name} must be filled for the first counts[i] objects and {blank} beyond, got otherwise in scene {bad[0]}"
        )


def _check_segmentation(segmentation: np.ndarray, counts: np.ndarray | None) -> None:
    """Check that no pixel shows an object beyond the count."""
    if counts is None or not segmentation.size:
        return
    if bad := np.flatnonzero(segmentation.max((1, 2)) > counts).tolist():
        raise ValueError(f"segmentation must hold numbers up to counts[i], got a larger one in scene {bad[0]}")
