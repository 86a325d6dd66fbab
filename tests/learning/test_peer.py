"""The package against an independent evaluation of the same weights and noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import scipy.special
from peer_elbo import Peer

from airjax.config import ModelConfig
from airjax.learning import bounds
from airjax.models.build import build_model
from airjax.runs import checkpoint

SAMPLES = 2


def noise(key, model):
    """Draw the standard normal noise of where, what and fixations that inference draws from `key`."""
    code_size = model.patches.code_size
    shape = (model.max_objects, 3 + code_size + model.recogniser.cells)
    return np.split(np.asarray(jax.random.normal(key, shape), np.float64), (3, 3 + code_size), axis=1)


def assert_agree(folder, model, images):
    peer = Peer(
        safetensors.numpy.load_file(checkpoint.save(folder, 0, model)),
        window=model.window,
        max_objects=model.max_objects,
        residual=model.residual_glimpses,
        difference=model.difference,
        output_bias=model.patches.output_bias,
    )
    infer = jax.jit(lambda image, keys: jax.vmap(lambda key: model.infer(image, key=key))(keys))
    for index, image in enumerate(images):
        pixels = image.astype(np.float64) / 255
        keys = jax.random.split(jax.random.PRNGKey(index), SAMPLES)
        trajectories = infer(jnp.asarray(pixels, jnp.float32), keys)
        runs = [peer.steps(pixels, *noise(key, model)) for key in keys]
        assert_same_steps(jax.tree.map(lambda x: np.asarray(x[0]), trajectories.steps), runs[0])
        first = jax.tree.map(lambda x: x[0], trajectories)
        bound = bounds.marginal(first, model.count_log_prior)
        assert float(bound) == pytest.approx(peer.elbo(pixels, runs[0]), rel=1e-4)
        bound = bounds.importance_weighted(trajectories, model.count_log_prior)
        assert float(bound) == pytest.approx(peer.importance_weighted(pixels, runs), rel=1e-4)


def assert_same_steps(steps, run):
    for t, expected in enumerate(run):
        np.testing.assert_allclose(scipy.special.expit(steps.presence_logit[t]), expected["presence"], rtol=1e-4)
        np.testing.assert_allclose(steps.where[t], expected["where"], atol=3e-4)
        np.testing.assert_allclose(steps.what[t], expected["what"], atol=1e-3)
        np.testing.assert_allclose(steps.canvas[t], expected["canvas"], atol=1e-3)
        np.testing.assert_allclose(steps.kl[t], expected["kl"], rtol=1e-3, atol=1e-3)
        for density in ("log_p", "log_q"):
            np.testing.assert_allclose(getattr(steps, density)[t], expected[density], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_slightly_trained_model(tmp_path, trained, tiny_images):
    assert_agree(tmp_path, trained[0].model, tiny_images[:3])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"residual_glimpses": False}, {"difference": True, "embed_hidden": 6}, {"attention": 4}],
    ids=["as in the paper", "Difference AIR", "attention"],
)
def test_other_ways_to_look_at_the_image(tmp_path, tiny_model, tiny_images, options):
    assert_agree(tmp_path, tiny_model(**options), tiny_images[2:3])


@pytest.mark.slow
def test_a_model_of_full_size(tmp_path):
    rng = np.random.default_rng(0)
    image = np.zeros((1, 50, 50), np.uint8)
    image[:, 8:30, 5:27] = rng.integers(0, 256, (22, 22))
    model = build_model(ModelConfig(attention=16), image.shape, key=jax.random.PRNGKey(0))
    assert_agree(tmp_path, model, image[None])
