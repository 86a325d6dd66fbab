"""Truth to score a model by, from common label formats, as scenes of the model's size."""

from pathlib import Path

from airjax.data.annotated import Annotated, Reading, to_scenes
from airjax.data.coco import read_coco
from airjax.data.scenes import Scenes, load_npz
from airjax.data.yolo import IMAGES, LABELS, read_yolo


def load_truth(source: Path, reading: Reading, pictures: Path | None = None) -> Scenes:
    """Read pictures with annotated objects as scenes; those of an .npz file are taken as they are.

    Pictures are fitted into the model's images without distortion, and boxes and masks are moved with them.

    Args:
        source: An .npz file, a COCO annotation file (`airjax.data.coco`), or a YOLO folder (`airjax.data.yolo`).
        reading: How pictures are read.
        pictures: Folder of the pictures; by default the one of the COCO file, or `images` in the YOLO folder.

    Returns:
        Scenes with counts, boxes and labels where known, and with a segmentation if all objects have masks.

    Raises:
        FileNotFoundError: The source or one of its pictures does not exist.
        ValueError: The source is none of these, or is damaged; a picture can't be read, or a box is outside of it.
    """
    if source.suffix == ".npz":
        if pictures is not None:
            raise ValueError(f"pictures must be left out for an .npz file, which holds its own, got {pictures}")
        return load_npz(source)
    return to_scenes(*find_annotated(source, pictures), reading)


def find_annotated(source: Path, pictures: Path | None = None) -> tuple[Path, list[Annotated]]:
    """Read the annotations of a COCO file or a YOLO folder, and return them with the folder of their pictures.

    Raises:
        FileNotFoundError, ValueError: see `load_truth`.
    """
    if not source.exists():
        raise FileNotFoundError(f"no such file or folder: {source}")
    if source.suffix == ".json" and source.is_file():
        return pictures or source.parent, read_coco(source)
    if (source / LABELS).is_dir():
        folder = pictures or source / IMAGES
        return folder, read_yolo(source, folder)
    raise ValueError(f"{source} is none of these: an .npz file, a COCO file (.json), a YOLO folder (labels and images)")
