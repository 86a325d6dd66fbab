"""Measure training by two processes of one core each against one of one core: `python benchmarks/processes.py --help`.

Each process is bound to a core of its own, and has its own 64 images of every batch, so the two do twice the work of
one. One and two take turns. The efficiency is the rate of two, in images per second, over twice that of one. Writes
results/processes.json. Nothing else should run on the machine; the load by others is measured before every run.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from run import machine

from airjax.files import write_atomically

HERE = Path(__file__).parent
WATCHED = 3.0
"""Seconds over which the load by others is measured."""


def train(cores: Sequence[int], preset: str, steps: int, folder: Path) -> list[float]:
    """Train with a process on each core; return the rate of every chunk but the first, in images per second."""
    out = folder / f"run{time.time_ns()}"
    command = ["airjax", "train", "multi-digits", f"--out={out}", "--quiet", f"--batch={64 * len(cores)}"]
    command += [f"--steps={steps}", "--chunk=25", f"--evaluate-every={steps}", f"--checkpoint-every={steps}"]
    command += ["--schedule=constant", *([f"--config={preset}"] if preset != "default" else [])]
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{any_port.getsockname()[1]}"
    together = [f"--coordinator={address}", f"--processes={len(cores)}"] if len(cores) > 1 else []
    started = []
    for index, core in enumerate(cores):
        own = [*together, f"--process-id={index}"] if together else []
        pinned = ["taskset", "--cpu-list", str(core), sys.executable, "-m", *command, *own]
        started.append(subprocess.Popen(pinned, stderr=subprocess.PIPE, text=True))
    for process in started:
        _, said = process.communicate()
        if process.returncode:
            raise SystemExit(f"benchmarks: a training failed ({process.returncode}): {said}")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["images_per_s"] for line in lines if "images_per_s" in line][1:]


def busy() -> float:
    """Return the number of cores that others keep busy."""
    used = lambda: [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    before = used()
    time.sleep(WATCHED)
    ticks = [after - first for first, after in zip(before, used())]
    return (sum(ticks) - ticks[3] - ticks[4]) / sum(ticks) * (os.cpu_count() or 1)


def measure(rounds: int, preset: str, steps: int) -> dict[str, Any]:
    """Let one process and two take turns."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    taken: dict[str, list[Any]] = {"one": [], "two": [], "busy_cores_before": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, own in (("one", cores[:1]), ("two", cores)):
                taken["busy_cores_before"].append(busy())
                taken[name].append(statistics.median(train(own, preset, steps, Path(folder))))
    each = [two / (2 * one) for one, two in zip(taken["one"], taken["two"])]
    return {**taken, "efficiency_each": each, "efficiency": statistics.median(each)}


def main() -> None:
    """Measure and write the results down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--presets", nargs="+", default=["default", "fast", "paper"])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "processes.json")
    options = parser.parse_args()
    options.device = "cpu"
    os.environ["JAX_PLATFORMS"] = "cpu"
    found = {name: measure(options.rounds, name, options.steps) for name in options.presets}
    results = {"machine": machine(options), "batch_per_process": 64, "presets": found}
    write_atomically(options.out, json.dumps(results, indent=1).encode())
    for name, one in found.items():
        rates = [statistics.median(one[key]) for key in ("one", "two")]
        print(f"{name}: one {rates[0]:.0f}, two {rates[1]:.0f} images/s; efficiency {one['efficiency']:.2f}")


if __name__ == "__main__":
    main()
