"""Several devices that share batches; `vmap` with the axis's name stands in for them."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.learning import devices, trainer
from airjax.learning.pasting import Pasted

KEY = jax.random.PRNGKey(3)


def on_each(function, number, *arguments):
    """Call a function as on several devices, each with its row of the arguments."""
    return jax.vmap(lambda _, *own: function(*own), axis_name=devices.AXIS)(jnp.arange(number), *arguments)


def parts(batch, number):
    """Part a batch as `Devices.share` does."""
    return jax.tree.map(lambda x: jnp.asarray(x).reshape(-1, number, *x.shape[1:]).swapaxes(0, 1), batch)


def test_alone_nothing_changes():
    tree = {"a": jnp.arange(3.0)}
    assert devices.count() == 1
    assert devices.mean(tree) is tree
    assert devices.own(KEY) is KEY
    np.testing.assert_array_equal(devices.keys(KEY, 4), jax.random.split(KEY, 4))


@pytest.mark.parametrize("number", [1, 2, 4])
def test_keys_follow_the_places_in_the_whole_batch(number):
    found = on_each(lambda: devices.keys(KEY, 8 // number), number)
    np.testing.assert_array_equal(found, parts(jax.random.split(KEY, 8), number))


def test_means_are_those_of_the_whole():
    values = jnp.arange(12.0).reshape(3, 4)
    found = on_each(lambda x: devices.mean({"a": x, "b": x[0]}), 3, values)
    np.testing.assert_allclose(found["a"], jnp.tile(values.mean(axis=0), (3, 1)))
    np.testing.assert_allclose(found["b"], [4.0] * 3)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"paste": 1.0}, {"objective": "nvil"}], ids=["marginal", "pasted", "nvil"])
def test_a_shared_step_is_the_step_of_one_device(tiny_config, tiny_train_config, tiny_images, settings):
    config = replace(tiny_train_config, batch=8, steps=8, warmup=0, **settings)
    state = trainer.init(tiny_config, config, tiny_images.shape[1:])
    batch = tiny_images[:8]
    if "paste" in settings:
        where = np.random.default_rng(0).normal(-1, 0.1, (8, 3, 3)).astype(np.float32)
        batch = trainer.Data(batch, Pasted(tiny_images[2:], where, np.arange(8, dtype=np.int32) % 4))
    step = lambda batch: trainer.step(tiny_config, config, state, batch)
    alone, shared = jax.jit(step)(batch), jax.jit(lambda own: on_each(step, 2, own))(parts(batch, 2))
    for one, each in zip(jax.tree.leaves(alone), jax.tree.leaves(shared)):
        np.testing.assert_allclose(each[0], one, rtol=2e-3, atol=2e-6)
        np.testing.assert_array_equal(each[0], each[1])


SHARED = """
import jax, numpy as np
from conftest import TINY, TINY_TRAIN
from dataclasses import replace
from airjax.learning import devices, loop, trainer

config = replace(TINY_TRAIN, batch=8, steps=12)
images = np.random.default_rng(0).integers(0, 256, (24, 1, 12, 12)).astype(np.uint8)
assert len(devices.choose(8, False)) == 4 and len(devices.choose(6, False)) == 3 and devices.choose(7, False) is None
assert len(devices.choose(12, True)) == 3 and len(devices.choose(6, True)) == 3
curves = []
for number in (None, 1, 2, 4):
    shared = number and devices.Devices(tuple(jax.devices()[:number]))
    state = trainer.init(TINY, config, images.shape[1:])
    chunks = loop.chunks(images, config, trainer.step_with(TINY), state, devices=shared)
    curves.append(np.concatenate([chunk.info.elbo for chunk in chunks]))
np.testing.assert_allclose(curves[1:], [curves[0]] * 3, rtol=1e-5)
assert len(set(curves[0].tolist())) == 12
"""


@pytest.mark.slow
def test_several_devices_of_one_process_train_like_one():
    tests, environment = Path(__file__).parents[1], os.environ | {"JAX_NUM_CPU_DEVICES": "4"}
    command = [sys.executable, "-c", SHARED]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tests, env=environment, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("batch", "halves", "words"), [(9, False, "2: each takes"), (6, True, "4, since half")])
def test_batches_that_devices_cannot_share_are_refused(batch, halves, words):
    two = devices.Devices(tuple(jax.devices()) * 2)
    with pytest.raises(ValueError, match=words):
        two.check(batch, halves)
    two.check(8, halves)
