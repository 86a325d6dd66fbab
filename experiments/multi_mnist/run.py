"""Multi-MNIST (paper, section 3.1): count, locate and redraw 0 to 2 digits; every seed is reported.

    python experiments/multi_mnist/run.py --data-dir MNIST --out runs/multi_mnist

Trains ten seeds of the default configuration and one of the paper's estimator (`nvil`), evaluates each on 10,000
scenes made from MNIST's test digits, and writes `results.json` and the figures to --out. README.md beside this file
has the expected numbers. `--smoke` does the same with two tiny runs on the embedded digits, in about a minute.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import common

from airjax.figures import CURVES
from airjax.logs import read_metrics
from airjax.plots import curves_figure, save_figure


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "multi_mnist")
    parser.add_argument("--seeds", type=int, default=10)
    return parser.parse_args()


def main() -> None:
    """Run everything."""
    options = arguments()
    runs = {f"seed_{seed}": ["--seed", str(seed)] for seed in range(1 if options.smoke else options.seeds)}
    runs["nvil"] = ["--seed", "0", "--objective", "nvil"]

    def run(name: str, core: int) -> dict:
        flags = (*common.digits(options), *runs[name])
        return common.train_and_evaluate(options.out / name, *flags, samples=5 if options.smoke else 100, core=core)

    results = common.on_cores([partial(run, name) for name in runs], options.cores)
    marginal, nvil = results[:-1], results[-1]
    content = {"marginal": common.summarise(marginal), "seeds": marginal, "nvil": nvil}
    common.write_results(content, options.out)
    series = {name: read_metrics(options.out / name) for name in ("seed_0", "nvil")}
    save_figure(curves_figure(series, CURVES), options.out / "marginal_and_nvil.png")
    everyone = {r["run"]: read_metrics(options.out / r["run"]) for r in marginal}
    save_figure(curves_figure(everyone, CURVES), options.out / "seeds.png")
    print(json.dumps(content["marginal"], indent=1))


if __name__ == "__main__":
    main()
