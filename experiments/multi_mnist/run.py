"""Multi-MNIST (paper, section 3.1): count, locate and redraw 0 to 2 digits; every seed is reported.

    python experiments/multi_mnist/run.py --data-dir MNIST --out runs/multi_mnist

Trains ten seeds of the default configuration, ten of `--config accurate` and one of the paper's estimator (`nvil`),
and evaluates each on 10,000 scenes made from MNIST's test digits. A convolutional network that is taught the true
counts of the scenes that the last of them learns from shows what there is to reach. Writes `results.json` and the
figures to --out. README.md beside this file has the expected numbers. `--smoke` does the same with tiny runs on the
embedded digits, in a few minutes.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from airjax.data.batches import channels_first

sys.path.insert(0, str(Path(__file__).parents[1]))
import common
import numpy as np
import pixels

from airjax.data import load_scenes
from airjax.files import write_atomically
from airjax.inference import metrics
from airjax.runs.figures import CURVES
from airjax.runs.plots import save_figure
from airjax.runs.record import read_record

MODELS = {"nvil": ("--objective", "nvil"), "default": (), "accurate": ("--config", "accurate")}
"""Flags of `airjax train`, by the name that a model's runs begin with."""
COUNTER = "counter"
"""The supervised network's name."""


def supervised(folder: Path, options: argparse.Namespace) -> dict:
    """Teach a convolutional network the true counts of a run's scenes, and score it on that run's held-out ones."""
    path = options.out / f"{COUNTER}.json"
    if not path.exists():
        config = read_record(folder).config
        taught, held_out = (load_scenes(config.data, split) for split in ("train", "held-out"))
        images, counts = channels_first(taught.images), taught.counts.astype(np.int32)
        classes = int(counts.max()) + 1
        network = pixels.train(images, counts, classes=classes, steps=config.train.steps, seed=0)
        said = pixels.predict(network, channels_first(held_out.images))
        confusion = metrics.confusion(said, held_out.counts, classes - 1).tolist()
        scores = {"count_accuracy": metrics.count_accuracy(said, held_out.counts), "confusion": confusion}
        write_atomically(path, json.dumps(scores).encode())
    return json.loads(path.read_text())


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "multi_mnist")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="models to train seeds of")
    parser.add_argument("--samples", type=int, default=100, help="of bounds and of p(n given x), for every scene")
    options = parser.parse_args()
    options.seeds = 1 if options.smoke else options.seeds
    return options


def main() -> None:
    """Run everything."""
    options = arguments()
    runs = [(model, seed) for model in options.models for seed in range(1 if model == "nvil" else options.seeds)]

    def run(model: str, seed: int, core: int) -> dict:
        words = (*common.digits(options), *MODELS[model], "--seed", str(seed))
        samples = common.SMOKE_SAMPLES if options.smoke else options.samples
        return common.train_and_evaluate(options.out / f"{model}_{seed}", *words, samples=samples, core=core)

    results = common.on_cores([partial(run, *case) for case in runs], options.cores)
    grouped = {m: [scores for (model, _), scores in zip(runs, results) if model == m] for m in options.models}
    summary = {model: common.summarise(scores) for model, scores in grouped.items()}
    counter = supervised(options.out / f"{options.models[-1]}_0", options)
    common.write_results({"summary": summary, "runs": grouped, COUNTER: counter}, options.out)
    figures = {model: [run["run"] for run in scores] for model, scores in grouped.items() if model != "nvil"}
    if {"default", "nvil"} <= set(options.models):
        figures["marginal_and_nvil"] = ["default_0", "nvil_0"]
    for figure, names in figures.items():
        save_figure(common.curves({name: options.out / name for name in names}, CURVES), options.out / f"{figure}.png")
    print(json.dumps(summary | {COUNTER: counter["count_accuracy"]}, indent=1))


if __name__ == "__main__":
    main()
