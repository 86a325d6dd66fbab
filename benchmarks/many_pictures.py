"""Time `airjax infer --engine ray` with one worker and with several: `python benchmarks/many_pictures.py --out FILE`.

It draws small pictures into a temporary folder, infers all of them with each number of workers, each as a command of
its own, and writes one JSON object: images per second from the first finished partition to the last, seconds from start
to end, processor time, and memory (PSS: what is shared counts in parts) of the command, of workers that infer and that
read, and of Ray's own processes, as the largest value in each quarter of the time in which partitions were finished.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

SIDE, FOLDER = 28, 1_000
MANIFEST = "_manifest.json"
PROGRAM = "import sys; from airjax.interfaces.cli import main; sys.exit(main())"


def draw(folder: Path, number: int) -> None:
    """Draw pictures of none, one or two bright squares."""
    rng = np.random.default_rng(0)
    for index in range(number):
        pixels = np.zeros((SIDE, SIDE), np.uint8)
        for y, x in rng.integers(0, SIDE - 8, (index % 3, 2)):
            pixels[y : y + 8, x : x + 8] = rng.integers(120, 256)
        path = folder / f"{index // FOLDER:04d}" / f"{index:07d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, compress_level=1)


def look(command: psutil.Process, seconds: dict[tuple[str, int], float]) -> dict[str, float]:
    """Return megabytes of the command, of workers that infer, of those that read, and of Ray's own processes.

    Their processor times so far go into `seconds`, by kind and process.
    """
    kinds = {"command": 0.0, "infer": 0.0, "read": 0.0, "ray": 0.0}
    for process in (command, *command.children(recursive=True)):
        with contextlib.suppress(psutil.Error, IndexError):
            title = process.cmdline()[0]
            kind = "infer" if "MapWorker" in title else "read" if "Map(" in title else "ray"
            kind = "command" if process == command else kind
            if (kind, process.pid) not in seconds and "IDLE" in title and ("read", process.pid) in seconds:
                kind = "read"
            kinds[kind] += process.memory_full_info().pss / 1e6
            times = process.cpu_times()
            seconds[kind, process.pid] = times.user + times.system
    return kinds


def done(out: Path) -> int:
    """Return the number of pictures in finished partitions."""
    if not (out / MANIFEST).exists():
        return 0
    return sum(one["pictures"] for one in json.loads((out / MANIFEST).read_text())["partitions"].values())


def measure(pictures: Path, out: Path, workers: int, options: argparse.Namespace) -> dict:
    """Run the command with a number of workers, and watch it."""
    flags = ["--engine=ray", f"--workers={workers}", f"--parquet={out}", f"--samples={options.samples}", "--quiet"]
    command = [sys.executable, "-c", PROGRAM, "infer", options.run, str(pictures), *flags]
    start, seen, memory, seconds, load = time.monotonic(), [], [], {}, os.getloadavg()[0]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        finished = done(out)
        if finished and (not seen or finished > seen[-1][1]):
            seen.append((time.monotonic(), finished))
            if len(memory) < len(seen) / options.every + 1:
                memory.append(look(psutil.Process(process.pid), seconds))
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"the command ended with {process.returncode}")
    (first, before), (last, after) = seen[0], seen[-1]
    quarters = [part for part in np.array_split(np.arange(len(memory)), 4) if len(part)]
    return {
        "workers": workers,
        "images_per_s": (after - before) / (last - first),
        "seconds": time.monotonic() - start,
        "load": [load, os.getloadavg()[0]],
        "cpu_seconds": {kind: round(sum(t for (k, _), t in seconds.items() if k == kind), 1) for kind in memory[0]},
        "memory_mb": [{kind: round(max(memory[i][kind] for i in part)) for kind in memory[0]} for part in quarters],
    }


def main() -> None:
    """Parse, draw, measure in turn, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="multi-digits", help="a run's folder, or a trained model's name")
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--every", type=int, default=2, help="partitions between two looks at the memory")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pictures, found, measured = Path(folder) / "pictures", Path(folder) / "found", []
        pictures.mkdir()
        draw(pictures, options.pictures)
        for workers in options.workers * options.rounds:
            measured.append(measure(pictures, found, workers, options))
            shutil.rmtree(found)
            print(json.dumps(measured[-1]), file=sys.stderr)
    about = {"run": options.run, "pictures": options.pictures, "side": SIDE, "samples": options.samples}
    results = about | {"cores": os.cpu_count(), "measured": measured}
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
