"""Omniglot: characters explained as a few parts, each drawn in a window of its own.

    python -m experiments.omniglot.run --data-dir OMNIGLOT --out runs/omniglot

The experiment trains AIR with at most four objects on handwritten characters and scores it on characters that no
training drawing shows. The scores are bounds on log p(x), and how often the number of parts equals the number of
strokes that people drew. `results.json`, `table.md` and a figure go to --out. README.md has the expected numbers.
`--smoke` does the same with a tiny run on scenes of the embedded digits, whose objects stand for strokes.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from airjax.config import TrainConfig
from airjax.data import Scenes, load_scenes
from airjax.data.batches import channels_first
from airjax.inference import infer
from airjax.runs.plots import STEP_COLOURS, sample_figure, save_figure
from airjax.runs.record import load_model, read_record
from experiments import common

SETTINGS = common.settings(__file__)
MAX_PARTS = SETTINGS["max-objects"]
SHOWN = 16
"""Characters in the figure."""


def train(seed: int, options: argparse.Namespace, core: int) -> dict:
    """Train with a seed, and score on held-out characters."""
    return common.train_and_evaluate(
        folder_of(seed, options), *options.flags, "--seed", str(seed), samples=options.samples, core=core
    )


def folder_of(seed: int, options: argparse.Namespace) -> Path:
    """Name the folder of a run."""
    return options.out / f"seed_{seed}"


def held_out(options: argparse.Namespace) -> Scenes:
    """Load the held-out characters."""
    return load_scenes(read_record(folder_of(0, options)).config.data, "held-out")


def parts_and_strokes(scores: dict) -> np.ndarray | None:
    """Count characters by their number of strokes (rows) and of inferred parts (columns).

    The last row holds all characters of more than `MAX_PARTS` strokes. Returns None if strokes are unknown.
    """
    if scores["confusion"] is None:
        return None
    table = np.array(scores["confusion"])[:, : MAX_PARTS + 1]
    return np.concatenate([table[: MAX_PARTS + 1], table[MAX_PARTS + 1 :].sum(axis=0, keepdims=True)])


def agreement(found: np.ndarray) -> dict[str, float]:
    """Compute how often the numbers of parts and strokes are equal: of all characters, and of those within reach.

    A character is within reach if it has at most `MAX_PARTS` strokes. The best guess is the most frequent number of
    strokes among these.
    """
    equal, within = np.trace(found[:-1]), found[:-1].sum()
    return {
        "equal": float(equal / found.sum()),
        "equal_within_reach": float(equal / within),
        "best_guess_within_reach": float(found[:-1].sum(axis=1).max() / within),
    }


def table(found: np.ndarray) -> str:
    """Write the counts of `parts_and_strokes` as a table in Markdown."""
    names = [*map(str, range(MAX_PARTS + 1)), f"more than {MAX_PARTS}"]
    rows = [[name, *map(str, row)] for name, row in zip(names, found)]
    return common.markdown(["strokes", *(f"{n} parts" for n in range(MAX_PARTS + 1))], rows)


def parts_figure(options: argparse.Namespace) -> Figure:
    """Show held-out characters, their reconstructions, and the part that each step drew, in its colour and window."""
    scenes = held_out(options)
    images = channels_first(scenes.images[np.arange(SHOWN) * len(scenes) // SHOWN])
    found = infer.find(load_model(folder_of(0, options)), images)
    present = found.present
    drawn = np.diff(found.canvases[:, :, 0], axis=1) * present[..., None, None]
    coloured = np.einsum("knhw,nc->khwc", drawn, [to_rgb(colour) for colour in STEP_COLOURS[:MAX_PARTS]])
    grey = [np.repeat(picture[..., None], 3, axis=-1) for picture in (images[:, 0] / 255, drawn.sum(axis=1))]
    none = np.full(found.windows.shape, np.nan)
    boxes = np.concatenate([none, none, np.where(found.present[..., None], found.windows, np.nan)])
    return sample_figure(np.clip(np.concatenate([*grey, coloured]), 0, 1), boxes, columns=SHOWN)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "omniglot", data="Omniglot's archives")
    parser.add_argument("--steps", type=int, default=TrainConfig().steps)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.smoke:
        options.seeds, options.samples, data = 1, common.SMOKE_SAMPLES, common.digits(options)
    else:
        folder = ("--data-dir", str(options.data_dir)) if options.data_dir else ()
        options.samples, data = 50, ("omniglot", *folder, "--steps", str(options.steps))
    options.flags = (*data, *common.flags(SETTINGS, options))
    return options


def main() -> None:
    """Run the experiment."""
    options = arguments()
    runs = common.on_cores([partial(train, seed, options) for seed in range(options.seeds)], options.cores)
    results = {"summary": common.summarise(runs), "seeds": runs}
    if (found := parts_and_strokes(runs[0])) is not None:
        results["strokes"] = [agreement(parts_and_strokes(run)) for run in runs]
        common.write_table(table(found), options.out)
        print(results["strokes"])
    common.write_results(results, options.out)
    save_figure(parts_figure(options), options.out / "parts.png")


if __name__ == "__main__":
    main()
