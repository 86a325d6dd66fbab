"""Train for the first time
=========================

``python examples/first_training.py``

Scenes of 50 x 50 pixels hold 0 to 2 of the digits that come with scikit-learn. A model sees them without being told how
many there are, or that there are such things as digits, and learns to count, locate and redraw them.
"""

import argparse
import tempfile
from pathlib import Path

import airjax
from airjax.data import load_scenes
from airjax.data.batches import channels_first
from airjax.runs import figures, fit

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=250)
parser.add_argument("--scenes", type=int, default=20_000)
parser.add_argument("--held-out-scenes", type=int, default=1_000)
options = parser.parse_args()

# %%
# An experiment is three plain records: the data, the model, and the training. Settings that you leave out have the
# values behind the published numbers. Here the networks are smaller and the learning rate is higher, since there are
# few steps. ``attention`` places windows where the image is not yet explained, which is learned sooner.

config = airjax.Config(
    airjax.DataConfig("multi-digits", scenes=options.scenes, held_out_scenes=options.held_out_scenes),
    airjax.ModelConfig(attention=64, window=20, hidden=128, embed_hidden=64, patch_hidden=200, anneal_steps=100),
    airjax.TrainConfig(steps=options.steps, learning_rate=2e-3),
)
scenes, held_out = load_scenes(config.data, "train"), load_scenes(config.data, "held-out")
print(f"images: {scenes.images.dtype} {scenes.images.shape}")

# %%
# Training keeps everything in a folder: the settings, a log, checkpoints from which to resume, and pictures. Here the
# folder is temporary. To keep one, name it, or use the command line: ``airjax train multi-digits --out runs/first``.

with tempfile.TemporaryDirectory() as folder:
    model = fit.fit(config, scenes, held_out, Path(folder), progress=False)

# %%
# How often does it count right, in scenes of digits that no training scene shows? ``airjax evaluate`` tells more.

found = airjax.find(model, channels_first(held_out.images))
print(f"counted right: {(found.count == held_out.counts).mean():.1%}")

# %%
# What does it look at? Above: the scenes with its windows, red for the first object, green for the second. Below: its
# drawing after each of them.

figures.draw_attention(model, held_out[: fit.PICTURED], Path("first_training.png"))
