import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.models.layers import Normal
from airjax.models.recogniser import OFF_CENTRE, Recogniser

KEY = jax.random.PRNGKey(5)
START = Normal(jnp.asarray([-1.0, 0.0, 0.0]), jnp.log(jnp.asarray([0.05, 0.5, 0.5])))


def recogniser(attention=4, **options):
    sizes = dict(hidden=6, embed_channels=2, embed_hidden=5, head_hidden=7)
    return Recogniser((1, 24, 40), 9, **sizes, attention=attention, start=START, key=KEY, **options)


def test_the_lstm_may_see_a_smaller_image_of_mean_pixels():
    small = jax.random.uniform(KEY, (1, 8, 14))
    image = jnp.repeat(jnp.repeat(small, 3, axis=1), 3, axis=2)[:, :, :40]
    network = recogniser(shrink=3)
    cut = small.at[:, :, -1].multiply(1 / 3)  # two of its three columns lie beyond the image
    np.testing.assert_allclose(network.look(image), network.lstm.look(cut), atol=1e-5)


def first_windows(network, images, left):
    noise = jax.random.normal(KEY, (len(images), network.cells))

    def begin(image, rest, noise):
        attended = network.attention and network.attention(rest, noise)
        return network(network.look(image), jnp.zeros(9), network.lstm.initial_state, attended)[1]

    return jax.jit(jax.vmap(begin))(images, left, noise)


@pytest.mark.slow
def test_before_training_windows_are_distributed_about_as_the_start():
    images = jax.random.uniform(KEY, (20, 1, 24, 40))
    first = first_windows(recogniser(0), images, images)
    np.testing.assert_allclose(first.mean, jnp.tile(START.mean, (20, 1)), atol=0.5)
    np.testing.assert_allclose(first.log_sd, jnp.tile(START.log_sd, (20, 1)), atol=0.3)


@pytest.mark.slow
def test_before_training_attended_windows_lie_about_what_is_left():
    images = jax.random.uniform(KEY, (20, 1, 24, 40))
    left = jnp.zeros_like(images).at[:, :, 3:8, 30:35].set(1.0)
    first = first_windows(recogniser(4), images, left)
    np.testing.assert_allclose(first.mean, jnp.tile(jnp.asarray([-1.0, 0.62, -0.54]), (20, 1)), atol=0.35)
    expected = [START.log_sd[0], *np.log(OFF_CENTRE * np.exp(-1.0) * np.array([1, 40 / 24]))]
    np.testing.assert_allclose(first.log_sd, jnp.tile(jnp.asarray(expected), (20, 1)), atol=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"difference": True}, {"attention": 4}])
def test_steps_learn_through_latents_not_through_what_they_see_of_the_canvas(tiny_model, options):
    model = tiny_model(embed_channels=2, **options)
    image = jax.random.uniform(KEY, model.image_shape)

    @jax.jit
    def later_presence(decoder):
        patched = eqx.tree_at(lambda m: m.patches.decoder, model, decoder)
        return patched.infer(image, key=KEY).steps.presence_logit[1]

    decoder = model.patches.decoder
    gradients = jax.tree.leaves(jax.jit(jax.grad(later_presence))(decoder))
    assert all((g == 0).all() for g in gradients)
    brighter = jax.tree.map(lambda w: w + 0.5, decoder)
    assert later_presence(brighter) != later_presence(decoder)
