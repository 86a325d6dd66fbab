"""What experiments share: airjax's commands, each run on a core of its own, their scores, and the spread over seeds.

A script in a folder beside this file finds it by

    sys.path.insert(0, str(Path(__file__).parents[1]))
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
from matplotlib.figure import Figure

from airjax.files import write_atomically
from airjax.runs.log import read_metrics
from airjax.runs.plots import curves_figure

_FEW = ("--steps", "20", "--chunk", "2", "--batch", "16")
SMOKE = (*_FEW, "--scenes", "200", "--held-out-scenes", "100", "--hidden", "32")
"""Flags of `airjax train` for a run that takes seconds and learns nothing much."""
SMOKE_SAMPLES = 1
"""Samples of such a run's bounds: as many as during training, so that one program serves both."""
Result = TypeVar("Result")


def airjax(*arguments: str, core: int) -> str:
    """Run one command of airjax on one core and return what it printed."""
    command = ["taskset", "-c", str(core), sys.executable, "-m", "airjax", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def train_and_evaluate(folder: Path, data: str, *flags: str, samples: int, core: int) -> dict:
    """Train a run, or finish it, and score it on its held-out scenes; what was scored before is not scored again."""
    if not (folder / "scores.json").exists():
        airjax("train", data, *flags, "--out", str(folder), "--quiet", core=core)
    return evaluate(folder, samples=samples, core=core)


def evaluate(folder: Path, *flags: str, samples: int, core: int, name: str = "scores") -> dict:
    """Score a run as `airjax evaluate` does with these flags, and keep the scores in its folder by `name`."""
    path = folder / f"{name}.json"
    if not path.exists():
        printed = airjax("evaluate", str(folder), *flags, "--samples", str(samples), "--json", core=core)
        write_atomically(path, printed.encode())
    scores = {"run": folder.name, **json.loads(path.read_text())}
    accuracy = scores["count_accuracy_mode"]  # None where true counts are not known
    counted = "" if accuracy is None else f"{accuracy:.2%}, "
    print(f"{folder.name}, {name}: {counted}ELBO {scores['elbo']:.1f}", file=sys.stderr)
    return scores


def on_cores(jobs: Iterable[Callable[[int], Result]], cores: int) -> list[Result]:
    """Call `job(core)` for every job, each on a core that no other has meanwhile; return their results in order."""
    free: SimpleQueue[int] = SimpleQueue()
    for core in sorted(os.sched_getaffinity(0))[:cores]:
        free.put(core)

    def run(job: Callable[[int], Result]) -> Result:
        core = free.get()
        try:
            return job(core)
        finally:
            free.put(core)

    with ThreadPoolExecutor(free.qsize()) as pool:
        return list(pool.map(run, jobs))


def summarise(results: list[dict]) -> dict:
    """Give mean, minimum and maximum over seeds of every score."""
    columns = {name: [r[name] for r in results] for name, value in results[0].items() if isinstance(value, float)}
    return {n: {"mean": float(np.mean(c)), "min": min(c), "max": max(c)} for n, c in columns.items()}


def spread(values: list[float | None], form: str) -> str:
    """Write the mean of a score over seeds, formatted as `form`, and of several seeds the lowest and the highest."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    least, most = (f"{bound(known):{form}}" for bound in (min, max))
    return f"{np.mean(known):{form}}" + (f" ({least} to {most})" if len(known) > 1 else "")


def curves(folders: Mapping[str, Path], fields: Sequence[str]) -> Figure:
    """Plot those of these numbers that the runs in some folders, by their names, have logged."""
    series = {name: read_metrics(folder) for name, folder in folders.items()}
    logged = {field for lines in series.values() for line in lines for field in line}
    return curves_figure(series, [field for field in fields if field in logged])


def write_results(content: dict, folder: Path) -> None:
    """Write `results.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "results.json", json.dumps(content, indent=1).encode())


def parser(doc: str, name: str, data: str | None = "MNIST's IDX files") -> argparse.ArgumentParser:
    """Make a parser with the options of every experiment, described by the first line of `doc`, that reads `data`."""
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    if data:
        made.add_argument("--data-dir", type=Path, help=f"folder of {data}; without it they are downloaded")
    made.add_argument("--out", type=Path, default=Path("runs") / name)
    cores = len(os.sched_getaffinity(0))
    made.add_argument("--cores", type=int, default=cores, help="runs at a time, each on its own core")
    made.add_argument("--smoke", action="store_true", help="tiny runs; of digits, on the embedded ones")
    return made


def digits(options: argparse.Namespace) -> tuple[str, ...]:
    """Name the scenes of digits that the options ask for, as the first arguments of `airjax train`."""
    if options.smoke:
        return ("multi-digits", *SMOKE)
    return ("multi-mnist", *(("--data-dir", str(options.data_dir)) if options.data_dir else ()))
