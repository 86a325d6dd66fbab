"""The training loop by itself; `test_fit` has runs in folders."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from airjax.learning import loop, losses, trainer


@pytest.fixture(scope="module")
def learn(tiny_config, tiny_train_config):
    """Train for eight steps: what every chunk told, and the last state."""

    def learn(images, seed=0, state=None):
        config, infos = replace(tiny_train_config, steps=8, seed=seed), []
        state = state or trainer.init(tiny_config, config, images.shape[1:])
        for chunk in loop.chunks(images, config, trainer.step_with(tiny_config), state):
            infos.append(np.asarray(chunk.info.elbo))
            state = chunk.state
        return infos, state

    return learn


def test_images_brought_by_chunks_make_the_same_steps(tiny_images, learn, trained):
    (by_chunks, state), (at_once, _) = learn(tiny_images), learn(jnp.asarray(tiny_images))
    np.testing.assert_array_equal(by_chunks, at_once)
    np.testing.assert_allclose(np.concatenate(by_chunks), trained[1].elbo, rtol=1e-4)
    assert int(state.step) == 8
    assert learn(tiny_images, state=state)[0] == []


def test_seeds_make_their_own_steps_and_share_a_compilation(tiny_images, learn, monkeypatch):
    one, _ = learn(tiny_images)
    monkeypatch.setattr(losses, "batch_loss", None)  # nothing is traced any more
    np.testing.assert_array_equal(learn(tiny_images)[0], one)
    assert (np.array(learn(tiny_images, seed=1)[0]) != one).all()
