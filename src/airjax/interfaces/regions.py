"""Regions of pictures: the pixels in which each object is seen, as label images, COCO masks and measurements."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16
from PIL import Image

from airjax.data.images import Placement
from airjax.files import write_atomically
from airjax.inference.segmentation import encode

GREY = ("mean_intensity",)
COLOUR = ("mean_intensity_red", "mean_intensity_green", "mean_intensity_blue")


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
    """Write a label image as a grey PNG with 16 bits: 0 for the background, 1, ..., count for the objects."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def add_masks(one: dict[str, Any], labels: UInt16[np.ndarray, "h w"]) -> None:
    """Add to each object of a picture its `segmentation`, a mask as in COCO results (needs pycocotools)."""
    for number, found in enumerate(one["objects"], start=1):
        found["segmentation"] = encode(labels == number)


def add_measurements(
    one: dict[str, Any], labels: UInt16[np.ndarray, "h w"], picture: Image.Image, channels: int
) -> None:
    """Add to each object of a picture its `region`: area, centroid x, y, and mean intensity of each channel.

    Lengths are in pixels of the picture, measured from its upper left corner; the centre of the first pixel is (0.5,
    0.5). Intensities are those of the picture, 0 to 255, in grey for 1 channel. An object without a pixel has the area
    0 and no more.
    """
    pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB")).reshape(*labels.shape, channels)
    y, x = np.nonzero(labels)
    numbers, size = labels[y, x], len(one["objects"]) + 1
    values = [x + 0.5, y + 0.5, *pixels[y, x].T]
    areas = np.bincount(numbers, minlength=size)
    sums = np.stack([np.bincount(numbers, value, minlength=size) for value in values], axis=1)
    for area, total, found in zip(areas[1:], sums[1:], one["objects"]):
        means = [round(float(value), 4) for value in total / area] if area else None
        centroid, intensity = (means[:2], means[2:]) if means else (None, None)
        found["region"] = {"area": int(area), "centroid": centroid, "mean_intensity": intensity}


def row(found: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a measured object that tell of its region."""
    region = found["region"]
    means = region["mean_intensity"] or ()
    centroid = dict(zip(("centroid_x", "centroid_y"), region["centroid"] or ()))
    return {"area": region["area"], **centroid, **dict(zip(GREY if len(means) == 1 else COLOUR, means))}
