"""The most common values of pixels, which are those of the background, since objects cover few pixels or differ."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage

SHORTEST = 0.3
"""Share of a pixel's values, those closest together, that are taken for the background's."""
LIKE_THEM = 3.0
"""Reach around them, in their own range, within which values are the background's, too."""
MODE_BLUR = 2.0
"""Standard deviation, in levels of 256, by which a histogram is smoothed before its highest point is found."""


def common_colour(images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, " c"]:
    """Find the most common value of each channel, for pixels in [0, 1]; objects that cover much hardly change it."""
    counts = np.stack([np.histogram(channel, 256, (0.0, 1.0))[0] for channel in np.moveaxis(images, -1, 0)])
    return np.argmax(ndimage.gaussian_filter1d(counts.astype(float), MODE_BLUR, axis=1), axis=1) / 255.0


def common_picture(images: Float[np.ndarray, " n *shape"]) -> Float[np.ndarray, "*shape"]:
    """Find each pixel's most common value over images; objects may cover it in most of them, if they differ.

    It is the median of the values in and around the shortest interval that holds the share `SHORTEST` of all.
    """
    ordered = np.sort(images, axis=0)
    held = max(1, round(SHORTEST * len(images)))
    widths = ordered[held - 1 :] - ordered[: len(images) - held + 1]
    first = np.argmin(widths, axis=0)[None]
    least, most = (np.take_along_axis(ordered, first + step, axis=0) for step in (0, held - 1))
    reach = (LIKE_THEM - 1) / 2 * (most - least)
    below, above = np.sum(ordered < least - reach, axis=0), np.sum(ordered <= most + reach, axis=0)
    middle = np.stack([(below + above - 1) // 2, (below + above) // 2])
    return np.mean(np.take_along_axis(ordered, middle, axis=0), axis=0)
