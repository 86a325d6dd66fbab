"""Draw tables by MuJoCo
=====================

``python examples/another_renderer.py --out renderers.png`` (needs ``pip install '.[mujoco]'`` and OpenGL)

The same scenes by two renderers: above the one that models in 3D invert, in the middle MuJoCo. A black box has no
derivatives, but finite differences of its pictures take their place. Below, gradient descent through MuJoCo corrects
wrong positions and rotations of the table in the right column.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

from airjax import render3d
from airjax.data.tables import tables
from airjax.inference.evaluate import redraw
from airjax.render3d.mujoco_renderer import MuJoCoRenderer

STAGE, OBJECTS, SIDE = render3d.LAID_TABLE, 3, 32
STEPS = (0.04, 0.04, 0.1) * OBJECTS
"""How far positions and rotations are moved for a difference: edges by about half a pixel."""


def lay_again(labels: np.ndarray, true: np.ndarray, wrong: np.ndarray, steps: int) -> list[np.ndarray]:
    """Descend on the error of pixels to a table drawn by MuJoCo: all guesses at poses [objects, 3]."""
    draw = MuJoCoRenderer(STAGE, (SIDE, SIDE))
    host = lambda latents: draw(labels, latents.reshape(OBJECTS, 3)).transpose(2, 0, 1)
    render = render3d.differentiable(host, (3, SIDE, SIDE), STEPS)
    target, optimiser = render(jnp.asarray(true.ravel())), optax.adam(optax.cosine_decay_schedule(0.05, steps))

    @jax.jit
    def step(latents, moments):
        slope = jax.grad(lambda latents: jnp.mean((render(latents) - target) ** 2))(latents)
        updates, moments = optimiser.update(slope, moments)
        return latents + updates, moments

    guesses = [jnp.asarray(wrong.ravel())]
    moments = optimiser.init(guesses[0])
    for _ in range(steps):
        latents, moments = step(guesses[-1], moments)
        guesses.append(latents)
    return [np.asarray(guess).reshape(OBJECTS, 3) for guess in guesses]


def main() -> None:
    """Draw, guess, save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("renderers.png"))
    parser.add_argument("--side", type=int, default=96, help="of a drawing, in pixels")
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    scenes = tables(STAGE, 5, seed=6, counts=(OBJECTS,), canvas=options.side, repeats=False)
    labels, true = scenes.labels[-1], scenes.poses[-1]
    wrong = true + np.random.default_rng(0).normal(0.0, (0.15, 0.15, 0.6), true.shape).astype(np.float32)
    guesses = lay_again(labels, true, wrong, options.steps)
    draw = MuJoCoRenderer(STAGE, (options.side, options.side))
    shown = [draw(labels, guesses[int(share * options.steps)]) for share in (0.0, 0.1, 0.25, 0.5, 1.0)]
    rows = scenes.images, redraw(STAGE, scenes).images, shown
    Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in rows])).save(options.out)
    first, last = (np.linalg.norm(guesses[i][:, :2] - true[:, :2], axis=1).mean() for i in (0, -1))
    print(f"mean distance from the true positions: {first:.3f} at first, {last:.3f} in the end")


if __name__ == "__main__":
    main()
