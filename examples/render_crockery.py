"""Lay a table again from its picture
===================================

``python examples/render_crockery.py --out table.png``

The renderer is differentiable. The kinds of the objects are known, but their positions, rotations, sizes and colours
are wrong at first; gradient descent on the squared error of pixels corrects them. The picture shows the table object by
object, and below it the first guess and its improvements.
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

from airjax import render3d

CAMERA, SETTING = render3d.orbit(0.25, 0.75, 4.0), render3d.daylight()
TRUE = render3d.Pose(
    position=jnp.array([[-0.75, 0.45], [0.75, 0.55], [0.1, -0.65], [-0.1, 1.1]]),
    rotation=jnp.array([-2.2, 0.0, 0.3, 0.5]),
    size=jnp.array([0.5, 0.42, 0.48, 0.3]),
    colour=jnp.array([[0.85, 0.35, 0.2], [0.15, 0.5, 0.35], [0.15, 0.25, 0.65], [0.9, 0.75, 0.2]]),
)
IDENTITIES = jnp.array([render3d.KINDS.index(kind) for kind in (*render3d.CROCKERY, render3d.CUBE)])


@partial(jax.jit, static_argnums=1)
def draw(poses: render3d.Pose, side: int) -> jax.Array:
    """Draw the table with 0, 1, ..., 4 objects."""
    return render3d.render(CAMERA, IDENTITIES, poses, SETTING, (side, side))


def lay_again(target: jax.Array, poses: render3d.Pose, steps: int) -> tuple[list[render3d.Pose], jax.Array]:
    """Descend from `poses` to those that `target` shows: the guess after each quarter of the steps, and all errors."""
    optimiser = optax.adam(0.02)
    error = lambda poses: jnp.mean((draw(poses, target.shape[-1])[-1] - target) ** 2)

    def step(state, _):
        poses, moments = state
        value, slope = jax.value_and_grad(error)(poses)
        updates, moments = optimiser.update(slope, moments)
        return (optax.apply_updates(poses, updates), moments), value

    some = jax.jit(lambda state: jax.lax.scan(step, state, length=steps // 4))
    guesses, errors, state = [poses], [], (poses, optimiser.init(poses))
    for _ in range(4):
        state, values = some(state)
        guesses.append(state[0])
        errors.append(values)
    return guesses, jnp.concatenate(errors)


def main() -> None:
    """Draw, guess, save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("table.png"))
    parser.add_argument("--side", type=int, default=128, help="of a drawing, in pixels")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    target = draw(TRUE, 32)[-1]
    rng = np.random.default_rng(0)
    spread = 0.12, 0.3, 0.05, 0.1  # of positions, rotations, sizes and colours
    moved = (x + sd * rng.standard_normal(x.shape).astype(x.dtype) for x, sd in zip(jax.tree.leaves(TRUE), spread))
    wrong = render3d.Pose(*moved)
    guesses, errors = lay_again(target, wrong, options.steps)
    rows = np.asarray(draw(TRUE, options.side)), np.stack([draw(guess, options.side)[-1] for guess in guesses])
    picture = np.concatenate([np.concatenate(row, axis=-1) for row in rows], axis=1)
    Image.fromarray(np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8).transpose(1, 2, 0)).save(options.out)
    print(f"mean squared error of pixels: {errors[0]:.1e} at first, {errors[-1]:.1e} in the end")


if __name__ == "__main__":
    main()
