"""Models of what lies behind the objects."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from airjax.models.backgrounds.base import Layers
from airjax.models.backgrounds.fixed import BlackBackground, FixedBackground
from airjax.models.backgrounds.linear import LinearBackground, robust_components
from airjax.models.backgrounds.smooth import SmoothBackground
from airjax.models.backgrounds.weighted import inverse_root
from airjax.models.likelihood import BernoulliLikelihood, NormalLikelihood

KEY = jax.random.PRNGKey(0)
SHAPE = (2, 6, 8)
NORMAL = NormalLikelihood(0.3, learn=True)
NOTHING = Layers(jnp.zeros(SHAPE), None)


def objects(seed=1) -> Layers:
    """Layers that let more or less of the background through."""
    rng = np.random.default_rng(seed)
    return Layers(*(jnp.asarray(rng.random(shape), jnp.float32) for shape in (SHAPE, (1, *SHAPE[1:]))))


def image(seed=2):
    return jnp.asarray(np.random.default_rng(seed).random(SHAPE), jnp.float32)


def stripes_and_squares(n=300, side=20):
    """Scenes of rows that are bright or not, every third by an offset, behind one bright square; and the rows alone."""
    rng = np.random.default_rng(0)
    rows = 0.4 * (np.arange(side) % 3 == rng.integers(3, size=(n, 1)))
    backgrounds = np.repeat(rows[:, None, :, None], side, axis=3)
    scenes = backgrounds.copy()
    for scene, (y, x) in zip(scenes, rng.integers(side - 4, size=(n, 2))):
        scene[:, y : y + 4, x : x + 4] = 1.0
    return (255 * scenes).astype(np.uint8), backgrounds


def uneven_and_squares(n=60, side=24):
    """Scenes in light that falls off in a direction of its own, behind three dark squares; and the light alone."""
    rng = np.random.default_rng(0)
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    angles, strengths = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.1, 0.4, n)
    light = np.stack([0.7 + s * (x * np.cos(a) + y * np.sin(a)) for a, s in zip(angles, strengths)])[:, None]
    scenes = light + rng.normal(0, 0.01, light.shape)
    for scene in scenes:
        for row, column in rng.integers(side - 5, size=(3, 2)):
            scene[:, row : row + 5, column : column + 5] -= 0.3
    return np.rint(255 * scenes).astype(np.uint8), light


@pytest.fixture(scope="module")
def smooth() -> SmoothBackground:
    """A smooth background in light that varies much."""
    return SmoothBackground((1, 24, 24)).init_from_data(uneven_and_squares()[0])


def test_uneven_light_is_found_behind_objects(smooth):
    scenes, light = uneven_and_squares()
    nothing = Layers(jnp.zeros((1, 24, 24)), None)
    explain = jax.jit(jax.vmap(lambda image: smooth.explain(image / 255.0, nothing, NORMAL).canvas))
    assert abs(np.asarray(explain(jnp.asarray(scenes))) - light).mean() < 0.006
    assert 0.02 <= float(smooth.outlier) <= 0.1


def test_uneven_light_is_found_behind_textured_objects_that_cover_half_of_it():
    rng = np.random.default_rng(1)
    light = uneven_and_squares()[1] / 3
    scenes = light + rng.normal(0, 0.01, light.shape)
    for scene in scenes[:, 0]:
        covered = np.zeros(scene.shape, bool)
        while covered.mean() < 0.5:
            y, x = rng.integers(-4, 24, 2)
            covered[max(y, 0) : y + 8, max(x, 0) : x + 8] = True
        scene[covered] = rng.uniform(0.4, 0.9, covered.sum())
    images = np.rint(255 * scenes).astype(np.uint8)
    background = SmoothBackground((1, 24, 24)).init_from_data(images)
    nothing = Layers(jnp.zeros((1, 24, 24)), None)
    explain = jax.jit(jax.vmap(lambda image: background.explain(image / 255.0, nothing, NORMAL).canvas))
    error = abs(np.asarray(explain(jnp.asarray(images))) - light).mean(axis=(1, 2, 3))
    assert np.mean(error < 0.02) > 0.9


@pytest.mark.parametrize("transmittance", [False, True])
def test_noise_grows_with_what_objects_change_in_the_background(transmittance):
    background = FixedBackground(SHAPE, uniform=True).init_from_data(np.full((3, *SHAPE), 51, np.uint8))
    layers = objects() if transmittance else Layers(objects().colours, None)
    likelihood = NormalLikelihood(0.3, gain=0.2)
    behind = background.lay(jnp.zeros(0), NOTHING)
    canvas = background.lay(jnp.zeros(0), layers)
    told = background.explain(image(), layers, likelihood).log_likelihood
    assert float(told) == pytest.approx(float(likelihood.log_prob(image(), canvas, canvas - behind)), rel=1e-6)
    assert float(told) != pytest.approx(float(likelihood.log_prob(image(), canvas)), rel=1e-3)


@pytest.mark.slow
def test_a_smooth_background_bounds_the_evidence(smooth):
    """It is exact where nothing is an outlier and the light is that of the prior."""
    code = smooth.prior_sample(key=KEY)
    empty = smooth.lay(code, Layers(jnp.zeros((1, 24, 24)), None))
    sharp = NormalLikelihood(0.1)
    seen = np.asarray(empty, np.float64) + np.random.default_rng(0).normal(0, 0.01, empty.shape)
    parts, half = np.asarray(smooth.components, np.float64), np.full((1, 24, 24), 0.5)
    for transmittance in (None, half):
        layers = Layers(jnp.zeros((1, 24, 24)), None if transmittance is None else jnp.asarray(half))
        share = 1.0 if transmittance is None else 0.5
        covariance = share**2 * parts.T @ parts + 0.1**2 * np.eye(576)
        exact = multivariate_normal(share * np.ravel(smooth.mean), covariance).logpdf(share * np.ravel(seen))
        first = smooth.explain(jnp.asarray(seen, jnp.float32), Layers(layers.colours, None), sharp)
        bound = smooth.explain(jnp.asarray(share * seen, jnp.float32), layers, sharp, first)
        assert float(bound.log_likelihood) < exact + 0.01
        assert float(bound.log_likelihood) > exact - (0.5 if transmittance is None else 20)


def test_the_light_is_looked_for_once_in_an_image(smooth):
    scene, nothing = jnp.asarray(uneven_and_squares()[0][0] / 255.0, jnp.float32), Layers(jnp.zeros((1, 24, 24)), None)
    first = smooth.explain(scene, nothing, NORMAL)
    other = first._replace(code=first.code + 1.0)
    np.testing.assert_array_equal(smooth.explain(scene, nothing, NORMAL, other).code, other.code)


def test_a_uniform_background_starts_with_the_most_common_colour():
    images = np.full((5, 1, 10, 10), 40, np.uint8)
    images[:, :, :, :4], images[:, :, :2] = 200, 250  # the median is not the background's
    images[:, :, 2:5, 4:] = 41
    start = FixedBackground((1, 10, 10), uniform=True).init_from_data(images)
    assert float(start.image.squeeze()) * 255 == pytest.approx(40.5, abs=0.6)


@pytest.fixture(scope="module")
def linear() -> LinearBackground:
    """A linear background whose every parameter matters, and which leaves nothing out."""
    background = LinearBackground(SHAPE, components=3, outlier=math.inf)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + 0.2 * rng.standard_normal(x.shape).astype(np.float32), background)


def test_black_is_black_whatever_the_scenes():
    images = np.full((3, *SHAPE), 200, np.uint8)
    black = BlackBackground(SHAPE).init_from_data(images)
    np.testing.assert_array_equal(black.lay(jnp.zeros(0), objects()), objects().colours)


def test_a_still_ground_is_seen_as_far_as_objects_let_it_through():
    background = FixedBackground(SHAPE, uniform=True).init_from_data(np.full((3, *SHAPE), 51, np.uint8))
    colours, transmittance = objects()
    np.testing.assert_allclose(background.lay(jnp.zeros(0), objects()), colours + 0.2 * transmittance, atol=1e-6)
    np.testing.assert_allclose(background.lay(jnp.zeros(0), Layers(colours, None)), colours + 0.2, atol=1e-6)


def test_a_colour_starts_from_the_median_of_each_channel():
    images = np.full((5, *SHAPE), 51, np.uint8)
    images[:, 1] = 102
    images[:, :, :3, :3] = 255  # fewer than half of the pixels
    drawn = FixedBackground(SHAPE, uniform=True).init_from_data(images).lay(jnp.zeros(0), NOTHING)
    np.testing.assert_allclose(drawn[0], 0.2, atol=1e-6)
    np.testing.assert_allclose(drawn[1], 0.4, atol=1e-6)


def test_a_picture_starts_from_the_median_of_each_pixel():
    picture = np.random.default_rng(0).integers(256, size=SHAPE).astype(np.uint8)
    images = np.stack([picture] * 5)
    images[0, :, :3] = 255
    images[1, :, 2:] = 0
    drawn = FixedBackground(SHAPE, uniform=False).init_from_data(images).lay(jnp.zeros(0), NOTHING)
    np.testing.assert_allclose(drawn, picture / 255, atol=1e-6)


def test_a_linear_ground_learns_the_stripes_and_looks_past_the_squares():
    images, backgrounds = stripes_and_squares()
    background = LinearBackground(images.shape[1:], components=2).init_from_data(images)
    pixels = jnp.asarray(images[:50] / 255.0, jnp.float32)
    nothing = Layers(jnp.zeros_like(pixels[0]), None)
    explain = jax.jit(jax.vmap(lambda image: background.explain(image, nothing, NormalLikelihood(0.1)).canvas))
    np.testing.assert_allclose(explain(pixels), backgrounds[:50], atol=0.02)


@pytest.mark.slow
def test_looking_past_outliers_gives_a_lower_bound(linear):
    exact = linear.explain(image(), objects(), NORMAL)
    robust = eqx.tree_at(lambda g: g.mean, LinearBackground(SHAPE, components=3, outlier=0.2), linear.mean)
    robust = eqx.tree_at(lambda g: g.components, robust, linear.components)
    code, canvas, bound = robust.explain(image(), objects(), NORMAL)
    assert float(bound) < float(exact.log_likelihood) - 0.1
    joint = lambda code, canvas: NORMAL.log_prob(image(), canvas) - 0.5 * code @ code
    expected = joint(exact.code, exact.canvas) - joint(code, canvas)
    assert float(exact.log_likelihood - bound) == pytest.approx(float(expected), rel=1e-3)


def test_components_without_outliers_are_the_principal_ones():
    rng = np.random.default_rng(0)
    rows = 0.02 * rng.standard_normal((200, 3)) @ rng.standard_normal((3, 30)) + 0.5
    mean, components, spread = robust_components(rows, 3, math.inf)
    np.testing.assert_allclose(components @ components.T, np.eye(3), atol=1e-8)
    np.testing.assert_allclose(mean + (rows - mean) @ components.T @ components, rows, atol=1e-6)
    np.testing.assert_allclose(spread, ((rows - mean) @ components.T).std(0), rtol=1e-6)


def test_fewer_scenes_than_components_are_explained_by_those_they_have():
    rows = np.random.default_rng(0).random((3, 30))
    mean, components, spread = robust_components(rows, 5, math.inf)
    assert (components.shape, spread.shape) == ((5, 30), (5,))
    np.testing.assert_allclose(mean + (rows - mean) @ components.T @ components, rows, atol=1e-6)
    np.testing.assert_allclose(components[3:], 0, atol=1e-6)


@pytest.mark.parametrize("transmittance", [False, True])
def test_the_code_is_integrated_out(linear, transmittance):
    """Every channel is normal, with what its components and the noise add up to as covariance."""
    layers = objects() if transmittance else Layers(objects().colours, None)
    expected, alone = 0.0, np.asarray(linear.lay(jnp.zeros(6), layers), np.float64)
    seen = np.asarray(linear.components, np.float64) * (np.ravel(layers.transmittance) if transmittance else 1.0)
    for pixels, mean in zip(np.asarray(image(), np.float64), alone):
        covariance = seen.T @ seen + 0.3**2 * np.eye(mean.size)
        expected += multivariate_normal(mean.ravel(), covariance).logpdf(pixels.ravel())
    assert float(linear.explain(image(), layers, NORMAL).log_likelihood) == pytest.approx(expected, rel=1e-5)


def test_a_gain_leaves_a_lower_bound(linear):
    layers, wide = Layers(objects().colours, None), NormalLikelihood(0.3, gain=0.5)
    exact, alone = 0.0, np.asarray(linear.lay(jnp.zeros(6), layers), np.float64)
    seen = np.asarray(linear.components, np.float64)
    noise = 0.3**2 + 0.5**2 * np.max(np.asarray(layers.colours, np.float64) ** 2, axis=0)
    for pixels, mean in zip(np.asarray(image(), np.float64), alone):
        covariance = seen.T @ seen + np.diag(noise.ravel())
        exact += multivariate_normal(mean.ravel(), covariance).logpdf(pixels.ravel())
    assert exact - 5.0 < float(linear.explain(image(), layers, wide).log_likelihood) < exact


def test_the_code_is_its_posteriors_mean(linear):
    layers, joint = objects(), lambda code: NORMAL.log_prob(image(), linear.lay(code, objects())) - 0.5 * code @ code
    code, canvas, _ = linear.explain(image(), layers, NORMAL)
    np.testing.assert_allclose(jax.grad(joint)(code), 0.0, atol=2e-3)
    np.testing.assert_allclose(canvas, linear.lay(code, layers), atol=1e-6)


@pytest.mark.slow
def test_gradients_are_those_of_the_integral(linear):
    """By colours, by what is let through and by the noise; held against a determinant that knows no posterior."""

    def direct(colours, transmittance, likelihood):
        seen = linear.components * transmittance.reshape(-1)
        covariance = seen.T @ seen + jnp.eye(48) / likelihood.precision
        left = (image() - colours - transmittance * linear.mean).reshape(2, -1)
        return -0.5 * jnp.sum(left * jnp.linalg.solve(covariance, left.T).T) - jnp.linalg.slogdet(covariance)[1]

    ours = lambda colours, transmittance, likelihood: (
        linear.explain(image(), Layers(colours, transmittance), likelihood).log_likelihood
    )
    gradients = [jax.tree.leaves(jax.grad(f, argnums=(0, 1, 2))(*objects(), NORMAL)) for f in (ours, direct)]
    for one, other in zip(*gradients):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_a_linear_ground_needs_normal_noise(linear):
    with pytest.raises(ValueError, match="needs a normal likelihood"):
        linear.explain(image(), objects(), BernoulliLikelihood())


def test_grounds_of_prior_codes_have_the_components_covariance(linear):
    codes = jax.vmap(lambda key: linear.prior_sample(key=key))(jax.random.split(KEY, 4_000))
    drawn = np.asarray(jax.vmap(lambda code: linear.lay(code, NOTHING))(codes))
    np.testing.assert_allclose(drawn.mean(0), linear.mean, atol=0.05)
    for channel in (0, 1):
        covariance = np.cov(drawn[:, channel].reshape(4_000, -1).T)
        np.testing.assert_allclose(covariance, linear.components.T @ linear.components, atol=0.05)


def test_compiled_programs_call_no_outside_routine(linear):
    """Batches of LAPACK's triangular solves wait for one another in XLA's threads: training stood still."""
    images, transmittance = jnp.stack([image()] * 3), jnp.stack([objects().transmittance] * 3)

    def loss(background, transmittance):
        explain = lambda image, transmittance: background.explain(
            image, Layers(objects().colours, transmittance), NORMAL
        )
        return jnp.sum(jax.vmap(explain)(images, transmittance).log_likelihood)

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(linear, transmittance).compile()
    assert "custom_call_target" not in compiled.as_text()


def test_the_log_determinant_and_its_gradient_are_those_of_linear_algebra(linear):
    layers = objects()

    def loss(transmittance, log_det):
        rows = linear.components * transmittance.reshape(-1)
        return log_det(jnp.eye(len(rows)) + 11.0 * rows @ rows.T)

    ours = jax.value_and_grad(loss)(layers.transmittance, lambda matrix: inverse_root(matrix)[1])
    expected = jax.value_and_grad(loss)(layers.transmittance, lambda matrix: jnp.linalg.slogdet(matrix)[1])
    np.testing.assert_allclose(ours[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(ours[1], expected[1], rtol=1e-3, atol=1e-5)
