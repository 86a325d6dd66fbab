"""Read folders of pictures with boxes in YOLO's format: `images`, and a text file for each picture in `labels`."""

from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float

from airjax.data.annotated import Annotated
from airjax.data.folder import list_pictures

IMAGES, LABELS = "images", "labels"
CLASSES = "classes.txt"
"""A list of the names of classes, which some programs write among the labels."""


def read_yolo(folder: Path, pictures: Path) -> list[Annotated]:
    """Read the boxes of all pictures of a folder.

    The boxes of `pictures/NAME.png` are in `folder/labels/NAME.txt`: a line for each, with its class and its centre x,
    y, width and height, in units of the picture's sides. A picture without such a file holds no objects.

    Args:
        folder: The folder that holds `labels`.
        pictures: The folder of the pictures, which may have folders, like `labels`.

    Raises:
        FileNotFoundError: The folder of pictures does not exist, or a file of labels has no picture.
        ValueError: There are no pictures, two have the same labels, or a line is not as above.
    """
    names = list_pictures(pictures)
    known: dict[str, str] = {}
    for name in names:
        label = PurePosixPath(name).with_suffix(".txt").as_posix()
        if (twin := known.setdefault(label, name)) != name:
            raise ValueError(f"{pictures} has two pictures, {twin} and {name}, for the labels {label}")
    found = [path for path in (folder / LABELS).rglob("*.txt") if path.is_file()]
    labels = sorted(path.relative_to(folder / LABELS).as_posix() for path in found)
    labels = [label for label in labels if label in known or label != CLASSES]
    if not labels:
        raise ValueError(f"{folder / LABELS} holds no labels (.txt)")
    if missing := [label for label in labels if label not in known]:
        raise FileNotFoundError(f"{folder / LABELS / missing[0]} has no picture in {pictures}")
    return [_annotated(name, folder / LABELS / PurePosixPath(name).with_suffix(".txt")) for name in names]


def _annotated(name: str, path: Path) -> Annotated:
    rows = _rows(path) if path.is_file() else np.zeros((0, 5))
    centre, half = rows[:, 1:3], rows[:, 3:] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return Annotated(name, path, None, boxes, rows[:, 0].astype(int), relative=True)


def _rows(path: Path) -> Float[np.ndarray, "k 5"]:
    """Read the numbers of a file of labels."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        try:
            values = [float(word) for word in line.split()]
        except ValueError:
            values = [np.nan]
        if not values:
            continue
        if len(values) != 5 or not np.isfinite(values).all() or values[0] < 0 or values[0] % 1:
            raise ValueError(f"{path}, line {number}, must be a class and centre x, y, width and height, got {line!r}")
        rows.append(values)
    return np.array(rows).reshape(-1, 5)
