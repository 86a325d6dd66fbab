"""Scenes beyond plain digits: sprites, small digits, and digits and sprites on backgrounds; every seed is reported.

    python experiments/scenes/run.py --data-dir MNIST --out runs/scenes

Trains five seeds on each kind of scenes, evaluates them on 10,000 held-out scenes, and writes `results.json`,
`table.md` and a figure of each kind to --out. README.md beside this file has the expected numbers. `--smoke` makes one
tiny run of each kind.
"""

import argparse
import shutil
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import common
import numpy as np

from airjax.runs.figures import draw_figures

ATTEND = ("--attention", "64", "--no-learn-count")
"""Windows go to what is left to explain, and the price of an object stays."""
SMALL = ("--canvas", "64", "--digit-side", "9", "18", "--scale", "0.24", "--scale-sd", "0.15", "--window", "20")
LINEAR = (*ATTEND, "--ground", "linear", "--anneal-steps", "300")
SETTINGS = {
    "sprites": (),
    "small": (*ATTEND, *SMALL, "--patch-hidden", "256", "--sd", "0.2", "--count-ratio", "1e-5"),
    "noise": (*ATTEND, "--background", "noise", "--ground", "constant", "--sd", "0.2"),
    "grid": (*LINEAR, "--background", "grid", "--compose", "over", "--sd", "0.2"),
    "texture": (*LINEAR, "--compose", "over", "--sd", "0.25"),
}
"""The flags of each kind of scenes, beside those that name the scenes; sprites bring attention by themselves."""
STEPS = {"sprites": 2_000, "small": 2_000, "noise": 2_000, "grid": 2_000, "texture": 2_000}
SPRITES = {"sprites": ("sprites",), "texture": ("sprites", "--channels", "3", "--background", "texture")}


def scenes(kind: str, options: argparse.Namespace) -> tuple[str, ...]:
    """Name the scenes of a kind, as the first arguments of `airjax train`."""
    if kind in SPRITES:
        return (*SPRITES[kind], *(common.SMOKE if options.smoke else ()))
    return common.digits(options)


def train(kind: str, seed: int, options: argparse.Namespace, core: int) -> dict:
    """Train one seed on one kind of scenes, and score it."""
    steps = () if options.smoke else ("--steps", str(STEPS[kind]))
    flags = (*scenes(kind, options), *SETTINGS[kind], *steps, "--seed", str(seed))
    samples = common.SMOKE_SAMPLES if options.smoke else 10
    return common.train_and_evaluate(options.out / f"{kind}_{seed}", *flags, samples=samples, core=core)


def table(grouped: dict[str, list[dict]]) -> str:
    """Write the scores of every kind as a table in Markdown: means over seeds, and the lowest accuracy."""
    lines = [("scenes", "seeds", "count accuracy", "lowest", "highest", "mean IoU", "AP50", "ELBO"), ["---"] * 8]
    for kind, runs in grouped.items():
        accuracy = [100 * r["count_accuracy_mode"] for r in runs]
        spread = (f"{np.mean(accuracy):.2f} %", f"{min(accuracy):.2f}", f"{max(accuracy):.2f}")
        iou, ap50, elbo = (np.mean([r[name] for r in runs]) for name in ("mean_iou", "ap50", "elbo"))
        lines.append((kind, str(len(runs)), *spread, f"{iou:.3f}", f"{ap50:.3f}", f"{elbo:.1f}"))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "scenes")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="scenes to learn")
    options = parser.parse_args()
    options.seeds = 1 if options.smoke else options.seeds
    return options


def main() -> None:
    """Run everything."""
    options = arguments()
    jobs = [(kind, seed) for seed in range(options.seeds) for kind in options.kinds]
    results = common.on_cores([partial(train, *job, options) for job in jobs], options.cores)
    grouped = {k: [r for (kind, _), r in zip(jobs, results) if kind == k] for k in options.kinds}
    summary = {kind: common.summarise(runs) for kind, runs in grouped.items()}
    common.write_results({"summary": summary, "seeds": grouped}, options.out)
    (options.out / "table.md").write_text(table(grouped))
    for kind in options.kinds:
        draw_figures(options.out / f"{kind}_0")
        shutil.copy(options.out / f"{kind}_0" / "pictures" / "attention.png", options.out / f"{kind}.png")
    print(table(grouped))


if __name__ == "__main__":
    main()
