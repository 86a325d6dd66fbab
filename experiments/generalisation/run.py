"""Strong generalisation (paper, section 3.1): count more, or fewer, digits than any training scene holds.

    python experiments/generalisation/run.py --data-dir MNIST --out runs/generalisation

Trains AIR, AIR with attention and Difference AIR on scenes of {0, 1, 2} digits, to be shown 3, and of {0, 1, 3}, to be
shown 2; and, on the former, a DRAW network that redraws whole scenes without counting. Everything is scored on scenes
of MNIST's test digits. Writes `results.json`, `table.md` and two figures to --out. README.md beside this file has the
expected numbers. `--smoke` does the same with tiny runs on the embedded digits.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from airjax.data.batches import channels_first

sys.path.insert(0, str(Path(__file__).parents[1]))
import common
import jax
import numpy as np
from matplotlib.figure import Figure

from airjax.config import ModelConfig, TrainConfig
from airjax.data import Scenes, embedded_digits, load_mnist, load_npz, multi_digits, save_npz
from airjax.inference import infer
from airjax.learning import vae
from airjax.models.build import build_patches
from airjax.models.likelihood import NormalLikelihood
from airjax.runs.plots import sample_figure, save_figure
from airjax.runs.record import load_model

UNSEEN = {(0, 1, 2): 3, (0, 1, 3): 2}
"""The count to be shown, by the counts to learn from."""
PRICED = ("--no-learn-count", "--count-ratio", "1e-4")
MODELS = {
    "air": (),
    "attention": ("--attention", "64", *PRICED),
    "difference": ("--config", "difference"),
}
"""Flags of `airjax train` that make each model: AIR, the same with attention, and Difference AIR, which has it, too."""
STEPS = {"air": 2_000, "attention": 4_000, "difference": 4_000}
NAMES = {"air": "AIR", "attention": "AIR with attention", "difference": "Difference AIR"}
DRAW_STEPS = 2_000
PAPER = {
    ("air", 3): "about 0 %",
    ("difference", 3): "about 80 %",
    ("air", 2): "about 60 %",
    ("difference", 2): "about 95 %",
}
"""What the paper's figure shows, read off by eye."""
UNSEEN_SEED = 1_000_003
"""The generator's seed of the scenes shown, which no data set of a run has."""
SHOWN = 12
"""Scenes in the figure of reconstructions."""


def train_and_show(model: str, counts: tuple[int, ...], seed: int, options: argparse.Namespace, core: int) -> dict:
    """Train a model, and score it on held-out scenes of its own counts and of the unseen one."""
    folder = run_folder(options, model, counts, seed)
    size = () if options.smoke else ("--steps", str(STEPS[model]), "--held-out-scenes", "2000")
    flags = (*common.digits(options), *MODELS[model], *size, "--counts", *map(str, counts))
    scores = partial(common.train_and_evaluate, folder, *flags, "--seed", str(seed))
    seen = scores(samples=options.samples, core=core)
    shown = ("--on", str(unseen_path(options, UNSEEN[counts])))
    unseen = common.evaluate(folder, *shown, samples=options.samples, core=core, name="unseen")
    return {"model": model, "counts": counts, "seed": seed, "seen": seen, "unseen": unseen}


def run_folder(options: argparse.Namespace, model: str, counts: tuple[int, ...], seed: int) -> Path:
    """Name a run's folder."""
    return options.out / f"{model}_{''.join(map(str, counts))}_seed_{seed}"


def unseen_path(options: argparse.Namespace, count: int) -> Path:
    """Name the file of the scenes that all have this count."""
    return options.out / f"scenes_{count}.npz"


def make_unseen(options: argparse.Namespace) -> None:
    """Write the scenes of the counts that no model learns from, of the test digits."""
    bank = embedded_digits("held-out") if options.smoke else load_mnist("held-out", options.data_dir)
    options.out.mkdir(parents=True, exist_ok=True)
    for count in UNSEEN.values():
        scenes = multi_digits(bank, 100 if options.smoke else 2_000, seed=UNSEEN_SEED, counts=(count,))
        save_npz(unseen_path(options, count), scenes)


def train_draw(options: argparse.Namespace) -> vae.PictureModel:
    """Train DRAW on whole scenes of {0, 1, 2} digits."""
    bank = embedded_digits("train") if options.smoke else load_mnist("train", options.data_dir)
    scenes = multi_digits(bank, 200 if options.smoke else 60_000, seed=0)
    images = channels_first(scenes.images)
    patches = build_patches(ModelConfig(patches="draw", code_size=100), images.shape[1:], key=jax.random.PRNGKey(0))
    model, _ = vae.fit(patches, NormalLikelihood(0.3), images, TrainConfig(steps=4 if options.smoke else DRAW_STEPS))
    return model


def draw_bounds(model: vae.PictureModel, options: argparse.Namespace) -> dict:
    """Bound log p(x) of DRAW on scenes of each unseen count."""
    bounds = {}
    for count in UNSEEN.values():
        images = channels_first(load_npz(unseen_path(options, count)).images[:1_000])
        found = vae.bound(model, images, samples=options.samples, key=jax.random.PRNGKey(0))
        bounds[count] = {"elbo": float(found.elbo.mean()), "iw_bound": float(found.iw_bound.mean())}
    return bounds


def models_of(results: list[dict]) -> list[str]:
    """List the models that were trained, in order."""
    return [model for model in MODELS if any(r["model"] == model for r in results)]


def table(results: list[dict]) -> str:
    """Write accuracies on the unseen counts as a table in Markdown: mean, lowest and highest seed."""
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
    lines = [head, ["---"] * len(head)]
    for counts, shown in UNSEEN.items():
        for model in models_of(results):
            runs = [r for r in results if (r["model"], r["counts"]) == (model, counts)]
            mode, posterior = ([100 * r["unseen"][f"count_accuracy_{k}"] for r in runs] for k in ("mode", "posterior"))
            own = np.mean([100 * r["seen"]["count_accuracy_mode"] for r in runs])
            elbo = np.mean([r["unseen"]["elbo"] for r in runs])
            numbers = (f"{np.mean(mode):.1f} %", f"{min(mode):.1f}", f"{max(mode):.1f}", f"{np.mean(posterior):.1f} %")
            names = (str(set(counts)), str(shown), NAMES[model], PAPER.get((model, shown), "-"))
            lines.append((*names, *numbers, f"{elbo:.1f}", f"{own:.2f} %"))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def accuracy_figure(results: list[dict]) -> Figure:
    """Plot each seed's accuracy on the unseen count, a panel for each training set."""
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
    """Show scenes of three digits, and what the models and DRAW, which never saw three, make of them."""
    scenes: Scenes = load_npz(unseen_path(options, 3))[:SHOWN]
    images = channels_first(scenes.images)
    rows, boxes = [images / np.float32(255)], [np.full((SHOWN, 3, 4), np.nan)]
    for model in options.models:
        found = infer.find(load_model(run_folder(options, model, (0, 1, 2), 0)), images)
        rows.append(found.canvases[np.arange(SHOWN), found.count])
        boxes.append(np.where(np.arange(3)[:, None] < found.count[:, None, None], found.windows, np.nan))
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
    """Run everything."""
    options = arguments()
    make_unseen(options)
    cases = [(model, counts, seed) for seed in range(options.seeds) for counts in UNSEEN for model in options.models]
    results = common.on_cores([partial(train_and_show, *case, options) for case in cases], options.cores)
    draw = train_draw(options)
    common.write_results({"runs": results, "draw": draw_bounds(draw, options)}, options.out)
    (options.out / "table.md").write_text(table(results))
    save_figure(accuracy_figure(results), options.out / "accuracy.png")
    save_figure(reconstruction_figure(draw, options), options.out / "three_digits.png")
    print(table(results))


if __name__ == "__main__":
    main()
