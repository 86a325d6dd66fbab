"""The recurrent network that decides, step by step, whether there is another object and where."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.models import windows
from airjax.models.attention import Attended, Attention
from airjax.models.layers import MLP, LSTMState, Normal, SceneLSTM

OFF_CENTRE = 0.25
"""Standard deviation of an untrained window's centre about the place that attention found, in windows."""


class Recogniser(eqx.Module):
    """The recurrent network that decides, step by step, whether there is another object and where."""

    lstm: SceneLSTM
    attention: Attention | None
    head: MLP
    shrink: int = eqx.field(static=True)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latents: int,
        *,
        hidden: int,
        embed_channels: int,
        embed_hidden: int,
        head_hidden: int,
        attention: int,
        inhibition: float = 0.0,
        start: Normal,
        shrink: int = 1,
        key: PRNGKeyArray,
    ):
        """Make the network; before training, its windows are distributed about as `start` for every image.

        `attention` is the number of features of attention; 0 leaves it out. With it, windows lie about the place that
        it found; see `Attention` for `inhibition`. The LSTM sees images that are `shrink` times smaller.
        """
        lstm, head = jax.random.split(key)
        channels, height, width = image_shape
        self.shrink, seen = shrink, (channels, -(-height // shrink), -(-width // shrink))
        self.lstm = SceneLSTM(seen, latents, hidden, embed_channels=embed_channels, embed_hidden=embed_hidden, key=lstm)
        self.attention, log_sd, features = None, start.log_sd, hidden
        if attention:
            of_attention = jax.random.fold_in(key, 1)
            self.attention = Attention(image_shape, attention, start.mean[0], inhibition, key=of_attention)
            log_sd = log_sd.at[1:].set(start.mean[0] + np.log(OFF_CENTRE * windows.extent(*image_shape[1:])))
            features += attention + 1
        mlp = MLP((features, head_hidden, 7), last_gain=0.1, key=head)
        bias = jnp.concatenate([jnp.zeros(1), start.mean, log_sd])
        self.head = eqx.tree_at(lambda m: m.layers[-1].bias, mlp, bias)

    @property
    def cells(self) -> int:
        """The number of places that can be attended to; 0 without attention."""
        return 0 if self.attention is None else self.attention.cells

    def look(self, image: Float[Array, "c h w"]) -> Float[Array, " g"]:
        """Embed an image; the result does not depend on the state."""
        return self.lstm.look(_shrunk(image, self.shrink))

    def __call__(
        self,
        seen: Float[Array, " g"],
        latents: Float[Array, " z"],
        state: LSTMState,
        attended: Attended | None,
    ) -> tuple[Float[Array, ""], Normal, LSTMState]:
        """Advance by one step: presence logit and q(where) of the next object, and the LSTM's new state.

        `attended` is what attention found in the residual; None without attention.
        """
        state = self.lstm(seen, latents, state)
        if attended is None:
            output = self.head(state.hidden)
            return output[0], Normal(output[1:4], output[4:7]), state
        output = self.head(jnp.concatenate([state.hidden, attended.features]))
        return output[0], Normal(output[1:4].at[1:].add(attended.centre), output[4:7]), state


def _shrunk(image, times):
    """Average squares of pixels; zeros fill the last ones up."""
    if times == 1:
        return image
    rows, columns = (-(-size // times) for size in image.shape[1:])
    filled = jnp.pad(image, [(0, 0), (0, rows * times - image.shape[1]), (0, columns * times - image.shape[2])])
    return filled.reshape(-1, rows, times, columns, times).mean(axis=(2, 4))
