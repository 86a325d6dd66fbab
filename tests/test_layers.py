import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.special
import scipy.stats

from airjax.layers import MLP, Embed, Linear, Normal, SceneLSTM

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
    state = type(lstm.start)(jnp.asarray([0.1, -0.2, 0.3]), jnp.asarray([1.0, 0.5, -1.0]))
    image, latents = jnp.arange(6.0).reshape(1, 2, 3) / 6, jnp.asarray([0.4, -0.6])
    joined = np.concatenate([state.hidden, latents])
    i, f, g, o = np.split(lstm.look(image) + joined @ np.asarray(lstm.recur.weight) + lstm.recur.bias, 4)
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
