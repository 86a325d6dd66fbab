"""Inference over any number of pictures into files, in little memory, resumable after a stop.

Results go to a journal (`airjax.interfaces.journal`), one line per picture, batch by batch; pictures and label images
are written as batches are done. When all pictures are done, the journal is converted to the requested formats
(`airjax.interfaces.formats`).
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from airjax.data.reading import split
from airjax.inference.segmentation import coco_installed
from airjax.interfaces import formats, infer_files, regions
from airjax.interfaces.journal import Journal
from airjax.interfaces.rois import check_rois, write_rois

_logger = logging.getLogger(__name__)


class Outputs(NamedTuple):
    """Files to write.

    Attributes:
        coco: COCO results (`airjax.interfaces.formats.write_coco`), with masks if pycocotools is installed.
        parquet: a table (`airjax.interfaces.formats.write_parquet`).
        overlay: a folder for pictures with boxes.
        labels: a folder for label images (`airjax.interfaces.regions.write_labels`).
        table: a table of measurements (`airjax.interfaces.formats.write_table`).
        rois: a folder for archives of ImageJ regions (`airjax.interfaces.rois.write_rois`).
    """

    coco: Path | None = None
    parquet: Path | None = None
    overlay: Path | None = None
    labels: Path | None = None
    table: Path | None = None
    rois: Path | None = None

    @property
    def folders(self) -> list[Path]:
        """List the requested outputs that are folders."""
        return [path for path in (self.overlay, self.labels, self.rois) if path is not None]

    @property
    def paths(self) -> list[Path]:
        """List the requested outputs."""
        return [path for path in self if path is not None]

    @property
    def journal(self) -> Path:
        """Path of the journal of an unfinished job, beside the first output."""
        return self.paths[0].with_name(f".{self.paths[0].name}.partial")


def to_files(inference: infer_files.Inference, outputs: Outputs, *, force: bool = False, progress: bool = True) -> None:
    """Infer all pictures into files. The same call resumes after a stop.

    Args:
        inference: the job.
        outputs: the files to write.
        force: whether to replace files that exist.
        progress: whether to show a progress bar on stderr.

    Raises:
        ValueError: an output exists, or can't be written; there is a journal of another inference; see
            `Inference.batches`.
    """
    _check(outputs, inference.pictures, force)
    watches = _watches(outputs, inference)

    def watch(*seen: Any) -> None:
        for one in watches.values():
            one(*seen)

    journal = Journal(outputs.journal, _describe_inference(inference) | {"watches": sorted(watches)}, infer_files.AHEAD)
    columns = TextColumn("inferring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("", total=len(inference.pictures.names), completed=journal.batches * infer_files.AHEAD)
        for batch in inference.batches(journal.batches, watch if watches else None):
            journal.write(batch)
            bar.advance(task, len(batch))
    if outputs.coco:
        formats.write_coco(journal, outputs.coco)
    if outputs.parquet:
        formats.write_parquet(journal, outputs.parquet)
    if outputs.table:
        formats.write_table(journal, outputs.table, inference.model)
    journal.report()
    journal.path.unlink()


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _check(outputs: Outputs, pictures: infer_files.Pictures, force: bool) -> None:
    """Raise ValueError unless all outputs can be written."""
    taken = [path for path in outputs.paths if path.exists() and not (path in outputs.folders and _is_empty(path))]
    if taken and not force and not outputs.journal.exists():
        raise ValueError(f"{taken[0]} exists; choose another name or give --force")
    if len({path.resolve() for path in outputs.paths}) < len(outputs.paths):
        raise ValueError(f"outputs must be different files and folders, got {', '.join(map(str, outputs.paths))}")
    shown = [folder for folder in (outputs.overlay, outputs.labels) if folder is not None]
    if not pictures.strict and (inner := [one for one in shown if pictures.root.resolve() in one.resolve().parents]):
        raise ValueError(
            f"{inner[0]} must lie outside of {pictures.root}: what is written there would be taken for pictures"
        )
    files = {_file_name(pictures, name) for name in pictures.names}
    if outputs.folders and len(files) < len(pictures.names):
        raise ValueError("images must have different names to be written to one folder, got two of one name")
    sources = {(pictures.root / split(name)[0]).resolve() for name in pictures.names}
    inside = {folder / name for folder in shown for name in files}
    written = {path.resolve() for path in outputs.paths} | inside
    if replaced := {path.resolve() for path in written} & sources:
        raise ValueError(f"outputs must not replace pictures, but would replace {min(replaced)}")
    if outputs.rois:
        check_rois()
    if outputs.table:
        formats.check_table(outputs.table)
    if outputs.parquet:
        formats.check_parquet()


def _watches(outputs: Outputs, inference: infer_files.Inference) -> dict[str, infer_files.Watch]:
    """Return what is done with every picture as soon as its batch is inferred, by name."""
    target = lambda folder, line: folder / _file_name(inference.pictures, line["image"])
    watches: dict[str, infer_files.Watch] = {}
    if (overlay := outputs.overlay) is not None:
        watches["overlay"] = lambda picture, line, _: formats.write_overlay(picture, line, target(overlay, line))
    if (folder := outputs.labels) is not None:
        watches["labels"] = lambda _, line, labels: regions.write_labels(labels, target(folder, line))
    if (regions_of := outputs.rois) is not None:
        archive = lambda line: regions_of / _file_name(inference.pictures, line["image"], ".zip")
        watches["rois"] = lambda _, line, labels: write_rois(labels, archive(line))
    if outputs.table:
        channels = inference.model.image_shape[0]
        watches["table"] = lambda picture, line, labels: regions.add_measurements(line, labels, picture, channels)
    if outputs.coco and coco_installed():
        watches["masks"] = lambda _, line, labels: regions.add_masks(line, labels)
    elif outputs.coco:
        _logger.warning("--coco holds boxes without masks: masks need pycocotools: pip install 'airjax[coco]'")
    return watches


def _file_name(pictures: infer_files.Pictures, name: str, suffix: str = ".png") -> str:
    """Return the name, in a folder of outputs, of the file for a picture."""
    name = Path(name).name if pictures.strict else name
    return name if name.endswith(suffix) else f"{name}{suffix}"


def _describe_inference(inference: infer_files.Inference) -> dict[str, Any]:
    """Describe a job so that it can be told from any other."""
    weights = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(inference.model))
    pictures = json.dumps([str(inference.pictures.root.resolve()), inference.pictures.names]).encode()
    return {
        "model": hashlib.sha256(weights).hexdigest(),
        "pictures": hashlib.sha256(pictures).hexdigest(),
        "invert": inference.invert,
        "samples": inference.samples,
        "key": np.asarray(inference.key).tolist(),
        "levels": inference.levels,
        "channels": inference.channels,
    }
