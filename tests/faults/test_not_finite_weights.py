"""Weights that are not finite, or make no finite results: refused with a sentence."""

import hashlib
import json

import commands
import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from commands import call, refused

from airjax.interfaces import infer_files
from airjax.runs import checkpoint, pretrained, record


def spoilt(tree, value, place=-1):
    """Set one number of the largest array."""
    leaves, structure = jax.tree.flatten(tree)
    largest = max(range(len(leaves)), key=lambda i: leaves[i].size)
    leaves[largest] = leaves[largest].reshape(-1).at[place].set(value).reshape(leaves[largest].shape)
    return jax.tree.unflatten(structure, leaves)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_run_with_such_weights_is_refused_by_every_command(capsys, run, root, tmp_path, value):
    copy = commands.copied(run, tmp_path / "run")
    read = record.read_record(copy)
    step, state = checkpoint.restore_newest(copy / "checkpoints", read.blank_state())
    checkpoint.save(copy / "checkpoints", step, state._replace(model=spoilt(state.model, value)))
    words = "weights", "not finite"
    assert refused(call(capsys, "infer", copy, root / "a" / "00.png"), *words)
    assert refused(call(capsys, "evaluate", copy), *words)
    assert refused(call(capsys, "export", copy, "--out", tmp_path / "model"), *words)


def test_an_exported_model_with_such_weights_is_refused(tmp_path, tiny_config):
    commands.exported(tmp_path / "model", tiny_config, (1, 12, 12), lambda model: spoilt(model, jnp.nan))
    with pytest.raises(pretrained.PretrainedError, match=r"model\.safetensors is damaged.*not finite"):
        pretrained.load(tmp_path / "model")


def test_a_count_that_cannot_be_is_no_damage(tiny_model):
    model = tiny_model(counts=(0.5, 0.5, 1e-9, 1e-9))
    model = eqx.tree_at(lambda m: m.count_log_prior, model, jnp.array([0.0, 0.0, -jnp.inf, -jnp.inf]))
    assert checkpoint.not_finite(model) is None
    assert checkpoint.not_finite(spoilt(model, -jnp.inf)) is not None


@pytest.mark.usefixtures("small_batches")
def test_results_that_are_not_finite_name_the_picture(inference, monkeypatch):
    original = infer_files.find_and_count
    monkeypatch.setattr(
        infer_files, "find_and_count", lambda *a, **k: (lambda f, p: (f, p * jnp.nan))(*original(*a, **k))
    )
    with pytest.raises(ValueError, match=r"results for a/00\.png are not finite"):
        list(inference.batches())


def test_exported_weights_have_their_hash(tmp_path, tiny_config):
    commands.exported(tmp_path / "model", tiny_config, (1, 12, 12))
    known = json.loads((tmp_path / "model" / "config.json").read_text())
    assert known["sha256"] == hashlib.sha256((tmp_path / "model" / "model.safetensors").read_bytes()).hexdigest()
    pretrained.load(tmp_path / "model")
