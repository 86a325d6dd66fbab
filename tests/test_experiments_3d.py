"""Parts of the experiments in 3D: supervised training, direct descent, and the test for a right pose."""

import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.config import TrainConfig
from airjax.data.tables import tables
from airjax.models import count
from airjax.models.air3d.model import AIR3D
from airjax.models.layers import Normal
from airjax.models.likelihood import NormalLikelihood
from airjax.render3d import LAID_TABLE, ONE_SOLID
from airjax.render3d.smooth import TURN

SIDE = 12


@pytest.fixture(scope="module")
def module():
    """Import a module of `experiments`, which lies in the root of the repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1]))
        yield lambda name: importlib.import_module(f"experiments.{name}")


@pytest.fixture(scope="module")
def supervised(module):
    return module("supervised")


@pytest.fixture(scope="module")
def descent(module):
    return module("solids.descent")


@pytest.fixture(scope="module")
def solids(module):
    return module("solids.run")


@pytest.fixture(scope="module")
def laid():
    return tables(LAID_TABLE, 12, seed=0, counts=(0, 1, 2), canvas=SIDE)


@pytest.fixture(scope="module")
def known(supervised, laid):
    return supervised.lessons(LAID_TABLE, laid)


def rough(stage, objects=1):
    """Make a small model, its weights away from where they start."""
    sizes = {"embed_channels": 2, "embed_hidden": 8, "head_hidden": 8}
    key = jax.random.PRNGKey(0)
    model = AIR3D((3, SIDE, SIDE), stage, NormalLikelihood(0.3), count.uniform(objects), **sizes, key=key)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + 0.1 * jnp.asarray(rng.standard_normal(x.shape), x.dtype), model)


def posterior(stage):
    pixels = jax.random.uniform(jax.random.PRNGKey(1), (2, 3, SIDE, SIDE))
    return rough(stage).recogniser(*pixels)


@pytest.mark.slow
@pytest.mark.parametrize("told", [True, False])
def test_what_is_learned_is_a_density_of_all_that_differs(supervised, told):
    stage = ONE_SOLID if told else supervised.untold(ONE_SOLID)
    q, total = posterior(stage), 0.0
    for label, kind in enumerate(stage.kinds):
        of_kind = jax.tree.map(lambda x, label=label: x[label], q.position)
        circle = TURN / max(kind.symmetry, 1)
        angles = np.arange(2_000) / 2_000 * circle
        poses = jnp.concatenate([jnp.tile(of_kind.mean, (2_000, 1)), jnp.asarray(angles)[:, None]], axis=1)
        at_mean = Normal(of_kind.mean, of_kind.log_sd).log_prob(of_kind.mean)
        log_q = jax.vmap(lambda pose, label=label: supervised._object_log_prob(stage, q, jnp.asarray(label), pose))(
            poses
        )
        total += float(jnp.mean(jnp.exp(log_q - at_mean))) * circle
    assert total == pytest.approx(1.0, abs=1e-3)


@pytest.mark.slow
def test_a_cube_is_four_labels_only_to_who_is_not_told(supervised):
    pose, quarter = jnp.array([0.1, 0.2, 0.3]), jnp.array([0.0, 0.0, TURN / 4])
    away = {}
    for stage in (ONE_SOLID, supervised.untold(ONE_SOLID)):
        log_q = lambda pose, stage=stage: supervised._object_log_prob(stage, posterior(stage), jnp.asarray(1), pose)
        away[stage] = abs(float(log_q(pose) - log_q(pose + quarter)))
    told, untold = away.values()
    assert told == pytest.approx(0.0, abs=1e-4)
    assert untold > 0.01


def test_objects_are_named_in_order_after_the_canvas_of_those_before(laid, known):
    assert known.canvases.shape == (12, 2, 3, SIDE, SIDE)
    nothing, first = (np.asarray(known.canvases[:, t], int) for t in (0, 1))
    images = np.asarray(known.images, int)
    assert np.abs(nothing - nothing[0]).max() == 0
    for number, compared in ((0, nothing), (1, first)):
        assert np.abs(images - compared)[laid.counts == number].max() <= 1
    two = laid.counts == 2
    assert (np.diff(known.labels[two]) >= 0).all()
    assert np.abs(images - first)[two].max(axis=(1, 2, 3)).min() > 20


def test_an_object_that_is_not_there_teaches_nothing(supervised, known):
    model = rough(LAID_TABLE, objects=2)
    log_q = jax.jit(jax.vmap(lambda one: supervised.log_prob(LAID_TABLE, model, one)))
    changed = np.asarray(log_q(known._replace(poses=known.poses.at[:, 1].add(0.5))) - log_q(known))
    there = np.asarray(known.counts) == 2
    assert (changed[~there] == 0).all()
    assert (np.abs(changed[there]) > 1e-3).all()


@pytest.mark.slow
def test_supervised_training_learns_and_goes_on_where_it_was_stopped(supervised, monkeypatch, tmp_path):
    scenes = tables(ONE_SOLID, 32, seed=0, counts=(1,), canvas=SIDE)
    config = TrainConfig(steps=60, batch=16, evaluate_every=20, warmup=2, learning_rate=1e-2)
    looks = []

    def look(*_, stop=False):
        looks.append(stop)
        if stop and len(looks) == 2:
            raise KeyboardInterrupt
        return {"identity_accuracy": 0.5, "rotation_error_deg": None}

    fit = lambda folder: supervised.fit(ONE_SOLID, scenes, scenes, config, tmp_path / folder, ONE_SOLID)
    monkeypatch.setattr(supervised, "scores", look)
    whole = fit("whole")
    logged = (tmp_path / "whole" / "metrics.jsonl").read_text()
    log_q = [json.loads(line)["log_q"] for line in logged.splitlines()]
    assert log_q[-1] > log_q[0] + 1.0
    looks.clear()
    monkeypatch.setattr(supervised, "scores", lambda *x: look(*x, stop=True))
    with pytest.raises(KeyboardInterrupt):
        fit("stopped")
    resumed = fit("stopped")
    assert (tmp_path / "stopped" / "metrics.jsonl").read_text() == logged
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed)):
        np.testing.assert_array_equal(a, b)


def test_the_nearest_picture_wins_and_is_kept(descent, tmp_path):
    rng = np.random.default_rng(0)
    fits = descent.Fits(rng.normal(size=(4, 3, 5, 4)), rng.uniform(size=(4, 3, 5)), rng.uniform(size=4))
    fits.error[2, 1, 3] = -1.0
    np.testing.assert_array_equal(fits.best[2], fits.what[2, 1, 3])
    fits.save(tmp_path / "fits.npz")
    for kept, made in zip(descent.load(tmp_path / "fits.npz"), fits):
        np.testing.assert_array_equal(kept, made)


@pytest.mark.slow
def test_descent_ends_where_the_picture_is_the_same(solids, descent):
    scenes = tables(ONE_SOLID, 1, seed=0, counts=(1,), canvas=SIDE)
    images = scenes.images.transpose(0, 3, 1, 2)
    fits = descent.descend(ONE_SOLID, images, starts=4, steps=60, key=jax.random.PRNGKey(0))
    assert fits.error.min() < 1e-5
    assert solids.right(fits.best, scenes).all()


def test_right_is_identity_position_and_rotation(solids):
    scenes = tables(ONE_SOLID, 30, seed=0, counts=(1,), canvas=SIDE)
    what = np.concatenate([scenes.poses[:, 0], scenes.labels], axis=1).astype(np.float32)
    symmetry = np.array([kind.symmetry for kind in ONE_SOLID.kinds])[scenes.labels[:, 0]]
    moved = lambda *by: solids.right(what + np.array(by, np.float32), scenes)
    assert moved(0.04, 0.0, 0.0, 0.0).all()
    assert not moved(0.05, 0.0, 0.0, 0.0).any()
    assert not moved(0.0, 0.0, 0.0, 1.0).any()
    assert moved(0.0, 0.0, np.radians(9), 0.0).all()
    np.testing.assert_array_equal(moved(0.0, 0.0, np.radians(11), 0.0), symmetry == 0)
    np.testing.assert_array_equal(moved(0.0, 0.0, TURN / 4, 0.0), symmetry != 1)


def test_a_spread_tells_lowest_and_highest_of_several_seeds(module):
    common = module("common")
    assert common.spread([0.5, 0.7, None], ".0%") == "60% (50% to 70%)"
    assert common.spread([3.0], ".1f") == "3.0"
    assert common.spread([None], ".1f") == "-"
