"""Multi-MNIST (paper, section 3.1): count, locate and reconstruct 0 to 2 digits; every seed is reported.

    python -m experiments.multi_mnist.run --data-dir MNIST --out runs/multi_mnist

The experiment trains ten seeds of the default configuration, ten of `--config accurate` and one of the paper's
estimator (`nvil`). It evaluates each on 10,000 scenes of MNIST's test digits. For comparison, a convolutional network
learns the true counts of the training scenes of the last of these models. `results.json` and the figures go to --out.
README.md has the expected numbers. `--smoke` does the same in a few minutes, with tiny runs on the embedded digits.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np

from airjax.data import load_scenes
from airjax.data.batches import channels_first
from airjax.inference import metrics
from airjax.runs.figures import CURVES
from airjax.runs.plots import save_figure
from airjax.runs.record import read_record
from experiments import common, pixels

MODELS = common.settings(__file__)
COUNTER = "counter"
"""Name of the supervised network."""


def supervised(folder: Path, options: argparse.Namespace) -> dict:
    """Score a supervised network that counts, unless this was done before; `folder` is the run whose scenes it uses."""
    return common.kept(options.out / f"{COUNTER}.json", partial(train_counter, folder))


def train_counter(folder: Path) -> dict:
    """Train a convolutional network on the true counts of a run's training scenes; score it on the held-out ones."""
    config = read_record(folder).config
    taught, held_out = (load_scenes(config.data, split) for split in ("train", "held-out"))
    images, counts = channels_first(taught.images), taught.counts.astype(np.int32)
    classes = int(counts.max()) + 1
    network = pixels.train(images, counts, classes=classes, steps=config.train.steps, seed=0)
    said = pixels.predict(network, channels_first(held_out.images))
    confusion = metrics.confusion(said, held_out.counts, classes - 1).tolist()
    return {"count_accuracy": metrics.count_accuracy(said, held_out.counts), "confusion": confusion}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "multi_mnist")
    parser.add_argument("--seeds", type=int, default=10, help="runs of each model; nvil has one")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="models to train")
    parser.add_argument("--samples", type=int, default=100, help="samples per scene for bounds and p(n given x)")
    options = parser.parse_args()
    options.seeds = 1 if options.smoke else options.seeds
    return options


def main() -> None:
    """Run the experiment."""
    options = arguments()
    runs = [(model, seed) for model in options.models for seed in range(1 if model == "nvil" else options.seeds)]

    def run(model: str, seed: int, core: int) -> dict:
        words = (*common.digits(options), *common.flags(MODELS[model], options), "--seed", str(seed))
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
