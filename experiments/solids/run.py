"""One solid in 3D (paper, section 3.3): AIR, the same network with supervision, and direct descent, compared.

    python -m experiments.solids.run --out runs/solids

The experiment trains AIR without labels, and the same network with labels, once with and once without knowledge of the
solids' symmetries. It also fits poses by gradient descent, without a network. All are scored in the same way on
held-out scenes. `results.json`, `table.md`, `curves.png` and `side_by_side.png` go to --out. README.md has the numbers.
The same command continues after an interruption. `--smoke` does everything in seconds.
"""

import argparse
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from matplotlib.figure import Figure

from airjax.config import TrainConfig
from airjax.data import Scenes, load_scenes
from airjax.data.batches import channels_first
from airjax.inference import infer
from airjax.inference.poses import pose_scores, rotation_error
from airjax.models.air3d.model import AIR3D
from airjax.render3d import ONE_SOLID
from airjax.render3d.turntable import turntable
from airjax.runs import plots
from airjax.runs.record import load_model, read_record
from experiments import common, supervised
from experiments.solids import descent

STARTS = (1, 10)
"""Random starts per kind of direct descent."""
TAUGHT = {"told": ONE_SOLID, "untold": supervised.untold(ONE_SOLID)}
"""Stages of the supervised networks, with and without the symmetries of the solids.

A cube looks the same after a quarter turn; `untold` is taught its label as if it were the only right one.
"""
NAMES = {
    "air": "AIR, no labels",
    "told": "supervised, modulo symmetry",
    "untold": "supervised, labels as they are",
} | {f"descent_{n}": f"direct descent, {n} start{'s' * (n > 1)} a kind" for n in STARTS}
NEAR, TURNED = 0.03, 10.0
"""Tolerances of a right pose: a share of the table's width for position, degrees for rotation."""
TIMED = 256
"""Images in the timed batch."""
SEEN = "identity_accuracy", "position_error", "rotation_error_deg_cube", "rotation_error_deg_cylinder"
FIELDS = "held_out_elbo", "log_q", *(f"held_out_{name}" for name in SEEN)
"""Logged numbers that the curves show."""
SHOWN = 12
"""Scenes in the figure."""


def air_folder(options: argparse.Namespace, seed: int) -> Path:
    """Name the folder of a run of AIR."""
    return options.out / f"air_seed_{seed}"


def taught_folder(options: argparse.Namespace, name: str, seed: int) -> Path:
    """Name the folder of a supervised run."""
    return options.out / f"{name}_seed_{seed}"


def train_air(seed: int, options: argparse.Namespace, core: int) -> dict:
    """Train AIR, or continue, and score it by `airjax evaluate`."""
    flags = (*common.SMOKE_3D, "--canvas", "12") if options.smoke else ()
    folder, samples = air_folder(options, seed), common.SMOKE_SAMPLES if options.smoke else 10
    return common.train_and_evaluate(folder, "solids", *flags, "--seed", str(seed), samples=samples, core=core)


def teach(name: str, seed: int, learnt: Scenes, held_out: Scenes, options: argparse.Namespace) -> AIR3D:
    """Train a supervised network, or continue."""
    steps, every = (4, 2) if options.smoke else (options.steps, 500)
    config = TrainConfig(seed=seed, steps=steps, batch=64, evaluate_every=every)
    return supervised.fit(TAUGHT[name], learnt, held_out, config, taught_folder(options, name, seed), ONE_SOLID)


def descend(starts: int, scenes: Scenes, options: argparse.Namespace) -> descent.Fits:
    """Fit scenes by direct descent, unless this was done before."""
    path, steps = options.out / f"descent_{starts}.npz", 3 if options.smoke else 100
    if not path.exists():
        images, key = channels_first(scenes.images), jax.random.PRNGKey(starts)
        descent.descend(ONE_SOLID, images, starts=starts, steps=steps, key=key).save(path)
    return descent.load(path)


def right(what: Float32[np.ndarray, "n 4"], scenes: Scenes) -> Bool[np.ndarray, " n"]:
    """Test for each scene of one object whether identity, position and rotation are all right."""
    labels, poses = scenes.labels[:, 0], scenes.poses[:, 0]
    away = np.linalg.norm(what[:, :2] - poses[:, :2], axis=1) / (2 * ONE_SOLID.reach)
    symmetry = np.array([kind.symmetry for kind in ONE_SOLID.kinds])[labels]
    turned = np.degrees(rotation_error(what[:, 2], poses[:, 2], np.maximum(symmetry, 1)))
    return (what[:, 3] == labels) & (away < NEAR) & ((symmetry == 0) | (turned < TURNED))


def scores(method: str, seed: int, found: infer.Found, scenes: Scenes, ms: float) -> dict:
    """Score the poses that a method inferred."""
    poses = pose_scores(ONE_SOLID, found, scenes)
    all_right = float(np.mean(right(found.what[:, 0], scenes) & (found.count == 1)))
    return {"method": method, "seed": seed, **poses, "right": all_right, "ms_per_image": ms}


def placed(found: infer.Found, what: Float32[np.ndarray, "n 4"]) -> infer.Found:
    """Replace the inferred objects by one object of this pose per scene, in the fields that scores use."""
    return replace(found, count=np.ones(len(what), np.int32), what=what[:, None])


def milliseconds(model: AIR3D, images: UInt8[np.ndarray, "n 3 h w"], size: int) -> float:
    """Measure the processor time of inference and rendering, per image of a batch of this size: the median of 20."""
    batch, times = np.resize(images, (size, *images.shape[1:])), []
    infer.find(model, batch, batch=size)
    for _ in range(20):
        begin = time.process_time()
        infer.find(model, batch, batch=size)
        times.append(time.process_time() - begin)
    return 1e3 * float(np.median(times)) / size


def table(results: list[dict]) -> str:
    """Write the scores as a table in Markdown."""
    columns = {
        "matched": ("matched", ".1%"),
        "identity": ("identity_accuracy", ".2%"),
        "position, of the table's width": ("position_error", ".2%"),
        "rotation of cubes, degrees": ("rotation_error_deg_cube", ".1f"),
        "of cylinders": ("rotation_error_deg_cylinder", ".1f"),
        "all right": ("right", ".1%"),
        "processor ms an image": ("ms_per_image", ".2f"),
    }
    rows = []
    for method, name in NAMES.items():
        runs = [r for r in results if r["method"] == method]
        cells = common.spreads(runs, columns.values())
        rows.append((name, str(len(runs)), *cells))
    return common.markdown(("", "seeds", *columns), rows)


def curves(options: argparse.Namespace) -> Figure:
    """Plot the training of seed 0: bounds, and scores of held-out scenes."""
    folders = {NAMES["air"]: air_folder(options, 0)} | {NAMES[n]: taught_folder(options, n, 0) for n in TAUGHT}
    return common.curves(folders, FIELDS)


def side_by_side(scenes: Scenes, rows: list[Float32[np.ndarray, "n 4"]]) -> Figure:
    """Show scenes, and below them the solid that each method inferred, drawn by the same renderer."""
    shown, side = scenes[:SHOWN], scenes.images.shape[1]
    same = np.ones(len(shown), np.int32), np.full(len(shown), ONE_SOLID.azimuth, np.float32)
    draw = lambda what: turntable(ONE_SOLID, same[0], what[: len(shown), None], same[1], frames=1, side=side)[0]
    drawn = [draw(what).transpose(0, 2, 3, 1) for what in rows]
    return plots.sample_figure(np.concatenate([shown.images / 255.0, *drawn]), columns=len(shown))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "solids", None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4_000, help="steps of supervised training")
    parser.add_argument("--descended", type=int, default=100, help="held-out scenes for direct descent")
    options = parser.parse_args()
    options.timed = TIMED
    if options.smoke:  # as many images as are scored, so that both use one compiled program
        options.seeds, options.descended, options.timed = 1, 2, 32
    return options


def main() -> None:
    """Run the experiment."""
    options = arguments()
    seeds = range(options.seeds)
    air = common.on_cores([partial(train_air, seed, options) for seed in seeds], options.cores)
    data = read_record(air_folder(options, 0)).config.data
    learnt, held_out = load_scenes(data, "train"), load_scenes(data, "held-out")
    models = {("air", seed): load_model(air_folder(options, seed)) for seed in seeds}
    models |= {(name, seed): teach(name, seed, learnt, held_out, options) for name in TAUGHT for seed in seeds}
    images, few = channels_first(held_out.images), held_out[: options.descended]
    ms = {name: milliseconds(models[name, 0], images, options.timed) for name in ("air", *TAUGHT)}
    found = {case: infer.find(model, images) for case, model in models.items()}
    results = [scores(*case, each, held_out, ms[case[0]]) for case, each in found.items()]
    fits = {f"descent_{starts}": descend(starts, few, options) for starts in STARTS}
    first = infer.find(models["air", 0], channels_first(few.images))
    for name, fit in fits.items():
        results.append(scores(name, 0, placed(first, fit.best), few, 1e3 * float(np.median(fit.seconds))))
    common.write_results({"air": air, "methods": results}, options.out)
    plots.save_figure(curves(options), options.out / "curves.png")
    whats = [found[name, 0].what[:, 0] for name in ("air", *TAUGHT)] + [fit.best for fit in fits.values()]
    plots.save_figure(side_by_side(few, whats), options.out / "side_by_side.png")
    common.write_table(table(results), options.out)


if __name__ == "__main__":
    main()
