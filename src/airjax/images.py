"""Read pictures from files, safely."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 64_000_000
"""Larger pictures are refused before they are decoded."""


def read_image(path: Path, image_shape: tuple[int, int, int]) -> UInt8[np.ndarray, "c h w"]:
    """Read a picture of the size that a model was trained on, as (channels, height, width) = `image_shape`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a picture, is damaged or has another size.
    """
    channels, height, width = image_shape
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file")
    try:
        with Image.open(path) as opened:
            if opened.size[0] * opened.size[1] > MAX_PIXELS:
                raise ValueError(f"{path} has {opened.size[0]} x {opened.size[1]} pixels, too many to read")
            picture = ImageOps.exif_transpose(opened)
            if picture.size != (width, height):
                got = f"{picture.size[0]} x {picture.size[1]}"
                raise ValueError(f"{path} has {got} pixels; the model was trained on {width} x {height}")
            if picture.mode.startswith("I;16"):  # Pillow would cut values off at 255
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} is not a picture that can be read: {error}") from None
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
