"""Measure steps on a block of the canvas against steps on all of it: `python benchmarks/local_steps.py --help`.

Colour images of several sizes with 12 objects, about 12 pixels wide, that cover a smooth or a linear background. Each
measurement is a process of its own; whole and local take turns. Writes results/local_steps.json. Nothing else should
run on the machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from parts import Training, seconds_of
from run import machine

from airjax.config import ModelConfig, TrainConfig
from airjax.files import write_atomically
from airjax.models.build import build_model

HERE = Path(__file__).parent
WINDOW, BLOCK, BATCH, STEPS = 18, 40, 16, 4
WHOLE_UP_TO = 256
"""Side of the largest images that steps on the whole canvas are measured on."""
MODEL = ModelConfig(max_objects=12, window=WINDOW, attention=64, compose="over", sd=0.1, learn_count=False)


def pictures(side: int) -> np.ndarray:
    """Draw squares of random colours on a dark ground: [n, 3, side, side]."""
    rng = np.random.default_rng(0)
    images = rng.integers(40, 70, (2 * BATCH, 3, side, side), dtype=np.uint8)
    for image in images:
        for y, x in rng.integers(0, side - 12, (MODEL.max_objects, 2)):
            image[:, y : y + 12, x : x + 12] = rng.integers(120, 255, (3, 1, 1))
    return images


def one(side: int, background: str, block: int | None) -> dict[str, float]:
    """Time a training step, an object's share of it, and inference along the central trajectory; milliseconds an image.

    An object's share is the difference between 12 objects and 2: without what is done once for an image, which is to
    explain it by the background and to embed it.
    """
    images = pictures(side)
    model = replace(MODEL, scale=WINDOW / side, background_model=background, block=block)
    settings = TrainConfig(steps=10_000, batch=BATCH, chunk=STEPS)
    per_image = 1e3 / BATCH

    def training(objects: int) -> tuple[float, float]:
        run = Training(replace(model, max_objects=objects), settings, images)
        first = run.advance(STEPS)
        return first, statistics.median(run.advance(STEPS) for _ in range(5)) / STEPS * per_image

    compiled, trained = training(MODEL.max_objects)
    _, fewer = training(2)
    each = (trained - fewer) / (MODEL.max_objects - 2)
    network = build_model(model, images.shape[1:], key=jax.random.PRNGKey(0)).init_from_data(images)

    @jax.jit
    def infer(batch):
        found = jax.vmap(lambda image: network.infer(image / 255.0, key=None))(batch)
        return found.steps.where, found.steps.what, found.steps.presence_logit

    seconds = statistics.median(seconds_of(lambda: infer(images[:BATCH]), 5))
    return {
        "training_ms": trained,
        "training_ms_each_object": each,
        "inference_ms": seconds * per_image,
        "first_steps_s": compiled,
    }


def measure(rounds: int, sides: list[int]) -> dict[str, Any]:
    """Let whole and local steps take turns, each in its own process."""
    found: dict[str, Any] = {}
    for _ in range(rounds):
        for side in sides:
            for background in ("smooth", "linear"):
                for block in (None, BLOCK) if side <= WHOLE_UP_TO else (BLOCK,):
                    words = ["--one", str(side), background, str(block or 0)]
                    done = subprocess.run(
                        [sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True
                    )
                    name = f"{side} {background} {'whole' if block is None else 'local'}"
                    found.setdefault(name, []).append(json.loads(done.stdout.splitlines()[-1]))
                    print(name, found[name][-1], file=sys.stderr)
    middle = lambda runs: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return {name: middle(runs) for name, runs in found.items()}


def main() -> None:
    """Measure and write the results down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--one", nargs=3, metavar=("SIDE", "BACKGROUND", "BLOCK"), help="a single measurement")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "local_steps.json")
    options = parser.parse_args()
    options.device = "cpu"
    os.environ["JAX_PLATFORMS"] = "cpu"
    if options.one:
        side, background, block = options.one
        print(json.dumps(one(int(side), background, int(block) or None)))
        return
    results = {
        "machine": machine(options),
        "batch": BATCH,
        "block": BLOCK,
        "ms": measure(options.rounds, options.sides),
    }
    write_atomically(options.out, json.dumps(results, indent=1).encode())
    for name, times in results["ms"].items():
        print(f"{name}: training {times['training_ms']:.1f} ms an image, inference {times['inference_ms']:.1f}")


if __name__ == "__main__":
    main()
