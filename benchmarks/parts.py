"""Measurements of airjax itself, one part per process: `python benchmarks/parts.py PART [options]`.

Every part prints one JSON object. `run.py` runs all parts and the peers in turn.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from airjax.config import Config, ModelConfig, TrainConfig
from airjax.data.batches import channels_first
from airjax.inference.infer import bound, find
from airjax.learning import trainer
from airjax.runs import presets

CHUNK = 50
"""Steps per call of the compiled program."""
LOOK_EVERY = 100
"""Steps between evaluations on held-out scenes."""
ACCURACY = 0.98
"""Share of held-out counts to reach."""


def seconds_of(work: Callable[[], Any], repeats: int) -> list[float]:
    """Return the seconds of repeated calls of `work`, after one call that isn't timed."""
    jax.block_until_ready(work())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - start)
    return times


def load(scenes: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read images [n, 1, h, w] and counts of an .npz file."""
    with np.load(scenes, allow_pickle=False) as data:
        return channels_first(data["images"]), data["counts"]


class Training:
    """Training on given images, chunk by chunk, with a clock that stops between chunks."""

    def __init__(self, model: ModelConfig, settings: TrainConfig, images: np.ndarray):
        self.model, self.settings, self.scenes = model, settings, len(images)
        self.fixed = (jnp.asarray(images), settings, trainer.step_with(model))
        self.done = 0
        start = time.perf_counter()
        self.state = jax.block_until_ready(trainer.init(model, settings, images.shape[1:]))
        self.clock = time.perf_counter() - start

    def advance(self, steps: int) -> float:
        """Train for `steps` steps; return their seconds."""
        start = time.perf_counter()
        indices = trainer.batch_indices(self.settings, self.scenes, self.done, steps)
        self.state, _ = jax.block_until_ready(trainer.run_chunk(self.fixed, self.state, jnp.asarray(indices)))
        taken = time.perf_counter() - start
        self.done, self.clock = self.done + steps, self.clock + taken
        return taken


def step(config: Config, images: np.ndarray, *, rounds: int = 6, chunk: int = CHUNK) -> dict:
    """Measure the time of a training step, the time of its compilation, and the peak memory of both."""
    training = Training(config.model, config.train, images)
    first = training.advance(chunk)
    seconds = [training.advance(chunk) / chunk for _ in range(rounds)]
    return {
        "step_ms": [1e3 * s for s in seconds],
        "compile_s": first - chunk * statistics.median(seconds),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(training.state.model, eqx.is_array))),
    }


def time_to(config: Config, images: np.ndarray, held_out: Path) -> dict:
    """Train, and find the time at which held-out accuracy reaches `ACCURACY`; the clock stops during evaluations."""
    looked_at, counts = load(held_out)
    training = Training(config.model, config.train, images)
    curve, reached = [], None
    while training.done < config.train.steps:
        training.advance(min(CHUNK, config.train.steps - training.done))
        if training.done % LOOK_EVERY and training.done != config.train.steps:
            continue
        score = float(np.mean(find(training.state.model, looked_at, batch=500).count == counts))
        curve.append({"step": training.done, "seconds": training.clock, "accuracy": score})
        reached = training.clock if reached is None and score >= ACCURACY else reached
    return {"seed": config.train.seed, "seconds": reached, "accuracy": curve[-1]["accuracy"], "curve": curve}


def infer(config: Config, images: np.ndarray, *, batch: int) -> dict:
    """Time `find`: images per second in batches, and milliseconds for one image."""
    model = trainer.init(config.model, config.train, images.shape[1:]).model
    many = images[: batch * 16]
    batched = seconds_of(lambda: find(model, many, batch=batch), 5)
    single = seconds_of(lambda: find(model, images[:1], batch=1), 50)
    return {
        "batch": batch,
        "images_per_s": [len(many) / s for s in batched],
        "one_image_ms": [1e3 * s for s in single],
    }


def limits() -> dict:
    """Measure the rate of a large float32 matrix product, and the bandwidth of copying an optimiser's arrays."""
    square = jnp.ones((2048, 2048))
    product = jax.jit(jnp.matmul)
    rate = [2 * 2048**3 / s for s in seconds_of(lambda: product(square, square), 15)]
    if jax.default_backend() == "cpu":
        # 13 M numbers: weights, gradients and Adam's two moments of a model of the paper's sizes. Two threads.
        source, target = np.ones(13_000_000, np.float32), np.zeros(13_000_000, np.float32)
        halves = slice(0, source.size // 2), slice(source.size // 2, None)
        with ThreadPoolExecutor(2) as threads:
            copy = lambda: list(threads.map(lambda half: np.copyto(target[half], source[half]), halves))
            times = seconds_of(copy, 15)
    else:
        source = jnp.ones(13_000_000)
        times = seconds_of(lambda: jnp.copy(source), 15)
    moved = 2 * 4 * 13_000_000
    return {"multiply_flops_per_s": rate, "copy_bytes_per_s": [moved / s for s in times]}


def scenes_of(side: int, number: int) -> np.ndarray:
    """Make random images of `side` pixels, [n, 1, side, side], to compute with."""
    return np.random.default_rng(0).integers(0, 256, (number, 1, side, side), np.uint8)


def growth(config: Config, *, quick: bool = False) -> dict:
    """Time a training step for several maximum counts, image sides and batches, and bounds for several samples."""
    base, settings = config.model, replace(config.train, steps=10_000)

    def timed(model: ModelConfig, batch: int = 64, side: int = 50) -> float:
        chunk = 2 if quick else 5
        result = step(
            Config(config.data, model, replace(settings, batch=batch)),
            scenes_of(side, 2 * batch),
            rounds=3,
            chunk=chunk,
        )
        return statistics.median(result["step_ms"])

    counts = (1, 2) if quick else (1, 2, 3, 4, 6, 8, 12, 16)
    sides = (32, 50) if quick else (32, 50, 64, 96, 128, 192, 256)
    batches = (16, 64) if quick else (16, 32, 64, 128, 256, 512, 1024)
    model = trainer.init(base, settings, (1, 50, 50)).model
    images, key = scenes_of(50, 100), jax.random.PRNGKey(0)
    bounds = {}
    for samples in (1, 5) if quick else (1, 5, 10, 20, 50, 100):
        work = lambda k=samples: bound(model, images, samples=k, key=key).elbo
        bounds[samples] = 1e3 * statistics.median(seconds_of(work, 3)) / len(images)
    return {
        "max_objects": {n: timed(replace(base, max_objects=n)) for n in counts},
        "side": {s: timed(base, side=s) for s in sides},
        "batch": {b: timed(base, batch=b) for b in batches},
        "samples": bounds,
    }


def make_run(config: Config, images: np.ndarray, folder: Path) -> None:
    """Write a run of one step and a picture to `folder`, to time starts of the command line."""
    from PIL import Image

    from airjax.data import Scenes
    from airjax.runs import fit

    short = replace(config, train=replace(config.train, steps=1))
    few = Scenes(images[:128, 0])
    fit.fit(short, few, few, folder / "run", progress=False)
    Image.fromarray(images[0, 0]).save(folder / "picture.png")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["step", "time-to", "infer", "limits", "growth", "make-run"])
    parser.add_argument("--scenes", type=Path)
    parser.add_argument("--held-out", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=256, help="images in a batch of inference")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    config = presets.load(arguments.preset)
    config = replace(config, train=replace(config.train, seed=arguments.seed))
    images = load(arguments.scenes)[0] if arguments.scenes else scenes_of(50, 4096)
    match arguments.part:
        case "step":
            result = step(config, images, rounds=1 if arguments.quick else 6)
        case "time-to":
            if arguments.quick:
                config = replace(config, train=replace(config.train, steps=10))
            result = time_to(config, images, arguments.held_out)
        case "infer":
            result = infer(config, images, batch=arguments.batch)
        case "limits":
            result = limits()
        case "growth":
            result = growth(config, quick=arguments.quick)
        case "make-run":
            result = {"folder": str(arguments.folder)}
            make_run(config, images, arguments.folder)
    result["device"] = jax.devices()[0].device_kind
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
