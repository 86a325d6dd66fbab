"""The laws that every patch model keeps."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from airjax.config import ModelConfig
from airjax.models.build import build_patches
from airjax.models.patches.base import PatchModel

KEY = jax.random.PRNGKey(0)
GLIMPSE = jnp.asarray(np.random.default_rng(0).random((2, 5, 5)), jnp.float32)
SIZE, STEPS = 6, 3
SAMPLES = 4_000
TINY = ModelConfig(code_size=SIZE, patch_hidden=8, patch_channels=2, draw_steps=STEPS, draw_hidden=8)
KINDS = ["mlp", "conv", "draw"]


def untrained(kind, shape, config=TINY):
    return build_patches(replace(config, patches=kind), shape, key=KEY)


@pytest.fixture(scope="module", params=KINDS)
def patches(request) -> PatchModel:
    """A model whose every parameter is away from its special initial value."""
    rng = np.random.default_rng(1)
    rough = lambda x: x + 0.3 * rng.standard_normal(x.shape, np.float32)
    return jax.tree.map(rough, untrained(request.param, (2, 5, 5)))


@pytest.fixture(scope="module")
def many(patches):
    """Encode one glimpse many times."""
    noise = jax.random.normal(KEY, (SAMPLES, SIZE))
    return jax.jit(jax.vmap(lambda n: patches.encode(GLIMPSE, n)))(noise)


def assert_mean(samples, expected):
    samples = np.asarray(samples)
    assert (abs(samples.mean(0) - expected) < 5 * samples.std(0) / math.sqrt(len(samples))).all()


def test_it_follows_the_protocol(patches):
    assert isinstance(patches, PatchModel)
    assert patches.code_size == SIZE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, side, side) for side in (1, 20, 28, 50, 64)] + [(3, 9, 9)])
def test_patches_have_the_shape_of_glimpses(kind, shape):
    def back(glimpse, noise):
        patches = untrained(kind, shape)
        return patches.decode(patches.encode(glimpse, noise).value)

    drawn = jax.eval_shape(back, jnp.zeros(shape), jnp.zeros(SIZE))
    assert drawn.shape == shape


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_pixel_reaches_the_code_and_every_code_every_pixel(kind):
    patches = untrained(kind, (2, 9, 9), replace(TINY, patch_hidden=32, patch_channels=8, draw_hidden=32))
    glimpse = jax.random.normal(KEY, (2, 9, 9))
    seen = jax.jit(jax.jacobian(lambda image: patches.encode(image, jnp.zeros(SIZE)).value))(glimpse)
    drawn = jax.jit(jax.jacobian(patches.decode))(jax.random.normal(KEY, (SIZE,)))
    assert (np.asarray(seen) != 0).any(0).all()
    assert (np.asarray(drawn) != 0).any(-1).all()
    assert (np.asarray(drawn) != 0).any((0, 1, 2)).all()


def test_prior_samples_are_standard_normal_and_decode_to_values_within_zero_and_one(patches):
    samples = jax.vmap(lambda key: patches.prior_sample(key=key))(jax.random.split(KEY, SAMPLES))
    np.testing.assert_allclose(samples.mean(0), 0.0, atol=0.1)
    np.testing.assert_allclose(jnp.cov(samples.T), np.eye(SIZE), atol=0.15)
    drawn = np.asarray(jax.jit(jax.vmap(patches.decode))(samples[:200]))
    assert 0 <= drawn.min() < drawn.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_patches_start_out_dark(kind):
    assert 0 < float(untrained(kind, (1, 12, 12)).decode(jnp.zeros(SIZE)).mean()) < 0.25


def test_the_kl_is_minus_the_mean_log_ratio(many):
    assert np.asarray(many.log_ratio).std() > 0.1
    assert_mean(many.kl + many.log_ratio, 0.0)


def test_the_score_of_constant_samples_has_mean_zero_and_is_the_recognisers_alone(patches):
    def score(patches, noise):
        return jax.grad(lambda p: p.encode(GLIMPSE, noise, pathwise=False).log_q)(patches)

    noise = jax.random.normal(KEY, (SAMPLES, SIZE))
    scores = [np.asarray(leaf) for leaf in jax.tree.leaves(jax.jit(jax.vmap(score, (None, 0)))(patches, noise))]
    assert 0.2 < np.mean([leaf.any() for leaf in scores]) < 1
    for leaf in scores:
        assert (abs(leaf.mean(0)) <= 6 * leaf.std(0) / math.sqrt(SAMPLES)).all()


def test_without_noise_every_part_of_the_code_is_its_mean_given_the_parts_before(patches):
    """Draw the parts of DRAW's code one after the other; the others' have one part, or could have any number."""
    mean = patches.encode(GLIMPSE, jnp.zeros(SIZE)).value
    for part in range(STEPS):
        this = jnp.arange(SIZE) // (SIZE // STEPS) == part
        noise = jnp.where(this, jax.random.normal(KEY, (SAMPLES, SIZE)), 0.0)
        samples = jax.jit(jax.vmap(lambda n: patches.encode(GLIMPSE, n).value))(noise)
        assert (np.asarray(samples)[:, this].std(0) > 0.01).all()
        assert_mean(samples[:, this], mean[this])


def test_every_model_has_a_central_code(patches):
    mean, code = patches.encode(GLIMPSE, jnp.zeros(SIZE)).value, patches.encode(GLIMPSE, None)
    assert (code.value != mean).any()
    assert (abs(code.value - mean) < 1.5).all()
    assert np.isfinite([code.kl, code.log_p, code.log_q]).all()


@pytest.mark.slow
def test_a_batch_is_what_its_glimpses_are_one_by_one(patches):
    glimpses, noise = jax.random.uniform(KEY, (3, 2, 5, 5)), jax.random.normal(KEY, (3, SIZE))
    batch = jax.jit(jax.vmap(patches.encode))(glimpses, noise)
    drawn = jax.jit(jax.vmap(patches.decode))(batch.value)
    for index in range(3):
        alone = patches.encode(glimpses[index], noise[index])
        jax.tree.map(lambda x, y, i=index: np.testing.assert_allclose(x[i], y, rtol=1e-4, atol=1e-5), batch, alone)
        np.testing.assert_allclose(drawn[index], patches.decode(alone.value), atol=1e-5)


def test_every_parameter_has_a_finite_gradient_that_is_not_zero(patches):
    @jax.jit
    @jax.grad
    def gradient(patches):
        code = patches.encode(GLIMPSE, jax.random.normal(KEY, (SIZE,)))
        return jnp.sum((patches.decode(code.value) - GLIMPSE) ** 2) + code.kl

    for leaf in jax.tree.leaves(gradient(patches)):
        assert np.isfinite(leaf).all()
        assert np.asarray(leaf).any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[1:])  # test_train.py has the default
def test_training_air_raises_the_bound(train_tiny, tiny_config, kind):
    config = replace(tiny_config, patches=kind, draw_steps=3, draw_hidden=8, patch_channels=2)
    _, info = train_tiny((4,) * 30, model_config=config)
    assert info.elbo[-20:].mean() > info.elbo[:20].mean() + 10


# DRAW alone


@pytest.mark.parametrize("seed", [0, 1])
def test_drawing_a_code_gives_the_patch_that_encoding_had_drawn(seed):
    patches = untrained("draw", (2, 5, 5))
    code, drawn = patches.retrace(GLIMPSE, jax.random.normal(jax.random.PRNGKey(seed), (SIZE,)))
    np.testing.assert_allclose(patches.decode(code.value), drawn, atol=1e-6)


def test_drawing_follows_the_papers_equations():
    """Equations 3 to 8 one by one, in numpy."""
    patches, noise = untrained("draw", (2, 5, 5)), np.random.default_rng(0).standard_normal((STEPS, SIZE // STEPS))
    linear = lambda layer, x: x @ np.asarray(layer.weight, np.float64) + np.asarray(layer.bias)

    def recur(lstm, x, hidden, cell):
        i, f, g, o = np.split(linear(lstm.linear, np.concatenate([hidden, x])), 4)
        cell = expit(f + 1) * cell + expit(i) * np.tanh(g)
        return expit(o) * np.tanh(cell), cell

    image, canvas, codes = np.asarray(GLIMPSE, np.float64).ravel(), np.full(50, -2.0), []
    read, written = (np.zeros(8), np.zeros(8)), (np.zeros(8), np.zeros(8))
    for step_noise in noise:
        error = image - expit(canvas)
        seen = linear(patches.look, image) + linear(patches.compare, error)
        read = recur(patches.reader, np.concatenate([seen, written[0]]), *read)
        mean, log_sd = np.split(linear(patches.posterior, read[0]), 2)
        codes.append(mean + np.exp(log_sd) * step_noise)
        written = recur(patches.writer, codes[-1], *written)
        canvas = canvas + linear(patches.write, written[0])
    code, drawn = patches.retrace(GLIMPSE, jnp.asarray(noise.ravel(), jnp.float32))
    np.testing.assert_allclose(code.value, np.concatenate(codes), atol=1e-5)
    np.testing.assert_allclose(drawn, expit(canvas).reshape(2, 5, 5), atol=1e-5)


@pytest.mark.slow
def test_each_step_of_drawing_sees_what_the_steps_before_drew():
    patches = untrained("draw", (2, 5, 5))
    encode = lambda noise: patches.encode(GLIMPSE, noise).value.reshape(STEPS, -1)
    for step in range(STEPS):
        noise = jnp.zeros((STEPS, SIZE // STEPS)).at[step].set(1.0).reshape(-1)
        moved = np.asarray(encode(noise) != encode(jnp.zeros(SIZE))).any(1)
        np.testing.assert_array_equal(moved, np.arange(STEPS) >= step)


def test_a_code_that_cannot_be_cut_into_steps_is_refused():
    with pytest.raises(ValueError, match="code_size must be divisible by draw_steps, got 6 and 4"):
        untrained("draw", (1, 5, 5), replace(TINY, draw_steps=4))
