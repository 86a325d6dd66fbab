"""Inferred objects in formats for other software: COCO, pictures with boxes, and supervision."""

import functools
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer
from PIL import Image, ImageDraw, ImageFont

from airjax.files import atomically, write_atomically
from airjax.interfaces.names import printable
from airjax.runs.plots import STEP_COLOURS

CATEGORY = {"id": 1, "name": "object"}
"""COCO's category of all objects, since nothing is labelled."""
NUMBERED = 16
"""Least side, in pixels, of a box that is drawn with its object's number."""


def images_path(coco: Path) -> Path:
    """Return the path of the file, beside COCO results, that lists their images."""
    return coco.with_suffix(".images.json")


def write_coco(found: Iterable[dict[str, Any]], path: Path) -> None:
    """Write COCO results (a list of boxes with scores, and masks) to `path`, and the images they refer to beside it.

    The second file, `NAME.images.json`, is a COCO data set without annotations: names, sizes, ids, and for every image
    its count and p(n | x). To load both with pycocotools: `COCO(images).loadRes(results)`; it can't load results that
    hold no object at all. Boxes are [x, y, width, height] in pixels of the picture. Scores are probabilities of
    presence. A `segmentation` (`airjax.interfaces.regions.add_masks`) is written where objects have one. There are as
    many results for an image as its count says.

    Args:
        found: dictionaries as `Inference.batches` yields them, one per picture; none is kept in memory.
        path: the file to write, completely or not at all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomically(path) as results, atomically(images_path(path)) as images:
        results.write(b"[")
        images.write((json.dumps({"categories": [CATEGORY], "annotations": []})[:-1] + ', "images": [').encode())
        between = {results: "", images: ""}

        def write(file, value):
            file.write((between[file] + "\n" + json.dumps(value, allow_nan=False)).encode())
            between[file] = ","

        for one in found:
            about = {"id": one["id"], "file_name": printable(one["image"])}
            write(images, about | {name: one[name] for name in ("width", "height", "count", "count_posterior")})
            for described in one["objects"]:
                x0, y0, x1, y1 = described["box"]
                box = [round(value, 3) for value in (x0, y0, x1 - x0, y1 - y0)]
                ids = {"image_id": one["id"], "category_id": CATEGORY["id"]}
                mask = {name: described[name] for name in ("segmentation",) if name in described}
                write(results, ids | {"bbox": box, "score": described["presence"]} | mask)
        results.write(b"\n]\n")
        images.write(b"\n]}\n")


def write_overlay(picture: Image.Image, one: dict[str, Any], path: Path) -> None:
    """Draw the boxes of objects into a copy of their picture, in the colours of their steps, and write it as a PNG.

    Boxes of at least `NUMBERED` pixels hold the object's number, as in label images and tables.
    """
    shown = picture.convert("RGB")
    draw, width = ImageDraw.Draw(shown), max(1, round(max(shown.size) / 200))
    for step, found in enumerate(one["objects"]):
        x0, y0, x1, y1 = found["box"]
        corners = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))  # Pillow's corners are pixels, ours are pixel edges
        colour, side = STEP_COLOURS[step % len(STEP_COLOURS)], min(x1 - x0, y1 - y0)
        draw.rectangle(corners, outline=colour, width=width)
        if side >= NUMBERED:
            font = _font(round(max(8, min(0.4 * side, max(shown.size) / 25))))
            corner = max(x0, 0.0) + width + 2, max(y0, 0.0) + width + 1
            draw.text(corner, str(step + 1), fill=colour, font=font, stroke_width=1, stroke_fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    shown.save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


_font = functools.cache(ImageFont.load_default)


def to_supervision(one: dict[str, Any], labels: Integer[np.ndarray, "h w"] | None = None) -> Any:
    """Convert the objects of a picture (an entry of `airjax infer --json`) to `supervision.Detections`.

    `xyxy` holds the boxes in pixels, `mask` the pixels that objects are seen in, if they are known, `confidence` the
    probabilities of presence, `class_id` zeros, and `data["code"]` the codes (in 3D `data["identity"]`).

    Args:
        one: the entry. If its objects have a `segmentation`, as in COCO results, masks come from there.
        labels: the picture's label image, as `airjax infer --labels` writes it: masks come from there instead.

    Raises:
        ModuleNotFoundError: supervision is not installed (`pip install 'airjax[supervision]'`), or pycocotools, which
            a `segmentation` needs (`pip install 'airjax[coco]'`).
    """
    import supervision

    objects = one["objects"]
    if not objects:
        return supervision.Detections.empty()
    kinds: dict[str, Any] = {"code": np.float32, "identity": str}
    names = [name for name in kinds if name in objects[0]]
    return supervision.Detections(
        xyxy=np.array([found["box"] for found in objects], np.float32),
        mask=_masks(objects, labels),
        confidence=np.array([found["presence"] for found in objects], np.float32),
        class_id=np.zeros(len(objects), int),
        data={name: np.array([found[name] for found in objects], kinds[name]) for name in names},
    )


def _masks(objects: list[dict[str, Any]], labels: np.ndarray | None) -> Bool[np.ndarray, "n h w"] | None:
    if labels is not None:
        return labels == np.arange(1, len(objects) + 1)[:, None, None]
    if "segmentation" not in objects[0]:
        return None
    from pycocotools import mask as coco

    return np.stack([coco.decode(found["segmentation"]).astype(bool) for found in objects])
