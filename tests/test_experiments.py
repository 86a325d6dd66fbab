"""What experiments share."""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.fixture
def common(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    import common

    yield common
    del sys.modules["common"]


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


def test_patch_models_alone_are_scored_and_drawn(common, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(EXPERIMENTS / "patch_models"))
    monkeypatch.delitem(sys.modules, "run", raising=False)
    import run

    options = argparse.Namespace(smoke=True, seed=0, steps=2, samples=2, out=tmp_path)
    model, scores = run.by_itself("mlp", options)
    assert scores["alone_elbo"] <= scores["alone_iw_bound"] < 223.5  # of a perfect fit
    run.draw_figures([model, model], options)
    assert {path.name for path in tmp_path.iterdir()} == {"samples.png", "reconstructions.png"}
    within = {"parameters": 1_000, "air_count_accuracy": 0.5, "air_elbo": 1.0, "air_iw_bound": 2.0}
    rows = run.table({"mlp": within | {"air_ms_per_step": 3.0} | scores}).splitlines()
    assert len({row.count("|") for row in rows}) == 1
    assert rows[2].startswith("| mlp | 1,000 | 50.00% | 1.0 | 2.0 | 3.0 |")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(folder.parent.name for folder in EXPERIMENTS.glob("*/run.py")))
def test_every_experiment_runs_from_its_one_command(tmp_path, name):
    command = [sys.executable, str(EXPERIMENTS / name / "run.py"), "--smoke", "--out", str(tmp_path / "out")]
    subprocess.run(command, check=True, cwd=tmp_path)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results
    shown = [path.name for path in (EXPERIMENTS / name).glob("*.png")]
    assert {path.name for path in (tmp_path / "out").glob("*.png")} >= set(shown)
