import numpy as np
import pytest
from PIL import Image

from airjax.data import arrays
from airjax.data.arrays import UNIT, Range

BYTES = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("black_white", [UNIT, Range(-1.0, 1.0), Range(0.0, 255.0), Range(-3.0, 5.0)])
def test_bytes_scaled_to_another_range_are_recovered(kind, black_white):
    low, high = black_white
    values = (low + (high - low) * (BYTES / 255)).astype(kind)
    assert arrays.find_range(values) == black_white
    np.testing.assert_array_equal(arrays.to_bytes(values, black_white), BYTES)


def test_the_range_of_bytes_and_of_values_in_0_to_1_is_fixed():
    assert arrays.find_range(BYTES[50:60]) == arrays.find_range(np.array([0.2, 0.3])) == UNIT
    assert arrays.find_range(np.array([False, True])) == UNIT
    assert arrays.find_range(np.full(3, 7)) == Range(7, 8)


def test_values_slightly_out_of_range_are_clipped_and_others_refused():
    np.testing.assert_array_equal(arrays.to_bytes(np.array([-0.5, 1.5]), UNIT), [0, 255])
    with pytest.raises(ValueError, match="from 0 to 1 as in fit, got values from 0 to 255"):
        arrays.to_bytes(BYTES.astype(int), UNIT)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_from_model_undoes_to_model(shape):
    images = np.random.default_rng(0).integers(256, size=(2, *shape)).astype(np.uint8)
    for polarity in ("light", "dark"):
        seen = arrays.to_model(images, polarity)
        assert seen.shape[1:] == ((1, 4, 6) if len(shape) == 2 else (3, 4, 6))
        drawn = arrays.from_model(np.float32(seen / 255), polarity, Range(-1.0, 1.0))
        np.testing.assert_allclose(drawn, images / 127.5 - 1, atol=1e-6)
        assert drawn.dtype == np.float32
    assert (arrays.to_model(images, "dark") == 255 - arrays.to_model(images, "light")).all()


def test_rows_are_images_in_reading_order_padded_with_black():
    images = np.random.default_rng(0).integers(1, 256, size=(2, 3, 4)).astype(np.uint8)
    for given in (images, list(images), tuple(images)):
        rows, shape = arrays.to_rows(given)
        assert shape == (3, 4)
        np.testing.assert_array_equal(arrays.to_images(rows, shape), images)
    np.testing.assert_array_equal(arrays.to_images(rows[:, :11], (3, 4))[:, 2, 3], 0)
    assert arrays.to_rows(rows) == (rows, None)


def test_the_shape_is_the_given_one_the_wanted_one_or_a_square():
    assert arrays.choose_shape(None, (3, 4), 12) == arrays.choose_shape((3, 4), None, 12) == (3, 4)
    assert arrays.choose_shape([2, 2, 3], (2, 2, 3), 12) == (2, 2, 3)
    assert arrays.choose_shape(None, None, 16) == (4, 4)
    for wanted, came, values in (((3, 4), (4, 3), 12), ((3, 4), None, 13), ((2, 6), (3, 4), 12)):
        with pytest.raises(ValueError, match="image_shape must be the shape of images"):
            arrays.choose_shape(wanted, came, values)
    for bad in ((12,), (3, 4, 1), (0, 4)):
        with pytest.raises(ValueError, match=r"images must be of shape \(height, width\)"):
            arrays.choose_shape(None, bad, 12)


def test_pictures_are_fitted_whole_with_their_placement():
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(4, 8)).astype(np.uint8)
    grey, colour = Image.fromarray(pixels), Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    images, placements = arrays.letterbox_pictures([grey, colour], (8, 8))
    np.testing.assert_array_equal(images[0, 2:6], pixels)
    np.testing.assert_array_equal(placements[0].to_picture(np.array([0.0, 2.0, 8.0, 6.0])), [0, 0, 8, 4])
    coloured, _ = arrays.letterbox_pictures([grey, colour], (8, 8, 3))
    np.testing.assert_array_equal(coloured[1], np.full((8, 8, 3), (255, 127, 127)))
    assert arrays.are_pictures([grey, colour])
    assert not arrays.are_pictures([])
    assert not arrays.are_pictures([grey, pixels])
