"""Learn from images of your own
==============================

``python examples/own_images.py``

A folder of pictures is all you need. The script draws one: coloured sweets on a light table, in pictures of two shapes.
It calls the command line, so you can type every step yourself, with your own folder; ``docs/own_images.md`` says more.
"""

import argparse
import shlex
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from airjax.interfaces import cli

parser = argparse.ArgumentParser()
parser.add_argument("--pictures", type=int, default=1_000)
parser.add_argument("--steps", type=int, default=200)
options = parser.parse_args()

COLOURS = "crimson", "seagreen", "royalblue", "darkorange", "purple"


def sweets(rng: np.random.Generator) -> Image.Image:
    """Draw 0 to 3 sweets that don't touch."""
    picture = Image.new("RGB", (72, 72) if rng.random() < 0.8 else (90, 72), (236, 230, 220))
    draw, places = ImageDraw.Draw(picture), []
    while len(places) < rng.integers(4):
        place, radius = rng.uniform(12, 60, 2), rng.uniform(7, 10)
        if all(np.linalg.norm(place - other) > 22 for other in places):
            places.append(place)
            shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
            shape([*(place - radius), *(place + radius)], fill=str(rng.choice(COLOURS)))
    return picture


def airjax(command: str) -> None:
    """Do what the command line does."""
    print(f"$ airjax {command}")
    if cli.main(shlex.split(command)):
        raise SystemExit(f"failed: airjax {command}")


scratch = tempfile.TemporaryDirectory()  # vanishes in the end
folder = Path(scratch.name)
(folder / "sweets").mkdir()
rng = np.random.default_rng(0)
for index in range(options.pictures):
    sweets(rng).save(folder / "sweets" / f"{index:05d}.png")

# %%
# The doctor looks at the pictures without learning: what do they show, is AIR the right tool for them, and with which
# settings?

airjax(f"doctor {folder}/sweets")

# %%
# Training uses these settings unless a flag overrides them. For pictures as plain as these, few steps are enough.

airjax(f"train {folder}/sweets --steps {options.steps} --warmup 50 --out {folder}/run --quiet")

# %%
# Then run inference on pictures of any size, or a folder of them. ``--overlay`` writes the pictures with boxes drawn
# in; ``--coco`` and ``--parquet`` write the results as data, in the pictures' own pixels.

(folder / "new").mkdir()
for index in range(16):
    sweets(np.random.default_rng(1_000_000 + index)).resize((144, 144)).save(folder / "new" / f"{index:02d}.png")
airjax(f"infer {folder}/run {folder}/new --samples 20 --overlay {folder}/found --coco {folder}/found.json --quiet")

# %%

found = [ImageOps.expand(Image.open(path), 1, "grey") for path in sorted((folder / "found").glob("*.png"))]
rows = [np.concatenate([np.asarray(one) for one in row], axis=1) for row in (found[:8], found[8:])]
Image.fromarray(np.concatenate(rows)).save("own_images.png")
