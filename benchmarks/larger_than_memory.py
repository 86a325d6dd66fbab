"""Measure the memory of training against the size of its data: `python benchmarks/larger_than_memory.py --out FILE`.

For each size it writes a folder of .npz files, with images of 64 x 64 pixels in colour, trains a tiny model for some
steps, and writes one JSON object: the largest memory of the process that belongs to no file (anonymous and shared),
which it needs, and that of mapped files, which the system takes back when others need it. All in megabytes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIDE, SHARD = 64, 10_000
PROGRAM = "import sys; from airjax.interfaces.cli import main; sys.exit(main())"
MODEL = {
    "max-objects": 2,
    "window": 12,
    "hidden": 8,
    "embed-channels": 0,
    "embed-hidden": 8,
    "head-hidden": 8,
    "code-size": 2,
    "patch-hidden": 8,
    "paste": 0,
    "background-model": "none",
    "compose": "add",
    "edge": 0.5,
}


def write(folder: Path, number: int) -> None:
    """Write files of images with one bright square each."""
    rng = np.random.default_rng(0)
    for start in range(0, number, SHARD):
        images = np.zeros((min(SHARD, number - start), SIDE, SIDE, 3), np.uint8)
        for image in images:
            y, x = rng.integers(0, SIDE - 16, 2)
            image[y : y + 16, x : x + 16] = rng.integers(120, 256, 3)
        np.savez_compressed(folder / f"{start:07d}.npz", images=images)


def memory_of(pid: int) -> dict[str, float]:
    """Return what a process holds, by kind."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    kinds = {words[0]: int(words[1]) / 1e3 for words in lines if words[0].startswith("Rss")}
    return {"needed": kinds["RssAnon:"] + kinds["RssShmem:"], "mapped": kinds["RssFile:"]}


def measure(gigabytes: float, steps: int) -> dict:
    """Train on so much data, and watch."""
    number = round(gigabytes * 1e9 / (SIDE * SIDE * 3))
    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder) / "data", Path(folder) / "run"
        data.mkdir()
        write(data, number)
        flags = [f"--{name}={value}" for name, value in (MODEL | {"steps": steps, "batch": 16, "chunk": 5}).items()]
        command = [sys.executable, "-c", PROGRAM, "train", str(data), f"--out={run}", "--quiet", *flags]
        environment = {"XDG_CACHE_HOME": folder}
        most, start = {"needed": 0.0, "mapped": 0.0}, time.monotonic()
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | environment)
        while process.poll() is None:
            try:
                most = {kind: max(most[kind], value) for kind, value in memory_of(process.pid).items()}
            except (OSError, KeyError):  # it has just ended
                break
            time.sleep(0.1)
        if process.wait():
            raise RuntimeError(f"training ended with {process.returncode}")
    return {"data_mb": number * SIDE * SIDE * 3 / 1e6, "seconds": time.monotonic() - start, **most}


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.5, 2.0, 4.0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    measured = []
    for size in options.gigabytes:
        measured.append(measure(size, options.steps))
        print(json.dumps(measured[-1]), file=sys.stderr)
    options.out.write_text(json.dumps({"side": SIDE, "steps": options.steps, "measured": measured}, indent=1) + "\n")


if __name__ == "__main__":
    main()
