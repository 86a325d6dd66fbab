"""Multi-MNIST (paper, section 3.1): count, locate and redraw 0 to 2 digits; every seed is reported.

    python experiments/multi_mnist/run.py --data-dir MNIST --out runs/multi_mnist

Trains ten seeds of the default configuration and one of the paper's estimator (`nvil`), evaluates each on 10,000
scenes made from MNIST's test digits, and writes `results.json` and the figures to --out. README.md beside this file
has the expected numbers. `--smoke` does the same with two tiny runs on the embedded digits, in about a minute.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from airjax.checkpoint import write_atomically
from airjax.figures import CURVES
from airjax.logs import read_metrics
from airjax.plots import curves_figure, save_figure

SMOKE = ("--steps", "60", "--chunk", "20", "--scenes", "600", "--held-out-scenes", "100", "--hidden", "32")


def airjax(*arguments: str, core: int) -> str:
    """Run one command of airjax on one core and return what it printed."""
    command = ["taskset", "-c", str(core), sys.executable, "-m", "airjax", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def train_and_evaluate(name: str, flags: list[str], options: argparse.Namespace, cores: SimpleQueue) -> dict:
    """Train a run, or finish it, and score it; what was scored before is not scored again."""
    folder, core = options.out / name, cores.get()
    scores = folder / "scores.json"
    try:
        if not scores.exists():
            airjax("train", *options.data, *flags, "--out", str(folder), "--quiet", core=core)
            printed = airjax("evaluate", str(folder), "--samples", options.samples, "--json", core=core)
            write_atomically(scores, printed.encode())
    finally:
        cores.put(core)
    result = {"run": name, **json.loads(scores.read_text())}
    print(f"{name}: {result['count_accuracy_mode']:.2%}, ELBO {result['elbo']:.1f}", file=sys.stderr, flush=True)
    return result


def summarise(results: list[dict]) -> dict:
    """Give mean, minimum and maximum over seeds of every score."""
    columns = {name: [r[name] for r in results] for name, value in results[0].items() if isinstance(value, float)}
    return {n: {"mean": float(np.mean(c)), "min": min(c), "max": max(c)} for n, c in columns.items()}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="folder of MNIST's IDX files; without it they are downloaded")
    parser.add_argument("--out", type=Path, default=Path("runs/multi_mnist"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="runs at a time, each on its own core")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    local = ["--data-dir", str(options.data_dir)] if options.data_dir else []
    options.data = ["multi-digits", *SMOKE] if options.smoke else ["multi-mnist", *local]
    options.samples = "5" if options.smoke else "100"
    return options


def main() -> None:
    """Run everything."""
    options = arguments()
    runs = {f"seed_{seed}": ["--seed", str(seed)] for seed in range(1 if options.smoke else options.seeds)}
    runs["nvil"] = ["--seed", "0", "--objective", "nvil"]
    cores = SimpleQueue()
    for core in range(options.cores):
        cores.put(core)
    with ThreadPoolExecutor(options.cores) as pool:
        jobs = [pool.submit(train_and_evaluate, name, flags, options, cores) for name, flags in runs.items()]
        results = [job.result() for job in jobs]
    marginal, nvil = results[:-1], results[-1]
    content = {"marginal": summarise(marginal), "seeds": marginal, "nvil": nvil}
    write_atomically(options.out / "results.json", json.dumps(content, indent=1).encode())
    series = {name: read_metrics(options.out / name) for name in ("seed_0", "nvil")}
    save_figure(curves_figure(series, CURVES), options.out / "marginal_and_nvil.png")
    everyone = {r["run"]: read_metrics(options.out / r["run"]) for r in marginal}
    save_figure(curves_figure(everyone, CURVES), options.out / "seeds.png")
    print(json.dumps(content["marginal"], indent=1))


if __name__ == "__main__":
    main()
