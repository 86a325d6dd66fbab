"""One solid in 3D (paper, section 3.3): AIR, the same network with supervision, and direct descent, side by side.

    python experiments/solids/run.py --out runs/solids

Trains AIR without labels; its network with labels, which know what looks the same or don't; and fits poses by gradient
descent, without any network. All are scored alike, on held-out scenes. Writes `results.json`, `table.md`, `curves.png`
and `side_by_side.png` to --out. README.md beside this file has the numbers. What is finished is kept, so that the same
command goes on after an interruption. `--smoke` does everything in seconds.
"""

import argparse
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from airjax.data.batches import channels_first

sys.path.insert(0, str(Path(__file__).parents[1]))
import common
import descent
import jax
import numpy as np
import supervised
from jaxtyping import Bool, Float32, UInt8
from matplotlib.figure import Figure

from airjax.config import TrainConfig
from airjax.data import Scenes, load_scenes
from airjax.inference import infer
from airjax.inference.poses import pose_scores, rotation_error
from airjax.models.air3d.model import AIR3D
from airjax.render3d import ONE_SOLID
from airjax.render3d.turntable import turntable
from airjax.runs import plots
from airjax.runs.record import load_model, read_record

STARTS = (1, 10)
"""Random starts for each kind, of direct descent."""
TAUGHT = {"told": ONE_SOLID, "untold": supervised.untold(ONE_SOLID)}
"""What supervised networks know: which rotations look the same; or labels alone, one of four for a cube."""
NAMES = {
    "air": "AIR, no labels",
    "told": "supervised, modulo symmetry",
    "untold": "supervised, labels as they are",
} | {f"descent_{n}": f"direct descent, {n} start{'s' * (n > 1)} a kind" for n in STARTS}
NEAR, TURNED = 0.03, 10.0
"""What is right: identity, position within this share of the table's width, rotation within so many degrees."""
TIMED = 256
"""Images in the batch that is timed."""
SEEN = "identity_accuracy", "position_error", "rotation_error_deg_cube", "rotation_error_deg_cylinder"
FIELDS = "held_out_elbo", "log_q", *(f"held_out_{name}" for name in SEEN)
"""What is plotted of training."""
SHOWN = 12
"""Scenes in the figure."""


def air_folder(options: argparse.Namespace, seed: int) -> Path:
    """Name the folder of a run of AIR."""
    return options.out / f"air_seed_{seed}"


def taught_folder(options: argparse.Namespace, name: str, seed: int) -> Path:
    """Name the folder of a supervised run."""
    return options.out / f"{name}_seed_{seed}"


def train_air(seed: int, options: argparse.Namespace, core: int) -> dict:
    """Train AIR, or finish it, and score it as `airjax evaluate` does."""
    flags = (*common.SMOKE, "--canvas", "12") if options.smoke else ()
    folder, samples = air_folder(options, seed), common.SMOKE_SAMPLES if options.smoke else 10
    return common.train_and_evaluate(folder, "solids", *flags, "--seed", str(seed), samples=samples, core=core)


def teach(name: str, seed: int, learnt: Scenes, held_out: Scenes, options: argparse.Namespace) -> AIR3D:
    """Train a supervised network, or finish it."""
    steps, every = (20, 10) if options.smoke else (options.steps, 500)
    config = TrainConfig(seed=seed, steps=steps, batch=64, evaluate_every=every)
    return supervised.fit(TAUGHT[name], learnt, held_out, config, taught_folder(options, name, seed), ONE_SOLID)


def descend(starts: int, scenes: Scenes, options: argparse.Namespace) -> descent.Fits:
    """Descend on pictures, unless that has been done."""
    path, steps = options.out / f"descent_{starts}.npz", 3 if options.smoke else 100
    if not path.exists():
        images, key = channels_first(scenes.images), jax.random.PRNGKey(starts)
        descent.descend(ONE_SOLID, images, starts=starts, steps=steps, key=key).save(path)
    return descent.load(path)


def right(what: Float32[np.ndarray, "n 4"], scenes: Scenes) -> Bool[np.ndarray, " n"]:
    """Tell in which scenes of one object identity, position and rotation are all right."""
    labels, poses = scenes.labels[:, 0], scenes.poses[:, 0]
    away = np.linalg.norm(what[:, :2] - poses[:, :2], axis=1) / (2 * ONE_SOLID.reach)
    symmetry = np.array([kind.symmetry for kind in ONE_SOLID.kinds])[labels]
    turned = np.degrees(rotation_error(what[:, 2], poses[:, 2], np.maximum(symmetry, 1)))
    return (what[:, 3] == labels) & (away < NEAR) & ((symmetry == 0) | (turned < TURNED))


def scores(method: str, seed: int, found: infer.Found, scenes: Scenes, ms: float) -> dict:
    """Score what a method found."""
    poses = pose_scores(ONE_SOLID, found, scenes)
    all_right = float(np.mean(right(found.what[:, 0], scenes) & (found.count == 1)))
    return {"method": method, "seed": seed, **poses, "right": all_right, "ms_per_image": ms}


def placed(found: infer.Found, what: Float32[np.ndarray, "n 4"]) -> infer.Found:
    """Put one object of this pose in place of what was found in each scene, as far as it is scored."""
    return replace(found, count=np.ones(len(what), np.int32), what=what[:, None])


def milliseconds(model: AIR3D, images: UInt8[np.ndarray, "n 3 h w"]) -> float:
    """Take inference's processor time, the scene redrawn, for an image in a batch: the median of 20."""
    batch, times = np.resize(images, (TIMED, *images.shape[1:])), []
    infer.find(model, batch, batch=TIMED)
    for _ in range(20):
        begin = time.process_time()
        infer.find(model, batch, batch=TIMED)
        times.append(time.process_time() - begin)
    return 1e3 * float(np.median(times)) / TIMED


def table(results: list[dict]) -> str:
    """Write scores as a table in Markdown."""
    columns = {
        "matched": ("matched", ".1%"),
        "identity": ("identity_accuracy", ".2%"),
        "position, of the table's width": ("position_error", ".2%"),
        "rotation of cubes, degrees": ("rotation_error_deg_cube", ".1f"),
        "of cylinders": ("rotation_error_deg_cylinder", ".1f"),
        "all right": ("right", ".1%"),
        "processor ms an image": ("ms_per_image", ".2f"),
    }
    lines = [("", "seeds", *columns), ["---"] * (2 + len(columns))]
    for method, name in NAMES.items():
        runs = [r for r in results if r["method"] == method]
        cells = [common.spread([r[score] for r in runs], form) for score, form in columns.values()]
        lines.append((name, str(len(runs)), *cells))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def curves(options: argparse.Namespace) -> Figure:
    """Plot the training of seed 0: bounds, and what was seen of held-out scenes."""
    folders = {NAMES["air"]: air_folder(options, 0)} | {NAMES[n]: taught_folder(options, n, 0) for n in TAUGHT}
    return common.curves(folders, FIELDS)


def side_by_side(scenes: Scenes, rows: list[Float32[np.ndarray, "n 4"]]) -> Figure:
    """Show scenes, and below them each method's solid, drawn by the same renderer."""
    shown, side = scenes[:SHOWN], scenes.images.shape[1]
    same = np.ones(len(shown), np.int32), np.full(len(shown), ONE_SOLID.azimuth, np.float32)
    draw = lambda what: turntable(ONE_SOLID, same[0], what[: len(shown), None], same[1], frames=1, side=side)[0]
    drawn = [draw(what).transpose(0, 2, 3, 1) for what in rows]
    return plots.sample_figure(np.concatenate([shown.images / 255.0, *drawn]), columns=len(shown))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "solids", None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4_000, help="of supervised training")
    parser.add_argument("--descended", type=int, default=100, help="held-out scenes for direct descent")
    options = parser.parse_args()
    if options.smoke:
        options.seeds, options.descended = 1, 2
    return options


def main() -> None:
    """Run everything."""
    options = arguments()
    seeds = range(options.seeds)
    air = common.on_cores([partial(train_air, seed, options) for seed in seeds], options.cores)
    data = read_record(air_folder(options, 0)).config.data
    learnt, held_out = load_scenes(data, "train"), load_scenes(data, "held-out")
    models = {("air", seed): load_model(air_folder(options, seed)) for seed in seeds}
    models |= {(name, seed): teach(name, seed, learnt, held_out, options) for name in TAUGHT for seed in seeds}
    images, few = channels_first(held_out.images), held_out[: options.descended]
    ms = {name: milliseconds(models[name, 0], images) for name in ("air", *TAUGHT)}
    found = {case: infer.find(model, images) for case, model in models.items()}
    results = [scores(*case, each, held_out, ms[case[0]]) for case, each in found.items()]
    fits = {f"descent_{starts}": descend(starts, few, options) for starts in STARTS}
    first = infer.find(models["air", 0], channels_first(few.images))
    for name, fit in fits.items():
        results.append(scores(name, 0, placed(first, fit.best), few, 1e3 * float(np.median(fit.seconds))))
    common.write_results({"air": air, "methods": results}, options.out)
    (options.out / "table.md").write_text(table(results))
    plots.save_figure(curves(options), options.out / "curves.png")
    whats = [found[name, 0].what[:, 0] for name in ("air", *TAUGHT)] + [fit.best for fit in fits.values()]
    plots.save_figure(side_by_side(few, whats), options.out / "side_by_side.png")
    print(table(results))


if __name__ == "__main__":
    main()
