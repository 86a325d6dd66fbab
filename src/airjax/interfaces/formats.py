"""Inferred objects in formats for other software: COCO, Parquet, CSV, pictures with boxes, and supervision."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Bool, Integer
from PIL import Image, ImageDraw

from airjax.files import atomically, write_atomically
from airjax.interfaces import regions
from airjax.interfaces.names import printable
from airjax.models.base import Family
from airjax.runs.plots import STEP_COLOURS

CATEGORY = {"id": 1, "name": "object"}
"""COCO's category of all objects, since nothing is labelled."""
ROWS = 5_000
"""Number of rows of a Parquet file held in memory."""


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


def check_parquet() -> None:
    """Raise ValueError unless Parquet files can be written."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError:
        raise ValueError("Parquet files need pyarrow: pip install 'airjax[parquet]'") from None


def write_parquet(found: Iterable[dict[str, Any]], path: Path, *, problems: bool = False) -> None:
    """Write a Parquet file with one row per object, in the order of inference.

    Columns: `image`, `id`, `count` and `count_posterior` (p(n | x), n = 0..N) of the picture; `object` (1, 2, ...), its
    box `x0`, `y0`, `x1`, `y1` and window `window_x0`, ... in the picture's pixels, `presence` and `code` (null in 3D,
    where `write_table` has the pose). A picture without objects has one row, in which the object's columns are null,
    so that no picture is missing.

    Args:
        found: dictionaries as `Inference.batches` yields them, one per picture; only `ROWS` rows are kept in memory.
        path: the file to write, completely or not at all.
        problems: whether there is a last column, `problem`, and a picture that can't be read has one row that says why.

    Raises:
        ValueError: see `check_parquet`.
    """
    check_parquet()
    import pyarrow as pa

    floats = [*_named("", None), *_named("window_", None), "presence"]
    fields: list[tuple[str, Any]] = [("image", pa.string()), ("id", pa.int64()), ("count", pa.int32())]
    fields += [("count_posterior", pa.list_(pa.float32())), ("object", pa.int32())]
    fields += [(name, pa.float32()) for name in floats] + [("code", pa.list_(pa.float32()))]
    schema = pa.schema(fields + [("problem", pa.string())] * problems)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomically(path) as file:
        _write_rows(_chunks((row for one in found for row in _rows(one)), ROWS), file, schema)


def check_table(path: Path) -> None:
    """Raise ValueError unless a table of this name can be written."""
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"table must be a .csv or .parquet file, got {path}")
    if path.suffix == ".parquet":
        check_parquet()


def write_table(found: Iterable[dict[str, Any]], path: Path, model: Family) -> None:
    """Write a table of measurements with one row per object, in the order of inference, as CSV or Parquet.

    Columns: `image`, `id` and `count` of the picture; `object` (1, 2, ...), the number in label images; `area`,
    `centroid_x` and `centroid_y` of the pixels that the object is seen in, and the picture's mean intensity there (see
    `airjax.interfaces.regions.add_measurements`); its box `x0`, `y0`, `x1`, `y1`; `presence`; and in 3D `identity`,
    `position_x`, `position_y` (on the table) and `rotation_deg`. A picture without objects has one row, in which the
    object's columns are empty, so that no picture is missing.

    Args:
        found: dictionaries as `Inference.batches` yields them, one per picture, with measurements; only `ROWS` rows are
            kept in memory.
        path: the file to write, completely or not at all: .csv or .parquet.
        model: the model that has found the objects.

    Raises:
        ValueError: see `check_table`.
    """
    check_table(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomically(path) as file:
        if path.suffix == ".csv":
            write_csv(found, file, model)
        else:
            import pyarrow as pa

            types = {int: pa.int64(), float: pa.float64(), str: pa.string()}
            schema = pa.schema([(name, types[kind]) for name, kind in regions.columns(model).items()])
            _write_rows(_chunks((row for one in found for row in regions.rows(one)), ROWS), file, schema)


def write_csv(found: Iterable[dict[str, Any]], file: BinaryIO | io.BytesIO, model: Family) -> None:
    """Write the table of `write_table` as CSV to an open file."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, list(regions.columns(model)))
    writer.writeheader()
    for one in found:
        writer.writerows(regions.rows(one))
    text.detach()


def _write_rows(chunks: Iterator[list[dict[str, Any]]], file: BinaryIO, schema: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(file, schema) as writer:
        for rows in chunks:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _rows(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    picture = {"image": printable(one["image"]), "id": one["id"]}
    if "problem" in one:
        yield picture | {"problem": printable(one["problem"])}
        return
    picture |= {name: one[name] for name in ("count", "count_posterior")}
    for place, found in enumerate(one["objects"], start=1):
        about = {"object": place, "presence": found["presence"], "code": found.get("code")}
        yield picture | about | _named("", found["box"]) | _named("window_", found["window"])
    if not one["objects"]:
        yield picture


def _named(prefix: str, corners: list[float] | None) -> dict[str, float | None]:
    return {f"{prefix}{name}": value for name, value in zip(("x0", "y0", "x1", "y1"), corners or [None] * 4)}


def _chunks(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def write_overlay(picture: Image.Image, one: dict[str, Any], path: Path) -> None:
    """Draw the boxes of objects into a copy of their picture, in the colours of their steps, and write it as a PNG."""
    shown = picture.convert("RGB")
    draw, width = ImageDraw.Draw(shown), max(1, round(max(shown.size) / 200))
    for step, found in enumerate(one["objects"]):
        x0, y0, x1, y1 = found["box"]
        corners = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))  # Pillow's corners are pixels, ours are pixel edges
        draw.rectangle(corners, outline=STEP_COLOURS[step % len(STEP_COLOURS)], width=width)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    shown.save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


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
