"""Tables of inferred objects, as CSV or Parquet: a row for every object, or for every picture."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from airjax.files import atomically
from airjax.interfaces import regions
from airjax.interfaces.names import printable
from airjax.models.base import Family

ROWS = 5_000
"""Number of rows of a Parquet file held in memory."""
COVERED = 0.95
"""Probability that p(n | x) gives to the counts from `least` to `most`, or more."""
_OF_PICTURES = {
    "image": str,
    **dict.fromkeys(("id", "width", "height", "count"), int),
    "probability": float,
    **dict.fromkeys(("least", "most", "at_border"), int),
}


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


def check_table(name: str, path: Path) -> None:
    """Raise ValueError unless a table can be written to this path; `name` is the output's."""
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"{name} must be a .csv or .parquet file, got {path}")
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
    check_table("table", path)
    rows = (row for one in found for row in regions.rows(one))
    _write(rows, path, regions.columns(model))


def write_counts(found: Iterable[dict[str, Any]], path: Path) -> None:
    """Write a table with one row per picture, as CSV or Parquet.

    Columns: `image`, `id`, `width` and `height` of the picture; its `count`; `probability`, p(n = count | x); `least`
    and `most`, between which n lies with a probability of at least `COVERED` by p(n | x); and `at_border`, the number
    of objects whose box touches the picture's border, which may be cut.

    Args:
        found: dictionaries as `Inference.batches` yields them, one per picture; only `ROWS` rows are kept in memory.
        path: the file to write, completely or not at all: .csv or .parquet.

    Raises:
        ValueError: see `check_table`.
    """
    check_table("counts", path)
    _write(map(_counted, found), path, _OF_PICTURES)


def write_csv(rows: Iterable[Mapping[str, Any]], file: BinaryIO | io.BytesIO, columns: Iterable[str]) -> None:
    """Write rows as CSV to an open file; what a row lacks stays empty."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, list(columns))
    writer.writeheader()
    writer.writerows(rows)
    text.detach()


def _write(rows: Iterable[dict[str, Any]], path: Path, columns: Mapping[str, type]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomically(path) as file:
        if path.suffix == ".csv":
            write_csv(rows, file, columns)
        else:
            import pyarrow as pa

            types = {int: pa.int64(), float: pa.float64(), str: pa.string()}
            schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
            _write_rows(_chunks(iter(rows), ROWS), file, schema)


def _counted(one: dict[str, Any]) -> dict[str, Any]:
    """Describe a picture by its count."""
    posterior, count = np.asarray(one["count_posterior"], float), one["count"]
    below, tail = np.cumsum(posterior), (1.0 - COVERED) / 2
    size = one["width"], one["height"]
    touches = lambda box: min(box[:2]) < 1.0 or any(far > side - 1.0 for far, side in zip(box[2:], size))
    return {
        "image": printable(one["image"]),
        **{name: one[name] for name in ("id", "width", "height", "count")},
        "probability": round(float(posterior[count]), 6),
        "least": int(np.argmax(below >= tail)),
        "most": int(np.argmax(below >= min(1.0 - tail, below[-1]))),
        "at_border": sum(touches(found["box"]) for found in one["objects"]),
    }


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
