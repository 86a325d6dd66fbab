"""Pictures that are not made for AIR: counts and boxes without a flag, beside counters tuned with scikit-image.

    python -m experiments.pictures.run --out runs/pictures

For each folder (`folders.py`) the experiment trains AIR on pictures of one seed, without any flag but the run's seed,
infers the pictures of another seed, and scores counts and boxes; beside it stand counters that were tuned on labelled
pictures (`classical.py`). `results.json`, `table.md` and `found.png` go to --out. README.md says what to install.
`--own NAME=TRAIN:TEST` adds folders of yours, made like these. `--smoke` does the same with a few drawn pictures.
"""

import argparse
import contextlib
import io
import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from airjax.data.images import find_levels, letterbox, plain
from airjax.runs.plots import sample_figure, save_figure
from experiments import common
from experiments.pictures import folders

TESTED = 200
"""Pictures that are scored, of each folder."""
TUNED_ON = 60
"""Labelled pictures on which the classical counters are tuned."""
SHOWN = 8
"""Pictures of each folder in the figure."""
FOUND = "found.json"
"""Boxes found, in a run's folder."""
Boxes = dict[str, tuple[np.ndarray, np.ndarray]]
"""Boxes and their scores in each picture."""


def train_and_infer(name: str, learnt: Path, tested: Path, seed: int, options: argparse.Namespace, core: int) -> dict:
    """Train without a flag, infer, and score; a scored run is only read."""
    folder = run_folder(options, name, seed)

    def compute():
        start = time.monotonic()
        flags = ("--out", str(folder), "--quiet", "--seed", str(seed), *options.flags)
        common.airjax("train", str(learnt / "pictures"), *flags, core=core)
        seconds = time.monotonic() - start
        results = ("--quiet", "--samples=1", "--force", f"--coco={folder / FOUND}")
        common.airjax("infer", str(folder), str(tested / "pictures"), *results, core=core)
        return {"seconds": seconds, **score(read_truth(tested), read_found(folder / FOUND))}

    scores = common.kept(folder / "scores.json", compute)
    print(f"{name}, seed {seed}: {scores}", file=sys.stderr)
    return {"folder": name, "seed": seed, **scores}


def run_folder(options: argparse.Namespace, name: str, seed: int) -> Path:
    """Name the folder of a run."""
    return options.out / f"{name}_seed_{seed}"


def read_truth(folder: Path) -> dict[str, dict]:
    """Read the truth of a folder; pictures without `parts` have none."""
    return {name: {"parts": [], **one} for name, one in json.loads((folder / "truth.json").read_text()).items()}


def read_found(path: Path) -> Boxes:
    """Read COCO results of `airjax infer`."""
    images = json.loads(path.with_suffix(".images.json").read_text())["images"]
    found: dict[int, list] = {image["id"]: [] for image in images}
    for one in json.loads(path.read_text()):
        x, y, width, height = one["bbox"]
        found[one["image_id"]].append([x, y, x + width, y + height, one["score"]])
    rows = {Path(image["file_name"]).name: np.array(found[image["id"]]).reshape(-1, 5) for image in images}
    return {name: (row[:, :4], row[:, 4]) for name, row in rows.items()}


def score(truth: dict[str, dict], found: Boxes) -> dict[str, float]:
    """Score counts and boxes. A thing cut by the border may be counted or not."""
    counted = np.array([len(found[name][0]) for name in truth])
    least = np.array([one["count"] for one in truth.values()])
    most = least + [len(one["parts"]) for one in truth.values()]
    return {
        "counts": float(np.mean((counted >= least) & (counted <= most))),
        "error": float(np.mean(np.maximum(least - counted, 0) + np.maximum(counted - most, 0))),
        "ap50": average_precision(truth, found),
    }


def average_precision(truth: dict[str, dict], found: Boxes, most: int = 100) -> float:
    """Compute the average precision at an IoU of 0.5 by pycocotools; cut things count neither way.

    Only the `most` surest boxes of a picture count.
    """
    boxes, results = [], []
    for image, (name, one) in enumerate(truth.items(), 1):
        for ignored, key in enumerate(("boxes", "parts")):
            boxes += [
                _coco(image, box) | {"iscrowd": ignored, "id": len(boxes) + i} for i, box in enumerate(one[key], 1)
            ]
        results += [_coco(image, box) | {"score": float(sure)} for box, sure in zip(*found[name])]
    if not results:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        images = [{"id": image} for image in range(1, len(truth) + 1)]
        known.dataset = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(results), "bbox")
        evaluation.params.maxDets = [1, 10, most]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, 0, 0, 2]
    return float(precision[precision > -1].mean())


def _coco(image: int, box) -> dict:
    x0, y0, x1, y1 = map(float, box)
    return {"image_id": image, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}


def beside(learnt: Path, tested: Path) -> dict[str, dict[str, float]]:
    """Score the classical counters; none if scikit-image is not installed."""
    try:
        from experiments.pictures import classical
    except ModuleNotFoundError as error:
        if error.name != "skimage":
            raise
        return {}
    known = read_truth(learnt)
    some = list(known)[:TUNED_ON]
    counters = classical.tuned([_pixels(learnt, name) for name in some], [known[name] for name in some])
    truth = read_truth(tested)
    found = {
        way: {name: (boxes := counter(_pixels(tested, name)), np.ones(len(boxes))) for name in truth}
        for way, counter in counters.items()
    }
    return {way: score(truth, boxes) for way, boxes in found.items()}


def _pixels(folder: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(folder / "pictures" / name))


def table(runs: list[dict], classical: dict[str, dict]) -> str:
    """Write a table in Markdown: a row for each folder."""
    ways = list(next(iter(classical.values()), {}))
    rows = []
    for name in dict.fromkeys(run["folder"] for run in runs):
        mine = [run for run in runs if run["folder"] == name]
        counts = common.spread([100 * run["counts"] for run in mine], ".1f")
        ap50, minutes = ([run[key] for run in mine] for key in ("ap50", "seconds"))
        line = [name, f"{counts} %", common.spread(ap50, ".3f")]
        line.append(f"{np.mean(minutes) / 60:.1f}")
        for way in ways:
            line += [f"{100 * classical[name][way]['counts']:.1f} %", f"{classical[name][way]['ap50']:.3f}"]
        rows.append(line)
    head = ["folder", "AIR: counts right", "AP50", "minutes"]
    return common.markdown(head + [column for way in ways for column in (f"{way}: counts", "AP50")], rows)


def figure(tested: dict[str, Path], options: argparse.Namespace):
    """Show pictures of each folder with the boxes found, those with wrong counts first."""
    images, shown = [], []
    for name, folder in tested.items():
        truth, found = read_truth(folder), read_found(run_folder(options, name, 0) / FOUND)
        off = {one: abs(len(found[one][0]) - truth[one]["count"]) for one in truth}
        pictures = [Image.open(folder / "pictures" / one) for one in list(truth)[:50]]
        levels = find_levels(pictures)
        for one in sorted(truth, key=lambda one: -off[one])[:SHOWN]:
            fitted = letterbox(plain(Image.open(folder / "pictures" / one), one, levels), (3, 160, 160))
            corner = [fitted.placement.left, fitted.placement.top] * 2
            images.append(np.moveaxis(fitted.pixels, 0, -1) / 255)
            shown.append(found[one][0] * fitted.placement.factor + corner)
    return sample_figure(np.stack(images), shown, columns=SHOWN)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "pictures", data=None)
    parser.add_argument("--folders", nargs="*", choices=list(folders.FOLDERS), default=list(folders.FOLDERS))
    parser.add_argument("--own", nargs="*", default=[], metavar="NAME=TRAIN:TEST", help="folders of your own")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    options.flags = ()
    if options.smoke:
        options.folders, options.own, options.seeds = ["bolts"], [], 1
        options.flags = ("--steps", "8", "--chunk", "4", "--batch", "4", "--hidden", "16", "--max-objects", "2")
    return options


def main() -> None:
    """Run the experiment."""
    options = arguments()
    learnt, tested = {}, {}
    for name in options.folders:
        make, number = folders.FOLDERS[name]
        sizes = (40, 8) if options.smoke else (number, TESTED)
        learnt[name], tested[name] = (
            folders.write(make(), options.out / "folders" / f"{name}_{seed}", size, seed)
            for seed, size in enumerate(sizes, 1)
        )
    for name, paths in (one.split("=", 1) for one in options.own):
        learnt[name], tested[name] = map(Path, paths.split(":"))
    jobs = [
        partial(train_and_infer, name, learnt[name], tested[name], seed, options)
        for seed in range(options.seeds)
        for name in learnt
    ]
    runs = common.on_cores(jobs, options.cores)
    classical = {name: beside(learnt[name], tested[name]) for name in learnt}
    common.write_results({"runs": runs, "classical": classical}, options.out)
    common.write_table(table(runs, classical), options.out)
    save_figure(figure(tested, options), options.out / "found.png")


if __name__ == "__main__":
    main()
