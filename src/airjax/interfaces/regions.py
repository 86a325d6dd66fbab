"""Regions of pictures: the pixels in which each object is seen, as label images, COCO masks and measurements."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16
from PIL import Image

from airjax.data.images import Placement
from airjax.files import write_atomically
from airjax.inference.segmentation import encode
from airjax.interfaces.names import printable
from airjax.models.base import Family

GREY = ("mean_intensity",)
COLOUR = ("mean_intensity_red", "mean_intensity_green", "mean_intensity_blue")
_BOX = ("x0", "y0", "x1", "y1")
_AT_ONCE = 1_000_000
"""Number of pixels that are measured at once."""


def in_picture(labels: UInt16[np.ndarray, "h w"], placement: Placement) -> UInt16[np.ndarray, "height width"]:
    """Convert the label image of a letterboxed picture to the picture's own pixels.

    Each pixel of the picture gets the number of the image's pixel that its centre lies in.
    """
    width, height = placement.size
    rows = _nearest(height, placement.top, placement.factor, labels.shape[0])
    columns = _nearest(width, placement.left, placement.factor, labels.shape[1])
    return labels[np.ix_(rows, columns)]


def _nearest(size: int, start: float, factor: float, limit: int) -> np.ndarray:
    return np.clip(np.floor(start + factor * (np.arange(size) + 0.5)).astype(int), 0, limit - 1)


def write_labels(labels: UInt16[np.ndarray, "h w"], path: Path) -> None:
    """Write a label image to a file, as `labels_png` encodes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, labels_png(labels))


def labels_png(labels: UInt16[np.ndarray, "h w"]) -> bytes:
    """Encode a label image as a grey PNG with 16 bits: 0 for the background, 1, ..., count for the objects."""
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, format="PNG")
    return buffer.getvalue()


def add_masks(one: dict[str, Any], labels: UInt16[np.ndarray, "h w"]) -> None:
    """Add to each object of a picture its `segmentation`, a mask as in COCO results (needs pycocotools)."""
    for found, mask in zip(one["objects"], encode(labels, len(one["objects"]))):
        found["segmentation"] = mask


def add_measurements(
    one: dict[str, Any], labels: UInt16[np.ndarray, "h w"], picture: Image.Image, channels: int
) -> None:
    """Add to each object of a picture its `region`: area, centroid x, y, and mean intensity of each channel.

    Lengths are in pixels of the picture, measured from its upper left corner; the centre of the first pixel is (0.5,
    0.5). Intensities are those of the picture, 0 to 255, in grey for 1 channel. An object without a pixel has the area
    0 and no more.
    """
    height, width = labels.shape
    size, rows = len(one["objects"]) + 1, max(1, _AT_ONCE // width)
    areas, sums = np.zeros(size, int), np.zeros((size, 2 + channels))
    for top in range(0, height, rows):
        part = picture.crop((0, top, width, min(top + rows, height))).convert("L" if channels == 1 else "RGB")
        y, x = np.nonzero(labels[top : top + rows])
        numbers = labels[top + y, x]
        values = [x + 0.5, top + y + 0.5, *np.asarray(part).reshape(-1, width, channels)[y, x].T]
        areas += np.bincount(numbers, minlength=size)
        sums += np.stack([np.bincount(numbers, value, minlength=size) for value in values], axis=1)
    for area, total, found in zip(areas[1:], sums[1:], one["objects"]):
        means = [round(float(value), 4) for value in total / area] if area else None
        centroid, intensity = (means[:2], means[2:]) if means else (None, None)
        found["region"] = {"area": int(area), "centroid": centroid, "mean_intensity": intensity}


def columns(model: Family) -> dict[str, type]:
    """Return the names and types of the columns of a table of measured objects that `model` has found."""
    intensity = GREY if model.image_shape[0] == 1 else COLOUR
    floats = ("centroid_x", "centroid_y", *_BOX, *intensity, "presence")
    pose = {"identity": str, "position_x": float, "position_y": float, "rotation_deg": float} if model.stage else {}
    return {
        "image": str,
        **dict.fromkeys(("id", "count", "object", "area"), int),
        **dict.fromkeys(floats, float),
        **pose,
    }


def rows(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a picture with measured objects: one for each object, or a single one without any."""
    picture = {"image": printable(one["image"])} | {name: one[name] for name in ("id", "count")}
    for place, found in enumerate(one["objects"], start=1):
        about = {name: found[name] for name in ("presence", "identity", "rotation_deg") if name in found}
        about |= dict(zip(("position_x", "position_y"), found.get("position", ())))
        yield picture | {"object": place} | about | dict(zip(_BOX, found["box"])) | _region(**found["region"])
    if not one["objects"]:
        yield picture


def _region(area: int, centroid: list[float] | None, mean_intensity: list[float] | None) -> dict[str, Any]:
    names = GREY if len(mean_intensity or ()) == 1 else COLOUR
    placed = dict(zip(("centroid_x", "centroid_y"), centroid or ()))
    return {"area": area, **placed, **dict(zip(names, mean_intensity or ()))}
