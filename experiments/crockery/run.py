"""A table of up to three pieces of crockery in 3D (paper, section 3.3): number, identity, position and rotation.

    python -m experiments.crockery.run --out runs/crockery

The experiment trains AIR without labels, with a known and an unknown camera, and on scenes of 0 to 2 objects for a test
on 3. It trains the same network with labels, on scenes with and without several objects of a kind. It also tests AIR on
scenes that MuJoCo renders, which needs `airjax[mujoco]`. `results.json`, `table.md`, `curves.png`, `side_by_side.png`,
`three.png` and `turntable.gif` go to --out. README.md has the numbers. The same command continues after an
interruption. `--smoke` does everything in a few steps.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from airjax.config import DataConfig, TrainConfig
from airjax.data import Scenes, load_scenes
from airjax.data.batches import channels_first
from airjax.data.tables import tables
from airjax.inference import infer
from airjax.models.air3d.model import AIR3D
from airjax.render3d import LAID_TABLE
from airjax.runs import plots
from airjax.runs.figures import TURNED, draw_turntable
from airjax.runs.record import load_model, read_record
from experiments import common, supervised

RUNS = common.settings(__file__)
SHOWN = {
    "air": ("different", "three"),
    "to_two": ("three",),
    "taught": ("repeats", "different"),
    "taught_different": ("repeats", "different"),
}
"""Test scenes of each model, besides held-out scenes like its training scenes."""
SPECIAL = {"different": {"counts": (0, 1, 2, 3), "repeats": False}, "three": {"counts": (3,)}}
"""Scenes without repeated kinds, and scenes of three objects."""
SPECIAL_SEED = 1_000_003
"""Seed of these scenes; no run's data uses it."""
TAUGHT = {"taught": True, "taught_different": False}
"""Supervised networks; whether their training scenes can have several objects of a kind."""
NAMES = {
    "air": "AIR, no labels",
    "round": "AIR, camera unknown",
    "to_two": "AIR, learned from 0 to 2 objects",
    "taught": "supervised",
    "taught_different": "supervised, learned from scenes without repeats",
}
SCENES = {
    "own": "like those learned from",
    "different": "without repeats",
    "repeats": "with repeats",
    "three": "3 objects",
    "mujoco": "drawn by MuJoCo",
}
SEEN = "count_accuracy", "identity_accuracy", "position_error", "rotation_error_deg"
FIELDS = "held_out_elbo", "log_q", *(f"held_out_{name}" for name in SEEN)
"""Logged numbers that the curves show."""
COLUMNS = 12
"""Scenes in a figure."""


def folder(options: argparse.Namespace, name: str, seed: int) -> Path:
    """Name the folder of a run."""
    return options.out / f"{name}_seed_{seed}"


def special(name: str, data: DataConfig) -> Scenes:
    """Make special scenes of the number and size of a run's held-out scenes."""
    return tables(LAID_TABLE, data.held_out_scenes, seed=SPECIAL_SEED, canvas=data.canvas, **SPECIAL[name])


def train_air(name: str, seed: int, options: argparse.Namespace, core: int) -> dict:
    """Train AIR, or continue, and score it on held-out scenes like its training scenes."""
    flags = (*common.SMOKE_3D, "--canvas", "16") if options.smoke else ()
    run, samples = folder(options, name, seed), common.SMOKE_SAMPLES if options.smoke else 10
    own = common.train_and_evaluate(
        run, *common.flags(RUNS[name], options), *flags, "--seed", str(seed), samples=samples, core=core
    )
    return {"model": name, "seed": seed, "shown": "own"} | own


def redrawn(seed: int, options: argparse.Namespace, core: int) -> dict:
    """Score AIR on its held-out scenes, rendered by MuJoCo."""
    run, samples = folder(options, "air", seed), common.SMOKE_SAMPLES if options.smoke else 10
    scores = common.evaluate(run, "--renderer", "mujoco", samples=samples, core=core, name="mujoco")
    return {"model": "air", "seed": seed, "shown": "mujoco"} | scores


def teach(name: str, seed: int, data: DataConfig, options: argparse.Namespace) -> AIR3D:
    """Train a supervised network, or continue."""
    make = partial(tables, LAID_TABLE, counts=data.counts, canvas=data.canvas, repeats=TAUGHT[name])
    learnt = make(data.scenes, seed=2 * data.data_seed)
    held_out = make(min(data.held_out_scenes, supervised.QUICK_SCENES), seed=2 * data.data_seed + 1)
    steps, every = (4, 2) if options.smoke else (options.steps, 500)
    config = TrainConfig(seed=seed, steps=steps, batch=64, evaluate_every=every)
    return supervised.fit(LAID_TABLE, learnt, held_out, config, folder(options, name, seed), LAID_TABLE)


def show(models: dict[tuple[str, int], AIR3D], scenes: dict[str, Scenes]) -> list[dict]:
    """Score every model and seed on its test scenes of `SHOWN`."""
    return [
        {"model": name, "seed": seed, "shown": shown} | supervised.scores(LAID_TABLE, model, scenes[shown])
        for (name, seed), model in models.items()
        for shown in SHOWN[name]
    ]


def table(results: list[dict]) -> str:
    """Write the scores as a table in Markdown."""
    columns = {
        "count": ("count_accuracy_mode", ".1%"),
        "matched": ("matched", ".1%"),
        "identity": ("identity_accuracy", ".1%"),
        "position": ("position_error", ".1%"),
        "rotation of cups": ("rotation_error_deg_cup", ".0f"),
        "of plates": ("rotation_error_deg_plate", ".0f"),
        "azimuth": ("azimuth_error_deg", ".1f"),
    }
    rows = []
    for model, shown in dict.fromkeys((r["model"], r["shown"]) for r in results):
        runs = [r for r in results if (r["model"], r["shown"]) == (model, shown)]
        cells = common.spreads(runs, columns.values())
        rows.append((NAMES[model], SCENES[shown], str(len(runs)), *cells))
    return common.markdown(("", "shown scenes", "seeds", *columns), rows)


def reconstructions(scenes: Scenes, models: list[AIR3D]) -> Figure:
    """Show scenes, and below them their reconstructions by each model."""
    shown = scenes[:COLUMNS]
    images = channels_first(shown.images)
    drawn = [common.reconstructions(infer.find(model, images)).transpose(0, 2, 3, 1) for model in models]
    return plots.sample_figure(np.concatenate([shown.images / 255.0, *drawn]), columns=len(images))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "crockery", None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3_000, help="steps of supervised training")
    options = parser.parse_args()
    options.seeds = 1 if options.smoke else options.seeds
    options.runs = [name for name in RUNS if not (options.smoke and name == "round")]  # it compiles for long
    return options


def main() -> None:
    """Run the experiment."""
    options = arguments()
    seeds = range(options.seeds)
    jobs = [partial(train_air, name, seed, options) for seed in seeds for name in options.runs]
    results = common.on_cores(jobs, options.cores)
    results += common.on_cores([partial(redrawn, seed, options) for seed in seeds], options.cores)
    data = read_record(folder(options, "air", 0)).config.data
    scenes = {"repeats": load_scenes(data, "held-out")} | {name: special(name, data) for name in SPECIAL}
    models = {(name, seed): load_model(folder(options, name, seed)) for name in ("air", "to_two") for seed in seeds}
    models |= {(name, seed): teach(name, seed, data, options) for name in TAUGHT for seed in seeds}
    results += show(models, scenes)
    common.write_results({"runs": results}, options.out)
    trained = (*options.runs, *TAUGHT)
    curves = common.curves({NAMES[name]: folder(options, name, 0) for name in trained}, FIELDS)
    plots.save_figure(curves, options.out / "curves.png")
    beside = [models[name, 0] for name in ("air", *TAUGHT)]
    plots.save_figure(reconstructions(scenes["repeats"], beside), options.out / "side_by_side.png")
    plots.save_figure(reconstructions(scenes["three"], [models["to_two", 0]]), options.out / "three.png")
    turned = scenes["repeats"][:TURNED]
    found = infer.find(models["air", 0], channels_first(turned.images))
    draw_turntable(models["air", 0].stage, turned, found, options.out / "turntable.gif")
    common.write_table(table(results), options.out)


if __name__ == "__main__":
    main()
