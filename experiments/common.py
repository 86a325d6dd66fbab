"""Code that experiments share: commands of airjax on one core each, kept scores, tables and figures."""

import argparse
import io
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from airjax.data import DigitBank, embedded_digits, load_mnist
from airjax.files import write_atomically
from airjax.inference import infer
from airjax.runs.log import read_metrics
from airjax.runs.plots import curves_figure

_FEW = ("--steps", "4", "--chunk", "2", "--batch", "16")
_SMALL = ("--embed-channels", "2", "--embed-hidden", "16", "--head-hidden", "16")
SMOKE_3D = (*_FEW, "--scenes", "200", "--held-out-scenes", "32", *_SMALL)
SMOKE = (*SMOKE_3D, "--hidden", "32", "--code-size", "10", "--patch-hidden", "32")
"""Flags of `airjax train` for a run that takes seconds and learns almost nothing, in 3D and in 2D."""
SMOKE_SAMPLES = 1
"""Samples of the bounds of such a run: as many as during training, so that both use one compiled program."""
Result = TypeVar("Result")


def settings(script: str) -> dict[str, Any]:
    """Read the file `settings.toml` beside a script; its names are those of the flags of `airjax train`."""
    return tomllib.loads(Path(script).with_name("settings.toml").read_text(encoding="utf-8"))


def flags(chosen: Mapping[str, Any], options: argparse.Namespace) -> tuple[str, ...]:
    """Write settings as flags of `airjax train`; a smoke run ignores those that `SMOKE` sets."""
    used = {name: value for name, value in chosen.items() if not (options.smoke and f"--{name}" in SMOKE)}
    return tuple(word for name, value in used.items() for word in _flag(name, value))


def _flag(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", *map(str, value if isinstance(value, list) else [value])]


def without(words: Sequence[str], flag: str) -> tuple[str, ...]:
    """Leave a flag and its value out of a command's words."""
    return tuple(word for word, before in zip(words, ("", *words)) if flag not in (word, before))


def airjax(*arguments: str, core: int) -> str:
    """Run a command of airjax on one core and return what it printed."""
    command = ["taskset", "-c", str(core), sys.executable, "-m", "airjax", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def train_and_evaluate(folder: Path, *flags: str, samples: int, core: int) -> dict:
    """Train a run, or continue it, and score it on its held-out scenes. A scored run is only read."""
    if not (folder / "scores.json").exists():
        airjax("train", *flags, "--out", str(folder), "--quiet", core=core)
    return evaluate(folder, samples=samples, core=core)


def evaluate(folder: Path, *flags: str, samples: int, core: int, name: str = "scores") -> dict:
    """Score a run by `airjax evaluate` with these flags; keep the scores as `name`.json in its folder."""
    command = ("evaluate", str(folder), *flags, "--samples", str(samples), "--json")
    scores = {"run": folder.name, **kept(folder / f"{name}.json", lambda: json.loads(airjax(*command, core=core)))}
    accuracy = scores["count_accuracy_mode"]  # None if the true counts are unknown
    counted = "" if accuracy is None else f"{accuracy:.2%}, "
    print(f"{folder.name}, {name}: {counted}ELBO {scores['elbo']:.1f}", file=sys.stderr)
    return scores


def kept(path: Path, compute: Callable[[], dict]) -> dict:
    """Read scores from a JSON file; compute and write them first if there is no such file."""
    if not path.exists():
        write_atomically(path, json.dumps(compute()).encode())
    return json.loads(path.read_text())


def save_arrays(path: Path, *arrays: np.ndarray, **named: np.ndarray) -> None:
    """Write arrays to an npz file, completely or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, *arrays, **named)
    write_atomically(path, buffer.getvalue())


def on_cores(jobs: Iterable[Callable[[int], Result]], cores: int) -> list[Result]:
    """Call `job(core)` for every job, at most one at a time per core; return the results in order."""
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
    """Compute the mean, minimum and maximum of every score over seeds."""
    columns = {name: [r[name] for r in results] for name, value in results[0].items() if isinstance(value, float)}
    return {n: {"mean": float(np.mean(c)), "min": min(c), "max": max(c)} for n, c in columns.items()}


def spread(values: list[float | None], form: str) -> str:
    """Format the mean of the known values by `form`, followed by the lowest and highest if there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    least, most = (f"{bound(known):{form}}" for bound in (min, max))
    return f"{np.mean(known):{form}}" + (f" ({least} to {most})" if len(known) > 1 else "")


def spreads(results: list[dict], columns: Iterable[tuple[str, str]]) -> list[str]:
    """Format the spread over results for each column, a score and its format."""
    return [spread([result[score] for result in results], form) for score, form in columns]


def percentages(shares: Sequence[float], form: str) -> tuple[str, str, str]:
    """Format the mean, lowest and highest of some shares in percent."""
    values = [100 * share for share in shares]
    return f"{np.mean(values):{form}} %", f"{min(values):{form}}", f"{max(values):{form}}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows))


def write_table(table: str, folder: Path) -> None:
    """Write `table.md` and print it."""
    (folder / "table.md").write_text(table)
    print(table)


def write_results(content: dict, folder: Path) -> None:
    """Write `results.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "results.json", json.dumps(content, indent=1).encode())


def curves(folders: Mapping[str, Path], fields: Sequence[str]) -> Figure:
    """Plot the fields that runs have logged; `folders` holds the runs by their names in the legend."""
    series = {name: read_metrics(folder) for name, folder in folders.items()}
    logged = {field for lines in series.values() for line in lines for field in line}
    return curves_figure(series, [field for field in fields if field in logged])


def reconstructions(found: infer.Found) -> Float[np.ndarray, "n c h w"]:
    """Select the canvas of each scene after its inferred number of objects."""
    return found.canvases[np.arange(len(found.count)), found.count]


def parser(doc: str, name: str, data: str | None = "MNIST's IDX files") -> argparse.ArgumentParser:
    """Make a parser with the options that all experiments share.

    Args:
        doc: the experiment's docstring, whose first line describes it.
        name: the experiment's folder.
        data: the files that `--data-dir` holds; None if the experiment needs none.
    """
    made = argparse.ArgumentParser(prog=f"python -m experiments.{name}.run", description=doc.splitlines()[0])
    if data:
        made.add_argument("--data-dir", type=Path, help=f"folder of {data}; downloaded if not given")
    made.add_argument("--out", type=Path, default=Path("runs") / name, help="folder of runs and results")
    cores = len(os.sched_getaffinity(0))
    made.add_argument("--cores", type=int, default=cores, help="runs at a time, one on each core")
    made.add_argument("--smoke", action="store_true", help="tiny runs, on the embedded digits where digits are needed")
    return made


def digits(options: argparse.Namespace) -> tuple[str, ...]:
    """Make the first arguments of `airjax train` for scenes of MNIST's digits; of embedded digits in a smoke run."""
    if options.smoke:
        return ("multi-digits", *SMOKE)
    return ("multi-mnist", *(("--data-dir", str(options.data_dir)) if options.data_dir else ()))


def bank(split: str, options: argparse.Namespace) -> DigitBank:
    """Load MNIST's digits of a split, `train` or `held-out`; embedded digits in a smoke run."""
    return embedded_digits(split) if options.smoke else load_mnist(split, options.data_dir)
