"""Make a table and plots from results/<device>.json: `python benchmarks/report.py results/cpu.json`."""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import floor
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from airjax.files import write_atomically
from airjax.runs import presets

PUBLISHED_STEPS = {"pyro": 50_000, "genjax_mvd": 22 * 938}
"""Steps after which peers report 98.4 % (Pyro's tutorial) and 98.2 % (GenJAX, PLDI 2024)."""
NAMES = {"pyro": "Pyro's example", "genjax_mvd": "GenJAX, mvd", "genjax_reinforce": "GenJAX, reinforce"}
AXES = {"max_objects": "maximum count", "side": "image side, pixels", "batch": "batch", "samples": "samples K"}


def median_of(runs: list[dict], name: str = "step_ms") -> float:
    """Compute the median of a measured quantity over all rounds."""
    return statistics.median(value for run in runs for value in run[name])


def rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    """List the rows of the table: a description and a value each."""
    return [*_step_rows(results), *_learning_rows(results), *_use_rows(results)]


def _step_rows(results):
    steps = results["steps"]
    ours = median_of(steps["airjax"])
    yield "training step, the paper's sizes, batch 64", f"{ours:.1f} ms"
    for peer in (name for name in NAMES if name in steps):
        theirs = median_of(steps[peer])
        yield f"{NAMES[peer]}, the same step / ours", f"{theirs / ours:.1f} x ({theirs:.0f} ms)"
    rates = [statistics.median(results["limits"][name]) for name in ("multiply_flops_per_s", "copy_bytes_per_s")]
    for name, run in results["presets"].items():
        step = statistics.median(run["step_ms"])
        least = {part: 1e3 * s for part, s in floor.seconds(presets.load(name), run["parameters"], *rates).items()}
        parts = f"{least['arithmetic']:.1f} ms of arithmetic, {least['optimiser']:.1f} ms of optimiser"
        yield f"{name}: step; share of it that is the floor", f"{step:.1f} ms; {least['total'] / step:.2f} ({parts})"
        yield f"{name}: peak memory of training", f"{run['peak_memory_mib']:,.0f} MiB"


def _learning_rows(results):
    runs, steps = results["time_to_98"], results["steps"]
    reached = sorted(run["seconds"] for run in runs if run["seconds"] is not None)
    said = f"{statistics.median(reached):.1f} s ({reached[0]:.1f} to {reached[-1]:.1f})" if reached else "never"
    yield "fast: 98 % of held-out counts, compilation included", f"{said}; {len(reached)} of {len(runs)} seeds"
    accuracies = [run["accuracy"] for run in runs]
    yield "fast: accuracy at the end", f"{min(accuracies):.2%} to {max(accuracies):.2%}"
    for peer in (name for name in PUBLISHED_STEPS if name in steps and reached):
        hours = median_of(steps[peer]) / 1e3 * PUBLISHED_STEPS[peer] / 3600
        yield f"{NAMES[peer]}: the steps it publishes x its time here (a projection)", f"{hours:.1f} h"


def _use_rows(results):
    for name, run in results["inference"].items():
        each, one = statistics.median(run["images_per_s"]), statistics.median(run["one_image_ms"])
        yield f"{name}: inference at batch {run['batch']}; one image, warm", f"{each:,.0f} images/s; {one:.1f} ms"
    starts, both = results["starts"], "{first:.1f} s; {second:.1f} s"
    yield "compiling the training chunk: first start; second", both.format(**starts["compile_s"])
    yield "`airjax infer` on one image: first start; second", both.format(**starts["infer_command_s"])
    yield "`import airjax`", f"{statistics.median(starts['import_s']):.2f} s"


def plot_growth(growth: dict[str, dict[str, float]], path: Path) -> None:
    """Plot the time of a step against each size."""
    figure, axes = plt.subplots(1, len(AXES), figsize=(12, 2.9), layout="constrained")
    for axis, (name, label) in zip(axes, AXES.items()):
        sizes = [int(size) for size in growth[name]]
        times = list(growth[name].values())
        axis.plot(sizes, times, "o-", markersize=4)
        if name in ("batch", "side"):
            axis.set(xscale="log", yscale="log")
            axis.set_xticks(sizes, [str(s) for s in sizes], fontsize=7)
            axis.minorticks_off()
        else:
            axis.set_ylim(0)
        axis.set(xlabel=label, ylabel="ms an image" if name == "samples" else "ms a step")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def write(results: dict[str, Any], folder: Path, device: str) -> None:
    """Write the table and the plots to `folder`."""
    where = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    on = f"{where['date']}, {where['processor']}, {where['cores']} cores, device {where['device']}"
    lines = [f"{on}; Python {where['python']}, {versions}.", "", "| what | median |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in rows(results)]
    write_atomically(folder / f"{device}.md", "\n".join([*lines, ""]).encode())
    plot_growth(results["growth"], folder / f"{device}_growth.png")


if __name__ == "__main__":
    source = Path(sys.argv[1])
    write(json.loads(source.read_text()), source.parent, source.stem)
