import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.layers import Normal
from airjax.recogniser import Attention, Places, Recogniser

KEY = jax.random.PRNGKey(5)
START = Normal(jnp.asarray([-1.0, 0.0, 0.0]), jnp.log(jnp.asarray([0.05, 0.5, 0.5])))


@pytest.fixture(scope="module")
def attention():
    return Attention(3, 6, 4, key=KEY)


def recogniser(attention=4, channels=2):
    sizes = dict(hidden=6, embed_channels=channels, embed_hidden=5, head_hidden=7)
    return Recogniser((1, 24, 40), 9, **sizes, attention=attention, start=START, key=KEY)


def test_places_are_the_centres_of_cells_in_canvas_units(attention):
    places = attention.look(jnp.zeros((2, 4, 3)))
    expected = [(x, y) for y in (-0.5, 0.5) for x in (-0.75, -0.25, 0.25, 0.75)]
    np.testing.assert_allclose(places.values[:, :2], expected, atol=1e-6)


def test_a_cell_is_seen_the_same_wherever_it_is(attention):
    features = jnp.zeros((2, 4, 3)).at[0, 1].set(1.0)
    moved = jnp.zeros((2, 4, 3)).at[1, 3].set(1.0)
    a, b = attention.look(features), attention.look(moved)
    np.testing.assert_allclose(a.keys[1], b.keys[7], atol=1e-6)
    np.testing.assert_allclose(b.values[7] - a.values[1], [1.0, 1.0, 0, 0, 0, 0], atol=1e-6)


def test_without_noise_attention_takes_the_cell_whose_key_answers_the_query_best(attention):
    hidden = jax.random.normal(KEY, (6,))
    places = Places(jnp.zeros((8, 4)).at[5].set(0.01 * attention.query(hidden)), jax.random.normal(KEY, (8, 6)))
    np.testing.assert_allclose(attention(places, hidden, jnp.zeros(8)), places.values[5], atol=1e-5)


def test_cells_are_sampled_with_the_probabilities_of_a_softmax(attention):
    hidden = jax.random.normal(KEY, (6,))
    places = Places(0.3 * jax.random.normal(KEY, (8, 4)), jnp.eye(8))
    noise = jax.random.normal(KEY, (20_000, 8))
    frequencies = jax.vmap(lambda n: attention(places, hidden, n))(noise).mean(0)
    expected = jax.nn.softmax(places.keys @ attention.query(hidden))
    assert expected.max() < 0.9
    np.testing.assert_allclose(frequencies, expected, atol=0.02)


def test_the_gradient_is_that_of_the_softmax(attention):
    hidden, noise = jax.random.normal(KEY, (6,)), jnp.zeros(8)
    places = Places(0.1 * jax.random.normal(KEY, (8, 4)), jax.random.normal(KEY, (8, 6)))
    soft = lambda h: jnp.sum(jax.nn.softmax(places.keys @ attention.query(h)) @ places.values)
    given = jax.grad(lambda h: jnp.sum(attention(places, h, noise)))(hidden)
    np.testing.assert_allclose(given, jax.grad(soft)(hidden), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("attention", [0, 4])
def test_before_training_windows_are_distributed_about_as_the_start(attention):
    network = recogniser(attention)
    images = jax.random.uniform(KEY, (20, 1, 24, 40))
    noise = jax.random.normal(KEY, (20, network.cells))
    start = network.lstm.start
    first = jax.vmap(lambda image, n: network(network.look(image), jnp.zeros(9), start, n)[1])(images, noise)
    assert jnp.abs(first.mean - START.mean)[:, 1:].max() < (1.2 if attention else 0.5)  # a cell, or the middle
    np.testing.assert_allclose(first.mean[:, 0], jnp.full(20, -1.0), atol=0.3)
    np.testing.assert_allclose(first.log_sd, jnp.tile(START.log_sd, (20, 1)), atol=0.3)


def test_attention_needs_convolutions():
    with pytest.raises(ValueError, match=r"attention must be 0 without convolutions.*got 4"):
        recogniser(4, channels=0)


def test_difference_air_learns_through_latents_not_through_what_it_sees(tiny_model):
    model = tiny_model(difference=True, attention=4, embed_channels=2)
    image = jax.random.uniform(KEY, model.image_shape)

    def later_presence(decoder):
        patched = eqx.tree_at(lambda m: m.patches.decoder, model, decoder)
        return patched.infer(image, key=KEY).steps.presence_logit[1]

    decoder = model.patches.decoder
    gradients = jax.tree.leaves(jax.grad(later_presence)(decoder))
    assert all((g == 0).all() for g in gradients)
    brighter = jax.tree.map(lambda w: w + 0.5, decoder)
    assert later_presence(brighter) != later_presence(decoder)
