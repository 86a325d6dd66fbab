"""Figures from plain arrays.

They are made without pyplot, so nothing is kept open and no display is needed. Boxes are `(x_min, y_min,
x_max, y_max)` in pixels, measured at pixel edges: a whole image is (0, 0, width, height). Rows of NaN are
not drawn.
"""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from airjax.files import write_atomically

# The paper's red, green and blue for the first three steps, then colours that are easy to tell from them.
STEP_COLOURS = ("#ff2a2a", "#22cc33", "#3a6bff", "#ff9f1a", "#c45cff", "#19d3d3", "#ffe14d", "#ff7ab8")
_FRAME, _BLANK = "#9a9a9a", "#ececec"


def attention_figure(
    images: Float[np.ndarray, "k h w *rgb"],
    boxes: Float[np.ndarray, "k N 4"],
    counts: Integer[np.ndarray, " k"],
    canvases: Float[np.ndarray, "k counts h w *rgb"],
) -> Figure:
    """Draw scenes with their windows, and the reconstruction after each step (as in the paper's figures).

    Args:
        images: Scenes with values in 0..1, one column each.
        boxes: The window of each step.
        counts: The inferred number of objects. Later steps have no window, and their reconstruction is blank.
        canvases: The reconstruction after 0, 1, ..., N objects; the first isn't shown.

    Returns:
        A figure of k columns and N + 1 rows: the scene, then the reconstruction after 1, ..., N objects.

    Raises:
        ValueError: There are no scenes, or a count exceeds N.
    """
    scenes, steps = boxes.shape[:2]
    if scenes == 0 or np.min(counts) < 0 or np.max(counts) > steps:
        raise ValueError(f"counts must hold at least one scene and lie in 0..{steps}, got {counts}")
    figure, axes = _image_grid(steps + 1, scenes, aspect=images.shape[1] / images.shape[2])
    for row, label in enumerate(["scene", *(f"after {n}" for n in range(1, steps + 1))]):
        axes[row, 0].set_ylabel(label, fontsize=8, color="#333333")
    for column in range(scenes):
        count = int(counts[column])
        _show(axes[0, column], images[column], boxes[column, :count])
        for n in range(1, steps + 1):
            if n <= count:
                _show(axes[n, column], canvases[column, n], boxes[column, :n])
    return figure


def sample_figure(
    images: Float[np.ndarray, "k h w *rgb"],
    boxes: Float[np.ndarray, "k N 4"] | Sequence[Float[np.ndarray, "_ 4"]] | None = None,
    *,
    columns: int = 10,
) -> Figure:
    """Lay images out as one contact sheet, row by row, with grey lines between them.

    Args:
        images: Values in 0..1.
        boxes: Boxes to draw in each image.
        columns: Images in a row.

    Raises:
        ValueError: There are no images, or `columns` is below 1.
    """
    if not len(images) or columns < 1:
        raise ValueError(f"need at least 1 image and 1 column, got {len(images)} and {columns}")
    columns = min(columns, len(images))
    sheet, corners = contact_sheet(images, columns)
    height, width = sheet.shape[:2]
    inches = 0.8 * columns
    figure = Figure(figsize=(inches, inches * height / width))
    axes = _bare(_grey_frame(figure.add_axes((0, 0, 1, 1))))
    _show(axes, sheet, np.zeros((0, 4)))
    for corner, framed in zip(corners, [] if boxes is None else boxes):
        _frame(axes, framed + np.tile(corner, 2))
    return figure


def curves_figure(series: Mapping[str, Sequence[Mapping[str, Any]]], fields: Sequence[str]) -> Figure:
    """Plot logged numbers against the training step, with one panel per field and one line per run.

    Args:
        series: The records of each run, by its name (see `airjax.runs.log.read_metrics`). Records in which a
            field is missing or null are skipped.
        fields: Names of the numbers to plot, at least one.

    Raises:
        ValueError: `fields` is empty, or no run has a value of one of them.
    """
    if not fields:
        raise ValueError("fields must name at least one number, got none")
    columns = min(3, len(fields))
    rows = math.ceil(len(fields) / columns)
    figure = Figure(figsize=(3.4 * columns, 2.5 * rows), layout="constrained")
    for place, field in enumerate(fields):
        _plot_field(figure.add_subplot(rows, columns, place + 1), series, field)
    if len(series) > 1:
        figure.axes[0].legend(frameon=False, fontsize=7)
    return figure


def confusion_figure(matrix: Integer[np.ndarray, "T P"]) -> Figure:
    """Draw a confusion table of counts: true counts down, predicted counts across, shaded by the share of the row."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rows, columns = matrix.shape
    figure = Figure(figsize=(1.2 + 0.6 * columns, 1.0 + 0.6 * rows), layout="constrained")
    axes = _grey_frame(figure.add_subplot())
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted count", ylabel="true count", xticks=range(columns), yticks=range(rows))
    axes.tick_params(length=0)
    for (row, column), number in np.ndenumerate(matrix):
        colour = "white" if share[row, column] > 0.5 else "#333333"
        axes.text(column, row, f"{number:,}", ha="center", va="center", fontsize=8, color=colour)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure atomically as PNG (150 dots per inch), PDF or SVG, according to the suffix of `path`.

    Raises:
        ValueError: The path has another suffix.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "pdf", "svg"):
        raise ValueError(f"path must end in .png, .pdf or .svg, got {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=150)
    write_atomically(path, buffer.getvalue())


def _image_grid(rows: int, columns: int, *, aspect: float) -> tuple[Figure, np.ndarray]:
    inches, margin = 0.9, 0.5
    width, height = margin + inches * columns, inches * aspect * rows
    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(
        rows, columns, left=margin / width, right=0.995, top=0.995, bottom=0.005, wspace=0.06, hspace=0.06
    )
    axes = [_bare(_grey_frame(figure.add_subplot(grid[i]))) for i in range(rows * columns)]
    return figure, np.array(axes, dtype=object).reshape(rows, columns)


def _grey_frame(axes: Axes) -> Axes:
    for spine in axes.spines.values():
        spine.set(color=_FRAME, linewidth=0.6)
    return axes


def _bare(axes: Axes) -> Axes:
    axes.set(xticks=[], yticks=[], facecolor=_BLANK)
    return axes


def _show(axes: Axes, image: np.ndarray, boxes: np.ndarray) -> None:
    height, width = image.shape[:2]
    edges = (0, width, height, 0)  # matplotlib would put the first pixel's centre at 0
    axes.imshow(np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1, extent=edges, interpolation="nearest")
    _frame(axes, boxes)


def _frame(axes: Axes, boxes: np.ndarray) -> None:
    for step, (left, top, right, bottom) in enumerate(boxes):
        if not np.isnan([left, top, right, bottom]).any():
            colour = STEP_COLOURS[step % len(STEP_COLOURS)]
            size = (right - left, bottom - top)
            axes.add_patch(Rectangle((left, top), *size, fill=False, edgecolor=colour, linewidth=1.2))


def contact_sheet(
    images: Float[np.ndarray, "k h w *rgb"], columns: int
) -> tuple[Float[np.ndarray, "H W *rgb"], Integer[np.ndarray, "k 2"]]:
    """Lay images out row by row with grey lines between; return the sheet and each image's top left corner (x, y)."""
    count, height, width, *rgb = images.shape
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, *rgb), 0.6)
    place = np.arange(count)
    corners = np.stack([(place % columns) * (width + 1) + 1, (place // columns) * (height + 1) + 1], axis=1)
    for (left, top), image in zip(corners, images):
        sheet[top : top + height, left : left + width] = image
    return sheet, corners


def _plot_field(axes: Axes, series: Mapping[str, Sequence[Mapping[str, Any]]], field: str) -> None:
    for place, (run, records) in enumerate(series.items()):
        points = [(record["step"], record[field]) for record in records if record.get(field) is not None]
        # A run without the field gets an empty line, which keeps its colour and its place in the legend.
        axes.plot(*(zip(*points) if points else ((), ())), label=run, color=f"C{place}", linewidth=1.2)
    if not any(len(line.get_xdata()) for line in axes.lines):  # type: ignore[arg-type]
        raise ValueError(f"fields must name logged numbers, but no run has a value of {field!r}")
    _grey_frame(axes).spines[["top", "right"]].set_visible(False)
    axes.set_title(field, fontsize=9)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=7, color=_FRAME)
