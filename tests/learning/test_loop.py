"""The training loop by itself; `test_fit` has runs in folders."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.learning import loop, losses, trainer


@pytest.fixture(scope="module")
def learn(tiny_config, tiny_train_config):
    """Train for eight steps: what every chunk told, and the last state."""

    def learn(images, seed=0, state=None, **settings):
        config, infos = replace(tiny_train_config, steps=8, seed=seed, **settings), []
        state = state or trainer.init(tiny_config, config, images.shape[1:])
        for chunk in loop.chunks(images, config, trainer.step_with(tiny_config), state):
            infos.append(np.asarray(chunk.info.elbo))
            state = chunk.state
        return infos, state

    return learn


@pytest.mark.slow
def test_images_brought_by_chunks_make_the_same_steps(tiny_images, learn, trained):
    (by_chunks, state), (at_once, _) = learn(tiny_images), learn(jnp.asarray(tiny_images))
    np.testing.assert_array_equal(by_chunks, at_once)
    np.testing.assert_allclose(np.concatenate(by_chunks), trained[1].elbo, rtol=1e-4)
    assert int(state.step) == 8
    assert learn(tiny_images, state=state)[0] == []


def test_seeds_and_records_make_no_other_program(tiny_images, learn, monkeypatch):
    one, _ = learn(tiny_images)
    monkeypatch.setattr(losses, "batch_loss", None)  # nothing is traced any more
    np.testing.assert_array_equal(learn(tiny_images, checkpoint_every=3, evaluate_every=2, keep=1)[0], one)
    assert (np.array(learn(tiny_images, seed=1)[0]) != one).all()


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("last", [1.0, np.nan, np.inf])
def test_one_number_that_is_not_finite_is_seen(monkeypatch, backend, last):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    tree = {"weights": jnp.ones((2, 3)), "step": jnp.arange(2), "rest": jnp.array([0.0, last])}
    assert loop._all_finite(tree) == np.isfinite(last)


@pytest.mark.slow
def test_data_may_be_a_tree_of_arrays(tiny_images, tiny_config, tiny_train_config, learn):
    """What a step gets is a row of every array, as numpy's arrays or as those on the device."""
    config, settings = replace(tiny_train_config, steps=8), jax.tree_util.Partial(_labelled, tiny_config)
    data = {"image": tiny_images, "label": np.arange(len(tiny_images), dtype=np.int32)}
    for tree in (data, jax.tree.map(jnp.asarray, data)):
        state = trainer.init(tiny_config, config, tiny_images.shape[1:])
        infos = [chunk.info for chunk in loop.chunks(tree, config, settings, state)]
        np.testing.assert_allclose([info.elbo for info in infos], learn(tiny_images)[0], rtol=1e-6)  # another program
        rows = trainer.batch_indices(config, len(tiny_images), 0, 8)
        np.testing.assert_array_equal(np.concatenate([info.count_probs for info in infos]), rows)


def _labelled(model_config, config, state, batch):
    state, info = trainer.step(model_config, config, state, batch["image"])
    return state, trainer.Info(info.elbo, batch["label"].astype(jnp.float32))
