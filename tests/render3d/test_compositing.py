from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from airjax.render3d import Layer, blank
from airjax.render3d.compositing import BLEND

SHAPE = (5, 4)


@pytest.fixture
def layers():
    """Four layers, whose depths are in random order in every pixel and differ too much to blend."""
    rng = np.random.default_rng(0)
    depth = 1 + rng.permuted(np.arange(4.0)[:, None, None] * np.ones(SHAPE), axis=0) * 1.1 * BLEND
    return Layer(*(jnp.asarray(x, jnp.float32) for x in (rng.random((4, 3, *SHAPE)), rng.random((4, *SHAPE)), depth)))


@pytest.fixture
def background():
    return jnp.asarray(np.random.default_rng(1).random((3, *SHAPE)), jnp.float32)


def prefixes(background, layers, order, capacity=4):
    canvas = blank(background, capacity)
    images = [canvas.image]
    for index in order:
        canvas = canvas.add(jax.tree.map(lambda x, index=index: x[index], layers))
        images.append(canvas.image)
    return np.stack(images)


def painted(background, layers, chosen):
    """Paint layers over each other from far to near, pixel by pixel."""
    colour, opacity, depth = (np.asarray(x)[list(chosen)] for x in layers)
    image = np.array(background)
    for row, column in np.ndindex(SHAPE):
        for index in np.argsort(-depth[:, row, column]):
            share = opacity[index, row, column]
            image[:, row, column] = share * colour[index, :, row, column] + (1 - share) * image[:, row, column]
    return image


def test_every_intermediate_canvas_equals_painting_from_far_to_near(background, layers):
    images = prefixes(background, layers, range(4))
    for n, image in enumerate(images):
        np.testing.assert_allclose(image, painted(background, layers, range(n)), atol=2e-6)


def test_the_order_of_adding_does_not_matter_even_where_layers_blend(background, layers):
    close = layers._replace(depth=1 + 0.3 * (layers.depth - 1))
    first, *others = (prefixes(background, close, order)[-1] for order in permutations(range(4)))
    for other in others:
        np.testing.assert_allclose(other, first, atol=2e-6)


def test_coincident_layers_share_a_pixel_and_cover_it_like_any_others(background, layers):
    together = Layer(layers.colour, jnp.ones_like(layers.opacity), jnp.ones_like(layers.depth))
    image = prefixes(background, together, range(4))[-1]
    np.testing.assert_allclose(image, layers.colour.mean(0), atol=2e-6)


def test_unused_slots_change_nothing_and_none_are_needed_for_no_layer(background, layers):
    np.testing.assert_allclose(
        prefixes(background, layers, range(2), capacity=7),
        prefixes(background, layers, range(2), capacity=2),
        atol=1e-6,
    )
    np.testing.assert_array_equal(blank(background, 0).image, background)
    with pytest.raises(ValueError, match="capacity must be at least 0, got -1"):
        blank(background, -1)


@pytest.mark.slow
def test_the_gradient_by_opacity_is_right_at_opacity_zero(background, layers):
    def image(opacity):
        return blank(background, 1).add(Layer(layers.colour[0], jnp.full(SHAPE, opacity), layers.depth[0])).image

    slopes = jax.jacfwd(image)(0.0)
    np.testing.assert_allclose(slopes, layers.colour[0] - background, atol=1e-5)


@pytest.mark.slow
def test_gradients_equal_finite_differences_where_layers_blend(background, layers):
    with jax.enable_x64(True):
        as64 = lambda x: jnp.asarray(np.asarray(x), jnp.float64)
        close = jax.tree.map(as64, layers._replace(depth=1 + 0.3 * (layers.depth - 1)))

        def image(close):
            canvas = blank(as64(background), 4)
            for one in map(Layer, *close):
                canvas = canvas.add(one)
            return canvas.image

        check_grads(jax.jit(image), (close,), order=1, modes="rev", eps=1e-7)
