"""Stop, go on, and hand the model over
====================================

``python examples/resume_and_export.py``

A training run is stopped in the middle and resumed. It ends with exactly the same weights as a run that was never
stopped. Then its model is written as two files for others to load.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import equinox as eqx

import airjax
from airjax.data import load_scenes
from airjax.runs import checkpoint, fit, log, plots, record

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300)
options = parser.parse_args()

scratch = tempfile.TemporaryDirectory()  # vanishes in the end
whole, stopped, shared = (Path(scratch.name) / name for name in ("whole", "stopped", "shared"))
config = airjax.Config(
    airjax.DataConfig("sprites", canvas=32, counts=(0, 1), scenes=2_000, held_out_scenes=200),
    airjax.ModelConfig(max_objects=1, window=12, hidden=32, embed_channels=4, embed_hidden=16, patch_hidden=64),
    airjax.TrainConfig(steps=options.steps, chunk=10, checkpoint_every=20, evaluate_every=options.steps // 2),
)
scenes = load_scenes(config.data, "train"), load_scenes(config.data, "held-out")

# %%
# One run in one go, and one that is stopped, as by Ctrl-C, when it has written its second checkpoint.

fit.fit(config, *scenes, whole, progress=False)


def save_then_stop(folder: Path, step: int, *rest: Any, save: Any = checkpoint.save, **options: Any) -> None:
    """Write a checkpoint; after the second, do as Ctrl-C does."""
    save(folder, step, *rest, **options)
    if step == 40:
        raise KeyboardInterrupt


try:
    with patch.object(checkpoint, "save", save_then_stop):
        fit.fit(config, *scenes, stopped, progress=False)
except KeyboardInterrupt:
    written = sorted(path.stem for path in (stopped / record.CHECKPOINTS).glob("*.safetensors"))
    print(f"stopped; the checkpoints: {', '.join(written)}")

# %%
# The same call resumes the run. So does the same ``airjax train`` command, even after ``kill -9``. On one machine's
# CPU, the weights are the same, bit for bit.

fit.fit(config, *scenes, stopped, progress=False)
model = airjax.load(stopped)
print(f"the same weights: {bool(eqx.tree_equal(model, airjax.load(whole)))}")

# %%
# ``save_pretrained`` (``airjax export``) writes the settings as JSON and the weights as safetensors, with their hash;
# nothing is pickled. The folder is all that others need.

airjax.save_pretrained(stopped, shared)
for path in sorted(shared.iterdir()):
    print(f"{path.name:18} {path.stat().st_size:9,} bytes")
print(f"loaded again, the same weights: {bool(eqx.tree_equal(model, airjax.load(shared)))}")

# %%
# Their logs lie on top of each other, too.

curves = {folder.name: log.read_metrics(folder) for folder in (whole, stopped)}
plots.save_figure(plots.curves_figure(curves, ["elbo"]), Path("resume_and_export.png"))
