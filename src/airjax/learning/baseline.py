"""The data-dependent baselines of the score-function estimator (Mnih & Gregor, 2014; paper, section 2.2)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.config import ModelConfig
from airjax.models.base import Family, Trajectory
from airjax.models.layers import MLP, SceneLSTM


class Baseline(eqx.Module):
    """Predict the learning signal of each step from the image and the objects found before that step.

    The network outputs the signal minus the log-likelihood of the empty canvas, in units of `unit` nats.
    """

    lstm: SceneLSTM
    head: MLP
    unit: float = eqx.field(static=True)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latents: int,
        *,
        hidden: int = 256,
        embed_channels: int = 16,
        embed_hidden: int = 256,
        head_hidden: int = 200,
        unit: float = 100.0,
        key: PRNGKeyArray,
    ):
        lstm, head = jax.random.split(key)
        self.lstm = SceneLSTM(
            image_shape, latents, hidden, embed_channels=embed_channels, embed_hidden=embed_hidden, key=lstm
        )
        self.head = MLP((hidden, head_hidden, 1), last_gain=0.1, key=head)
        self.unit = unit

    def __call__(self, image: Float[Array, "c h w"], trajectory: Trajectory) -> Float[Array, " N"]:
        """Predict the learning signals of the N steps, in nats; gradients reach only the baseline."""
        seen = self.lstm.look(image)
        latents = jnp.concatenate([trajectory.steps.where, trajectory.steps.what], axis=1)
        previous = jax.lax.stop_gradient(jnp.pad(latents[:-1], ((1, 0), (0, 0))))

        def step(state, found):
            state = self.lstm(seen, found, state)
            return state, self.head(state.hidden)[0]

        _, outputs = jax.lax.scan(step, self.lstm.initial_state, previous)
        return jax.lax.stop_gradient(trajectory.empty_log_likelihood) + self.unit * outputs


def build_baseline(config: ModelConfig, model: Family, *, key: PRNGKeyArray) -> Baseline:
    """Make the untrained baseline network for a model."""
    return Baseline(
        model.image_shape,
        3 + model.code_size,
        hidden=config.hidden,
        embed_channels=config.embed_channels,
        embed_hidden=config.embed_hidden,
        head_hidden=config.head_hidden,
        key=key,
    )
