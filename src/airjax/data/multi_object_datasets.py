"""The public scenes of `multi_object_datasets` (Kabra et al. 2019) with true masks, from their TFRecord files."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from airjax.data._placing import boxes_around, check_whole
from airjax.data.scenes import Scenes
from airjax.data.tfrecords import read_examples


class Layout(NamedTuple):
    """How a data set stores images and masks.

    Attributes:
        name: the data set.
        shape: height, width and channels of images.
        entities: number of masks of a scene: background, objects, and empty ones.
        background: number of first masks that belong to the background.
        last: whether the axis of entities is the last one of the masks, not the first.
    """

    name: str
    shape: tuple[int, int, int]
    entities: int
    background: int = 1
    last: bool = False

    @property
    def sizes(self) -> tuple[int, int]:
        """Return the bytes of an image and of its masks, by which data sets are told apart."""
        height, width, channels = self.shape
        return height * width * channels, height * width * self.entities


LAYOUTS = (
    Layout("Multi-dSprites, binarized", (64, 64, 1), 4, last=True),
    Layout("Multi-dSprites, colored on grayscale", (64, 64, 3), 6, last=True),
    Layout("Multi-dSprites, colored on colored", (64, 64, 3), 5, last=True),
    Layout("Objects Room, train", (64, 64, 3), 7, background=4),
    Layout("Objects Room, six objects or identical color", (64, 64, 3), 10, background=4),
    Layout("Objects Room, empty room", (64, 64, 3), 4, background=4),
    Layout("CLEVR with masks", (240, 320, 3), 11),
    Layout("Tetrominoes", (35, 35, 3), 4),
)


def load_multi_objects(path: Path, n: int) -> Scenes:
    """Read the first scenes of a TFRecord file of one of the data sets in `LAYOUTS`.

    Objects are the entities that at least one pixel shows, in the order of the file. The sky, floor and walls of an
    Objects Room are background.

    Args:
        path: Path of the file.
        n: Largest number of scenes to read, at least 1.

    Returns:
        The scenes, with counts, boxes tight around the pixels of each object, and segmentation.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged, or holds no scenes of these data sets; see also `read_examples`.
    """
    check_whole("n", n, 1)
    images, maps, layout = [], [], None
    for index, features in enumerate(islice(read_examples(path), n)):
        sizes = tuple(len(features.get(name, ())) for name in ("image", "mask"))
        found = next((one for one in LAYOUTS if one.sizes == sizes), None)
        if found is None or (layout or found) != found:
            raise ValueError(
                f"{path} holds no scenes of multi_object_datasets: record {index} has {sizes[0]} bytes of image and "
                f"{sizes[1]} of masks"
            )
        layout = found
        images.append(features["image"].reshape(layout.shape if layout.shape[2] > 1 else layout.shape[:2]))
        maps.append(_segmentation(features, layout))
    if layout is None:
        raise ValueError(f"{path} holds no records")
    return _scenes(np.stack(images), np.stack(maps))


def _segmentation(features: Mapping[str, np.ndarray], layout: Layout) -> UInt8[np.ndarray, "h w"]:
    """Number the objects that are seen 1, 2, ...; of a pixel in several masks, the largest value decides."""
    height, width, _ = layout.shape
    masks = features["mask"]
    masks = masks.reshape(height, width, -1) if layout.last else np.moveaxis(masks.reshape(-1, height, width), 0, -1)
    shown = np.argmax(masks, axis=-1)
    shown = np.where(shown < layout.background, 0, shown)
    present = np.unique(shown[shown > 0])
    return np.where(shown > 0, 1 + np.searchsorted(present, shown), 0).astype(np.uint8)


def _scenes(images: UInt8[np.ndarray, "n ..."], segmentation: UInt8[np.ndarray, "n h w"]) -> Scenes:
    """Make scenes whose counts and boxes are those of the segmentation."""
    counts = segmentation.max((1, 2)).astype(np.int32)
    boxes = boxes_around(segmentation, counts, int(counts.max()))
    return Scenes(images, counts, boxes, segmentation=segmentation)
