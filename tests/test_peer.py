"""The package against an independent evaluation of the same weights and noise."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from peer_elbo import Peer

from airjax import checkpoint, objective, train
from airjax.config import ModelConfig

SAMPLES = 2


def noise(key, steps, code_size):
    """Draw the standard normal noise that inference draws from `key`."""
    where, what = [], []
    for step_key in jax.random.split(key, steps):
        where_key, what_key = jax.random.split(step_key)
        where.append(np.asarray(jax.random.normal(where_key, (3,)), np.float64))
        what.append(np.asarray(jax.random.normal(what_key, (code_size,)), np.float64))
    return np.stack(where), np.stack(what)


def assert_agree(folder, state, images):
    model = state.model
    path = checkpoint.save(folder, int(state.step), state)
    peer = Peer(
        safetensors.numpy.load_file(path),
        window=model.window,
        max_objects=model.max_objects,
        residual=model.residual_glimpses,
    )
    infer = jax.jit(lambda image, keys: jax.vmap(lambda key: model.infer(image, key=key))(keys))
    for index, image in enumerate(images):
        pixels = image.astype(np.float64) / 255
        keys = jax.random.split(jax.random.PRNGKey(index), SAMPLES)
        trajectories = infer(jnp.asarray(pixels, jnp.float32), keys)
        where_noise, what_noise = map(np.stack, zip(*(noise(k, model.max_objects, model.patches.code_size) for k in keys)))

        first = jax.tree.map(lambda x: x[0], trajectories)
        for t, expected in enumerate(peer.steps(pixels, where_noise[0], what_noise[0])):
            np.testing.assert_allclose(jax.nn.sigmoid(first.steps.presence_logit[t]), expected["presence"], rtol=1e-4)
            np.testing.assert_allclose(first.steps.where[t], expected["where"], atol=1e-4)
            np.testing.assert_allclose(first.steps.what[t], expected["what"], atol=1e-3)
            np.testing.assert_allclose(model.patches.decode(first.steps.what[t]), expected["patch"], atol=1e-3)
            np.testing.assert_allclose(first.steps.canvas[t], expected["canvas"], atol=1e-3)
            np.testing.assert_allclose(first.steps.kl[t], expected["kl"], rtol=1e-4)
            log_ratio = expected["log_p"] - expected["log_q"]
            np.testing.assert_allclose(first.steps.log_ratio[t], log_ratio, rtol=1e-3, atol=1e-3)

        elbo = objective.marginal(first, model.count_log_prior)
        assert float(elbo) == pytest.approx(peer.elbo(pixels, where_noise[0], what_noise[0]), rel=1e-4)
        bound = objective.importance_weighted(trajectories, model.count_log_prior)
        assert float(bound) == pytest.approx(peer.importance_weighted(pixels, where_noise, what_noise), rel=1e-4)


def test_a_slightly_trained_model(tmp_path, trained, tiny_images):
    assert_agree(tmp_path, trained[0], tiny_images[:3])


def test_a_model_of_the_papers_size(tmp_path, tiny_train_config):
    rng = np.random.default_rng(0)
    image = np.zeros((1, 50, 50), np.uint8)
    image[:, 8:30, 5:27] = rng.integers(0, 256, (22, 22))
    config = replace(ModelConfig(), max_objects=3, window=28, hidden=256, code_size=50)
    state = train.init(config, tiny_train_config, image.shape)
    assert_agree(tmp_path, state, image[None])
