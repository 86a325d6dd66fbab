"""A patch model of your own: draw with a pen
===========================================

``python examples/own_patch_model.py``

A patch model is anything with `code_size`, `prior_sample`, `encode` and `decode` (`airjax.PatchModel`). This one draws
each object in a few strokes: a stroke is a quadratic Bezier curve with a pressure, and the code z_what holds its three
control points and the pressure. So AIR finds how many objects there are, where they are, and how a pen would write
them. It learns on scenes of the digits that come with scikit-learn; nothing is downloaded. After these 200 steps, about
a minute on a CPU core, it counted 93.0 % of 1,000 held-out scenes right; with ``--steps 1000``, 99.7 % (one run each,
ELBO 588 and 608).
"""

import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

import airjax
from airjax.data import load_scenes
from airjax.data.batches import channels_first
from airjax.learning import loop, trainer
from airjax.models import windows
from airjax.models.layers import MLP, Normal
from airjax.runs import figures

POINTS = 12
"""Dots along a stroke."""


class StrokePatches(eqx.Module):
    """Draw a patch as strokes of a soft pen; encode a glimpse to their control points and pressures."""

    encoder: MLP
    log_width: Float[Array, ""]
    side: int = eqx.field(static=True)
    strokes: int = eqx.field(static=True)

    def __init__(self, side: int, strokes: int, *, key: PRNGKeyArray):
        self.encoder = MLP((side * side, 400, 2 * 7 * strokes), last_gain=0.5, key=key)
        self.log_width = jnp.log(0.15)  # half the width of a line, the patch being [-1, 1]^2
        self.side, self.strokes = side, strokes

    @property
    def code_size(self) -> int:
        """Count the numbers of all strokes: three points and a pressure each."""
        return 7 * self.strokes

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw strokes from N(0, 1)."""
        return jax.random.normal(key, (self.code_size,))

    def encode(
        self, glimpse: Float[Array, "1 p p"], noise: Float[Array, " d"] | None, *, pathwise: bool = True
    ) -> airjax.Code:
        """Infer the strokes in a glimpse."""
        posterior = Normal(*jnp.split(self.encoder(glimpse.reshape(-1)), 2))
        return airjax.gaussian_code(posterior, noise, pathwise=pathwise)

    def decode(self, what: Float[Array, " d"]) -> Float[Array, "1 p p"]:
        """Draw the strokes: dots along them are Gaussians, so that ink is one product of rows by columns."""
        controls, pressure = 0.5 * what[: -self.strokes].reshape(self.strokes, 3, 2), what[-self.strokes :]
        t = jnp.linspace(0.0, 1.0, POINTS)
        weights = jnp.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2])
        dots = jnp.einsum("kt,skx->stx", weights, controls).reshape(-1, 2)
        pixels = windows.pixel_centres(self.side)
        rows, columns = jnp.exp(-0.5 * ((pixels - dots.T[..., None]) * jnp.exp(-self.log_width)) ** 2)
        ink = jnp.einsum("d,di,dj->ij", jnp.repeat(jax.nn.softplus(pressure - 4.0), POINTS), rows, columns)
        return -jnp.expm1(-ink)[None]


def main() -> None:
    """Train AIR with strokes and score it on scenes of digits that it never saw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--scenes", type=int, default=20_000)
    parser.add_argument("--held-out-scenes", type=int, default=1_000)
    parser.add_argument("--out", type=Path, default=Path("own_patch_model.png"), help="a picture of what it attends to")
    options = parser.parse_args()
    data = airjax.DataConfig("multi-digits", scenes=options.scenes, held_out_scenes=options.held_out_scenes)
    images, held_out = channels_first(load_scenes(data, "train").images), load_scenes(data, "held-out")

    settings, training = airjax.ModelConfig(window=28), airjax.TrainConfig(steps=options.steps)
    patches = StrokePatches(settings.window, strokes=4, key=jax.random.PRNGKey(0))
    state = trainer.init(settings, training, images.shape[1:], patches)
    for chunk in loop.chunks(jnp.asarray(images), training, trainer.step_with(settings), state):
        state = chunk.state
        print(f"step {state.step}: ELBO {chunk.info.elbo.mean():.1f}", flush=True)
    scores = airjax.evaluate(state.model, held_out, key=jax.random.PRNGKey(1), samples=10)
    print(f"held-out count accuracy {scores['count_accuracy_mode']:.2%}, ELBO {scores['elbo']:.1f} nats")
    figures.draw_attention(state.model, held_out[:10], options.out)


if __name__ == "__main__":
    main()
