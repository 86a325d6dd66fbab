"""The parts of benchmarks/ that need no measuring."""

import json
import sys
from pathlib import Path

import pytest

from airjax.runs import presets

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


@pytest.mark.parametrize("name", ["default", "fast", "paper"])
def test_operations_counted_by_hand_are_those_that_xla_counts(name):
    import floor

    stored = json.loads(Path(__file__).with_name("cost.json").read_text())[name]
    assert floor.operations(presets.load(name)) == pytest.approx(stored["operations"], rel=0.05)


def test_the_floor_is_the_sum_of_its_parts():
    import floor

    config = presets.load("paper")
    least = floor.seconds(config, parameters=1_000_000, flops_per_s=1e9, bytes_per_s=28e6)
    assert least["optimiser"] == pytest.approx(1.0)
    assert least["total"] == pytest.approx(least["optimiser"] + floor.operations(config) / 1e9)


def test_the_table_is_made_of_the_results(tmp_path):
    import report

    results = json.loads((BENCHMARKS / "results" / "cpu.json").read_text())
    report.write(results, tmp_path, "cpu")
    assert (tmp_path / "cpu.md").read_text() == (BENCHMARKS / "results" / "cpu.md").read_text()
    assert (tmp_path / "cpu_growth.png").stat().st_size > 1_000


def test_peers_that_were_not_run_have_no_row():
    import report

    results = json.loads((BENCHMARKS / "results" / "cpu.json").read_text())
    results["steps"] = {"airjax": results["steps"]["airjax"]}
    assert not any("GenJAX" in what or "Pyro" in what for what, _ in report.rows(results))
