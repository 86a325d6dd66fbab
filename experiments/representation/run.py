"""Representational power (paper, section 3.1): classification from inferred variables, with few labels.

    python -m experiments.representation.run --data-dir MNIST --out runs/representation

The experiment trains AIR, Difference AIR, a convolutional autoencoder and DRAW, without labels, on scenes of 0 to 2
digits, and freezes them. From their codes of scenes of two digits, a small classifier predicts the sum of the digits,
and whether the digits ascend from left to right. For comparison, a convolutional network learns the same from pixels.
All scores are on scenes of MNIST's test digits. `results.json`, `table.md` and a figure go to --out. README.md has the
expected numbers. `--smoke` does the same with tiny runs on the embedded digits.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy.special import softmax
from sklearn.cluster import MiniBatchKMeans
from sklearn.neural_network import MLPClassifier

from airjax.config import ModelConfig, TrainConfig
from airjax.data import Scenes, multi_digits
from airjax.data.batches import channels_first
from airjax.inference import infer
from airjax.learning import vae
from airjax.models.build import build_patches
from airjax.models.likelihood import NormalLikelihood
from airjax.runs.plots import save_figure
from airjax.runs.record import load_model
from experiments import common, pixels

CLASSES = {"sum": 19, "order": 2}
"""Number of classes of each task."""
RUNS = common.settings(__file__)
ALONE = {"autoencoder": "conv", "draw": "draw"}
"""Patch model of each model of whole scenes."""
NAMES = {
    "air": "AIR",
    "air_sorted": "AIR, objects from left to right",
    "air_words": "AIR, from left to right, in words",
    "difference": "Difference AIR",
    "difference_sorted": "Difference AIR, from left to right",
    "difference_words": "Difference AIR, from left to right, in words",
    "autoencoder": "convolutional autoencoder",
    "draw": "DRAW",
    "pixels": "CNN on pixels",
}
POOL_SEED, TEST_SEED = 1_000_005, 1_000_006
"""Seeds of the labelled scenes; no run's data uses them."""
CODE_SIZE = 100
"""Size of the codes of whole scenes: that of AIR's codes of two objects."""
EPOCHS, LEAST_STEPS = 100, 200
"""Epochs of the network on pixels, in at most `--cnn-steps` steps, and its least number of steps."""
WORDS = 100
"""Words in the dictionary of objects, which is learned without labels."""
BLUR = 0.8
"""Squared distance over which an object's share in a word falls by a factor of e.

Its unit is the mean squared distance to the nearest word.
"""
LEAST_SD = 0.3
"""Least standard deviation by which features are divided. Unused codes hardly vary, and would be blown up."""

Split = tuple[Scenes, Scenes]
"""Scenes from which labelled ones are drawn, and test scenes."""
Fit = Callable[[np.ndarray, np.ndarray, int], Callable[[np.ndarray], np.ndarray]]
"""A function that learns from inputs and labels with a seed, and returns a predictor."""


def labelled_scenes(options: argparse.Namespace) -> Split:
    """Make scenes of exactly two digits, from the training digits and from the held-out ones."""
    pool, test = (150, 32) if options.smoke else (12_000, 5_000)
    return (
        multi_digits(common.bank("train", options), pool, seed=POOL_SEED, counts=(2,)),
        multi_digits(common.bank("held-out", options), test, seed=TEST_SEED, counts=(2,)),
    )


def targets(scenes: Scenes, task: str) -> np.ndarray:
    """Compute the class of each scene of two digits: their sum, or whether the left digit is smaller (-1: equal)."""
    left_first = np.argsort(scenes.boxes[:, :, [0, 2]].sum(axis=2), axis=1)
    left, right = np.take_along_axis(scenes.labels, left_first, axis=1).T
    return left + right if task == "sum" else np.where(left == right, -1, left < right)


def train_run(name: str, options: argparse.Namespace, core: int) -> dict:
    """Train AIR or Difference AIR, and score it."""
    steps = () if options.smoke else ("--steps", str(options.steps))
    flags = (*common.digits(options), *common.flags(RUNS[name], options), *steps)
    samples = common.SMOKE_SAMPLES if options.smoke else 5
    return common.train_and_evaluate(options.out / name, *flags, samples=samples, core=core)


def of_objects(folder: Path, split: Split) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Represent scenes by presence, where and what of every step: as inferred, sorted, and in words."""
    model = load_model(folder)
    found = [infer.find(model, channels_first(scenes.images)) for scenes in split]
    yield folder.name, [flatten(f) for f in found]
    yield f"{folder.name}_sorted", [flatten(f, left_to_right=True) for f in found]
    yield f"{folder.name}_words", [flatten(f, left_to_right=True) for f in in_words(found)]


def in_words(found: list[infer.Found]) -> list[infer.Found]:
    """Replace codes by their shares in the words of a dictionary, the cluster means of the first split's codes."""
    codes, presence = found[0].what.reshape(-1, found[0].what.shape[-1]), found[0].presence.reshape(-1)
    words = MiniBatchKMeans(WORDS, n_init=3, random_state=0).fit(codes, sample_weight=presence)
    blur = BLUR * np.average(words.transform(codes).min(axis=1) ** 2, weights=presence)

    def shares(what: np.ndarray) -> np.ndarray:
        distances = words.transform(what.reshape(-1, what.shape[-1])) ** 2
        return (WORDS * softmax(-distances / blur, axis=1)).reshape(*what.shape[:-1], WORDS).astype(np.float32)

    return [replace(f, what=shares(f.what)) for f in found]


def flatten(found: infer.Found, *, left_to_right: bool = False) -> np.ndarray:
    """Concatenate presence, where and what of all steps to one row per scene; steps beyond the count are zero."""
    present = found.present
    rows = np.where(present[..., None], np.concatenate([present[..., None], found.where, found.what], axis=2), 0)
    if left_to_right:
        order = np.argsort(np.where(present, found.where[..., 1], np.inf), axis=1)
        rows = np.take_along_axis(rows, order[..., None], axis=1)
    return rows.reshape(len(rows), -1)


def of_scene(name: str, options: argparse.Namespace, split: Split) -> list[np.ndarray]:
    """Train a model of whole scenes on AIR's training scenes, and compute its codes."""
    bank = common.bank("train", options)
    images = channels_first(multi_digits(bank, 200 if options.smoke else 60_000, seed=0).images)
    config = ModelConfig(patches=ALONE[name], code_size=CODE_SIZE)
    patches = build_patches(config, images.shape[1:], key=jax.random.PRNGKey(0))
    model, _ = vae.fit(patches, NormalLikelihood(0.3), images, TrainConfig(steps=options.steps))
    return [vae.codes(model.patches, channels_first(scenes.images)) for scenes in split]


def kept_codes(name: str, options: argparse.Namespace, split: Split) -> list[np.ndarray]:
    """Read the codes of a model of whole scenes; train it first if this was not done before."""
    path = options.out / f"{name}.npz"
    if not path.exists():
        common.save_arrays(path, *of_scene(name, options, split))
    with np.load(path, allow_pickle=False) as arrays:
        return list(arrays.values())


def perceptron(epochs: int, inputs: np.ndarray, labels: np.ndarray, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Train a classifier with one hidden layer, the same for every representation."""
    mean, sd = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), LEAST_SD)
    network = MLPClassifier((256,), alpha=1.0, max_iter=epochs, tol=0, n_iter_no_change=epochs, random_state=seed)
    network.fit((inputs - mean) / sd, labels)
    return lambda inputs: network.predict((inputs - mean) / sd)


def convolutions(most: int, inputs: np.ndarray, labels: np.ndarray, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Train the network on pixels, in at most `most` steps."""
    steps = min(most, max(LEAST_STEPS, EPOCHS * len(inputs) // pixels.BATCH))
    network = pixels.train(inputs, labels, classes=int(labels.max()) + 1, steps=steps, seed=seed)
    return partial(pixels.predict, network)


def learning_curve(
    fit: Fit, inputs: list[np.ndarray], split: Split, task: str, seed: int, options: argparse.Namespace
) -> dict[str, float]:
    """Score a classifier on the test scenes for each number of labels."""
    labels = [targets(scenes, task) for scenes in split]
    (learnt, learnt_labels), (shown, shown_labels) = ((x[y >= 0], y[y >= 0]) for x, y in zip(inputs, labels))
    order = np.random.default_rng(seed).permutation(len(learnt))
    scores = {}
    for size in options.sizes:
        predict = fit(learnt[order[:size]], learnt_labels[order[:size]], seed)
        scores[str(size)] = float(np.mean(predict(shown) == shown_labels))
    return scores


def scored(
    name: str, fit: Fit, inputs: list[np.ndarray], split: Split, options: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    """Score a representation on every task for each number of labels; a list over seeds. Kept scores are only read."""
    found: dict[str, dict[str, list[float]]] = {task: {str(size): [] for size in options.sizes} for task in CLASSES}
    for seed in range(options.seeds):
        path = options.out / f"{name}_seed_{seed}.json"
        learned = lambda seed=seed: {t: learning_curve(fit, inputs, split, t, seed, options) for t in CLASSES}
        for task, scores in common.kept(path, learned).items():
            for size, score in scores.items():
                found[task][size].append(score)
    return found


def score_everything(split: Split, options: argparse.Namespace) -> dict[str, dict]:
    """Score every representation, and the network on pixels."""
    results, classify = {}, partial(perceptron, options.epochs)
    for name in RUNS:
        for representation, inputs in of_objects(options.out / name, split):
            results[representation] = scored(representation, classify, inputs, split, options)
    for name in ALONE:
        results[name] = scored(name, classify, kept_codes(name, options, split), split, options)
    images = [channels_first(scenes.images) for scenes in split]
    fit = partial(convolutions, options.cnn_steps)
    return results | {"pixels": scored("pixels", fit, images, split, options)}


def table(results: dict[str, dict], options: argparse.Namespace) -> str:
    """Write mean accuracies as a table in Markdown, one row per task and representation."""
    rows = []
    for task in CLASSES:
        for name, scores in results.items():
            means = [f"{100 * np.mean(scores[task][str(size)]):.1f}" for size in options.sizes]
            rows.append([task, NAMES[name], *means])
    return common.markdown(["task", "representation", *(f"{size:,}" for size in options.sizes)], rows)


def accuracy_figure(results: dict[str, dict]) -> Figure:
    """Plot accuracy by the number of labels, one panel per task: the mean, lowest and highest over seeds."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for panel, task in zip(figure.subplots(1, 2), CLASSES):
        for name, scores in results.items():
            sizes, values = [int(size) for size in scores[task]], 100 * np.array(list(scores[task].values()))
            (line,) = panel.plot(sizes, values.mean(axis=1), marker=".", linewidth=1.2, label=NAMES[name])
            panel.fill_between(sizes, values.min(axis=1), values.max(axis=1), color=line.get_color(), alpha=0.15)
        panel.set(title=task, xscale="log", xlabel="labelled scenes", ylim=(0 if task == "sum" else 45, 101))
        panel.grid(alpha=0.3)
    figure.axes[0].set_ylabel("accuracy on test digits, %")
    figure.axes[0].legend(frameon=False, fontsize=7)
    return figure


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "representation")
    parser.add_argument("--steps", type=int, default=TrainConfig().steps, help="steps of the models without labels")
    parser.add_argument("--cnn-steps", type=int, default=4_000, help="largest number of steps of the network on pixels")
    parser.add_argument("--seeds", type=int, default=5, help="draws of labelled scenes and classifiers")
    options = parser.parse_args()
    options.sizes, options.epochs = (10, 30, 100, 300, 1_000, 3_000, 10_000), 200
    if options.smoke:
        options.steps, options.cnn_steps, options.seeds, options.sizes, options.epochs = 4, 4, 1, (10, 100), 4
    return options


def main() -> None:
    """Run the experiment."""
    options = arguments()
    split = labelled_scenes(options)
    runs = common.on_cores([partial(train_run, name, options) for name in RUNS], options.cores)
    results = score_everything(split, options)
    common.write_results({"scores": results, "runs": runs}, options.out)
    save_figure(accuracy_figure(results), options.out / "accuracy.png")
    common.write_table(table(results, options), options.out)


if __name__ == "__main__":
    main()
