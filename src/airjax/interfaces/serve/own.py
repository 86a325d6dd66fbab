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
from airjax.data.still import OtherSizeError
from airjax.data.tiles import middle, scaled
from airjax.inference.infer import Found, describe_found
from airjax.inference.masks import label_images
from airjax.inference.tiled import find_in_tiles
from airjax.interfaces import regions, tabular
from airjax.interfaces.infer_files import in_own_pixels
from airjax.interfaces.infer_tiles import described
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
        whole: the scaled picture that tiles are cut out of, whose middle one is `fitted`; None: it is not cut up.
    """

    picture: Image.Image
    fitted: Letterboxed
    inverted: bool = False
    changed: bool = False
    whole: Letterboxed | None = None


class Reading(NamedTuple):
    """How pictures are read.

    Attributes:
        polarity: `dark` if the model was trained on inverted pictures of dark objects.
        levels: how values become black, white and grey (`airjax.data.images.plain`).
        channels: the channels that are picked (`airjax.data.images.pick`).
        tile: width, in pixels of pictures, of the tiles they are cut into; None: they are not.
        still: the still background that pictures are compared with before; see `airjax.data.still`.
    """

    polarity: PolarityKind = "light"
    levels: Levels | None = None
    channels: tuple[int, ...] | None = None
    tile: int | None = None
    still: Image.Image | None = None

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
        changed = bool(self.levels or self.channels)
        if self.tile is None:
            return OwnPicture(picture, letterbox(picture, model.image_shape, invert=invert), invert, changed)
        try:
            whole = scaled(picture, model.image_shape, self.tile, invert=invert, still=self.still)
        except OtherSizeError as error:
            raise ValueError(f"the picture {error}") from None
        return OwnPicture(picture, middle(whole, model.image_shape), invert, changed, whole)


def plain(pixels: UInt8[np.ndarray, "c h w"]) -> OwnPicture:
    """Make a picture of an image that fits the model as it is."""
    channels, height, width = pixels.shape
    picture = Image.fromarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))
    return OwnPicture(picture, letterbox(picture, (channels, height, width)))


def describe(
    model: Family, own: OwnPicture, found: Found, posterior: Float32[np.ndarray, "1 counts"], name: str
) -> dict[str, Any]:
    """Describe what was found in a picture, in the picture's own pixels.

    Args:
        model: the model.
        own: the picture.
        found: what was found in `own.fitted`; if that is but a tile, the whole picture is inferred here.
        posterior: p(n | x) of `own.fitted`.
        name: the picture's name, for the table.

    Returns:
        `width` and `height`; `inverted`; `tiled`, whether it was cut up; `count`, and `p` and `q`, its probability
        under p(n | x) and q(n | x), the latter null if it was cut up; `boxes`, one an object; files in base64:
        `masks`, a PNG of the objects' pixels in the colours of their steps, `labels` and `table`, as `airjax infer`
        writes them, and `picture`, a PNG of the picture as it was read, or null if the file itself looks like that.
    """
    if own.whole is None:
        labels = regions.in_picture(label_images(model, found)[0], own.fitted.placement)
        told = in_own_pixels(describe_found(model, found, posterior)[0], own.fitted)
        q = float(found.count_probs[0, told["count"]])
    else:
        joined = find_in_tiles(model, own.whole.pixels)
        labels = regions.in_picture(joined.labels(own.whole.pixels.shape[:0:-1]), own.whole.placement)
        told, q = described(joined, own.whole), None
    one = {"image": name, "id": 1, **told}
    regions.add_measurements(one, labels, own.picture, model.image_shape[0])
    table = io.BytesIO()
    tabular.write_csv(regions.rows(one), table, regions.columns(model))
    files = {
        "masks": _coloured(labels),
        "labels": regions.labels_png(labels),
        "table": table.getvalue(),
        "picture": _png(own.picture) if own.changed else None,
    }
    encoded = {name: content and base64.b64encode(content).decode() for name, content in files.items()}
    shared = {"width": one["width"], "height": one["height"], "inverted": own.inverted, "tiled": own.whole is not None}
    counted = {"count": one["count"], "p": one["count_posterior"][one["count"]], "q": q}
    return shared | counted | {"boxes": [found["box"] for found in one["objects"]]} | encoded


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
