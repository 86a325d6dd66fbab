"""Measure airjax and its peers, one process at a time: `python benchmarks/run.py --help`.

    make bench DATA_DIR=MNIST PYRO=CHECKOUT PYRO_PYTHON=PYTHON GENJAX=CHECKOUT GENJAX_PYTHON=PYTHON

Writes results/<device>.json, a table and the growth plots beside this file. Peers without a checkout are left out.
Nothing else should run on the machine.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import report
from rich.console import Console
from rich.progress import Progress

from airjax.config import DataConfig
from airjax.data import load_scenes
from airjax.files import write_atomically

HERE = Path(__file__).parent
PRESETS = ("paper", "default", "fast")


class Bench:
    """Runs measurements as processes, one after another."""

    def __init__(self, options: argparse.Namespace, folder: Path, progress: Progress):
        self.options, self.folder, self.progress = options, folder, progress
        self.task = progress.add_task("starting", total=None)
        platforms = "cpu" if options.device == "cpu" else "cuda"
        # Programs compiled in an earlier run must not be used, unless the cache itself is measured.
        self.environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        self.environment["JAX_PLATFORMS"] = platforms
        self.quick = ["--quick"] if options.quick else []

    def start(self, command: list[str], **environment: str) -> str:
        """Run a command; return its output."""
        self.progress.update(self.task, description=" ".join(Path(word).name for word in command[1:5]))
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**self.environment, **environment})
        if done.returncode:
            raise SystemExit(f"benchmarks: this failed ({done.returncode}): {' '.join(command)}")
        return done.stdout

    def part(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """Run a part of parts.py."""
        command = [sys.executable, str(HERE / "parts.py"), *arguments, *self.quick]
        return json.loads(self.start(command, **environment))

    def peer(self, name: str, *arguments: str) -> dict[str, Any] | None:
        """Run a peer's script with the peer's Python; return None if no checkout was given."""
        checkout, python = getattr(self.options, name), getattr(self.options, f"{name}_python")
        if checkout is None:
            return None
        steps = "4" if self.options.quick else "20"
        command = [str(python), str(HERE / "peers" / f"{name}_step.py"), str(checkout), str(self.folder / "train.npz")]
        return json.loads(self.start([*command, "--steps", steps, *arguments]).splitlines()[-1])

    def seconds(self, command: list[str], **environment: str) -> float:
        """Time a command from start to end."""
        start = time.perf_counter()
        self.start(command, **environment)
        return time.perf_counter() - start


def make_scenes(options: argparse.Namespace, folder: Path) -> None:
    """Write the benchmark's training and held-out scenes to train.npz and test.npz."""
    sizes = dict(scenes=2_000, held_out_scenes=500) if options.quick else {}
    data = DataConfig("multi-mnist" if options.data_dir else "multi-digits", data_dir=options.data_dir, **sizes)
    for part, name in (("train", "train.npz"), ("held-out", "test.npz")):
        scenes = load_scenes(data, part)
        np.savez(folder / name, images=scenes.images, counts=scenes.counts)


def step_times(bench: Bench) -> dict[str, Any]:
    """Time a training step of airjax and of the peers in turn, round by round."""
    contenders = {
        "airjax": lambda: bench.part("step", "--preset", "paper", "--scenes", str(bench.folder / "train.npz")),
        "pyro": lambda: bench.peer("pyro", "--device", bench.options.device),
        "genjax_mvd": lambda: bench.peer("genjax", "--estimator", "mvd"),
        "genjax_reinforce": lambda: bench.peer("genjax", "--estimator", "reinforce"),
    }
    rounds = [{name: run() for name, run in contenders.items()} for _ in range(1 if bench.options.quick else 3)]
    return {name: [r[name] for r in rounds] for name in contenders if rounds[0][name]}


def starts(bench: Bench) -> dict[str, Any]:
    """Time the first and second start of training and of `airjax infer`, and the import."""
    scenes, folder = str(bench.folder / "train.npz"), bench.folder / "starts"
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(bench.folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    }
    compiled = [bench.part("step", "--preset", "default", "--scenes", scenes, **cache)["compile_s"] for _ in range(2)]
    folder.mkdir()
    bench.part("make-run", "--preset", "default", "--folder", str(folder))
    infer = [sys.executable, "-m", "airjax", "infer", str(folder / "run"), str(folder / "picture.png"), "--json"]
    cache["JAX_COMPILATION_CACHE_DIR"] = str(bench.folder / "compiled-infer")
    inferred = [bench.seconds(infer, **cache) for _ in range(2)]
    python = [sys.executable, "-c"]
    imports = [bench.seconds([*python, "import airjax"]) - bench.seconds([*python, "pass"]) for _ in range(5)]
    return {
        "compile_s": {"first": compiled[0], "second": compiled[1]},
        "infer_command_s": {"first": inferred[0], "second": inferred[1]},
        "import_s": imports,
    }


def measure(bench: Bench) -> dict[str, Any]:
    """Run every part."""
    train, test = str(bench.folder / "train.npz"), str(bench.folder / "test.npz")
    seeds = range(1 if bench.options.quick else 5)
    timed = lambda seed: bench.part(
        "time-to", "--preset", "fast", "--seed", str(seed), "--scenes", train, "--held-out", test
    )
    return {
        "steps": step_times(bench),
        "presets": {name: bench.part("step", "--preset", name, "--scenes", train) for name in PRESETS},
        "limits": bench.part("limits"),
        "time_to_98": [timed(seed) for seed in seeds],
        "inference": {
            name: bench.part("infer", "--preset", name, "--scenes", test, "--batch", str(bench.options.infer_batch))
            for name in PRESETS
        },
        "starts": starts(bench),
        "growth": bench.part("growth", "--preset", "paper"),
    }


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Describe the machine and the versions of this measurement."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": model[0].split(":", 1)[1].strip() if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "device": options.device,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("airjax", "jax", "equinox", "optax", "numpy")},
    }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="MNIST's IDX files; without them, the embedded digits")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    for peer in ("pyro", "genjax"):
        parser.add_argument(f"--{peer}", type=Path, help=f"a checkout of {peer}")
        parser.add_argument(f"--{peer}-python", default=sys.executable, help="the Python to run it with")
    parser.add_argument("--infer-batch", type=int, default=256)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--quick", action="store_true", help="smallest sizes, to see that everything runs")
    return parser.parse_args()


def main() -> None:
    """Measure everything and write it down."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    with Progress(console=Console(stderr=True)) as progress, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_scenes(options, folder)
        results = {"machine": machine(options), **measure(Bench(options, folder, progress))}
    write_atomically(options.out / f"{options.device}.json", json.dumps(results, indent=1).encode())
    report.write(results, options.out, options.device)
    print((options.out / f"{options.device}.md").read_text())


if __name__ == "__main__":
    main()
