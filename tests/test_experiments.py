"""What experiments share."""

import os
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
