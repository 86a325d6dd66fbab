"""Photographed things on photographed surfaces: stamps of Tux Paint, with shadows, on wood or a brick wall.

apt-get install tuxpaint-stamps-default mate-backgrounds
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from experiments.pictures.picture import Make, Picture, box_of

STAMPS, WOOD = Path("/usr/share/tuxpaint/stamps"), Path("/usr/share/backgrounds/mate/nature/Wood.jpg")
COINS = {
    **{"us/coins/001penny": 19, "us/coins/005nickel": 21, "us/coins/010dime": 18, "us/coins/025quarter": 24},
    **{"euro/coins/005": 21, "euro/coins/020": 22, "euro/coins/200": 26},
}
"""Coins, and their sides in pixels; so with fruit."""
FRUIT = {
    **{"strawberry": 45, "raspberry": 42, "apricot": 60, "lemon": 80},
    **{"kiwi": 70, "apple_red": 85, "pear": 100, "banana": 130},
}
HARDLY = 0.35
"""Share of a thing that has to lie within the picture."""


def change() -> Make:
    """Lay coins on crops of a photograph of wood; some are cut by the border."""
    wood = Image.open(WOOD).convert("RGB")
    size = 500, round(500 * wood.height / wood.width)
    surface = np.asarray(wood.resize(size, Image.Resampling.LANCZOS), float) / 255
    things = [(_stamp(f"symbols/money/{name}"), side) for name, side in COINS.items()]
    return _laid(things, surface, (128, 128), (0, 7), still=False, overlap=0.0)


def fruit() -> Make:
    """Lay fruit of several sizes on a photograph of a brick wall, seen by a camera that stands still."""
    from skimage import data

    bricks = Image.fromarray(data.brick()).resize((666, 666), Image.Resampling.LANCZOS)
    surface = np.asarray(bricks, float)[..., None] / 255 * np.array([0.95, 0.85, 0.75])
    things = [(_stamp(f"food/fruit/{name}"), side) for name, side in FRUIT.items()]
    return _laid(things, surface, (640, 480), (3, 10), still=True, overlap=0.05)


def _stamp(name: str) -> Image.Image:
    image = Image.open(STAMPS / f"{name}.png").convert("RGBA")
    return image.crop(image.getchannel("A").point(lambda opacity: 255 * (opacity > 128)).getbbox())


def _laid(
    things: Sequence[tuple[Image.Image, float]],
    surface: np.ndarray,
    size: tuple[int, int],
    counts: tuple[int, int],
    *,
    still: bool,
    overlap: float,
) -> Make:
    """Lay things, turned and with shadows, on a surface in uneven light.

    Args:
        things: pictures of the things, and their sides in pixels.
        surface: picture of the surface.
        size: width and height of the scenes.
        counts: least and largest number of things.
        still: whether the camera stands still; otherwise it looks at any part, and the border cuts things.
        overlap: share of the smaller of two things that the other may cover.
    """
    width, height = size

    def make(rng):
        while True:
            scene = surface[:height, :width]
            if not still:
                y, x = (rng.integers(whole - part + 1) for whole, part in zip(surface.shape, (height, width)))
                scene = surface[y : y + height, x : x + width][:, :: 1 - 2 * rng.integers(2)]
            layers = []
            for _ in range(rng.integers(counts[0], counts[1] + 1)):
                if layer := _place(things, layers, size, rng, overlap, across=not still):
                    layers.append(layer)
            soft = max(2, max(side for _, side in things) / 12)
            for colour, opacity, *_ in layers:
                away = (round(soft), round(soft))
                shadow = ndimage.gaussian_filter(np.roll(opacity, away, (0, 1)), soft)
                scene = scene * (1 - 0.45 * shadow[..., None])
                scene = scene * (1 - opacity[..., None]) + colour * opacity[..., None]
            lit = scene * _light(size, rng)[..., None] + rng.normal(0, 0.012, scene.shape)
            yield Picture(np.uint8(255 * np.clip(lit, 0, 1)), *_boxes(layers), jpeg=90)

    return make


def _place(things, layers, size, rng, overlap, *, across):
    """Find a place for one of the things: its colours, opacity and number of pixels; None if there is none."""
    for _ in range(30):
        one, side = things[rng.integers(len(things))]
        factor = side * rng.uniform(0.93, 1.07) / max(one.size)
        shrunk = one.resize([max(1, round(edge * factor)) for edge in one.size], Image.Resampling.LANCZOS)
        turned = shrunk.rotate(rng.uniform(0, 360), expand=True, resample=Image.Resampling.BICUBIC)
        first = [-edge // 3 if across else 1 for edge in turned.size]
        x, y = (int(rng.integers(a, whole - edge - a)) for a, whole, edge in zip(first, size, turned.size))
        layer = Image.new("RGBA", size)
        layer.paste(turned, (x, y))
        pixels = np.asarray(layer, float) / 255
        seen, whole = pixels[..., 3] > 0.5, np.sum(np.asarray(turned)[..., 3] > 128)
        covered = [(seen & other).sum() / min(seen.sum(), other.sum()) for *_, other in layers if seen.any()]
        if seen.sum() >= HARDLY * whole and max(covered, default=0) <= overlap:
            return pixels[..., :3], pixels[..., 3], whole, seen
    return None


def _boxes(layers) -> tuple[list[list[float]], list[list[float]]]:
    """Find the boxes of what later things don't cover, and of what the border hides more than half of."""
    boxes, parts = [], []
    for index, (*_, whole, own) in enumerate(layers):
        seen = own & ~np.any([other for *_, other in layers[index + 1 :]], axis=0)
        if seen.any():
            (boxes if own.sum() >= whole / 2 else parts).append(box_of(seen))
    return boxes, parts


def _light(size, rng) -> np.ndarray:
    """Make light that falls off in one direction, by up to 30 %."""
    (width, height), towards, strength = size, rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
    y, x = np.mgrid[:height, :width] + 0.5
    along = (x - width / 2) * np.cos(towards) + (y - height / 2) * np.sin(towards)
    return 1 - strength * (0.5 + along / max(size))
