"""The experiments: code that they share, and a smoke run of each."""

import argparse
import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import threading
import time
import tomllib
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from airjax.config import Config, DataConfig, ModelConfig, TrainConfig
from airjax.data import Scenes
from airjax.inference import infer
from airjax.inference.infer import Found
from airjax.interfaces import cli
from airjax.interfaces.stand_ins import stand_ins

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
PARTS = ("data", "scenes", DataConfig), ("model", "model", ModelConfig), ("train", "training", TrainConfig)
"""Each part of a configuration, its name as an argument of `airjax train`, and its type."""


@pytest.fixture
def module(monkeypatch):
    """Import a module of `experiments`, which lies in the root of the repository."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"experiments.{name}")


@pytest.fixture
def common(module):
    return module("common")


def test_settings_are_flags_and_a_smoke_run_keeps_its_own_sizes(common):
    settings = {"learn-count": False, "difference": True, "counts": [0, 2], "count-ratio": 1e-20, "steps": 2000}
    words = ("--no-learn-count", "--difference", "--counts", "0", "2", "--count-ratio", "1e-20")
    assert common.flags(settings, argparse.Namespace(smoke=False)) == (*words, "--steps", "2000")
    assert common.flags(settings, argparse.Namespace(smoke=True)) == words


def test_jobs_have_a_core_each_and_results_keep_their_order(common, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 7, 9})
    held, clashes, lock = set(), [], threading.Lock()

    def job(number, core):
        with lock:
            clashes.append(core in held)
            held.add(core)
        time.sleep(0.01)
        with lock:
            held.remove(core)
        return number, core

    results = common.on_cores([partial(job, number) for number in range(8)], 2)
    assert [number for number, _ in results] == list(range(8))
    assert {core for _, core in results} == {4, 7}
    assert not any(clashes)


def test_a_job_that_fails_is_not_passed_over(common):
    with pytest.raises(ZeroDivisionError):
        common.on_cores([lambda core: core, lambda core: 1 / 0], 1)


def test_the_spread_is_that_of_every_score(common):
    results = [{"run": "a", "elbo": 1.0, "scenes": 4}, {"run": "b", "elbo": 4.0, "scenes": 4}]
    assert common.summarise(results) == {"elbo": {"mean": 2.5, "min": 1.0, "max": 4.0}}


@pytest.mark.slow
def test_patch_models_alone_are_scored_and_drawn(module, tmp_path):
    run = module("patch_models.run")
    options = argparse.Namespace(smoke=True, seed=0, steps=2, samples=2, out=tmp_path)
    model, scores = run.by_itself("mlp", options)
    assert scores["alone_elbo"] <= scores["alone_iw_bound"] < 223.5  # of a perfect fit
    run.draw_figures([model, model], options)
    assert {path.name for path in tmp_path.iterdir()} == {"samples.png", "reconstructions.png"}
    within = {"parameters": 1_000, "air_count_accuracy": 0.5, "air_elbo": 1.0, "air_iw_bound": 2.0}
    rows = run.table({"mlp": within | {"air_ms_per_step": 3.0} | scores}).splitlines()
    assert len({row.count("|") for row in rows}) == 1
    assert rows[2].startswith("| mlp | 1,000 | 50.00% | 1.0 | 2.0 | 3.0 |")


@pytest.fixture
def representation(module):
    return module("representation.run")


def test_digits_are_added_and_compared_from_left_to_right(representation):
    boxes = np.array([[[20, 0, 30, 9], [2, 0, 9, 9]], [[2, 0, 9, 9], [20, 0, 30, 9]]], np.float32)[[0, 1, 0]]
    labels = np.array([[7, 3], [7, 3], [4, 4]], np.int32)
    scenes = Scenes(np.zeros((3, 40, 40), np.uint8), np.full(3, 2, np.int32), boxes, labels)
    assert representation.targets(scenes, "sum").tolist() == [10, 10, 8]
    assert representation.targets(scenes, "order").tolist() == [1, 0, -1]


def test_sorted_objects_are_the_same_in_whatever_order_they_were_found(representation):
    rng = np.random.default_rng(0)
    where, what = rng.normal(size=(6, 3, 3)), rng.normal(size=(6, 3, 2))
    count, presence = np.array([0, 1, 2, 2, 3, 3]), np.zeros((6, 3))
    present = np.arange(3) < count[:, None]
    found = argparse.Namespace(count=count, presence=presence, present=present, where=where.copy(), what=what.copy())
    as_found, in_order = representation.flatten(found), representation.flatten(found, left_to_right=True)
    for row in (2, 3, 4, 5):
        turn = np.r_[np.arange(count[row])[::-1], np.arange(count[row], 3)]
        found.where[row], found.what[row] = where[row, turn], what[row, turn]
    np.testing.assert_array_equal(representation.flatten(found, left_to_right=True), in_order)
    assert not np.array_equal(representation.flatten(found), as_found)
    rows = in_order.reshape(6, 3, 6)
    np.testing.assert_array_equal(rows[:, :, 0].sum(axis=1), count)
    np.testing.assert_array_equal(rows[rows[:, :, 0] == 0], 0)
    assert (np.diff(rows[4:, :, 2], axis=1) > 0).all()


def test_objects_that_look_alike_share_words_and_those_that_are_not_there_make_none(representation):
    rng = np.random.default_rng(0)
    kinds = rng.integers(representation.WORDS, size=(400, 2))
    what = (100.0 * rng.normal(size=(representation.WORDS, 4)))[kinds] + rng.normal(size=(400, 2, 4))
    what, presence = what.astype(np.float32), np.ones((400, 2), np.float32)
    what[:, 1], presence[:, 1] = 1e4 * rng.normal(size=(400, 4)), 0.0
    nothing = lambda *shape: np.zeros((400, *shape), np.float32)
    found = Found(
        count=np.ones(400, np.int32),
        count_probs=nothing(3),
        boxes=nothing(2, 4),
        windows=nothing(2, 4),
        presence=presence,
        where=nothing(2, 3),
        what=what,
        scene=nothing(0),
        canvases=nothing(3, 1, 2, 2),
    )
    (shares,) = (told.what for told in representation.in_words([found]))
    np.testing.assert_allclose(shares.sum(axis=2), representation.WORDS, rtol=1e-4)
    word = shares[:, 0].argmax(axis=1)
    same = kinds[:, :1] == kinds[:, 0]
    assert (word[:, None] == word)[same].mean() > 0.9
    assert (word[:, None] == word)[~same].mean() < 0.02


LEFT_OUT = {"scenes": ("kinds", ["noise", "grid", "sprites"]), "generalisation": ("models", ["attention"])}
"""Kinds of scenes and models that a smoke run leaves out: other tests train all that is in them."""
BY_COMMAND = "omniglot"
"""The experiment that a test runs as users do: as a command, which runs others."""
SCENES = 32
"""Held-out scenes of a smoke run."""


def _tables(name):
    """Read the settings of an experiment."""
    return tomllib.loads((EXPERIMENTS / name / "settings.toml").read_text())


def _chosen(name):
    """Spell what a smoke run does not leave out."""
    if name not in LEFT_OUT:
        return []
    flag, names = LEFT_OUT[name]
    return [f"--{flag}", *(one for one in _tables(name) if one not in names)]


def _assert_complete(name, out):
    assert json.loads((out / "results.json").read_text())
    shown = {path.name for path in (EXPERIMENTS / name).glob("*.png")}
    left_out = {f"{one}.png" for one in LEFT_OUT.get(name, ("", ()))[1]}
    assert {path.name for path in out.glob("*.png")} >= shown - left_out


@pytest.mark.slow
def test_an_experiment_runs_from_its_one_command(tmp_path):
    command = [sys.executable, "-m", f"experiments.{BY_COMMAND}.run", "--smoke", "--out", str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT)
    _assert_complete(BY_COMMAND, tmp_path)


def _airjax(*arguments, core):
    """Run a command as `common.airjax` does, but within this process, which has compiled some of its programs."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(list(arguments)) == 0
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({folder.parent.name for folder in EXPERIMENTS.glob("*/run.py")} - {BY_COMMAND}))
def test_every_experiment_runs(common, module, monkeypatch, tmp_path, name):
    monkeypatch.setattr(common, "airjax", _airjax)
    for function in ("find", "bound"):  # few scenes are not filled up to a batch of hundreds
        monkeypatch.setattr(infer, function, partial(getattr(infer, function), batch=SCENES))
    run = module(f"{name}.run")
    monkeypatch.setattr(sys, "argv", ["run", "--smoke", "--cores=1", f"--out={tmp_path}", *_chosen(name)])
    run.main()
    _assert_complete(name, tmp_path)


def _settings():
    """List the settings of all runs of all experiments, by their names."""
    for file in sorted(EXPERIMENTS.glob("*/settings.toml")):
        settings = _tables(file.parent.name)
        tables = settings if all(isinstance(value, dict) for value in settings.values()) else {"": settings}
        yield from ((f"{file.parent.name}-{name}", table) for name, table in tables.items())


@pytest.mark.parametrize(("name", "settings"), [pytest.param(*one, id=one[0]) for one in _settings()])
def test_training_takes_the_settings_of_every_run(common, name, settings):
    settings = {"data": "multi-digits"} | settings
    flags = common.flags({name: settings[name] for name in settings if name != "data"}, argparse.Namespace(smoke=False))
    words = ["train", settings["data"], "--out=nowhere", *flags]
    cli.app.config = stand_ins(cli.app, words)
    _, bound, _ = cli.app.parse_args(words, exit_on_error=False, print_error=False)
    parts = {part: bound.arguments.get(word, kind()) for part, word, kind in PARTS}
    taken = {name: value for part in vars(Config(**parts)).values() for name, value in vars(part).items()}
    for name in settings.keys() - {"data", "config"}:
        value = settings[name]
        assert taken[name.replace("-", "_")] == (tuple(value) if isinstance(value, list) else value), name


@pytest.mark.slow
def test_displays_of_a_game_change_where_listed_things_seldom_are(module):
    folders, frames = module("pictures.folders"), []
    for index in range(40):
        frame, x = np.zeros((30, 60, 3), np.uint8), index % 20
        frame[20:24, x : x + 5] = 200  # listed
        boxes = [[float(x), 20.0, x + 5.0, 24.0]]
        if index == 3:  # a ship flies across the score
            frame[3:9, 10:30], boxes = 90, [*boxes, [10.0, 3.0, 30.0, 9.0]]
        elif index % 10:
            frame[3:9, 10:16], frame[3:9, 20:26] = 150, 100 + index  # two digits
        frame[12:14, 40:50] = 70  # never changes
        frames.append((frame, boxes))
    still = np.median([frame for frame, _ in frames], axis=0)
    assert folders.displays(frames, still) == [[10.0, 3.0, 16.0, 9.0], [20.0, 3.0, 26.0, 9.0]]
