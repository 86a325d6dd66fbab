"""The files that a job of inference writes: which they are, and whether they can all be written."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from airjax.data.addresses import Address
from airjax.data.reading import split
from airjax.interfaces import formats, tabular
from airjax.interfaces.infer_files import Pictures
from airjax.interfaces.rois import check_rois


class Outputs(NamedTuple):
    """Files to write.

    Attributes:
        coco: COCO results (`airjax.interfaces.formats.write_coco`), with masks if pycocotools is installed.
        parquet: a table (`airjax.interfaces.tabular.write_parquet`).
        overlay: a folder for pictures with boxes.
        labels: a folder for label images (`airjax.interfaces.regions.write_labels`).
        table: a table of measurements (`airjax.interfaces.tabular.write_table`).
        rois: a folder for archives of ImageJ regions (`airjax.interfaces.rois.write_rois`).
        counts: a table with a row per picture (`airjax.interfaces.tabular.write_counts`).
    """

    coco: Path | None = None
    parquet: Path | None = None
    overlay: Path | None = None
    labels: Path | None = None
    table: Path | None = None
    rois: Path | None = None
    counts: Path | None = None

    @property
    def folders(self) -> list[Path]:
        """List the requested outputs that are folders."""
        return [path for path in (self.overlay, self.labels, self.rois) if path is not None]

    @property
    def files(self) -> list[Path]:
        """List the files that are written at the end, with those that nobody named."""
        named = [path for path in (self.coco, self.parquet, self.table, self.counts) if path is not None]
        return named + ([formats.images_path(self.coco)] if self.coco else [])

    @property
    def paths(self) -> list[Path]:
        """List the requested outputs."""
        return [path for path in self if path is not None]

    @property
    def journal(self) -> Path:
        """Path of the journal of an unfinished job, beside the first output."""
        return beside(self.paths[0], "partial")

    @property
    def taken(self) -> Path | None:
        """Return an output that exists, if any; empty folders don't count."""
        there = [path for path in self.files if path.exists()]
        there += [folder for folder in self.folders if folder.exists() and not _is_empty(folder)]
        return min(there, default=None)


def beside(path: Path, suffix: str) -> Path:
    """Name a hidden file beside an output."""
    return path.with_name(f".{path.name}.{suffix}")


def file_name(pictures: Pictures, name: str, suffix: str = ".png") -> str:
    """Return the name, in a folder of outputs, of the file for a picture."""
    name = Path(name).name if pictures.strict else name
    return name if name.endswith(suffix) else f"{name}{suffix}"


def check_outputs(outputs: Outputs, pictures: Pictures) -> None:
    """Raise ValueError unless the outputs are of the right kinds, kept apart, and in folders that can be written."""
    _check_kinds(outputs)
    _check_places(outputs)
    _check_apart(outputs, pictures)
    _check_pictures(outputs, pictures)


def _check_kinds(outputs: Outputs) -> None:
    for name, path in outputs._asdict().items():
        if path is not None and path.name in ("", ".."):
            raise ValueError(f"{name} must name a file or folder, got '{'' if path == Path() else path}'")
    if outputs.rois:
        check_rois()
    for name in ("table", "counts"):
        if (path := getattr(outputs, name)) is not None:
            tabular.check_table(name, path)
    if outputs.coco and outputs.coco.suffix in (".csv", ".parquet"):
        raise ValueError(f"coco must be a .json file, got {outputs.coco}")
    if outputs.parquet:
        if outputs.parquet.suffix in (".csv", ".json"):
            raise ValueError(f"parquet must be a .parquet file, got {outputs.parquet}")
        tabular.check_parquet()


def _check_places(outputs: Outputs) -> None:
    """Raise ValueError unless every output is in a folder that is there, or can be made, and can be written."""
    for path in outputs.files:
        if path.is_dir():
            raise ValueError(f"{path} is a folder, where a file is to be written")
    for path in outputs.folders:
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file, where a folder of pictures is to be written")
    for path in (*outputs.files, *outputs.folders):
        check_parent(path)
        if path.is_dir() and not os.access(path, os.W_OK):
            raise ValueError(f"{path} can't be written: no permission")


def check_folder(folder: Path, pictures: Pictures) -> None:
    """Raise ValueError unless a folder of Parquet files can be written, and lies outside of the pictures."""
    outputs = Outputs(overlay=folder)
    if folder.suffix in (".parquet", ".csv", ".json") and not folder.is_dir():
        raise ValueError(f"parquet must be a folder with --engine ray, got {folder}")
    _check_kinds(outputs)
    _check_places(outputs)
    _check_pictures(outputs, pictures)


def check_parent(path: Path) -> None:
    """Raise ValueError unless a file or folder can be made at `path`: its nearest parent is a folder of one's own."""
    parent = next(parent for parent in path.absolute().parents if parent.exists())
    if not parent.is_dir():
        raise ValueError(f"{path} can't be written: {parent} is not a folder")
    if not os.access(parent, os.W_OK):
        raise ValueError(f"{path} can't be written: no permission to write to {parent}")


def _check_apart(outputs: Outputs, pictures: Pictures) -> None:
    """Raise ValueError if two outputs, or those of two pictures, would share a file, or need a file as their folder."""
    if len({os.path.realpath(path) for path in outputs.paths}) < len(outputs.paths):
        raise ValueError(f"outputs must be different files and folders, got {', '.join(map(str, outputs.paths))}")
    files = {file_name(pictures, name) for name in pictures.names}
    if outputs.folders and len(files) < len(pictures.names):
        raise ValueError("images must have different names to be written to one folder, got two of one name")
    seen: set[str] = set()
    for path in _written(outputs, pictures):
        if path in seen:
            raise ValueError(f"two outputs would be written to {path}; choose other names")
        seen.add(path)
    folders = {parent for path in {os.path.dirname(path) for path in seen} for parent in _with_parents(path)}
    if both := seen & folders:
        raise ValueError(f"{min(both)} would be a file and a folder; choose other names")


def _with_parents(path: str) -> Iterator[str]:
    yield path
    yield from map(str, Path(path).parents)


def _check_pictures(outputs: Outputs, pictures: Pictures) -> None:
    """Raise ValueError if outputs would replace pictures, or be taken for pictures."""
    if isinstance(pictures.root, Address):
        return
    shown = [folder for folder in (outputs.overlay, outputs.labels) if folder is not None]
    root = pictures.root.resolve()
    inner = [one for one in shown if root in (one.resolve(), *one.resolve().parents)]
    sources = {os.path.realpath(pictures.root / split(name)[0]) for name in pictures.names}
    if replaced := sources.intersection(_written(outputs, pictures)):
        raise ValueError(f"outputs must not replace pictures, but would replace {min(replaced)}")
    if not pictures.strict and inner:
        raise ValueError(
            f"{inner[0]} must lie outside of {pictures.root}: what is written there would be taken for pictures"
        )


def _written(outputs: Outputs, pictures: Pictures) -> Iterator[str]:
    """Yield the real path of every file that is written."""
    yield from map(os.path.realpath, outputs.files)
    for folder in outputs.folders:
        real, suffix = os.path.realpath(folder), ".zip" if folder == outputs.rois else ".png"
        yield from (os.path.join(real, file_name(pictures, name, suffix)) for name in pictures.names)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
