"""What a model leaves unexplained in images: places that hold much more evidence than another object costs."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from airjax.inference.infer import Found
from airjax.learning.pieces import BLUR, MARGIN, common_side, label_pieces, least_difference, sides_of
from airjax.models.base import Family
from airjax.models.likelihood import NormalLikelihood

ANOTHER = 5.0
"""Evidence above which something counts as unexplained, in multiples of the prior's price of an object."""
STANDING_OUT = 0.5
"""Share of the largest difference from the background from which on pixels belong to what stands out."""


def unexplained(model: Family, images: UInt8[np.ndarray, "n c h w"], found: Found) -> Bool[np.ndarray, " n"]:
    """Mark the images in which a place as large as objects holds much more evidence than another object costs.

    Models with another likelihood than the normal one, and those of 3D objects, explain everything.
    """
    if model.window_side is None or not isinstance(model.likelihood, NormalLikelihood):
        return np.zeros(len(images), bool)
    canvases = found.canvases[np.arange(len(images)), found.count]
    widened = np.asarray(jax.vmap(model.likelihood.widened)(jnp.asarray(canvases - found.canvases[:, 0])))[:, 0]
    evidence = 0.5 * float(model.likelihood.precision) * np.sum((images / 255.0 - canvases) ** 2, axis=1) / widened
    side = max(1, round(float(np.median(sides_of(found.windows.reshape(-1, 4)))) / MARGIN))
    within = side**2 * ndimage.uniform_filter(evidence, side, axes=(1, 2), mode="constant")
    price = -float(np.diff(np.asarray(model.count_log_prior)).mean())
    return within.max(axis=(1, 2)) > ANOTHER * max(price, 1.0)


def sides(model: Family, images: UInt8[np.ndarray, "n c h w"], found: Found) -> tuple[float, float]:
    """Measure things in images, in pixels.

    Returns:
        The common side of what stands out from the background that the model infers, 0 if nothing stands out; and the
        side of the objects that the model has learned, 0 if it has no windows.
    """
    away = np.moveaxis(images / np.float32(255) - found.canvases[:, 0], 1, -1)
    smooth = np.abs(ndimage.gaussian_filter(away, (0, BLUR, BLUR, 0))).max(axis=-1)
    threshold = STANDING_OUT * float(smooth.max())
    boxes = label_pieces(smooth, threshold)[0] if threshold > least_difference(away) else [np.zeros((0, 4))]
    learned = (model.window_side or 0.0) / MARGIN
    return common_side(np.concatenate(boxes)), learned
