"""Many objects: accuracy of counts and boxes for 0 to 9 objects, in scenes of 64 to 128 pixels, with N = 12.

    python -m experiments.many_objects.run --data-dir MNIST --out runs/many_objects

The experiment trains AIR and Difference AIR on scenes of digits of about 20 pixels, and of sprites, for each size of
canvas. It scores them on held-out scenes, separately for each true number of objects. `results.json`, `table.md`, a
figure of scores and one of scenes go to --out. README.md has the expected numbers. `--smoke` does the same with tiny
runs on the embedded digits, without sprites.
"""

import argparse
from functools import partial
from itertools import product
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from airjax.config import TrainConfig
from airjax.data import Scenes, load_scenes
from airjax.data.batches import channels_first
from airjax.inference import evaluate, infer, metrics
from airjax.runs.plots import sample_figure, save_figure
from airjax.runs.record import load_model, read_record
from experiments import common

MODELS = common.settings(__file__)
NAMES = {"air": "AIR", "difference": "Difference AIR"}
SIDES = {"digits": 20, "sprites": 14}
"""Side of a digit's tile, or mean side of a sprite, in pixels."""
COUNTS = range(10)
SHOWN = 10
"""Scenes in a row of the figure of scenes, one per count."""
BATCH = 100
"""Scenes per batch of inference; their reconstructions after every object take much memory."""
TINY = (
    *("multi-digits", "--steps", "2", "--chunk", "1", "--batch", "16", "--scenes", "64", "--held-out-scenes", "64"),
    *("--hidden", "32", "--embed-channels", "2", "--embed-hidden", "16", "--head-hidden", "16", "--patch-hidden", "32"),
)
"""Data and flags of a smoke run, smaller than elsewhere because inference has twelve steps."""
SCORES = {"accuracy": "count accuracy", "ap50": "AP50", "error": "mean error of the count"}


def train(kind: str, canvas: int, model: str, options: argparse.Namespace, core: int) -> dict:
    """Train a model on scenes of one kind of objects, and score it for each number of objects."""
    folder = folder_of(kind, canvas, model, options)
    flags = (*data_flags(kind, canvas, options), *window_flags(kind, canvas), *common.flags(MODELS[model], options))
    scores = common.train_and_evaluate(folder, *flags, samples=options.samples, core=core)
    return {"kind": kind, "canvas": canvas, "model": model, "scores": scores, "by_count": by_count(folder)}


def folder_of(kind: str, canvas: int, model: str, options: argparse.Namespace) -> Path:
    """Name the folder of a run."""
    return options.out / f"{kind}_{canvas}_{model}"


def data_flags(kind: str, canvas: int, options: argparse.Namespace) -> tuple[str, ...]:
    """Make the flags of scenes of up to nine objects, and of the length of the run."""
    side, digits = SIDES[kind], TINY if options.smoke else common.digits(options)
    scenes = (*digits, "--digit-side", str(side - 2), str(side + 2)) if kind == "digits" else ("sprites",)
    return (*scenes, "--canvas", str(canvas), "--counts", *map(str, COUNTS), *options.flags)


def window_flags(kind: str, canvas: int) -> tuple[str, ...]:
    """Make the flags that fit windows to the size of the objects."""
    return ("--window", str(SIDES[kind]), "--scale", f"{SIDES[kind] / canvas:.3f}")


def held_out(folder: Path) -> tuple[Scenes, infer.Found]:
    """Load the held-out scenes of a run, and infer their objects."""
    scenes = load_scenes(read_record(folder).config.data, "held-out")
    return scenes, infer.find(load_model(folder), channels_first(scenes.images), batch=BATCH)


def by_count(folder: Path) -> list[dict]:
    """Score counts and boxes of the held-out scenes for each true number of objects."""
    scenes, found = held_out(folder)
    return [scores_of(scenes, found, np.flatnonzero(scenes.counts == count)) for count in COUNTS]


def scores_of(scenes: Scenes, found: infer.Found, rows: np.ndarray) -> dict[str, float | None]:
    """Score some of the scenes: the share of right counts, AP50, and the mean of inferred minus true count."""
    some, there = scenes[rows], select(found, rows)
    return {
        "accuracy": metrics.count_accuracy(there.count, some.counts),
        "ap50": evaluate.box_scores(there, some)["ap50"],
        "error": float(np.mean(there.count - some.counts)),
    }


def select(found: infer.Found, rows: np.ndarray) -> infer.Found:
    """Select what was inferred of some scenes."""
    return jax.tree.map(lambda array: array[rows], found)


def scores_figure(results: list[dict], options: argparse.Namespace) -> Figure:
    """Plot the scores by the true number of objects: one row per kind, one line per model and canvas."""
    figure = Figure(figsize=(9, 2.8 * len(options.kinds)), layout="constrained")
    panels = figure.subplots(len(options.kinds), len(SCORES), squeeze=False)
    for result in results:
        row, marker = options.kinds.index(result["kind"]), {"air": "o-", "difference": "^--"}[result["model"]]
        colour = f"C{options.canvases.index(result['canvas'])}"
        label = f"{NAMES[result['model']]}, {result['canvas']} px"
        for panel, name in zip(panels[row], SCORES):
            # AP is undefined for scenes without objects.
            heights = [np.nan if scores[name] is None else scores[name] for scores in result["by_count"]]
            panel.plot(COUNTS, heights, marker, color=colour, markersize=3, linewidth=1, label=label)
    for (kind, name), panel in zip(product(options.kinds, SCORES), panels.flat):
        panel.set(title=f"{kind}: {SCORES[name]}", xlabel="true number of objects", xticks=COUNTS)
        panel.grid(alpha=0.3)
        if name != "error":
            panel.set_ylim(-0.03, 1.03)
    panels[0, 0].legend(frameon=False, fontsize=6)
    return figure


def scenes_figure(options: argparse.Namespace) -> Figure:
    """Show scenes of 0 to 9 objects, with true boxes, and below them reconstructions and boxes of each model.

    The objects are of the first kind, the canvas is the middle one.
    """
    rows, boxes = [], []
    for model in MODELS:
        folder = folder_of(options.kinds[0], options.canvases[len(options.canvases) // 2], model, options)
        scenes, found = held_out(folder)
        first = np.array([np.flatnonzero(scenes.counts == count)[0] for count in COUNTS])
        if not rows:
            rows.append(scenes.images[first] / 255)
            boxes.append(np.pad(scenes.boxes[first], [(0, 0), (0, 3), (0, 0)], constant_values=np.nan))
        there = select(found, first)
        rows.append(np.clip(common.reconstructions(there)[:, 0], 0, 1))
        boxes.append(np.where(there.present[..., None], there.boxes, np.nan))
    return sample_figure(np.concatenate(rows), np.concatenate(boxes), columns=SHOWN)


def table(results: list[dict]) -> str:
    """Write the scores as a table in Markdown: one row per run and score, one column per true number of objects."""
    rows, forms = [], {"accuracy": "{:.1%}", "ap50": "{:.3f}", "error": "{:+.2f}"}
    for result, (name, form) in product(results, forms.items()):
        values = ["" if scores[name] is None else form.format(scores[name]) for scores in result["by_count"]]
        rows.append([result["kind"], str(result["canvas"]), NAMES[result["model"]], SCORES[name], *values])
    return common.markdown(["objects", "canvas", "model", "score", *map(str, COUNTS)], rows)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "many_objects")
    parser.add_argument("--steps", type=int, default=TrainConfig().steps)
    parser.add_argument("--kinds", nargs="+", choices=SIDES, default=list(SIDES), help="kinds of objects")
    parser.add_argument("--canvases", type=int, nargs="+", default=[64, 96, 128], help="sides of the scenes, in pixels")
    options = parser.parse_args()
    options.samples, options.flags = 5, ("--steps", str(options.steps), "--held-out-scenes", "2000")
    if options.smoke:
        options.kinds, options.canvases, options.samples, options.flags = ["digits"], [64], common.SMOKE_SAMPLES, ()
    return options


def main() -> None:
    """Run the experiment."""
    options = arguments()
    cases = list(product(options.kinds, options.canvases, MODELS))
    results = common.on_cores([partial(train, *case, options) for case in cases], options.cores)
    common.write_results({"runs": results}, options.out)
    save_figure(scores_figure(results, options), options.out / "scores.png")
    save_figure(scenes_figure(options), options.out / "scenes.png")
    common.write_table(table(results), options.out)


if __name__ == "__main__":
    main()
