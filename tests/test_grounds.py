"""Models of what lies behind the objects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.grounds import BlackGround, Ground, LinearGround, StillGround, robust_components

KEY = jax.random.PRNGKey(0)
SHAPE = (2, 6, 8)
STILL = {"constant": True, "mean": False}


def stripes_and_squares(n=300, side=20):
    """Scenes of rows that are bright or not, every third by an offset, behind one bright square; and the rows alone."""
    rng = np.random.default_rng(0)
    rows = 0.4 * (np.arange(side) % 3 == rng.integers(3, size=(n, 1)))
    grounds = np.repeat(rows[:, None, :, None], side, axis=3)
    scenes = grounds.copy()
    for scene, (y, x) in zip(scenes, rng.integers(side - 4, size=(n, 2))):
        scene[:, y : y + 4, x : x + 4] = 1.0
    return (255 * scenes).astype(np.uint8), grounds


@pytest.fixture(scope="module")
def linear() -> LinearGround:
    """A linear ground whose every parameter matters."""
    ground = LinearGround(SHAPE, code_size=3)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + 0.2 * rng.standard_normal(x.shape).astype(np.float32), ground)


@pytest.mark.parametrize("kind", STILL)
def test_a_ground_without_a_code_costs_nothing(kind):
    for ground in (BlackGround(SHAPE), StillGround(SHAPE, uniform=STILL[kind])):
        assert isinstance(ground, Ground)
        code = ground.encode(jnp.ones(SHAPE), jnp.zeros(ground.code_size))
        assert ground.code_size == code.value.size == ground.prior_sample(key=KEY).size == 0
        assert code.kl == code.log_ratio == 0
        assert ground.decode(code.value).shape == SHAPE


def test_black_is_black_whatever_the_scenes():
    images = np.full((3, *SHAPE), 200, np.uint8)
    assert not BlackGround(SHAPE).start(images).decode(jnp.zeros(0)).any()


def test_a_colour_starts_from_the_median_of_each_channel():
    images = np.full((5, *SHAPE), 51, np.uint8)
    images[:, 1] = 102
    images[:, :, :3, :3] = 255  # fewer than half of the pixels
    drawn = StillGround(SHAPE, uniform=True).start(images).decode(jnp.zeros(0))
    np.testing.assert_allclose(drawn[0], 0.2, atol=1e-6)
    np.testing.assert_allclose(drawn[1], 0.4, atol=1e-6)


def test_a_picture_starts_from_the_median_of_each_pixel():
    picture = np.random.default_rng(0).integers(256, size=SHAPE).astype(np.uint8)
    images = np.stack([picture] * 5)
    images[0, :, :3] = 255
    images[1, :, 2:] = 0
    drawn = StillGround(SHAPE, uniform=False).start(images).decode(jnp.zeros(0))
    np.testing.assert_allclose(drawn, picture / 255, atol=1e-6)


def test_a_linear_ground_learns_the_stripes_and_looks_past_the_squares():
    images, grounds = stripes_and_squares()
    ground = LinearGround(images.shape[1:], code_size=2).start(images)
    draw = jax.jit(jax.vmap(lambda image: ground.decode(ground.encode(image, jnp.zeros(2)).value)))
    drawn = draw(jnp.asarray(images[:50] / 255.0, jnp.float32))
    np.testing.assert_allclose(drawn, grounds[:50], atol=0.02)


def test_components_without_outliers_are_the_principal_ones():
    rng = np.random.default_rng(0)
    rows = 0.02 * rng.standard_normal((200, 3)) @ rng.standard_normal((3, 30)) + 0.5
    mean, components, spread = robust_components(rows, 3)
    np.testing.assert_allclose(components @ components.T, np.eye(3), atol=1e-8)
    np.testing.assert_allclose(mean + (rows - mean) @ components.T @ components, rows, atol=1e-6)
    np.testing.assert_allclose(spread, ((rows - mean) @ components.T).std(0), rtol=1e-6)


def test_fewer_scenes_than_components_are_explained_by_those_they_have():
    rows = np.random.default_rng(0).random((3, 30))
    mean, components, spread = robust_components(rows, 5)
    assert (components.shape, spread.shape) == ((5, 30), (5,))
    np.testing.assert_allclose(mean + (rows - mean) @ components.T @ components, rows, atol=1e-6)
    np.testing.assert_allclose(components[3:], 0, atol=1e-6)


def test_a_linear_ground_follows_the_protocol(linear):
    assert isinstance(linear, Ground)
    assert linear.code_size == 3


def test_a_codes_kl_is_minus_its_mean_log_ratio(linear):
    image = jnp.asarray(np.random.default_rng(1).random(SHAPE), jnp.float32)
    encode = jax.jit(jax.vmap(lambda noise: linear.encode(image, noise)))
    code = encode(jax.random.normal(KEY, (4_000, 3)))
    ratios, values = np.asarray(code.log_ratio), np.asarray(code.value)
    assert np.ptp(code.kl) < 1e-4
    assert abs(float(code.kl[0]) + ratios.mean()) < 5 * ratios.std() / np.sqrt(ratios.size)
    mean = linear.encode(image, jnp.zeros(3)).value
    assert (abs(values.mean(0) - mean) < 5 * values.std(0) / np.sqrt(len(values))).all()


def test_grounds_of_prior_codes_have_the_components_covariance(linear):
    codes = jax.vmap(lambda key: linear.prior_sample(key=key))(jax.random.split(KEY, 4_000))
    drawn = np.asarray(jax.vmap(linear.decode)(codes)).reshape(4_000, -1)
    np.testing.assert_allclose(drawn.mean(0), np.asarray(linear.mean).reshape(-1), atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), linear.components.T @ linear.components, atol=0.05)
