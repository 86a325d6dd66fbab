"""Inference over any number of pictures into files, in little memory, resumable after a stop.

Results go to a journal (`airjax.interfaces.journal`), one line per picture, batch by batch; pictures and label images
are written as batches are done. When all pictures are done, the journal is converted to the requested formats
(`airjax.interfaces.formats`, `airjax.interfaces.tabular`).
"""

import logging
import os
from typing import Any

from airjax.files import remove_remains
from airjax.inference.segmentation import coco_installed
from airjax.interfaces import formats, infer_files, regions, tabular
from airjax.interfaces.console import inferring
from airjax.interfaces.doubts import Doubts
from airjax.interfaces.jobs import describe_inference, hash_of_batch
from airjax.interfaces.journal import Journal
from airjax.interfaces.locks import locked
from airjax.interfaces.outputs import Outputs as Outputs
from airjax.interfaces.outputs import beside, check_outputs, file_name
from airjax.interfaces.rois import write_rois

_logger = logging.getLogger(__name__)


def to_files(inference: infer_files.Inference, outputs: Outputs, *, force: bool = False, progress: bool = True) -> None:
    """Infer all pictures into files. The same call resumes after a stop.

    Args:
        inference: the job.
        outputs: the files to write.
        force: whether to replace files that exist, and to begin anew where a journal is of another inference.
        progress: whether to show a progress bar on stderr.

    Raises:
        ValueError: an output exists, can't be written, or is being written by another process; there is a journal of
            another inference, or of pictures that have changed since; see `Inference.batches`.
    """
    check_outputs(outputs, inference.pictures)
    with locked(beside(path, "lock") for path in (*outputs.files, *outputs.folders)):
        for path in (*outputs.files, *outputs.folders) if outputs.journal.exists() else ():
            remove_remains(path)
        watches = _watches(outputs, inference)
        journal = _journal(inference, outputs, watches, force)
        _infer(inference, journal, watches, progress, whole=bool(outputs.overlay or outputs.table))
        if outputs.coco:
            formats.write_coco(journal, outputs.coco)
        if outputs.parquet:
            tabular.write_parquet(journal, outputs.parquet)
        if outputs.table:
            tabular.write_table(journal, outputs.table, inference.model)
        if outputs.counts:
            tabular.write_counts(journal, outputs.counts)
        journal.report()
        if progress:
            counts = [line["count"] for line in journal]
            _logger.info("found %d objects in %d pictures", sum(counts), len(counts))
        journal.path.unlink()


def _journal(
    inference: infer_files.Inference, outputs: Outputs, watches: dict[str, infer_files.Watch], force: bool
) -> Journal:
    """Open the journal, unless outputs exist that this job has not written."""
    if not outputs.journal.exists() and not force and (taken := outputs.taken):
        raise ValueError(f"{taken} exists; choose another name or give --force")
    header = describe_inference(inference) | _describe_outputs(outputs, watches)
    journal = Journal(outputs.journal, header, lambda index: hash_of_batch(inference, index), force=force)
    unfinished = journal.done < len(inference.pictures.names)
    if unfinished and not force and (others := [path for path in outputs.files if path.exists()]):
        raise ValueError(f"{others[0]} exists, and the unfinished inference has not written it; give --force")
    return journal


def _infer(
    inference: infer_files.Inference,
    journal: Journal,
    watches: dict[str, infer_files.Watch],
    progress: bool,
    *,
    whole: bool,
) -> None:
    """Infer what is not done yet into the journal; `whole` says whether watches need the pictures themselves."""

    def watch(*seen: Any) -> None:
        for one in watches.values():
            one(*seen)

    doubts = Doubts(inference.model, inference.kind, **(journal.note or {}))
    with inferring(len(inference.pictures.names), journal.done, shown=progress) as advance:
        for batch in inference.batches(journal.batches, watch if watches else None, doubts, whole=whole):
            journal.write(batch, doubts.seen)
            advance(len(batch))


def _watches(outputs: Outputs, inference: infer_files.Inference) -> dict[str, infer_files.Watch]:
    """Return what is done with every picture as soon as its batch is inferred, by name."""
    target = lambda folder, line: folder / file_name(inference.pictures, line["image"])
    watches: dict[str, infer_files.Watch] = {}
    if (overlay := outputs.overlay) is not None:
        watches["overlay"] = lambda picture, line, _: formats.write_overlay(picture, line, target(overlay, line))
    if (folder := outputs.labels) is not None:
        watches["labels"] = lambda _, line, labels: regions.write_labels(labels, target(folder, line))
    if (regions_of := outputs.rois) is not None:
        archive = lambda line: regions_of / file_name(inference.pictures, line["image"], ".zip")
        watches["rois"] = lambda _, line, labels: write_rois(labels, archive(line))
    if outputs.table:
        channels = inference.model.image_shape[0]
        watches["table"] = lambda picture, line, labels: regions.add_measurements(line, labels, picture, channels)
    if outputs.coco and coco_installed():
        watches["masks"] = lambda _, line, labels: regions.add_masks(line, labels)
    elif outputs.coco:
        _logger.warning("--coco holds boxes without masks: masks need pycocotools: pip install 'airjax[coco]'")
    return watches


def _describe_outputs(outputs: Outputs, watches: dict[str, infer_files.Watch]) -> dict[str, Any]:
    places = {name: os.path.realpath(path) for name, path in outputs._asdict().items() if path is not None}
    return {"outputs": places, "what is written": sorted(watches)}
