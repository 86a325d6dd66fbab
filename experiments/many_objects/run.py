"""Many objects: how counts and boxes hold up from 0 to 9 objects, in scenes of 64 to 128 pixels, with N = 12.

    python experiments/many_objects/run.py --data-dir MNIST --out runs/many_objects

Trains AIR and Difference AIR on scenes of digits of about 20 pixels, and of sprites, on each canvas, and scores both on
held-out scenes by their true number of objects. Writes `results.json`, `table.md`, a figure of scores and one of scenes
to --out. README.md beside this file has the expected numbers. `--smoke` does the same with tiny runs on the embedded
digits, without sprites.
"""

import argparse
import sys
from functools import partial
from itertools import product
from pathlib import Path

from airjax.data.batches import channels_first

sys.path.insert(0, str(Path(__file__).parents[1]))
import common
import jax
import numpy as np
from matplotlib.figure import Figure

from airjax.config import TrainConfig
from airjax.data import Scenes, load_scenes
from airjax.inference import evaluate, infer, metrics
from airjax.runs.plots import sample_figure, save_figure
from airjax.runs.record import load_model, read_record

MODELS = {"air": (), "difference": ("--difference",)}
"""Flags of `airjax train` that make each model."""
NAMES = {"air": "AIR", "difference": "Difference AIR"}
SIDES = {"digits": 20, "sprites": 14}
"""Side of an object's tile, or of a sprite on average, in pixels."""
COUNTS = range(10)
SHOWN = 10
"""Scenes in a row of the figure of scenes, one for each count."""
BATCH = 100
"""Scenes at a time in inference: reconstructions after every object take much memory."""
TINY = ("multi-digits", "--steps", "2", "--chunk", "1", "--scenes", "100", "--held-out-scenes", "100", "--hidden", "32")
"""Digits, and flags, of a run that learns nothing: twelve steps of inference take long as it is."""
SCORES = {"accuracy": "count accuracy", "ap50": "AP50", "error": "mean error of the count"}


def train(kind: str, canvas: int, model: str, options: argparse.Namespace, core: int) -> dict:
    """Train a model on scenes of a kind of objects, and score it by their number."""
    folder = folder_of(kind, canvas, model, options)
    flags = (*data_flags(kind, canvas, options), *model_flags(kind, canvas), *MODELS[model])
    scores = common.train_and_evaluate(folder, *flags, samples=options.samples, core=core)
    return {"kind": kind, "canvas": canvas, "model": model, "scores": scores, "by_count": by_count(folder)}


def folder_of(kind: str, canvas: int, model: str, options: argparse.Namespace) -> Path:
    """Name a run's folder."""
    return options.out / f"{kind}_{canvas}_{model}"


def data_flags(kind: str, canvas: int, options: argparse.Namespace) -> tuple[str, ...]:
    """Name the scenes: up to nine objects, whatever the canvas."""
    side, digits = SIDES[kind], TINY if options.smoke else common.digits(options)
    scenes = (*digits, "--digit-side", str(side - 2), str(side + 2)) if kind == "digits" else ("sprites",)
    return (*scenes, "--canvas", str(canvas), "--counts", *map(str, COUNTS), *options.flags)


def model_flags(kind: str, canvas: int) -> tuple[str, ...]:
    """Size windows to objects, and place them by attention."""
    scale = f"{SIDES[kind] / canvas:.3f}"
    sizes = ("--max-objects", "12", "--window", str(SIDES[kind]), "--scale", scale, "--patch-hidden", "256")
    price = ("--count-ratio-start", "1", "--anneal-steps", "300", "--no-learn-count")
    return (*sizes, *price, "--attention", "64", "--no-learn-where")


def held_out(folder: Path) -> tuple[Scenes, infer.Found]:
    """Load a run's held-out scenes, and what it finds in them."""
    scenes = load_scenes(read_record(folder).config.data, "held-out")
    return scenes, infer.find(load_model(folder), channels_first(scenes.images), batch=BATCH)


def by_count(folder: Path) -> list[dict]:
    """Score counts and boxes of the held-out scenes, apart for each true number of objects."""
    scenes, found = held_out(folder)
    return [scores_of(scenes, found, np.flatnonzero(scenes.counts == count)) for count in COUNTS]


def scores_of(scenes: Scenes, found: infer.Found, rows: np.ndarray) -> dict[str, float | None]:
    """Score some of the scenes: the share of right counts, AP50, and the mean of inferred minus true count."""
    some, there = scenes[rows], jax.tree.map(lambda array: array[rows], found)
    return {
        "accuracy": metrics.count_accuracy(there.count, some.counts),
        "ap50": evaluate.box_scores(there, some)["ap50"],
        "error": float(np.mean(there.count - some.counts)),
    }


def scores_figure(results: list[dict], options: argparse.Namespace) -> Figure:
    """Plot the scores by the true number of objects: a row a kind, a line a model and canvas."""
    figure = Figure(figsize=(9, 2.8 * len(options.kinds)), layout="constrained")
    panels = figure.subplots(len(options.kinds), len(SCORES), squeeze=False)
    for result in results:
        row, marker = options.kinds.index(result["kind"]), {"air": "o-", "difference": "^--"}[result["model"]]
        colour = f"C{options.canvases.index(result['canvas'])}"
        label = f"{NAMES[result['model']]}, {result['canvas']} px"
        for panel, name in zip(panels[row], SCORES):
            # AP is not defined without objects.
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
    """Show objects of the first kind on the middle canvas, 0 to 9: true boxes, and what each model draws in which."""
    rows, boxes = [], []
    for model in MODELS:
        folder = folder_of(options.kinds[0], options.canvases[len(options.canvases) // 2], model, options)
        scenes, found = held_out(folder)
        first = np.array([np.flatnonzero(scenes.counts == count)[0] for count in COUNTS])
        if not rows:
            rows.append(scenes.images[first] / 255)
            boxes.append(np.pad(scenes.boxes[first], [(0, 0), (0, 3), (0, 0)], constant_values=np.nan))
        rows.append(np.clip(found.canvases[first, found.count[first], 0], 0, 1))
        boxes.append(np.where(found.present[first, :, None], found.boxes[first], np.nan))
    return sample_figure(np.concatenate(rows), np.concatenate(boxes), columns=SHOWN)


def table(results: list[dict]) -> str:
    """Write the scores as a table in Markdown: a row a run and score, a column a true number of objects."""
    lines = [["objects", "canvas", "model", "score", *map(str, COUNTS)], ["---"] * (4 + len(COUNTS))]
    forms = {"accuracy": "{:.1%}", "ap50": "{:.3f}", "error": "{:+.2f}"}
    for result, (name, form) in product(results, forms.items()):
        values = ["" if scores[name] is None else form.format(scores[name]) for scores in result["by_count"]]
        lines.append([result["kind"], str(result["canvas"]), NAMES[result["model"]], SCORES[name], *values])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "many_objects")
    parser.add_argument("--steps", type=int, default=TrainConfig().steps)
    parser.add_argument("--kinds", nargs="+", choices=SIDES, default=list(SIDES), help="of objects")
    parser.add_argument("--canvases", type=int, nargs="+", default=[64, 96, 128])
    options = parser.parse_args()
    options.samples, options.flags = 5, ("--steps", str(options.steps), "--held-out-scenes", "2000")
    if options.smoke:
        options.kinds, options.canvases, options.samples, options.flags = ["digits"], [64], common.SMOKE_SAMPLES, ()
    return options


def main() -> None:
    """Run everything."""
    options = arguments()
    cases = list(product(options.kinds, options.canvases, MODELS))
    results = common.on_cores([partial(train, *case, options) for case in cases], options.cores)
    common.write_results({"runs": results}, options.out)
    (options.out / "table.md").write_text(table(results))
    save_figure(scores_figure(results, options), options.out / "scores.png")
    save_figure(scenes_figure(options), options.out / "scenes.png")
    print(table(results))


if __name__ == "__main__":
    main()
