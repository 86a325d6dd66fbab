"""Warnings about results of inference: what the model can't know, because pictures differ from those of training."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from airjax.inference.infer import Found
from airjax.inference.unexplained import sides, unexplained
from airjax.models.base import Family

FULL = 0.05
"""Share of pictures with the largest count from which on that is doubted."""
MANY = 0.1
"""Share of pictures with something unexplained from which on that is told."""
ALIKE = 1.8
"""Largest ratio between the common side of what stands out and that of learned objects; its inverse is the least."""
_logger = logging.getLogger(__name__)


def doubt_polarity(model: Family, light: Sequence[bool], *, inverted: bool) -> None:
    """Warn about pictures with a light background where the model expects a black one.

    Args:
        model: the model.
        light: whether the borders of some of the pictures are light.
        inverted: whether dark and light are swapped before inference.
    """
    if not light or not model.on_black:
        return
    most = np.mean(light) > 0.5
    if most != inverted:
        seen, other = ("light", "dark") if most else ("dark", "light")
        _logger.warning(
            "the pictures have a %s background, which this model takes for objects; did you mean --polarity %s?",
            *(seen, other),
        )


def doubt_tile(tile: int | None, learned: int | None) -> None:
    """Warn if tiles are much larger or smaller, in pixels of the pictures, than those learned from."""
    if tile and learned and not 1 / ALIKE <= tile / learned <= ALIKE:
        _logger.warning(
            "the model has learned from tiles of %d pixels: with --tile %d it finds objects about %.2g times as large",
            *(learned, tile, tile / learned),
        )


@dataclass
class Doubts:
    """Doubts about pictures that have been inferred.

    Attributes:
        model: the model.
        kind: what is inferred: pictures, or tiles of them.
        total: number of pictures so far.
        full: number of those with the largest count.
        left: number of those with something that no object explains.
    """

    model: Family
    kind: str = "pictures"
    total: int = 0
    full: int = 0
    left: int = 0

    @property
    def seen(self) -> dict[str, int]:
        """The numbers so far, with which inference can go on after a stop."""
        return {"total": self.total, "full": self.full, "left": self.left}

    def see(self, images: UInt8[np.ndarray, "n c h w"], found: Found) -> None:
        """Look at a batch of images and what was found in them; warn if things in the first differ in size."""
        if not self.total and len(images):
            self._doubt_size(images, found)
        self.total += len(images)
        self.full += int(np.sum(found.count == self.model.max_objects))
        self.left += int(np.sum(unexplained(self.model, images, found)))

    def _doubt_size(self, images, found) -> None:
        if self.model.window_side is None:
            return
        common, learned = sides(self.model, images, found)
        if common and not 1 / ALIKE <= common / learned <= ALIKE:
            height, width = images.shape[2:]
            _logger.warning(
                "what stands out in the pictures is about %.0f pixels long in images of %d x %d, and the objects that "
                "this model has learned %.0f: it may not find them; choose --tile so that they are alike",
                *(common, width, height, learned),
            )

    def report(self) -> None:
        """Warn if many pictures hold as many objects as the model can find, or things that no object explains."""
        if self.full > FULL * self.total:
            _logger.warning(
                "%d of %d %s hold %d objects, the most that this model can find (--max-objects in training): "
                "they may hold more",
                *(self.full, self.total, self.kind, self.model.max_objects),
            )
        if self.left > MANY * self.total:
            _logger.warning(
                "%d of %d %s show something that no object explains: other things, or another background, than "
                "in training?",
                *(self.left, self.total, self.kind),
            )
