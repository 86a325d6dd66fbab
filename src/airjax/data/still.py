"""What a camera that stands still sees behind all objects, and how pictures are compared with that.

Tiles know nothing of their place in a picture, so what is always there, such as rails, a dish or the ground of a game,
would be learned as objects. Compared with a picture of all that, pictures are mid-grey but for what comes and goes.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage

from airjax.common_values import common_picture
from airjax.data.reading import split

FEWEST, MOST, BYTES = 8, 200, 2**28
"""Least and largest number of pictures behind a still background, and the bytes that more than the least may take."""
AT_ONCE = 2**21
"""Number of values of pictures that are looked at in one piece, to save memory."""
ABSENT = 0.05
"""Share of the pictures in which a thing has to be absent, or else it belongs to the background."""
COARSE, WIDE = 64, 9
"""Longer side of the reduced picture by which the surroundings of a pixel are told, and their side in that."""
ALIKE, CLOSER = 0.08, 3
"""Largest difference of a pixel from its surroundings at which it looks like them, and how many times closer to them
than the most common value it has to be."""


class OtherSizeError(ValueError):
    """A picture has another size than the still background."""


def enough(read: Callable[[Sequence[str]], Iterator[Image.Image]], names: Sequence[str]) -> list[Image.Image]:
    """Read pictures to tell a still background by: as many as fit into `BYTES`, but between `FEWEST` and `MOST`.

    Args:
        read: reads pictures by their names, and leaves out those that can't be read.
        names: names of pictures, of which the first ones are taken.
    """
    first = next(read(names), None)
    values = first.width * first.height * len(first.getbands()) if first else 1
    return list(read(sorted(names[: int(np.clip(BYTES // values, FEWEST, MOST))], key=split)))


def still_background(pictures: Sequence[Image.Image]) -> Image.Image:
    """Find what stands behind the objects in pictures of a fixed camera; those of another size than most don't count.

    It is each pixel's most common value. But where a pixel looks like its surroundings in some of the pictures, those
    show what stands behind, and the most common value is that of a thing that seldom moves.

    Raises:
        ValueError: fewer than `FEWEST` pictures are of one size.
    """
    size = max(sizes := [one.size for one in pictures], key=sizes.count, default=None)
    alike = [one for one in pictures if one.size == size]
    if len(alike) < FEWEST:
        raise ValueError(f"a still background is told by at least {FEWEST} pictures of one size, got {len(alike)}")
    mode = max(one.mode for one in alike)
    values = np.stack([np.asarray(one.convert(mode)) for one in alike]).reshape(len(alike), *alike[0].size[::-1], -1)
    rows = max(1, AT_ONCE * values.shape[1] // values.size)
    parts = [slice(start, start + rows) for start in range(0, values.shape[1], rows)]
    floats = lambda part: values[:, part] / np.float32(255)
    common = np.concatenate([common_picture(floats(part)) for part in parts])
    around = _surroundings(common)
    behind = np.concatenate([_behind(floats(part), common[part], around[part]) for part in parts])
    return Image.fromarray(_bytes(behind if mode == "RGB" else behind[..., 0]))


def _surroundings(common: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w c"]:
    """Return the typical values around each pixel, within a distance larger than a thing."""
    height, width = common.shape[:2]
    factor = min(1.0, COARSE / max(height, width))
    small = max(1, round(factor * width)), max(1, round(factor * height))
    around = []
    for channel in np.moveaxis(_bytes(common), -1, 0):
        reduced = np.asarray(Image.fromarray(channel).resize(small, Image.Resampling.BOX))
        typical = Image.fromarray(ndimage.median_filter(reduced, WIDE))
        around.append(np.asarray(typical.resize((width, height), Image.Resampling.BILINEAR)))
    return np.stack(around, axis=-1) / np.float32(255)


def _behind(
    pictures: Float[np.ndarray, "n h w c"], common: Float[np.ndarray, "h w c"], around: Float[np.ndarray, "h w c"]
) -> Float[np.ndarray, "h w c"]:
    """Replace the most common values where a share `ABSENT` of the pictures looks like the surroundings."""
    unlike, commonly = (np.abs(values - around).max(axis=-1, keepdims=True) for values in (pictures, common))
    alike = unlike <= np.minimum(ALIKE, commonly / CLOSER)
    seen = alike.sum(axis=0)
    mean = np.sum(pictures, axis=0, where=alike) / np.maximum(seen, 1)
    return np.where(seen >= max(2, ABSENT * len(pictures)), mean, common)  # once may be by chance


def _bytes(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    return np.rint(255 * values).astype(np.uint8)


def compare(picture: Image.Image, still: Image.Image) -> Image.Image:
    """Return mid-grey plus half of the difference of a picture from the still background, so that none is cut off.

    Raises:
        OtherSizeError: the picture has another size.
    """
    if picture.size != still.size:
        sizes = ("{} x {}".format(*one.size) for one in (picture, still))
        raise OtherSizeError("has {} pixels, and the model's still background {}".format(*sizes))
    mode = max(picture.mode, still.mode)  # colour, "RGB", if one of them has it; otherwise grey, "L"
    one, other = (np.asarray(each.convert(mode), np.int16) for each in (picture, still))
    return Image.fromarray(((one - other + 256) >> 1).astype(np.uint8))
