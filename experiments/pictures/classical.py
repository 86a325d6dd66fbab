"""Counters made of a threshold and connected pieces, with scikit-image: what one would use without AIR.

Each is tuned on pictures with known counts, which AIR never sees.
"""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from scipy import ndimage
from skimage import feature, filters, measure, segmentation

Counter = Callable[[np.ndarray], np.ndarray]
"""Finds the boxes x0, y0, x1, y1 of the things in a picture."""


def distance(pixels: np.ndarray) -> np.ndarray:
    """Measure how far each pixel is from a smooth background, a median of blocks, in the channel that differs most."""
    channels = np.moveaxis(np.atleast_3d(pixels).astype(float), -1, 0)
    coarse = [ndimage.median_filter(ndimage.zoom(channel, 1 / 8, order=1), 7) for channel in channels]
    scale = np.array(pixels.shape[:2]) / coarse[0].shape
    background = np.stack([ndimage.zoom(channel, scale, order=1) for channel in coarse])
    return np.abs(ndimage.gaussian_filter(channels - background, (0, 1, 1))).max(axis=0)


def _boxes(labels: np.ndarray, least: float) -> np.ndarray:
    found = [one.bbox for one in measure.regionprops(labels) if one.area >= least]
    return np.array([[x0, y0, x1, y1] for y0, x0, y1, x1 in found], float).reshape(-1, 4)


def otsu(least: float) -> Counter:
    """Threshold grey values by Otsu's method, the smaller side being things, and label what is connected."""

    def count(pixels):
        grey = np.atleast_3d(pixels).mean(axis=-1)
        mask = grey > filters.threshold_otsu(grey) if np.ptp(grey) else np.zeros(grey.shape, bool)
        return _boxes(measure.label(~mask if mask.mean() > 0.5 else mask), least)

    return count


def threshold(level: float, least: float) -> Counter:
    """Threshold the distance from a smooth background, fill holes, and label what is connected."""
    return lambda pixels: _boxes(measure.label(ndimage.binary_fill_holes(distance(pixels) > level)), least)


def watershed(level: float, least: float, apart: float) -> Counter:
    """Split these pieces by watershed, from peaks of the distance to their edge that are `apart` pixels apart."""

    def count(pixels):
        mask = ndimage.binary_fill_holes(distance(pixels) > level)
        depth = ndimage.distance_transform_edt(mask)
        smooth, labels = ndimage.gaussian_filter(depth, 1), measure.label(mask)
        peaks = feature.peak_local_max(smooth, min_distance=max(2, round(apart)), labels=labels, exclude_border=False)
        markers = np.zeros(mask.shape, int)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        return _boxes(segmentation.watershed(-depth, markers, mask=mask), least)

    return count


def tuned(pictures: Sequence[np.ndarray], truth: Sequence[dict]) -> dict[str, Counter]:
    """Tune each counter on labelled pictures: the settings that count most of them right."""
    sizes = np.array([[x1 - x0, y1 - y0] for one in truth for x0, y0, x1, y1 in one["boxes"]])
    area, radius = float(np.median(sizes.prod(axis=1))), float(np.median(sizes)) / 2
    values = np.concatenate([distance(pixels).reshape(-1)[::7] for pixels in pictures])
    levels = filters.threshold_otsu(values) * np.array([0.3, 0.5, 0.7, 1.0])
    leasts, aparts = area * np.array([0.1, 0.25]), radius * np.array([0.5, 0.8])

    def right(counter):
        found = [len(counter(pixels)) for pixels in pictures]
        return sum(one["count"] <= n <= one["count"] + len(one["parts"]) for n, one in zip(found, truth))

    return {
        "Otsu, label": max((otsu(least) for least in leasts), key=right),
        "background, threshold, label": max((threshold(*each) for each in product(levels, leasts)), key=right),
        "... watershed": max((watershed(*each) for each in product(levels, leasts, aparts)), key=right),
    }
