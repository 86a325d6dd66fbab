import hashlib
import itertools
import logging
import os
import random
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.runs.checkpoint import CheckpointError, RunLock, RunLocked, restore, restore_newest, save

SAVER = """
import itertools, sys
import numpy as np
from airjax.runs.checkpoint import restore_newest, save
folder, like = sys.argv[1], {"step": np.zeros((), np.int64), "weights": np.zeros(300_000)}
found = restore_newest(folder, like)
for step in itertools.count(0 if found is None else found[0] + 1):
    save(folder, step, {"step": np.array(step), "weights": np.full(300_000, float(step))}, keep=2)
    print(step, flush=True)
"""
HOLDER = """
import sys, time
from airjax.runs.checkpoint import RunLock
with RunLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def _state(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "params": [
            jnp.asarray(rng.normal(size=(3, 4)), jnp.float32),
            jnp.asarray(rng.normal(size=5), jnp.bfloat16),
        ],
        "key": jax.random.key_data(jax.random.key(seed)),
        "step": jnp.asarray(7, jnp.int32),
        "host": (rng.normal(size=(2, 3)).T, np.array(2**40 + seed), np.zeros((0, 2), np.uint8)),
        "flag": jnp.array(True),
        "nan": jnp.array([jnp.nan, -0.0, jnp.inf], jnp.float16),
    }


def _assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        assert (type(x), x.dtype, x.shape) == (type(y), y.dtype, y.shape)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def _flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def _start(script, folder):
    return subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)


def test_what_is_restored_is_what_was_saved(tmp_path):
    path = save(tmp_path, 12345, _state())
    assert path.name == "step_000012345.safetensors"
    _assert_same(restore(path, _state(seed=1)), _state())


def test_shapes_and_dtypes_are_enough_to_restore(tmp_path):
    state = {"a": jnp.arange(3)}
    _assert_same(restore(save(tmp_path, 0, state), jax.eval_shape(lambda: state)), state)


def test_restored_arrays_lie_where_those_of_like_do(tmp_path):
    sharding = jax.sharding.NamedSharding(jax.make_mesh((1,), ("data",)), jax.sharding.PartitionSpec("data"))
    state = {"placed": jax.device_put(jnp.arange(4.0), sharding), "free": jnp.arange(4.0)}
    restored = restore(save(tmp_path, 0, state), state)
    assert restored["placed"].sharding == sharding
    assert not restored["free"].committed


def test_a_restored_state_can_be_donated(tmp_path):
    state = restore(save(tmp_path, 0, {"a": jnp.arange(8.0)}), {"a": jnp.zeros(8)})
    stepped = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)(state)
    np.testing.assert_array_equal(stepped["a"], np.arange(8.0) + 1)


def test_the_hash_is_in_the_format_of_sha256sum(tmp_path):
    path = save(tmp_path, 1, _state())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.with_suffix(".sha256").read_text() == f"{digest}  {path.name}\n"


@pytest.mark.parametrize(
    ("leaf", "message"),
    [(1.5, r"float at \['a'\]"), (jax.nn.relu, r"at \['a'\]"), (jax.random.key(0), r"key<fry>.*\['a'\]")],
)
def test_a_leaf_that_cannot_be_stored_is_named(tmp_path, leaf, message):
    with pytest.raises(ValueError, match=message):
        save(tmp_path, 0, {"a": leaf})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("step", "keep", "state"), [(-1, 3, _state()), (0, 0, _state()), (0, 3, {})])
def test_nonsense_is_refused(tmp_path, step, keep, state):
    with pytest.raises(ValueError, match="at least"):
        save(tmp_path, step, state, keep=keep)


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"a": np.zeros(2)}, r"unexpected \['b'\]"),
        ({"a": np.zeros(2), "b": np.zeros(3), "c": np.zeros(1)}, r"lacks \['c'\]"),
        (
            {"a": np.zeros(3), "b": np.zeros(3)},
            r"\['a'\] is \('float64', \(2,\)\), expected \('float64', \(3,\)\)",
        ),
        ({"a": np.zeros(2, np.int64), "b": np.zeros(3)}, r"\['a'\] is .*expected \('int64', \(2,\)\)"),
    ],
)
def test_another_model_is_refused(tmp_path, like, message):
    path = save(tmp_path, 0, {"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(CheckpointError, match=message):
        restore(path, like)


def test_a_file_with_a_right_hash_that_is_no_checkpoint_is_refused(tmp_path):
    path = save(tmp_path, 0, _state())
    path.write_bytes(b"nothing")
    path.with_suffix(".sha256").write_text(hashlib.sha256(b"nothing").hexdigest())
    with pytest.raises(CheckpointError, match="isn't a checkpoint"):
        restore(path, _state())


@pytest.mark.parametrize(
    "damage",
    [
        _flip_a_bit,
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: os.truncate(path, 0),
        lambda path: path.with_suffix(".sha256").unlink(),
        lambda path: path.with_suffix(".sha256").write_text(""),
    ],
    ids=["flipped bit", "truncated", "empty", "no hash", "empty hash"],
)
def test_damage_is_caught_and_the_newest_valid_one_taken(tmp_path, caplog, damage):
    for step in (1, 2, 3):
        path = save(tmp_path, step, _state(step))
    damage(path)
    with pytest.raises(CheckpointError, match="step_000000003"):
        restore(path, _state())
    with caplog.at_level(logging.WARNING):
        step, state = restore_newest(tmp_path, _state())
    assert step == 2
    _assert_same(state, _state(2))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "step_000000003" in caplog.text


def test_no_checkpoint_is_none_and_no_valid_one_an_error(tmp_path):
    assert restore_newest(tmp_path / "absent", _state()) is None
    assert restore_newest(tmp_path, _state()) is None
    _flip_a_bit(save(tmp_path, 4, _state()))
    with pytest.raises(CheckpointError, match="None of the 1 checkpoints"):
        restore_newest(tmp_path, _state())


def test_a_missing_file_is_a_checkpoint_error(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        restore(tmp_path / "step_000000001.safetensors", _state())


def test_only_the_newest_are_kept(tmp_path):
    for step in (0, 5, 10, 15):
        save(tmp_path, step, _state(), keep=2)
    names = {f"step_{step:09d}.{suffix}" for step in (10, 15) for suffix in ("safetensors", "sha256")}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_run_resumed_further_back_keeps_what_it_writes(tmp_path):
    for step in (10, 20, 30):
        save(tmp_path, step, _state())
    _flip_a_bit(tmp_path / "step_000000030.safetensors")
    _flip_a_bit(tmp_path / "step_000000020.safetensors")
    path = save(tmp_path, 15, _state(), keep=1)
    assert path.exists()
    assert restore_newest(tmp_path, _state())[0] == 15


def test_a_step_saved_again_is_replaced(tmp_path):
    save(tmp_path, 3, _state(0))
    _assert_same(restore(save(tmp_path, 3, _state(1)), _state()), _state(1))


def test_every_interruption_of_a_save_leaves_the_old_or_the_new(tmp_path, monkeypatch):
    """Fail at the first, second, ... call into the operating system until the save gets through."""
    calls = {name: getattr(os, name) for name in ("fsync", "replace", "unlink")}
    for survived in itertools.count():
        folder = tmp_path / str(survived)
        save(folder, 0, _state(0))
        remaining = iter([True] * survived)

        def guarded(name, *args, remaining=remaining, **kwargs):
            if not next(remaining, False):
                raise InterruptedError(name)
            return calls[name](*args, **kwargs)

        with monkeypatch.context() as patch:
            for name in calls:
                patch.setattr(os, name, lambda *a, name=name, g=guarded, **k: g(name, *a, **k))
            try:
                save(folder, 1, _state(1), keep=1)
                break
            except InterruptedError:
                pass  # the writer died; what it left is looked at below
        step, state = restore_newest(folder, _state())
        _assert_same(state, _state(step))
        save(folder, 2, _state(2), keep=1)
        assert len(list(folder.iterdir())) == 2, "what was left behind is cleaned away"
    assert survived > 4


@pytest.mark.slow
def test_a_killed_writer_always_leaves_a_valid_newest_checkpoint(tmp_path):
    like = {"step": np.zeros((), np.int64), "weights": np.zeros(300_000)}
    last = -1
    for seed in range(5):
        process = _start(SAVER, tmp_path)
        reported = int(process.stdout.readline())
        assert reported == last + 1, "it goes on where the killed one stopped"
        time.sleep(random.Random(seed).uniform(0, 0.2))
        process.kill()
        reported = max([reported, *map(int, process.communicate()[0].split("\n")[:-1])])
        last, state = restore_newest(tmp_path, like)
        assert last >= reported, "what was reported as saved is there"
        assert state["step"] == last
        assert (state["weights"] == last).all()
        assert all(restore(path, like) for path in tmp_path.glob("step_*.safetensors"))


def test_a_lock_refuses_a_second_process_and_is_free_after_a_kill(tmp_path):
    process = _start(HOLDER, tmp_path)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(RunLocked, match="in use by another process"):
        RunLock(tmp_path).__enter__()
    process.kill()
    process.communicate()
    with RunLock(tmp_path), pytest.raises(RunLocked):
        RunLock(tmp_path).__enter__()
    with RunLock(tmp_path / "made"):
        assert (tmp_path / "made" / ".lock").exists()
