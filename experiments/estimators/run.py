"""Gradient estimators compared: speed of learning, variance of the gradient, and number of failed seeds.

    python -m experiments.estimators.run --data-dir MNIST --out runs/estimators

The experiment trains the default model on multi-MNIST with each estimator and scores it on scenes of MNIST's test
digits. It measures the variance of every estimator's gradient at the same three points of one training run.
`results.json`, `table.md` and `estimators.png` go to --out. README.md defines each number. `--smoke` does the same with
tiny runs of three estimators on the embedded digits.
"""

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from airjax.config import TrainConfig
from airjax.data import load_scenes
from airjax.data.batches import channels_first
from airjax.learning import losses
from airjax.learning.baseline import build_baseline
from airjax.runs import checkpoint
from airjax.runs.log import read_metrics
from airjax.runs.plots import save_figure
from airjax.runs.record import CHECKPOINTS, read_record
from experiments import common

CASES = common.settings(__file__)
SMOKED = ("marginal", "nvil", "vimco, K = 5")
"""Cases of a smoke run. Compilation takes a while, and these three run all the code that cases need."""
COMMON = "marginal"
"""All gradients are measured at points of the training of this case, seed 0."""
PARTS = ("presence", "recogniser")
"""Parameters whose gradients are measured: those of the presence logit, and all of the recogniser."""
BATCH = 64
"""Scenes on which gradients are measured."""
REPEATS = 20
"""Gradient samples per variance."""
FAILED = 0.9
"""Count accuracy below which a seed has failed."""


def train_case(case: str, seed: int, options: argparse.Namespace, core: int) -> dict:
    """Train a case, score it on held-out scenes, and read its learning curve."""
    folder = run_folder(options, case, seed)
    settings = common.flags(CASES[case], options)
    kept = ("--checkpoint-every", str(options.steps // 10), "--keep", "10") if (case, seed) == (COMMON, 0) else ()
    flags = (*common.digits(options), *options.flags, *settings, *kept, "--seed", str(seed), "--no-learn-count")
    scores = common.train_and_evaluate(folder, *flags, samples=options.samples, core=core)
    return {"case": case, "seed": seed, **scores, "curve": curve(folder)}


def run_folder(options: argparse.Namespace, case: str, seed: int) -> Path:
    """Name the folder of a run."""
    return options.out / f"{'_'.join(map(str, CASES[case].values()))}_seed_{seed}"


def curve(folder: Path) -> dict[str, list[float]]:
    """Read held-out scores by step and by seconds of training, which include compilation."""
    batch, seconds, before = read_record(folder).config.train.batch, 0.0, 0
    points: dict[str, list[float]] = {"step": [], "seconds": [], "accuracy": [], "elbo": []}
    for line in read_metrics(folder):
        if "images_per_s" in line:
            seconds += (line["step"] - before) * batch / line["images_per_s"]
            before = line["step"]
        else:
            values = (line["step"], seconds, line["held_out_count_accuracy"], line["held_out_elbo"])
            for column, value in zip(points.values(), values):
                column.append(value)
    return points


def gradient_variances(options: argparse.Namespace) -> list[dict]:
    """Measure the gradient of every estimator at three points of the common training run."""
    folder = run_folder(options, COMMON, 0)
    record = read_record(folder)
    paths = sorted((folder / CHECKPOINTS).glob("*.safetensors"))
    scenes = load_scenes(replace(record.config.data, scenes=BATCH * (1 + options.baseline_steps)), "train")
    images = jnp.asarray(channels_first(scenes.images), jnp.float32) / 255
    found = []
    for path in (paths[0], paths[(len(paths) - 1) // 2], paths[-1]):
        state = checkpoint.restore(path, record.blank_state())
        key = jax.random.fold_in(state.key, state.step)
        baseline = build_baseline(record.config.model, state.model, key=key)
        networks = (state.model, fit_baseline(state.model, baseline, images[BATCH:], key))
        for case in options.cases:
            ratios = noise_to_signal(TrainConfig(**CASES[case]), networks, images[:BATCH], key, options.repeats)
            found.append({"case": case, "step": int(state.step), **ratios})
            print(f"step {state.step}, {case}: {ratios}", file=sys.stderr)
    return found


@eqx.filter_jit
def fit_baseline(model, baseline, images, key):
    """Fit the baseline of nvil to a fixed model, one step per batch, because the common run trains no baseline."""
    config = TrainConfig(objective="nvil")
    optimiser = optax.adam(config.baseline_learning_rate)

    def step(carry, batch_and_key):
        baseline, state = carry
        batch, key = batch_and_key
        loss = lambda b: losses.batch_loss(config, (model, b), batch, jax.random.split(key, BATCH))[0]
        updates, state = optimiser.update(jax.grad(loss)(baseline), state)
        return (eqx.apply_updates(baseline, updates), state), None

    batches = images.reshape(-1, BATCH, *images.shape[1:])
    keys = jax.random.split(key, len(batches))
    return jax.lax.scan(step, (baseline, optimiser.init(baseline)), (batches, keys))[0][0]


def noise_to_signal(
    config: TrainConfig, networks: losses.Networks, images: jax.Array, key: jax.Array, repeats: int
) -> dict:
    """Divide the total variance of a gradient, over samples of its noise, by the squared norm of its mean."""
    samples: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
    for repeat in jax.random.split(key, repeats):
        found = recogniser_gradient(config, networks, images, repeat)
        last = found.head.layers[-1]
        samples["presence"].append(np.append(last.weight[:, 0], last.bias[0]))
        samples["recogniser"].append(np.asarray(ravel_pytree(found)[0]))
    return {part: variance_over_signal(np.stack(rows)) for part, rows in samples.items()}


@eqx.filter_jit
def recogniser_gradient(config, networks, images, key):
    """Estimate the gradient of a batch's mean loss with respect to the recogniser's parameters."""
    model, baseline = networks

    def loss(recogniser):
        changed = eqx.tree_at(lambda m: m.recogniser, model, recogniser)
        return losses.batch_loss(config, (changed, baseline), images, jax.random.split(key, BATCH))[0]

    return jax.grad(loss)(model.recogniser)


def variance_over_signal(samples: np.ndarray) -> float:
    """Divide the sum of the variances of the columns by the squared norm of their means."""
    return float(np.var(samples, axis=0, ddof=1).sum() / np.square(np.mean(samples, axis=0, dtype=np.float64)).sum())


def cases_of(runs: list[dict]) -> list[str]:
    """List the cases of some runs, in the order of `CASES`."""
    return [case for case in CASES if any(run["case"] == case for run in runs)]


def table(runs: list[dict], variances: list[dict], samples: int) -> str:
    """Write a table in Markdown, one row per case: scores over seeds, time, and the variance of gradients."""
    points = sorted({found["step"] for found in variances})
    head = ["", "count accuracy", "lowest", "highest", "failed", "ELBO", f"IW bound, {samples}", "seconds"]
    head += [f"variance, {part}, step {step}" for part in PARTS for step in points]
    rows = []
    for case in cases_of(runs):
        mine = [run for run in runs if run["case"] == case]
        accuracies = np.array([run["count_accuracy_mode"] for run in mine])
        bounds = [f"{np.mean([run[name] for run in mine]):.1f}" for name in ("elbo", f"iw_bound_{samples}")]
        line = [case, *(f"{100 * value:.2f} %" for value in (accuracies.mean(), accuracies.min(), accuracies.max()))]
        line += [f"{(accuracies < FAILED).sum()} of {len(mine)}", *bounds]
        line += [f"{np.mean([run['curve']['seconds'][-1] for run in mine]):.0f}"]
        ratios = {found["step"]: found for found in variances if found["case"] == case}
        rows.append([*line, *(f"{ratios[step][part]:.3g}" for part in PARTS for step in points)])
    return common.markdown(head, rows)


def draw(runs: list[dict], variances: list[dict]) -> Figure:
    """Plot wrong counts and the bound, means over seeds, and the variance of gradients as bars."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    for index, case in enumerate(cases_of(runs)):
        curves = [run["curve"] for run in runs if run["case"] == case]
        mean = {name: np.mean([found[name] for found in curves], axis=0) for name in curves[0]}
        mean["counts wrong"] = 1 - mean["accuracy"]
        for panel, (x, y) in zip(panels, (("step", "counts wrong"), ("seconds", "counts wrong"), ("seconds", "elbo"))):
            panel.plot(mean[x], mean[y], color=f"C{index}", label=case, linewidth=1.2)
            panel.set(xlabel=x, title=f"held-out {y}")
        for panel, part in zip(panels[3:], PARTS):
            mine = [found for found in variances if found["case"] == case]
            places = np.arange(len(mine)) + 0.1 * (index - len(CASES) / 2)
            panel.bar(places, [found[part] for found in mine], 0.09, color=f"C{index}")
            panel.set_xticks(range(len(mine)), [f"step {found['step']}" for found in mine])
            panel.set(yscale="log", title=f"variance / squared mean, {part}")
    for panel in panels[:2]:
        panel.set_yscale("log")
    for panel in panels[1:3]:
        panel.set_xscale("log")
    for axis in (panels[0].yaxis, panels[1].yaxis, panels[1].xaxis, panels[2].xaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    lowest = min(run["curve"]["elbo"][-1] for run in runs)
    panels[2].set_ylim(bottom=lowest - 50)
    panels[5].axis("off")
    panels[5].legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="center")
    return figure


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "estimators")
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    if options.smoke:
        options.steps, options.seeds, options.cases = 20, 1, list(SMOKED)
    if COMMON not in options.cases:
        parser.error(f"--cases must include {COMMON}: gradients are measured at its weights")
    options.flags = ("--evaluate-every", str(options.steps // 20))
    if not options.smoke:
        options.flags += ("--steps", str(options.steps), "--held-out-scenes", "2000")
    options.samples = common.SMOKE_SAMPLES if options.smoke else 50
    options.baseline_steps, options.repeats = (5, 2) if options.smoke else (300, REPEATS)
    return options


def main() -> None:
    """Run the experiment."""
    options = arguments()
    jobs = [partial(train_case, case, seed, options) for seed in range(options.seeds) for case in options.cases]
    runs = common.on_cores(jobs, options.cores)
    variances = gradient_variances(options)
    common.write_results({"runs": runs, "variances": variances}, options.out)
    save_figure(draw(runs, variances), options.out / "estimators.png")
    common.write_table(table(runs, variances, options.samples), options.out)


if __name__ == "__main__":
    main()
