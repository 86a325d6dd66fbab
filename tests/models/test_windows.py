from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from scipy.ndimage import map_coordinates

from airjax.models import windows

CANVAS, WINDOW = 12, 5
UNIT = WINDOW / CANVAS
seeds = st.integers(0, 2**32 - 1)
corners = st.integers(0, CANVAS - WINDOW)
scales = st.floats(0.125, 1.5, width=32)
positions = st.floats(-1.25, 1.25, width=32)

read = jax.jit(windows.read, static_argnums=3)
write = jax.jit(windows.write, static_argnums=3)


def uniform(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).random(shape), jnp.float32)


def aligned(left, top):
    return jnp.asarray([2 * left + WINDOW, 2 * top + WINDOW], jnp.float32) / CANVAS - 1.0


def sample_coordinates(targets, sources, scale, centre):
    """Where, counted in source samples, the samples of a glimpse of `targets` samples lie."""
    ends = centre - scale, centre + scale
    edges = np.linspace(*ends, targets + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    return (middles + 1) / 2 * sources - 0.5


@settings(max_examples=25)
@given(seeds, corners, corners)
def test_writing_at_unit_magnification_copies_the_patch_and_nothing_else(seed, left, top):
    patch = uniform(seed, 2, WINDOW, WINDOW)
    canvas = write(patch, jnp.float32(UNIT), aligned(left, top), (CANVAS, CANVAS))
    expected = np.zeros((2, CANVAS, CANVAS), np.float32)
    expected[:, top : top + WINDOW, left : left + WINDOW] = patch
    np.testing.assert_allclose(canvas, expected, atol=2e-5)


@settings(max_examples=25)
@given(seeds, corners, corners)
def test_reading_what_was_written_gives_the_patch(seed, left, top):
    patch, centre = uniform(seed, 2, WINDOW, WINDOW), aligned(left, top)
    canvas = write(patch, jnp.float32(UNIT), centre, (CANVAS, CANVAS))
    np.testing.assert_allclose(read(canvas, jnp.float32(UNIT), centre, WINDOW), patch, atol=2e-5)


@settings(max_examples=40)
@given(seeds, scales, positions, positions)
def test_reading_is_bilinear_interpolation_of_an_image_that_is_zero_outside(seed, scale, x, y):
    image = uniform(seed, 1, 9, CANVAS)
    rows = sample_coordinates(WINDOW, 9, scale * CANVAS / 9, y)
    columns = sample_coordinates(WINDOW, CANVAS, scale, x)
    expected = map_coordinates(image[0], np.meshgrid(rows, columns, indexing="ij"), order=1, mode="grid-constant")
    glimpse = read(image, jnp.float32(scale), jnp.asarray([x, y], jnp.float32), WINDOW)
    np.testing.assert_allclose(glimpse[0], expected, atol=1e-4)


@settings(max_examples=40)
@given(seeds, scales, positions, positions)
def test_writing_is_bilinear_interpolation_of_a_patch_that_is_zero_outside(seed, scale, x, y):
    patch = uniform(seed, 1, WINDOW, WINDOW)
    # A canvas pixel at u lies at (u - centre) / scale in the window: a glimpse with the inverse transformation.
    high = scale * CANVAS / 9
    rows = sample_coordinates(9, WINDOW, 1 / high, -y / high)
    columns = sample_coordinates(CANVAS, WINDOW, 1 / scale, -x / scale)
    expected = map_coordinates(patch[0], np.meshgrid(rows, columns, indexing="ij"), order=1, mode="grid-constant")
    canvas = write(patch, jnp.float32(scale), jnp.asarray([x, y], jnp.float32), (9, CANVAS))
    np.testing.assert_allclose(canvas[0], expected, atol=2e-4)


@settings(max_examples=25)
@given(seeds, positions, positions)
def test_at_unit_magnification_writing_is_the_adjoint_of_reading(seed, x, y):
    image, patch = uniform(seed, 1, CANVAS, CANVAS), uniform(seed + 1, 1, WINDOW, WINDOW)
    centre = jnp.asarray([x, y], jnp.float32)
    glimpse = read(image, jnp.float32(UNIT), centre, WINDOW)
    canvas = write(patch, jnp.float32(UNIT), centre, (CANVAS, CANVAS))
    np.testing.assert_allclose(jnp.vdot(glimpse, patch), jnp.vdot(image, canvas), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@settings(max_examples=25)
@given(seeds, scales, positions, positions)
def test_gradients_are_those_of_the_product_with_hat_weights(seed, scale, x, y):
    image = uniform(seed, 2, 9, CANVAS)
    # Not at whole numbers, where the interpolation has a kink.
    rows = 0.013 + jnp.asarray(sample_coordinates(WINDOW, 9, scale, y), jnp.float32).round(1)
    columns = 0.013 + jnp.asarray(sample_coordinates(WINDOW, CANVAS, scale, x), jnp.float32).round(1)
    sparse, expected = (gradients(product, image, rows, columns) for product in (windows.resample, dense))
    for ours, theirs in zip(jax.tree.leaves(sparse), jax.tree.leaves(expected)):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@partial(jax.jit, static_argnums=0)
def gradients(product, image, rows, columns):
    through = lambda *inputs: jnp.sum(jnp.sin(3.0 * product(*inputs)))
    return jax.value_and_grad(through, argnums=(0, 1, 2))(image, rows, columns)


def dense(image, rows, columns):
    return windows.hat_weights(rows, 9) @ image @ windows.hat_weights(columns, CANVAS).T


def test_positions_far_outside_see_nothing_and_have_no_gradient():
    far = jnp.asarray([-1e12, -1.5, 4.0, 1e12], jnp.float32)
    value, gradients = jax.value_and_grad(lambda p: windows.resample(jnp.ones((1, 4, 4)), p, p).sum())(far)
    assert float(value) == 0.0
    np.testing.assert_array_equal(gradients, 0.0)


def test_x_points_right_and_y_points_down():
    canvas = write(jnp.ones((1, 5, 5)), jnp.float32(0.25), jnp.asarray([0.5, -0.5]), (12, 12))
    quadrants = canvas[0].reshape(2, 6, 2, 6).sum((1, 3))
    np.testing.assert_allclose(quadrants / canvas.sum(), [[0, 1], [0, 0]], atol=1e-6)


def test_scale_is_the_side_of_the_window_over_the_longer_side_of_the_canvas():
    canvas = windows.write(jnp.ones((1, 20, 20)), jnp.float32(0.4), jnp.zeros(2), (80, 40))
    assert canvas.sum() == pytest.approx((0.4 * 80) ** 2, rel=1e-3)


@pytest.mark.parametrize("shape", [(12, 30), (30, 12)])
def test_windows_of_oblong_images_are_square(shape):
    """A patch of 6 samples in a window of a fifth of the longer side, 6 pixels, is copied."""
    patch = jnp.asarray(np.random.default_rng(0).random((2, 6, 6)), jnp.float32)
    height, width = shape
    centre = jnp.array([2 * 5 / width - 1, 2 * 7 / height - 1])
    drawn = windows.write(patch, jnp.asarray(0.2), centre, shape)
    np.testing.assert_allclose(drawn[:, 4:10, 2:8], patch, atol=1e-4)
    np.testing.assert_allclose(drawn.sum(), patch.sum(), rtol=1e-4)
    np.testing.assert_allclose(windows.read(drawn, jnp.asarray(0.2), centre, 6), patch, atol=1e-4)
    np.testing.assert_allclose(windows.extent(*shape) * [width, height], 30)


def test_a_window_off_the_canvas_reads_and_writes_nothing():
    scale, centre = jnp.float32(0.3), jnp.asarray([1.5, 0.0])
    assert not read(jnp.ones((1, 12, 12)), scale, centre, WINDOW).any()
    assert not write(jnp.ones((1, 5, 5)), scale, centre, (12, 12)).any()


def test_interpolation_weights_sum_to_one_inside_and_fall_to_zero_one_sample_outside():
    weights = windows.hat_weights(jnp.asarray([0.0, 1.3, 3.0, -0.25, 3.5, -1.0, 4.0, 100.0]), 4)
    np.testing.assert_allclose(weights.sum(1), [1, 1, 1, 0.75, 0.5, 0, 0, 0], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_gradients_equal_finite_differences(seed):
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        scale, centre = jnp.asarray(rng.uniform(0.3, 0.8)), jnp.asarray(rng.uniform(-0.5, 0.5, 2))
        image, patch = jnp.asarray(rng.random((1, 7, 9))), jnp.asarray(rng.random((1, 4, 4)))
        for function, source, size in ((read, image, 4), (write, patch, (7, 9))):
            of_arrays = lambda *a, function=function, size=size: function(*map(jnp.asarray, a), size)
            check_grads(of_arrays, (source, scale, centre), order=1, modes="rev", eps=1e-6)


@settings(max_examples=25)
@given(seeds, scales, positions, positions)
def test_a_block_shows_and_draws_the_window_as_the_whole_canvas_does(seed, scale, x, y):
    scale, centre = jnp.float32(min(scale, 0.8)), jnp.asarray([x, y], jnp.float32)
    canvas = 20, 26
    image, patch = uniform(seed, 2, *canvas), uniform(seed, 2, WINDOW, WINDOW)
    block = windows.block_around(centre, 24, canvas)
    np.testing.assert_allclose(
        windows.read(block.cut(image), scale, centre, WINDOW, block), read(image, scale, centre, WINDOW), atol=2e-5
    )
    written = block.put(jnp.zeros_like(image), windows.write(patch, scale, centre, canvas, block))
    np.testing.assert_allclose(written, write(patch, scale, centre, canvas), atol=2e-5)
