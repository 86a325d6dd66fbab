"""Scenes with a background: count, locate and redraw objects on noise, grids and textures; every seed is reported.

    python experiments/backgrounds/run.py --data-dir MNIST --out runs/backgrounds

Trains five seeds on each of the three, evaluates them on 10,000 held-out scenes, and writes `results.json` and the
figures to --out. `--smoke` does the same with one tiny run each. README.md beside this file says what to expect.
"""

import argparse
import json
import shutil
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import common

from airjax.figures import draw_figures

SPRITES = ("sprites", "--channels", "3", "--background", "texture")
SETTINGS = {
    "noise": ("--background", "noise", "--ground", "constant", "--sd", "0.2", "--anneal-steps", "400"),
    "grid": ("--background", "grid", "--ground", "linear", "--compose", "over", "--sd", "0.2", "--anneal-steps", "400"),
    "texture": ("--ground", "linear", "--ground-size", "48", "--compose", "over", "--anneal-steps", "300"),
}
"""The flags of each kind of scenes, beside those that name the scenes of sprites."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "backgrounds")
    parser.add_argument("--seeds", type=int, default=5)
    return parser.parse_args()


def scenes(kind: str, options: argparse.Namespace) -> tuple[str, ...]:
    """Name the scenes of a kind, as the first arguments of `airjax train`."""
    if kind == "texture":
        return (*SPRITES, *(common.SMOKE if options.smoke else ()))
    return common.digits(options)


def main() -> None:
    """Run everything."""
    options = arguments()
    seeds = range(1 if options.smoke else options.seeds)
    jobs = [(kind, seed) for kind in SETTINGS for seed in seeds]

    def run(kind: str, seed: int, core: int) -> dict:
        flags = (*scenes(kind, options), *SETTINGS[kind], "--seed", str(seed))
        folder = options.out / f"{kind}_{seed}"
        return common.train_and_evaluate(folder, *flags, samples=5 if options.smoke else 100, core=core)

    results = common.on_cores([partial(run, *job) for job in jobs], options.cores)
    grouped = {k: [r for (kind, _), r in zip(jobs, results) if kind == k] for k in SETTINGS}
    summary = {kind: common.summarise(group) for kind, group in grouped.items()}
    common.write_results({"summary": summary, "seeds": grouped}, options.out)
    for kind in SETTINGS:
        draw_figures(options.out / f"{kind}_0")
        shutil.copy(options.out / f"{kind}_0" / "pictures" / "attention.png", options.out / f"{kind}.png")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
