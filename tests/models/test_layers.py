import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.special
import scipy.stats

from airjax.models.layers import (
    MLP,
    Conv,
    ConvTranspose,
    Embed,
    Linear,
    Normal,
    SceneLSTM,
    blocks_to_channels,
    channels_to_blocks,
    largest_channel,
)

Q = Normal(jnp.asarray([0.3, -1.0, 2.0]), jnp.asarray([-0.5, 0.2, 0.7]))
P = Normal(jnp.asarray([0.0, 0.5, 1.0]), jnp.asarray([0.1, -0.4, 0.9]))
KEY = jax.random.PRNGKey(0)


def draws(normal, number):
    return jax.vmap(lambda key: normal.sample(key=key))(jax.random.split(KEY, number))


def test_samples_have_the_mean_and_the_standard_deviation():
    samples = np.asarray(draws(Q, 20_000))
    np.testing.assert_allclose(samples.mean(0), Q.mean, atol=0.06)
    np.testing.assert_allclose(samples.std(0), np.exp(Q.log_sd), rtol=0.03)


def test_samples_are_reparameterised():
    gradient = jax.grad(lambda q: q.sample(key=KEY).sum())(Q)
    np.testing.assert_allclose(gradient.mean, 1.0)
    np.testing.assert_allclose(gradient.log_sd, Q.sample(key=KEY) - Q.mean, rtol=1e-4)


def test_log_density_is_scipys():
    value = np.array([0.7, 0.1, -3.0])
    expected = scipy.stats.norm(Q.mean, np.exp(Q.log_sd)).logpdf(value).sum()
    assert float(Q.log_prob(jnp.asarray(value, jnp.float32))) == pytest.approx(expected, rel=1e-5)


def test_kl_is_numpyros():
    q, p = (dist.Normal(n.mean, jnp.exp(n.log_sd)) for n in (Q, P))
    assert float(Q.kl(P)) == pytest.approx(float(dist.kl_divergence(q, p).sum()), rel=1e-5)


def test_kl_is_the_mean_log_ratio_of_samples():
    ratios = np.asarray(jax.vmap(lambda z: Q.log_prob(z) - P.log_prob(z))(draws(Q, 20_000)))
    standard_error = ratios.std() / np.sqrt(ratios.size)
    assert abs(ratios.mean() - float(Q.kl(P))) < 5 * standard_error


def test_kl_from_itself_is_zero():
    assert float(Q.kl(Q)) == pytest.approx(0.0, abs=1e-6)


def test_linear_is_affine():
    layer = Linear(4, 3, key=KEY)
    x = np.arange(4.0, dtype=np.float32)
    np.testing.assert_allclose(layer(jnp.asarray(x)), x @ np.asarray(layer.weight) + layer.bias, rtol=1e-5)


def test_mlp_applies_relu_between_its_layers_and_not_after_the_last():
    mlp = MLP((4, 6, 50), key=KEY)
    x = jnp.asarray([1.0, -2.0, 0.5, 3.0])
    first, last = mlp.layers
    np.testing.assert_allclose(mlp(x), last(jnp.maximum(first(x), 0.0)), rtol=1e-5)
    assert (mlp(x) < 0).any()


def test_lstm_step_is_the_textbooks():
    lstm = SceneLSTM((1, 2, 3), 2, 3, embed_channels=0, embed_hidden=0, key=KEY)
    state = type(lstm.initial_state)(jnp.asarray([0.1, -0.2, 0.3]), jnp.asarray([1.0, 0.5, -1.0]))
    image, latents = jnp.arange(6.0).reshape(1, 2, 3) / 6, jnp.asarray([0.4, -0.6])
    joined, recur = np.concatenate([state.hidden, latents]), lstm.recur.linear
    i, f, g, o = np.split(lstm.look(image) + joined @ np.asarray(recur.weight) + recur.bias, 4)
    sigmoid = scipy.special.expit
    cell = sigmoid(f + 1) * np.asarray(state.cell) + sigmoid(i) * np.tanh(g)
    result = lstm(lstm.look(image), latents, state)
    np.testing.assert_allclose(result.cell, cell, rtol=1e-5)
    np.testing.assert_allclose(result.hidden, sigmoid(o) * np.tanh(cell), rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (1, 1, 1)])
@pytest.mark.parametrize(("channels", "hidden"), [(0, 0), (16, 0), (16, 16)])
def test_every_pixel_reaches_the_embedding(shape, channels, hidden):
    embed = Embed(shape, 40, channels=channels, hidden=hidden, key=KEY)
    image = jax.random.normal(KEY, shape)
    slopes = jax.jit(jax.jacobian(embed))(image)
    assert slopes.shape == (40, *shape)
    assert (np.asarray(slopes) != 0).any(0).all()


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 14, 3), (1, 1, 2)])
def test_blocks_come_back_from_channels(shape):
    image = jax.random.normal(KEY, shape)
    np.testing.assert_array_equal(channels_to_blocks(blocks_to_channels(image), shape[:2]), image)


@pytest.mark.parametrize("shape", [(8, 8), (9, 14), (1, 1)])
def test_a_transposed_convolution_is_the_adjoint_of_a_convolution(shape):
    conv, transpose = Conv(2, 3, key=KEY), ConvTranspose(3, 2, key=KEY)
    # [row of blocks, column of blocks, within the block, out] to [mirrored row, mirrored column, in, within the block]
    weight = conv.linear.weight.reshape(2, 2, 8, 3)[::-1, ::-1].transpose(0, 1, 3, 2).reshape(12, 8)
    transpose = eqx.tree_at(lambda layer: layer.linear.weight, transpose, weight)
    image = jax.random.normal(KEY, (*shape, 2))
    seen = conv(image)
    features = jax.random.normal(KEY, seen.shape)
    assert float(jnp.vdot(image, transpose(features, shape))) == pytest.approx(
        float(jnp.vdot(seen, features)), rel=1e-4
    )


@pytest.mark.parametrize("side", [8, 9])
def test_a_convolution_sees_a_pixel_wherever_it_is_alike(side):
    conv = Conv(1, 2, key=KEY)
    at = lambda y, x: conv(jnp.zeros((side, side, 1)).at[y, x, 0].set(1.0))
    np.testing.assert_allclose(at(2, 2)[:3, :3], at(4, 4)[1:4, 1:4], atol=1e-6)
    assert (np.asarray(at(2, 2)) != 0).any()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_largest_channel_and_its_gradient_are_those_of_a_maximum(channels):
    x = jax.random.normal(KEY, (channels, 4, 5))
    total = lambda largest: lambda x: jnp.sum(jnp.sin(largest(x)))
    np.testing.assert_array_equal(largest_channel(x), jnp.max(x, axis=0, keepdims=True))
    expected = jax.grad(total(lambda x: jnp.max(x, axis=0)))(x)
    np.testing.assert_allclose(jax.grad(total(largest_channel))(x), expected, atol=1e-6)
