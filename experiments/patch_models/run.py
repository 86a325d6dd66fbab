"""Patch models: a multilayer perceptron, convolutions and DRAW, within AIR and alone.

    python -m experiments.patch_models.run --data-dir MNIST --out runs/patch_models

The experiment trains AIR with each of the three on multi-MNIST, and each alone on MNIST's single digits. It scores them
on scenes and digits of MNIST's test part. `results.json`, `table.md` and two figures go to --out. README.md has the
expected numbers. `--smoke` does the same with tiny runs on the embedded digits.
"""

import argparse
import time
from functools import partial

import jax
import numpy as np

from airjax.config import ModelConfig, TrainConfig
from airjax.learning import vae
from airjax.models.build import build_patches
from airjax.models.likelihood import NormalLikelihood
from airjax.runs.log import read_metrics
from airjax.runs.plots import sample_figure, save_figure
from airjax.runs.record import load_model, read_record
from experiments import common

KINDS = ("mlp", "conv", "draw")
SHOWN = 20
"""Digits in a row of a figure."""
COLUMNS = {
    "parameters": "{:,}",
    "air_count_accuracy": "{:.2%}",
    "air_elbo": "{:.1f}",
    "air_iw_bound": "{:.1f}",
    "air_ms_per_step": "{:.1f}",
    "alone_elbo": "{:.1f}",
    "alone_iw_bound": "{:.1f}",
    "alone_seconds": "{:.0f}",
}
"""Columns of the table, and the format of each."""


def within_air(kind: str, options: argparse.Namespace, core: int) -> dict:
    """Train AIR with a patch model, score it, and measure the time of a step."""
    folder, samples = options.out / f"air_{kind}", options.samples
    digits = common.digits(options) if kind != "draw" else common.without(common.digits(options), "--patch-hidden")
    flags = (*digits, *options.air_flags, "--patches", kind)
    scores = common.train_and_evaluate(folder, *flags, samples=samples, core=core)
    rates = [line["images_per_s"] for line in read_metrics(folder) if "images_per_s" in line]
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(load_model(folder).patches)),
        "air_count_accuracy": scores["count_accuracy_mode"],
        "air_elbo": scores["elbo"],
        "air_iw_bound": scores[f"iw_bound_{samples}"],
        "air_ms_per_step": 1e3 * read_record(folder).config.train.batch / float(np.median(rates)),
    }


def by_itself(kind: str, options: argparse.Namespace) -> tuple[vae.PictureModel, dict]:
    """Train a patch model on single digits, and score it on held-out ones."""
    learnt, held_out = (bank_images(options, split) for split in ("train", "held-out"))
    patches = build_patches(ModelConfig(patches=kind), learnt.shape[1:], key=jax.random.PRNGKey(options.seed))
    start = time.perf_counter()
    settings = TrainConfig(seed=options.seed, steps=options.steps)
    model, _ = vae.fit(patches, NormalLikelihood(0.3), learnt, settings)
    seconds = time.perf_counter() - start
    bounds = vae.bound(model, held_out, samples=options.samples, key=jax.random.PRNGKey(0))
    named = {"alone_elbo": bounds.elbo.mean(), "alone_iw_bound": bounds.iw_bound.mean(), "alone_seconds": seconds}
    return model, {name: float(value) for name, value in named.items()}


def bank_images(options: argparse.Namespace, split: str) -> np.ndarray:
    """Load single digits [n, 1, 28, 28]."""
    return common.bank(split, options).images[:, None]


def draw_figures(models: list[vae.PictureModel], options: argparse.Namespace) -> None:
    """Draw a row of prior samples per model, and held-out digits with a row of reconstructions per model below."""
    digits = bank_images(options, "held-out")[:SHOWN]
    keys = jax.random.split(jax.random.PRNGKey(0), SHOWN)
    samples, redrawn = [], [digits / np.float32(255)]
    for model in models:
        draw = jax.vmap(model.patches.decode)
        samples.append(draw(jax.vmap(lambda key, model=model: model.patches.prior_sample(key=key))(keys)))
        redrawn.append(draw(vae.codes(model.patches, digits)))
    for name, rows in (("samples", samples), ("reconstructions", redrawn)):
        figure = sample_figure(np.concatenate(rows)[:, 0], columns=SHOWN)
        save_figure(figure, options.out / f"{name}.png")


def table(results: dict[str, dict]) -> str:
    """Write the results as a table in Markdown, one row per model."""
    rows = [[kind, *(form.format(found[name]) for name, form in COLUMNS.items())] for kind, found in results.items()]
    return common.markdown(["", *(name.replace("_", " ") for name in COLUMNS)], rows)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "patch_models")
    parser.add_argument("--steps", type=int, default=TrainConfig().steps)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.smoke:
        options.steps = 4
    options.air_flags = ("--seed", str(options.seed), *(() if options.smoke else ("--steps", str(options.steps))))
    options.samples = common.SMOKE_SAMPLES if options.smoke else 100
    return options


def main() -> None:
    """Run the experiment."""
    options = arguments()
    jobs = [partial(within_air, kind, options) for kind in KINDS]
    results = dict(zip(KINDS, common.on_cores(jobs, options.cores)))
    models = []
    for kind in KINDS:
        model, scores = by_itself(kind, options)
        models.append(model)
        results[kind] |= scores
    common.write_results(results, options.out)
    draw_figures(models, options)
    common.write_table(table(results), options.out)


if __name__ == "__main__":
    main()
