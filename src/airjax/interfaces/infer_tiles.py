"""Inference over pictures of any size, in tiles; each picture is read, inferred and let go before the next."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from jaxtyping import PRNGKeyArray
from PIL import Image

from airjax.config import PolarityKind
from airjax.data.ahead import read_pictures
from airjax.data.images import Letterboxed, Levels, is_on_light
from airjax.data.tiles import scaled
from airjax.inference.tiled import Tiled, find_in_tiles
from airjax.interfaces import regions
from airjax.interfaces.doubts import Doubts
from airjax.interfaces.infer_files import Fitted, Inference, Pictures, Watch, choose_levels, in_own_pixels
from airjax.models.base import rounded
from airjax.runs.pretrained import Trained


@dataclass(frozen=True)
class TiledInference(Inference):
    """A job of inference in tiles. Their p(n | x) needs no samples: objects are taken to be independent.

    Attributes:
        tile: width of the tiles, in pixels of the pictures.
        still: the still background that pictures are compared with; see `airjax.data.still`.
    """

    kind: ClassVar[str] = "tiles"
    tile: int = 0
    still: Image.Image | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.tile < 1:
            raise ValueError(f"tile must be at least 1, got {self.tile}")
        if self.model.window_side is None:
            raise ValueError("tile is for models of patches, got one of solids or crockery")

    @property
    def together(self) -> int:
        """Number of pictures in a batch."""
        return 1

    @property
    def settings(self) -> dict[str, Any]:
        """Options in plain numbers and lists, by the names of their flags."""
        return super().settings | {"tile": self.tile}

    def batches(
        self, first: int = 0, watch: Watch | None = None, doubts: Doubts | None = None, *, whole: bool = True
    ) -> Iterator[list[dict[str, Any]]]:
        """Infer picture by picture, from picture `first` on; see `Inference.batches`."""
        del whole  # pictures are at hand
        doubts, pictures = doubts or Doubts(self.model, self.kind), self.pictures
        read = read_pictures(pictures.root, pictures.names[first:], self.levels, self.channels)
        for index, one in enumerate(read, first):
            fitted = one.then(self.fit)
            if index == first:
                self.doubt_polarity([fitted])
            line, found = self._infer_tiles(fitted, index, doubts)
            if watch and found and fitted.picture:
                labels = found.labels(fitted.picture.pixels.shape[:0:-1])
                watch(one.picture, line, regions.in_picture(labels, fitted.picture.placement))
            yield [line]
        doubts.report()

    @property
    def fit(self) -> Callable[[Image.Image], Fitted]:
        """What scales a picture for the model; it does not hold the model."""
        return partial(_scale, image_shape=self.model.image_shape, tile=self.tile, invert=self.invert, still=self.still)

    def infer_batch(self, batch: list[Any], index: int, doubts: Doubts) -> list[dict[str, Any]]:
        """Infer a picture that has been read and scaled; see `Inference.infer_batch`."""
        [one] = batch
        return [self._infer_tiles(one, index, doubts)[0]]

    def _infer_tiles(self, one: Any, index: int, doubts: Doubts) -> tuple[dict[str, Any], Tiled | None]:
        """Infer a picture; return its line, and what was found unless it can't be read."""
        if one.picture is None and self.pictures.strict:
            raise ValueError(one.problem)
        about = {"image": one.name, "id": index + 1}
        if one.picture is None:
            return about | {"problem": one.problem}, None
        fitted = Letterboxed(*one.picture[:2])
        found = find_in_tiles(self.model, fitted.pixels, watch=doubts.see)
        return about | described(found, fitted), found


def _scale(
    picture: Image.Image, image_shape: tuple[int, int, int], tile: int, invert: bool, still: Image.Image | None
) -> Fitted:
    return Fitted(*scaled(picture, image_shape, tile, invert=invert, still=still), is_on_light(picture))


def described(found: Tiled, fitted: Letterboxed) -> dict[str, Any]:
    """Describe what was found in a scaled picture, in the picture's own pixels, as for one without tiles."""
    told = {"count": len(found.objects), "count_posterior": rounded(found.posterior)}
    return in_own_pixels(told | {"objects": [one.described for one in found.objects]}, fitted)


def job(
    trained: Trained,
    pictures: Pictures,
    *,
    samples: int,
    key: PRNGKeyArray,
    polarity: PolarityKind | None = None,
    levels: Levels | None = None,
    channels: tuple[int, ...] | None = None,
    tile: int | None = None,
) -> Inference:
    """Make a job of inference, in tiles if the model has learned from tiles or they are asked for.

    Args:
        trained: the model, and how it has read pictures, which holds for options that are None.
        pictures: the pictures.
        samples: trajectories for p(n | x).
        key: random key.
        polarity: whether objects are lighter or darker than the background.
        levels: how values become black, white and grey; if the model has none, they are chosen by the pictures' bits.
        channels: channels to pick.
        tile: width of tiles, in pixels of the pictures.

    Raises:
        ValueError: see `Inference` and `TiledInference`; or the model compares pictures with a still background, which
            has other levels or channels.
    """
    asked, own = (levels, channels), (trained.levels, trained.pick_channels)
    if trained.still is not None:
        if any(one not in (None, other) for one, other in zip(asked, own)):
            raise ValueError("levels and channels must stay those of the still background that the model has learned")
    elif not (levels or trained.levels):
        levels = choose_levels(pictures, channels or trained.pick_channels)
    options = {
        "invert": (polarity or trained.polarity) == "dark",
        "samples": samples,
        "key": key,
        "levels": levels or trained.levels,
        "channels": channels or trained.pick_channels,
    }
    side = trained.tile if tile is None else tile
    if side is None:
        return Inference(trained.model, pictures, **options)
    return TiledInference(trained.model, pictures, **options, tile=side, still=trained.still)
