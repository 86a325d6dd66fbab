"""Strong generalisation (paper, section 3.1): count more, or fewer, digits than any training scene holds.

    python -m experiments.generalisation.run --data-dir MNIST --out runs/generalisation

The experiment trains AIR, AIR with attention and Difference AIR on scenes of {0, 1, 2} digits and tests them on 3
digits; and on scenes of {0, 1, 3} digits, tested on 2. A DRAW network, which reconstructs whole scenes without
counting, learns from scenes of {0, 1, 2} digits. All scores are on scenes of MNIST's test digits. `results.json`,
`table.md` and two figures go to --out. README.md has the expected numbers. `--smoke` does the same with tiny runs on
the embedded digits.
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from airjax.config import ModelConfig, TrainConfig
from airjax.data import Scenes, load_npz, multi_digits, save_npz
from airjax.data.batches import channels_first
from airjax.inference import infer
from airjax.learning import vae
from airjax.models.build import build_patches
from airjax.models.likelihood import NormalLikelihood
from airjax.runs.plots import sample_figure, save_figure
from airjax.runs.record import load_model
from experiments import common

UNSEEN = {(0, 1, 2): 3, (0, 1, 3): 2}
"""The unseen count for each set of training counts."""
MODELS = common.settings(__file__)
NAMES = {"air": "AIR", "attention": "AIR with attention", "difference": "Difference AIR"}
DRAW_STEPS = 2_000
PAPER = {
    ("air", 3): "about 0 %",
    ("difference", 3): "about 80 %",
    ("air", 2): "about 60 %",
    ("difference", 2): "about 95 %",
}
"""Count accuracies in the paper's figure, read by eye."""
UNSEEN_SEED = 1_000_003
"""Seed of the scenes of unseen counts; no run's data uses it."""
SHOWN = 12
"""Scenes in the figure of reconstructions."""


def train_and_show(model: str, counts: tuple[int, ...], seed: int, options: argparse.Namespace, core: int) -> dict:
    """Train a model, and score it on held-out scenes of its own counts and of the unseen one."""
    folder = run_folder(options, model, counts, seed)
    flags = (*common.digits(options), *common.flags(MODELS[model], options), "--counts", *map(str, counts))
    scores = partial(common.train_and_evaluate, folder, *flags, "--seed", str(seed))
    seen = scores(samples=options.samples, core=core)
    shown = ("--on", str(unseen_path(options, UNSEEN[counts])))
    unseen = common.evaluate(folder, *shown, samples=options.samples, core=core, name="unseen")
    return {"model": model, "counts": counts, "seed": seed, "seen": seen, "unseen": unseen}


def run_folder(options: argparse.Namespace, model: str, counts: tuple[int, ...], seed: int) -> Path:
    """Name the folder of a run."""
    return options.out / f"{model}_{''.join(map(str, counts))}_seed_{seed}"


def unseen_path(options: argparse.Namespace, count: int) -> Path:
    """Name the file of scenes of this count."""
    return options.out / f"scenes_{count}.npz"


def make_unseen(options: argparse.Namespace) -> None:
    """Write the scenes of unseen counts, made from the test digits."""
    bank = common.bank("held-out", options)
    options.out.mkdir(parents=True, exist_ok=True)
    for count in UNSEEN.values():
        scenes = multi_digits(bank, 100 if options.smoke else 2_000, seed=UNSEEN_SEED, counts=(count,))
        save_npz(unseen_path(options, count), scenes)


def train_draw(options: argparse.Namespace) -> vae.PictureModel:
    """Train DRAW on whole scenes of {0, 1, 2} digits."""
    scenes = multi_digits(common.bank("train", options), 200 if options.smoke else 60_000, seed=0)
    images = channels_first(scenes.images)
    patches = build_patches(ModelConfig(patches="draw", code_size=100), images.shape[1:], key=jax.random.PRNGKey(0))
    model, _ = vae.fit(patches, NormalLikelihood(0.3), images, TrainConfig(steps=4 if options.smoke else DRAW_STEPS))
    return model


def draw_bounds(model: vae.PictureModel, options: argparse.Namespace) -> dict:
    """Compute the bounds of DRAW on log p(x) for scenes of each unseen count."""
    bounds = {}
    for count in UNSEEN.values():
        images = channels_first(load_npz(unseen_path(options, count)).images[:1_000])
        found = vae.bound(model, images, samples=options.samples, key=jax.random.PRNGKey(0))
        bounds[count] = {"elbo": float(found.elbo.mean()), "iw_bound": float(found.iw_bound.mean())}
    return bounds


def models_of(results: list[dict]) -> list[str]:
    """List the trained models, in the order of `MODELS`."""
    return [model for model in MODELS if any(r["model"] == model for r in results)]


def table(results: list[dict]) -> str:
    """Write the accuracies on the unseen counts, over seeds, as a table in Markdown."""
    head = (
        "learnt",
        "shown",
        "model",
        "paper",
        "q's mode",
        "lowest",
        "highest",
        "mode of p(n given x)",
        "ELBO",
        "on its own counts",
    )
    rows = []
    for counts, shown in UNSEEN.items():
        for model in models_of(results):
            runs = [r for r in results if (r["model"], r["counts"]) == (model, counts)]
            mode = common.percentages([r["unseen"]["count_accuracy_mode"] for r in runs], ".1f")
            posterior = common.percentages([r["unseen"]["count_accuracy_posterior"] for r in runs], ".1f")
            own = common.percentages([r["seen"]["count_accuracy_mode"] for r in runs], ".2f")
            elbo = np.mean([r["unseen"]["elbo"] for r in runs])
            names = (str(set(counts)), str(shown), NAMES[model], PAPER.get((model, shown), "-"))
            rows.append((*names, *mode, posterior[0], f"{elbo:.1f}", own[0]))
    return common.markdown(head, rows)


def accuracy_figure(results: list[dict]) -> Figure:
    """Plot the accuracy of each seed on the unseen count, one panel per training set."""
    figure = Figure(figsize=(5.5, 2.6), layout="constrained")
    models = models_of(results)
    for panel, (counts, shown) in zip(figure.subplots(1, 2, sharey=True), UNSEEN.items()):
        for place, model in enumerate(models):
            for kind, offset, marker in (("mode", -0.12, "o"), ("posterior", 0.12, "^")):
                runs = [r["unseen"] for r in results if (r["model"], r["counts"]) == (model, counts)]
                heights = [100 * r[f"count_accuracy_{kind}"] for r in runs]
                label = {"mode": "mode of q", "posterior": "mode of p(n|x)"}[kind] if not place else None
                colour = {"mode": "#3a6bff", "posterior": "#ff9f1a"}[kind]
                panel.plot([place + offset] * len(heights), heights, marker, color=colour, alpha=0.6, label=label)
        panel.set(title=f"learnt {set(counts)}, shown {shown}", ylim=(-3, 103))
        panel.set_xticks(range(len(models)), [NAMES[model].replace(" ", "\n", 1) for model in models])
        panel.grid(axis="y", alpha=0.3)
    figure.axes[0].set_ylabel("count accuracy, %")
    figure.axes[0].legend(frameon=False, fontsize=7)
    return figure


def reconstruction_figure(draw: vae.PictureModel, options: argparse.Namespace) -> Figure:
    """Show scenes of three digits, and their reconstructions by the models and by DRAW, which never saw three."""
    scenes: Scenes = load_npz(unseen_path(options, 3))[:SHOWN]
    images = channels_first(scenes.images)
    rows, boxes = [images / np.float32(255)], [np.full((SHOWN, 3, 4), np.nan)]
    for model in options.models:
        found = infer.find(load_model(run_folder(options, model, (0, 1, 2), 0)), images)
        rows.append(common.reconstructions(found))
        boxes.append(np.where(found.present[..., None], found.windows, np.nan))
    rows.append(np.asarray(jax.vmap(draw.patches.decode)(vae.codes(draw.patches, images))))
    boxes.append(boxes[0])
    sheet = np.clip(np.concatenate(rows)[:, 0], 0, 1)
    return sample_figure(sheet, np.concatenate(boxes), columns=SHOWN)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "generalisation")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="models to train")
    options = parser.parse_args()
    if options.smoke:
        options.seeds = 1
    options.samples = common.SMOKE_SAMPLES if options.smoke else 50
    return options


def main() -> None:
    """Run the experiment."""
    options = arguments()
    make_unseen(options)
    cases = [(model, counts, seed) for seed in range(options.seeds) for counts in UNSEEN for model in options.models]
    results = common.on_cores([partial(train_and_show, *case, options) for case in cases], options.cores)
    draw = train_draw(options)
    common.write_results({"runs": results, "draw": draw_bounds(draw, options)}, options.out)
    save_figure(accuracy_figure(results), options.out / "accuracy.png")
    save_figure(reconstruction_figure(draw, options), options.out / "three_digits.png")
    common.write_table(table(results), options.out)


if __name__ == "__main__":
    main()
