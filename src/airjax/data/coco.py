"""Read annotation files in COCO's format (`instances_*.json`): boxes, and masks as polygons or run lengths."""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from jaxtyping import Bool

from airjax.data.annotated import Annotated, Masks

_logger = logging.getLogger(__name__)


def read_coco(path: Path) -> list[Annotated]:
    """Read the pictures of a COCO annotation file, with their objects in the order of the file.

    Crowds (`iscrowd`) are no objects and are left out, with a warning. Masks are read if every object has one.

    Args:
        path: Path of the file.

    Raises:
        ValueError: The file is no JSON, or has no pictures; an annotation is of no known picture or has no box.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no COCO annotation file: it must hold an object with images and annotations")
    try:
        return _pictures(path, content)
    except (KeyError, TypeError, AttributeError) as error:
        kind, missing = type(error).__name__, isinstance(error, KeyError)
        told = f"something lacks {error}" if missing else f"something has the wrong type ({kind}: {error})"
        raise ValueError(f"{path} is no COCO annotation file: {told}") from None


def _pictures(path: Path, content: Mapping[str, Any]) -> list[Annotated]:
    """List the pictures of a file's content."""
    images, annotations = content["images"], content["annotations"]
    _check_images(path, images)
    objects = _by_image(path, {image["id"] for image in images}, annotations)
    categories = sorted({one["category_id"] for found in objects.values() for one in found})
    masked = _masked([one for found in objects.values() for one in found])
    return [_annotated(path, image, objects[image["id"]], categories, masked) for image in images]


def _check_images(path: Path, images: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError unless there are pictures, each listed once, below the folder of pictures."""
    if not images:
        raise ValueError(f"{path} holds no pictures")
    for key in ("id", "file_name"):
        if twins := [value for value, times in Counter(image[key] for image in images).items() if times > 1]:
            raise ValueError(f"{path} has two pictures with the {key} {twins[0]!r}")
    for name in (PurePath(image["file_name"]) for image in images):
        if name.is_absolute() or ".." in name.parts:
            raise ValueError(f"{path}: file_name must be a path below the folder of pictures, got {str(name)!r}")


def _by_image(path: Path, known: set, annotations: Sequence[Mapping[str, Any]]) -> dict[Any, list[Mapping[str, Any]]]:
    """Sort annotations by the picture they belong to; leave out crowds."""
    objects, crowds = defaultdict(list), 0
    for one in annotations:
        if one["image_id"] not in known:
            raise ValueError(f"{path}: an annotation is of the picture {one['image_id']}, which is not in its list")
        if one.get("iscrowd"):
            crowds += 1
        else:
            objects[one["image_id"]].append(one)
    if crowds:
        _logger.warning("%s: %d crowds are left out; what is found there counts as wrong", path, crowds)
    return objects


def _masked(objects: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether all objects have masks that can be decoded."""
    if not objects or not all(one.get("segmentation") for one in objects):
        return False
    try:
        import pycocotools.mask  # noqa: F401
    except ModuleNotFoundError:
        _logger.warning("masks are left out: they need pycocotools: pip install 'airjax[coco]'")
        return False
    return True


def _annotated(
    path: Path, image: Mapping[str, Any], objects: Sequence[Mapping[str, Any]], categories: Sequence[Any], masked: bool
) -> Annotated:
    """Describe a picture and its objects."""
    boxes = np.array([_box(path, one) for one in objects]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = np.array([categories.index(one["category_id"]) for one in objects], int)
    size = image["width"], image["height"]
    return Annotated(
        str(image["file_name"]), path, size, boxes, labels, _masks(path, image, objects) if masked else None
    )


def _box(path: Path, annotation: Mapping[str, Any]) -> list[float]:
    """Return the left and upper edge, width and height of an object."""
    box = annotation["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, int | float) for value in box):
        raise ValueError(f"{path}: bbox must be four numbers (x, y, width, height), got {str(box)[:60]}")
    return [float(value) for value in box]


def _masks(path: Path, image: Mapping[str, Any], objects: Sequence[Mapping[str, Any]]) -> Masks:
    """Return a function that decodes the masks of a picture."""
    name, size = image["file_name"], (image["width"], image["height"])

    def decode() -> Bool[np.ndarray, "k h w"]:
        masks = np.zeros((len(objects), size[1], size[0]), bool)
        for mask, one in zip(masks, objects):
            mask[...] = _mask(f"{path}: a mask of {name}", one["segmentation"], size)
        return masks

    return decode


def _mask(what: str, told: Any, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Decode polygons, or run lengths as a list or as text; `what` names the mask in errors."""
    from pycocotools import mask

    coco: Any = mask  # its annotations leave out what it accepts
    width, height = size
    if isinstance(told, dict) and told.get("size") != [height, width]:
        raise ValueError(f"{what} has the size {told.get('size')}, but its picture has [{height}, {width}]")
    compressed = isinstance(told, dict) and isinstance(told.get("counts"), str)
    try:
        if isinstance(told, dict) and not compressed and sum(told["counts"]) != width * height:
            raise ValueError("its run lengths don't add up to its picture's pixels")
        runs = told if compressed else coco.frPyObjects(told, height, width)
        return coco.decode(coco.merge(runs) if isinstance(runs, list) else runs).astype(bool)
    except Exception as error:  # pycocotools raises almost anything
        raise ValueError(f"{what} can't be decoded: {error}") from None
