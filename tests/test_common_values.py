import numpy as np
import pytest

from airjax.common_values import common_colour, common_picture


def test_a_picture_behind_objects_is_each_pixels_most_common_value():
    rng = np.random.default_rng(0)
    picture = rng.random((6, 7))
    images = picture + rng.normal(0, 0.01, (400, 6, 7))
    hidden = rng.random(images.shape) < 0.6
    images[hidden] = rng.random(hidden.sum())
    np.testing.assert_allclose(common_picture(images), picture, atol=0.02)
    noisy = picture + rng.normal(0, 0.01, (400, 6, 7))
    spread = abs(common_picture(noisy) - picture).mean() / abs(np.median(noisy, axis=0) - picture).mean()
    assert spread < 4


def test_the_most_common_colour_is_the_backgrounds():
    images = np.full((5, 10, 10, 1), 40, np.uint8)
    images[:, :, :4], images[:, :2] = 200, 250  # the median is not the background's
    images[:, 2:5, 4:] = 41
    assert common_colour(images / 255.0) == pytest.approx(40.5 / 255, abs=0.6 / 255)
