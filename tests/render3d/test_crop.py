import jax.numpy as jnp
import numpy as np
import pytest

from airjax.render3d.crop import crop_around

IMAGE = jnp.arange(2 * 7 * 9, dtype=jnp.float32).reshape(2, 7, 9)


def test_a_window_is_cut_and_put_back_where_it_was():
    crop = crop_around(jnp.array([4.0, 3.0]), 4, (7, 9))
    cut = crop.cut(IMAGE)
    np.testing.assert_array_equal(cut, IMAGE[:, 1:5, 2:6])
    expected = np.zeros_like(IMAGE)
    expected[:, 1:5, 2:6] = cut
    np.testing.assert_array_equal(crop.put(cut), expected)


def test_vectors_and_numbers_are_left_as_they_are():
    tree = (jnp.arange(3.0), jnp.asarray(2.0), IMAGE)
    cut = crop_around(jnp.array([4.0, 3.0]), 4, (7, 9)).cut(tree)
    np.testing.assert_array_equal(cut[0], tree[0])
    assert cut[1] == 2.0


@pytest.mark.parametrize("centre", [(-50.0, -50.0), (1e9, 1e9), (np.nan, np.inf), (0.0, 9.0)])
def test_windows_lie_within_the_image(centre):
    cut = crop_around(jnp.array(centre), 4, (7, 9)).cut(jnp.ones((7, 9)))
    np.testing.assert_array_equal(cut, np.ones((4, 4)))


def test_the_window_of_a_small_image_is_the_whole_image():
    np.testing.assert_array_equal(crop_around(jnp.array([4.0, 3.0]), 20, (7, 9)).cut(IMAGE), IMAGE)


def test_points_are_relative_to_the_windows_centre_in_half_sides():
    crop = crop_around(jnp.array([4.0, 3.0]), 4, (7, 9))  # columns 2 to 6, rows 1 to 5
    np.testing.assert_allclose(crop.within(jnp.array([4.0, 3.0])), [0.0, 0.0])
    np.testing.assert_allclose(crop.within(jnp.array([6.0, 2.0])), [1.0, -0.5])
