"""Tiles: parts of pictures of any size, at one scale, as images for a model.

Pictures are scaled as a whole, by the model's pixels over a tile's side, and tiles are cut out of that. For training,
tiles lie anywhere, and objects may be cut by their borders. For inference, they form a grid and overlap.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from airjax.data.images import Letterboxed, letterbox
from airjax.data.still import compare

TILES, FROM_ONE = 4_000, 4
"""Number of tiles for training, and the fewest taken from a picture."""
LARGEST = 8
"""Largest factor by which pictures are magnified."""
FEW = 400
"""Number of tiles that fit into all pictures side by side, below which they are turned and mirrored."""


class Tiles(NamedTuple):
    """Tiles that training learns from.

    Attributes:
        side: width of a tile, in pixels of the pictures.
        held_out: share of the tiles, the first ones, that is held out. They are of other pictures than the rest, but
            for one picture at most.
        still: whether pictures are first compared with what stands still behind their objects.
    """

    side: int
    held_out: float
    still: bool = False


def scaled(
    picture: Image.Image,
    image_shape: tuple[int, int, int],
    side: float | int,
    *,
    invert: bool = False,
    still: Image.Image | None = None,
) -> Letterboxed:
    """Scale a picture so that `side` of its pixels become the width of an image of `image_shape`.

    A picture that is smaller than a tile is centred in it, in the colour of its border.

    Args:
        picture: the picture.
        image_shape: (channels, height, width) of the images.
        side: width of a tile, in pixels of the picture.
        invert: whether dark and light are swapped.
        still: the still background that the picture is compared with; see `airjax.data.still`.

    Raises:
        ValueError: pictures would be magnified by more than `LARGEST`.
        OtherSizeError: the still background has another size than the picture.
    """
    channels, height, width = image_shape
    factor = width / side
    if factor > LARGEST:
        raise ValueError(f"tile must be at least {math.ceil(width / LARGEST)} for images of {width} pixels, got {side}")
    picture = picture if still is None else compare(picture, still)
    whole = max(height, round(picture.height * factor)), max(width, round(picture.width * factor))
    return letterbox(picture, (channels, *whole), factor=factor, invert=invert)


def chosen_pictures(names: list[str], seed: int) -> tuple[list[str], int]:
    """Choose the pictures that tiles are taken from, in random order, and the number of tiles from each."""
    most = TILES // FROM_ONE
    order = np.random.default_rng(seed).permutation(len(names))[:most]
    return [names[i] for i in order], math.ceil(TILES / len(order))


def random_tiles(
    pixels: UInt8[np.ndarray, "c h w"],
    image_shape: tuple[int, int, int],
    number: int,
    seed: Sequence[int],
    *,
    turned: bool = False,
) -> list[UInt8[np.ndarray, "c th tw"]]:
    """Cut tiles of `image_shape` out of a scaled picture, at random places; `turned`: also turn and mirror them."""
    rng, (_, height, width) = np.random.default_rng(seed), image_shape
    y, x = (rng.integers(0, limit - side + 1, number) for limit, side in zip(pixels.shape[1:], (height, width)))
    tiles = [cut(pixels, corner, image_shape) for corner in zip(x.tolist(), y.tolist())]
    if not turned:
        return tiles
    turns = rng.integers(4, size=number) if height == width else 2 * rng.integers(2, size=number)
    mirrored = rng.integers(2, size=number).astype(bool)
    return [
        np.rot90(tile[:, :, ::-1] if flip else tile, turn, (1, 2)) for tile, turn, flip in zip(tiles, turns, mirrored)
    ]


def are_few(pixels: UInt8[np.ndarray, "c h w"], image_shape: tuple[int, int, int], pictures: int) -> bool:
    """Tell whether fewer than `FEW` tiles of `image_shape` fit side by side into a number of pictures of this size."""
    return pixels[0].size * pictures < FEW * image_shape[1] * image_shape[2]


def middle(picture: Letterboxed, image_shape: tuple[int, int, int]) -> Letterboxed:
    """Cut the tile of `image_shape` out of the middle of a scaled picture."""
    x, y = ((length - side) // 2 for length, side in zip(picture.pixels.shape[:0:-1], image_shape[:0:-1]))
    moved = picture.placement._replace(left=picture.placement.left - x, top=picture.placement.top - y)
    return Letterboxed(cut(picture.pixels, (x, y), image_shape), moved)


def cut(
    pixels: UInt8[np.ndarray, "c h w"], corner: Sequence[int], image_shape: tuple[int, int, int]
) -> UInt8[np.ndarray, "c th tw"]:
    """Cut a tile of `image_shape` out of a scaled picture; `corner` is its upper left pixel (x, y)."""
    (x, y), (_, height, width) = corner, image_shape
    return pixels[:, y : y + height, x : x + width]


def grid(size: Sequence[int], tile: Sequence[int], margin: float, offset: int = 0) -> Int[np.ndarray, "n 2"]:
    """Lay overlapping tiles over a scaled picture.

    Every place has at least `margin` pixels to the border of some tile, unless the picture ends there.

    Args:
        size: width and height of the scaled picture, at least those of a tile.
        tile: width and height of a tile.
        margin: distance in pixels, less than half a tile.
        offset: pixels by which inner tiles are moved, which should not change results.

    Returns:
        Corners (x, y) of the tiles, row by row.
    """
    x, y = (_starts(length, side, margin, offset) for length, side in zip(size, tile))
    return np.array([(left, top) for top in y for left in x])


def _starts(length: int, side: int, margin: float, offset: int) -> list[int]:
    step = max(1, math.floor(side - 2 * margin))
    number = 1 + math.ceil(max(0, length - side) / step)
    even = np.linspace(0, length - side, number).round().astype(int)
    if not offset or number < 2:
        return sorted(set(even.tolist()))
    shifted = [0, *range(offset % step, length - side, step), length - side]
    return sorted(set(shifted))
