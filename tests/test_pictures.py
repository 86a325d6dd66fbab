"""Folders that `experiments/pictures` draws."""

from itertools import islice

import numpy as np
import pytest

from experiments.pictures import folders


@pytest.mark.parametrize("make", [folders.beans, folders.bolts, folders.rings])
def test_what_stands_out_is_in_the_boxes(make):
    for picture in islice(make()(np.random.default_rng(0)), 6):
        pixels = picture.pixels.reshape(*picture.pixels.shape[:2], -1).astype(float)
        height, width = pixels.shape[:2]
        within = np.zeros((height, width), bool)
        for box in picture.boxes + picture.parts:
            x0, y0, x1, y1 = np.clip(box, 0, [width, height] * 2)
            assert x0 < x1
            assert y0 < y1
            within[max(0, int(y0) - 5) : int(y1) + 6, max(0, int(x0) - 5) : int(x1) + 6] = True
        away = np.abs(pixels - np.median(pixels[~within], axis=0)).max(axis=-1)
        assert np.quantile(away[~within], 0.999) < 60
        assert not within.any() or np.quantile(away[within], 0.97) > 60
