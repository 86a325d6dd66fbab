"""Pictures of the user's own: read as `airjax infer` reads them, and described in their own pixels."""

import base64
import io
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8, UInt16
from PIL import Image, ImageColor

from airjax.config import PolarityKind
from airjax.data.images import Letterboxed, Levels, is_on_light, letterbox
from airjax.data.reading import FORMATS, open_picture
from airjax.inference.infer import Found, describe_found
from airjax.inference.masks import label_images
from airjax.interfaces import formats, regions
from airjax.interfaces.infer_files import in_own_pixels
from airjax.models.base import Family
from airjax.runs.plots import STEP_COLOURS

MAX_PIXELS = 16_000_000
"""Largest number of pixels of a picture; larger ones are refused before they are decoded."""


class OwnPicture(NamedTuple):
    """A picture that has been read.

    Attributes:
        picture: the picture, in grey or colour with 8 bits.
        fitted: the image made of it for the model.
        inverted: whether dark and light are swapped in that image.
        changed: whether `picture` looks different from its file, since the run has levels or picks channels.
    """

    picture: Image.Image
    fitted: Letterboxed
    inverted: bool = False
    changed: bool = False


class Reading(NamedTuple):
    """How pictures are read.

    Attributes:
        polarity: `dark` if the model was trained on inverted pictures of dark objects.
        levels: how values become black, white and grey (`airjax.data.images.plain`).
        channels: the channels that are picked (`airjax.data.images.pick`).
    """

    polarity: PolarityKind = "light"
    levels: Levels | None = None
    channels: tuple[int, ...] | None = None

    def read(self, model: Family, content: bytes) -> OwnPicture:
        """Read the content of a file as `airjax infer` does.

        In addition, a picture with a light border is inverted if the model knows only light objects on black.

        Raises:
            ValueError: it is not a picture in one of `FORMATS`, is damaged or too large.
        """
        source = io.BytesIO(content)
        options = {"levels": self.levels, "channels": self.channels, "max_pixels": MAX_PIXELS, "formats": FORMATS}
        picture = open_picture(source, "the picture", **options)
        invert = self.polarity == "dark" or (model.on_black and is_on_light(picture))
        fitted = letterbox(picture, model.image_shape, invert=invert)
        return OwnPicture(picture, fitted, invert, changed=bool(self.levels or self.channels))


def plain(pixels: UInt8[np.ndarray, "c h w"]) -> OwnPicture:
    """Make a picture of an image that fits the model as it is."""
    channels, height, width = pixels.shape
    picture = Image.fromarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))
    return OwnPicture(picture, letterbox(picture, (channels, height, width)))


def describe(
    model: Family, own: OwnPicture, found: Found, posterior: Float32[np.ndarray, "1 counts"], name: str
) -> dict[str, Any]:
    """Describe what was found in a picture, in the picture's own pixels.

    Returns:
        `width` and `height`; `inverted`; `boxes`, one an object; files in base64: `masks`, a PNG of the objects' pixels
        in the colours of their steps, `labels` and `table`, as `airjax infer` writes them, and `picture`, a PNG of the
        picture as it was read, or null if the file itself looks like that.
    """
    labels = regions.in_picture(label_images(model, found)[0], own.fitted.placement)
    one = {"image": name, "id": 1, **in_own_pixels(describe_found(model, found, posterior)[0], own.fitted)}
    regions.add_measurements(one, labels, own.picture, model.image_shape[0])
    table = io.BytesIO()
    formats.write_csv([one], table, model)
    files = {
        "masks": _coloured(labels),
        "labels": regions.labels_png(labels),
        "table": table.getvalue(),
        "picture": _png(own.picture) if own.changed else None,
    }
    encoded = {name: content and base64.b64encode(content).decode() for name, content in files.items()}
    shared = {"width": one["width"], "height": one["height"], "inverted": own.inverted}
    return shared | {"boxes": [found["box"] for found in one["objects"]]} | encoded


def _coloured(labels: UInt16[np.ndarray, "h w"]) -> bytes:
    """Draw each object's pixels in the colour of its step, and nothing elsewhere."""
    number = len(STEP_COLOURS)
    places = np.where(labels > 0, (labels - 1) % number, number).astype(np.uint8)
    image = Image.fromarray(places)
    image.putpalette([value for colour in STEP_COLOURS for value in ImageColor.getrgb(colour)] + [0, 0, 0])
    return _png(image, transparency=number)


def _png(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1, **options)
    return buffer.getvalue()
