"""Read the posterior over counts
==============================

``python examples/count_posterior.py``

Two digits are pushed together until they can hardly be told apart. At each distance, a model that comes with airjax,
trained on other digits and without labels, gives two answers: q(n | x), its guess at first sight, and p(n | x), its
answer after it has drawn 100 explanations of the picture and weighed them by how well they fit.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import airjax
from airjax.data import embedded_digits
from airjax.runs import plots

parser = argparse.ArgumentParser()
parser.add_argument("--samples", type=int, default=100)
options = parser.parse_args()

# %%
# Scenes: a one, and a seven beside it or upon it.

bank = embedded_digits("held-out")
SIDE, DISTANCES = 22, (12, 9, 8, 7, 6, 3)
left, right = (
    np.asarray(Image.fromarray(bank.images[bank.labels == digit][example]).resize((SIDE, SIDE))).astype(int)
    for digit, example in ((1, 0), (7, 1))
)
scenes = np.zeros((len(DISTANCES), 1, 50, 50), np.uint8)
for scene, distance in zip(scenes, DISTANCES):
    canvas = np.zeros((50, 50), int)
    start = (50 - SIDE - distance) // 2
    canvas[14 : 14 + SIDE, start : start + SIDE] += left
    canvas[14 : 14 + SIDE, start + distance : start + distance + SIDE] += right
    scene[0] = np.minimum(canvas, 255)

# %%
# ``find`` looks once, along the most typical explanation; ``bound`` looks many times.

model = airjax.load("multi-mnist")
found = airjax.find(model, scenes)
weighed = airjax.bound(model, scenes, samples=options.samples, key=jax.random.PRNGKey(0))
for distance, q, p in zip(DISTANCES, found.count_probs, weighed.count_posterior):
    print(f"{distance:2d} pixels apart: q {np.round(q, 2)}, p {np.round(p, 2)}")

# %%
# Bars: p(n | x). Dots: q(n | x).

figure = Figure(figsize=(10, 3.6), layout="constrained")
axes = figure.subplots(2, len(DISTANCES), sharey="row")
for (above, below), scene, q, p in zip(axes.T, scenes, found.count_probs, weighed.count_posterior):
    above.imshow(scene[0], cmap="gray", vmin=0, vmax=255)
    above.set_axis_off()
    below.bar(range(len(p)), p, color="#9db8d9")
    below.plot(range(len(q)), q, "o", color="#c0392b", markersize=4)
    below.set(xlabel="n", xticks=range(len(p)), ylim=(0, 1.05))
plots.save_figure(figure, Path("count_posterior.png"))
