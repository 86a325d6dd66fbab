"""Scenes beyond plain digits: sprites, small digits, and digits and sprites on backgrounds; every seed is reported.

    python -m experiments.scenes.run --data-dir MNIST --out runs/scenes

The experiment trains five seeds on each kind of scenes and evaluates them on 10,000 held-out scenes. `results.json`,
`table.md` and a figure of each kind go to --out. README.md has the expected numbers. `--smoke` makes one tiny run of
each kind.
"""

import argparse
import shutil
from functools import partial

import numpy as np

from airjax.runs.figures import draw_figures
from experiments import common

SETTINGS = common.settings(__file__)


def train(kind: str, seed: int, options: argparse.Namespace, core: int) -> dict:
    """Train one seed on one kind of scenes, and score it."""
    flags = (*scenes(kind, options), *common.flags(SETTINGS[kind], options), "--seed", str(seed))
    samples = common.SMOKE_SAMPLES if options.smoke else 10
    return common.train_and_evaluate(options.out / f"{kind}_{seed}", *flags, samples=samples, core=core)


def scenes(kind: str, options: argparse.Namespace) -> tuple[str, ...]:
    """Make the first arguments of `airjax train`: digits, unless the settings name other data."""
    if "data" in SETTINGS[kind]:
        return common.SMOKE if options.smoke else ()
    return common.digits(options)


def table(grouped: dict[str, list[dict]]) -> str:
    """Write the mean scores of every kind, and the lowest and highest accuracy, as a table in Markdown."""
    rows = []
    for kind, runs in grouped.items():
        accuracies = common.percentages([r["count_accuracy_mode"] for r in runs], ".2f")
        iou, ap50, elbo = (np.mean([r[name] for r in runs]) for name in ("mean_iou", "ap50", "elbo"))
        rows.append((kind, str(len(runs)), *accuracies, f"{iou:.3f}", f"{ap50:.3f}", f"{elbo:.1f}"))
    head = ("scenes", "seeds", "count accuracy", "lowest", "highest", "mean IoU", "AP50", "ELBO")
    return common.markdown(head, rows)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "scenes")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="kinds of scenes")
    options = parser.parse_args()
    options.seeds = 1 if options.smoke else options.seeds
    return options


def main() -> None:
    """Run the experiment."""
    options = arguments()
    jobs = [(kind, seed) for seed in range(options.seeds) for kind in options.kinds]
    results = common.on_cores([partial(train, *job, options) for job in jobs], options.cores)
    grouped = {k: [r for (kind, _), r in zip(jobs, results) if kind == k] for k in options.kinds}
    summary = {kind: common.summarise(runs) for kind, runs in grouped.items()}
    common.write_results({"summary": summary, "seeds": grouped}, options.out)
    for kind in options.kinds:
        draw_figures(options.out / f"{kind}_0")
        shutil.copy(options.out / f"{kind}_0" / "pictures" / "attention.png", options.out / f"{kind}.png")
    common.write_table(table(grouped), options.out)


if __name__ == "__main__":
    main()
