"""Laws that every background and every likelihood keeps; a new one is added to the registry."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.models.backgrounds.base import Background, Layers
from airjax.models.backgrounds.fixed import BlackBackground, FixedBackground
from airjax.models.backgrounds.linear import LinearBackground
from airjax.models.backgrounds.smooth import SmoothBackground
from airjax.models.likelihood import BernoulliLikelihood, NormalLikelihood

SHAPE = (2, 6, 8)
KEY = jax.random.PRNGKey(0)
BACKGROUNDS = {
    "black": BlackBackground(SHAPE),
    "colour": FixedBackground(SHAPE, uniform=True),
    "picture": FixedBackground(SHAPE, uniform=False),
    "linear": LinearBackground(SHAPE, components=3, outlier=math.inf),
    "linear, robust": LinearBackground(SHAPE, components=3),
    "smooth": SmoothBackground(SHAPE),
}
LIKELIHOODS = {"normal": NormalLikelihood(0.3, learn=True), "Bernoulli": BernoulliLikelihood()}


def pixels(seed, shape=SHAPE):
    """Draw values within (0, 1)."""
    return jnp.asarray(np.random.default_rng(seed).uniform(0.05, 0.95, shape), jnp.float32)


IMAGE, OBJECTS = pixels(0), Layers(pixels(1), pixels(2, (1, *SHAPE[1:])))


def assert_finite(tree):
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module", params=BACKGROUNDS.values(), ids=BACKGROUNDS)
def background(request):
    """A background whose every parameter is away from its start."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + 0.2 * rng.standard_normal(x.shape).astype(np.float32), request.param)


@pytest.fixture(scope="module")
def explained(background):
    return background.explain(IMAGE, OBJECTS, LIKELIHOODS["normal"])


def test_a_background_follows_the_protocol(background, explained):
    assert isinstance(background, Background)
    for code in (explained.code, background.prior_sample(key=KEY)):
        assert code.shape == (background.code_size,)


def test_arrays_have_types_of_their_own():
    """Otherwise a training step would change their type, and be compiled twice."""
    leaves = jax.tree.leaves((tuple(BACKGROUNDS.values()), tuple(LIKELIHOODS.values())))
    assert leaves
    assert not any(leaf.weak_type for leaf in leaves)


def test_the_explaining_canvas_is_drawn_from_the_code(background, explained):
    np.testing.assert_allclose(explained.canvas, background.lay(explained.code, OBJECTS), atol=1e-6)


def test_the_likelihood_is_that_of_the_canvas_less_the_price_of_a_code(background, explained):
    of_canvas = float(LIKELIHOODS["normal"].log_prob(IMAGE, explained.canvas))
    if background.code_size:
        assert float(explained.log_likelihood) < of_canvas
    else:
        assert float(explained.log_likelihood) == of_canvas


def test_objects_without_transmittance_let_all_light_pass(background):
    code = background.prior_sample(key=KEY)
    clear = Layers(OBJECTS.colours, jnp.ones((1, *SHAPE[1:])))
    expected = background.lay(code, clear)
    np.testing.assert_allclose(background.lay(code, Layers(OBJECTS.colours, None)), expected, atol=1e-6)


def test_explaining_has_finite_gradients(background):
    def explain(background, objects, likelihood):
        return background.explain(IMAGE, objects, likelihood).log_likelihood

    assert_finite(jax.jit(jax.grad(explain, argnums=(0, 1, 2)))(background, OBJECTS, LIKELIHOODS["normal"]))


def test_training_starts_from_a_background_of_the_same_kind(background):
    scenes = np.random.default_rng(0).integers(256, size=(7, *SHAPE)).astype(np.uint8)
    start = background.init_from_data(scenes)
    assert jax.tree.structure(start) == jax.tree.structure(background)
    assert_finite(start)


@pytest.fixture(scope="module", params=LIKELIHOODS.values(), ids=LIKELIHOODS)
def likelihood(request):
    return request.param


def test_pixels_are_independent(likelihood):
    alone = jax.vmap(lambda x, canvas: likelihood.log_prob(x[None, None, None], canvas[None, None, None]))
    total = float(likelihood.log_prob(IMAGE, OBJECTS.colours))
    assert total == pytest.approx(float(jnp.sum(alone(IMAGE.ravel(), OBJECTS.colours.ravel()))), rel=1e-5)


def test_the_mean_of_a_canvas_within_its_range_is_that_canvas(likelihood):
    np.testing.assert_array_equal(likelihood.mean(OBJECTS.colours), OBJECTS.colours)


def test_no_canvas_is_likelier_than_the_image_itself(likelihood):
    best = float(likelihood.log_prob(IMAGE, IMAGE))
    for shift in (-0.02, 0.02):
        assert float(likelihood.log_prob(IMAGE, IMAGE + shift)) < best
    slopes = jax.grad(likelihood.log_prob, argnums=1)(IMAGE, IMAGE)
    np.testing.assert_allclose(slopes, 0.0, atol=1e-4)


def test_a_likelihood_has_finite_gradients_wherever_the_canvas_is(likelihood):
    by_all = jax.jit(jax.grad(lambda model, canvas: model.log_prob(IMAGE, canvas), argnums=(0, 1)))
    for canvas in (jnp.full(SHAPE, -1.0), jnp.zeros(SHAPE), jnp.ones(SHAPE), jnp.full(SHAPE, 2.0)):
        assert_finite(by_all(likelihood, canvas))
