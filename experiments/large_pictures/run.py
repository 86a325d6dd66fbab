"""Large pictures with many objects: learned from tiles, and counted in tiles that are joined, without a flag.

    python -m experiments.large_pictures.run --out runs/large_pictures

`digits`: 20 pictures of 1024 x 1024 pixels with 150 to 300 small digits in noise to learn from, and 3 of 2048 x 2048
with 1,000 to count. `nuclei` and `coins`: one whole real picture each, to learn from and to count, without its labels
(README.md says what to install). `results.json`, `table.md` and `found.png` go to --out. `--smoke` does the same with
small pictures of digits.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from airjax.data import DigitBank, embedded_digits
from airjax.data.reading import open_picture
from airjax.data.tiles import scaled
from airjax.inference.tiled import NEAR, find_in_tiles
from airjax.runs.plots import STEP_COLOURS
from airjax.runs.pretrained import from_pretrained
from experiments import common
from experiments.pictures import folders
from experiments.pictures.folders import Picture
from experiments.pictures.run import FOUND, average_precision, read_found, read_truth

NAMES = ("digits", "nuclei", "coins")
OFFSETS = (7, 19)
"""Pixels by which tiles are moved, to see whether results depend on where they lie."""
SIDES = (26, 33)
"""Least and largest side of a digit's tile, in pixels."""
INK = 80
"""Level from which on pixels count for a digit's box, and largest of both where two overlap."""
SHARED = 0.05
"""Largest share of a digit's ink that lies on another one."""
NOISE, LEVEL = 8.0, 10.0
"""Standard deviation and mean of the background, of 255."""
SHOWN = 384
"""Side of the part of a picture that the figure shows, in pixels."""


def digits(bank: DigitBank, side: int, least: int, most: int) -> Callable[[np.random.Generator], Iterator[Picture]]:
    """Draw pictures of `side` pixels a side with `least` to `most` digits."""

    def make(rng: np.random.Generator) -> Iterator[Picture]:
        while True:
            canvas, boxes, number = np.zeros((side, side)), [], int(rng.integers(least, most + 1))
            while len(boxes) < number:
                size = int(rng.integers(SIDES[0], SIDES[1] + 1))
                digit = Image.fromarray(bank.images[rng.integers(len(bank.images))]).resize((size, size))
                ink, (x, y) = np.asarray(digit, float), rng.integers(0, side - size + 1, 2)
                behind = canvas[y : y + size, x : x + size]
                if np.sum(np.minimum(behind, ink) > INK) > SHARED * np.sum(ink > INK):
                    continue
                behind += ink
                rows, columns = (np.flatnonzero((ink > INK).any(axis)) for axis in (1, 0))
                boxes.append([float(v) for v in (x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1)])
            noisy = canvas + rng.normal(LEVEL, NOISE, canvas.shape)
            yield Picture(np.uint8(np.clip(noisy, 0, 255)), boxes, [])

    return make


def write(name: str, options: argparse.Namespace) -> tuple[Path, Path]:
    """Write the pictures to learn from and those to count, with their truth; a finished folder is kept."""
    root = options.out / "folders"
    if name != "digits":
        whole = folders.write(folders.whole(name), root / name, 1, 0)
        return whole, whole
    learnt, tested = ((220, 5, 10), (300, 20, 20)) if options.smoke else ((1024, 150, 300), (2048, 1000, 1000))
    numbers = (4, 1) if options.smoke else (20, 3)
    banks = (embedded_digits("train"), embedded_digits("held-out"))
    made = zip(banks, (learnt, tested), numbers, ("train", "test"))
    first, second = (folders.write(digits(bank, *of), root / f"{name}_{part}", n, 0) for bank, of, n, part in made)
    return first, second


def train_and_infer(name: str, learnt: Path, tested: Path, seed: int, options: argparse.Namespace, core: int) -> dict:
    """Train without a flag, infer, and score; a scored run is only read."""
    folder = options.out / f"{name}_seed_{seed}"

    def compute():
        start = time.monotonic()
        flags = ("--out", str(folder), "--quiet", "--seed", str(seed), *options.flags)
        common.airjax("train", str(learnt / "pictures"), *flags, core=core)
        seconds = time.monotonic() - start
        common.airjax(
            *("infer", str(folder), str(tested / "pictures"), "--quiet", "--force", f"--coco={folder / FOUND}"),
            core=core,
        )
        return {"seconds": seconds, **scores(folder, tested)}

    found = common.kept(folder / "scores.json", compute)
    print(f"{name}, seed {seed}: {found}", file=sys.stderr)
    return {"folder": name, "seed": seed, **found}


def scores(run: Path, tested: Path) -> dict:
    """Score counts and boxes, and compare what tiles at other places find in the first picture; time that, too."""
    truth, found = read_truth(tested), read_found(run / FOUND)
    true = np.array([one["count"] for one in truth.values()])
    counted = np.array([len(found[name][0]) for name in truth])
    trained, first = from_pretrained(run), next(iter(truth))
    picture = open_picture(tested / "pictures" / first, first, levels=trained.levels)
    side = trained.tile or max(picture.size)
    invert, still = trained.polarity == "dark", trained.still
    pixels = scaled(picture, trained.model.image_shape, side, invert=invert, still=still).pixels
    find = partial(find_in_tiles, trained.model, pixels)
    plain, start = find(), time.monotonic()
    moved = [find(offset=offset) for offset in OFFSETS]
    return {
        "true": true.tolist(),
        "counted": counted.tolist(),
        "error": float(np.mean(np.abs(counted - true) / true)),
        "ap50": average_precision(truth, found, most=10_000),
        "same": [same(plain.objects, other.objects) for other in moved],
        "seconds_a_picture": (time.monotonic() - start) / len(OFFSETS),
        "size": picture.size,
    }


def same(ours, theirs) -> float:
    """Return the share of objects that are in both lists."""
    there = np.array([one.centre for one in theirs]).reshape(-1, 2)
    near = [(np.linalg.norm(there - one.centre, axis=1) < NEAR * one.side).any() for one in ours]
    return 2 * float(np.sum(near)) / max(1, len(ours) + len(theirs))


def table(runs: list[dict]) -> str:
    """Write a table in Markdown: a row for each run."""
    rows = [
        [
            f"{run['folder']}, {run['size'][0]} x {run['size'][1]}",
            str(run["seed"]),
            ", ".join(map(str, run["true"])),
            ", ".join(map(str, run["counted"])),
            f"{run['ap50']:.3f}",
            ", ".join(f"{100 * one:.1f} %" for one in run["same"]),
            f"{run['seconds'] / 60:.1f}",
            f"{run['seconds_a_picture']:.1f}",
        ]
        for run in runs
    ]
    head = [
        "pictures",
        "seed",
        "true",
        "counted",
        "AP50",
        "same if tiles move",
        "minutes to learn",
        "seconds a picture",
    ]
    return common.markdown(head, rows)


def figure(tested: dict[str, Path], options: argparse.Namespace) -> Image.Image:
    """Show a part of the first picture of each folder with the boxes found, side by side."""
    whole = Image.new("RGB", (SHOWN * len(tested), SHOWN))
    for place, (name, folder) in enumerate(tested.items()):
        run, first = options.out / f"{name}_seed_0", next(iter(read_truth(folder)))
        picture = open_picture(folder / "pictures" / first, first, levels=from_pretrained(run).levels)
        part = picture.convert("RGB").crop((0, 0, *np.minimum(picture.size, SHOWN).tolist()))
        draw = ImageDraw.Draw(part)
        for step, (x0, y0, x1, y1) in enumerate(read_found(run / FOUND)[first][0]):
            draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=STEP_COLOURS[step % len(STEP_COLOURS)])
        whole.paste(part, (SHOWN * place, 0))
    return whole.quantize(96)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = common.parser(__doc__, "large_pictures", data=None)
    parser.add_argument("--folders", nargs="*", choices=NAMES, default=list(NAMES))
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    options.flags = ()
    if options.smoke:
        options.folders, options.seeds = ["digits"], 1
        options.flags = ("--steps", "4", "--chunk", "2", "--batch", "4", "--hidden", "16", "--max-objects", "3")
        options.flags += ("--tile", "64", "--canvas", "24")
    return options


def main() -> None:
    """Run the experiment."""
    options = arguments()
    written = {name: write(name, options) for name in options.folders}
    jobs = [
        partial(train_and_infer, name, *written[name], seed, options)
        for seed in range(options.seeds)
        for name in written
    ]
    runs = common.on_cores(jobs, options.cores)
    common.write_results({"runs": runs}, options.out)
    common.write_table(table(runs), options.out)
    figure({name: tested for name, (_, tested) in written.items()}, options).save(options.out / "found.png")


if __name__ == "__main__":
    main()
