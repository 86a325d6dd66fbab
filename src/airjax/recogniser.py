"""The recurrent network that decides, step by step, whether there is another object and where."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.layers import MLP, Linear, LSTMState, Normal, SceneLSTM


class Places(NamedTuple):
    """What can be attended to: a cell each of the convolutions' output.

    Attributes:
        keys: what a query is compared with.
        values: a position (x, y) on the canvas, and features.
    """

    keys: Float[Array, "cells k"]
    values: Float[Array, "cells v"]


class Seen(NamedTuple):
    """What the network makes of an image, whatever the state it is in.

    Attributes:
        gates: the image's part in the LSTM's gates.
        places: what attention chooses from, if there is attention.
    """

    gates: Float[Array, " g"]
    places: Places | None


class Attention(eqx.Module):
    """Attend to one cell of an image, chosen by content: hard attention (Xu et al., 2015).

    A regression of positions answers two equally good objects with the point between them; a choice does not. The cell
    is sampled (Gumbel's maximum), its gradient that of the softmax (straight through: Bengio et al., 2013).
    """

    keys: Linear
    values: Linear
    query: Linear

    def __init__(self, features: int, hidden: int, size: int, *, key: PRNGKeyArray):
        """Make the layers for cells of so many `features`; queries come from `hidden` units, keys have `size`."""
        keys, values, query = jax.random.split(key, 3)
        self.keys = Linear(features, size, key=keys)
        self.values = Linear(features, 2 + size, gain=0.3, key=values)
        self.query = Linear(hidden, size, gain=3.0, key=query)

    def look(self, features: Float[Array, "rows columns f"]) -> Places:
        """Turn cells into keys and values; a position is the cell's centre and a learned offset."""
        rows, columns, _ = features.shape
        centres = lambda cells: (2 * jnp.arange(cells) + 1) / cells - 1
        grid = jnp.stack(jnp.meshgrid(centres(columns), centres(rows)), axis=-1).reshape(-1, 2)
        cells = features.reshape(rows * columns, -1)
        return Places(self.keys(cells), self.values(cells).at[:, :2].add(grid))

    def __call__(self, places: Places, hidden: Float[Array, " h"], noise: Float[Array, " cells"]) -> Float[Array, " v"]:
        """Return the value of a cell, likelier the better its key answers the query; zero `noise`: of the likeliest.

        `noise` is standard normal.
        """
        logits = places.keys @ self.query(hidden)
        gumbel = -jnp.log(-jax.scipy.stats.norm.logcdf(noise))
        weights = jax.nn.softmax(logits + gumbel)
        chosen = jax.nn.one_hot(jnp.argmax(weights), len(weights))
        return (chosen + weights - jax.lax.stop_gradient(weights)) @ places.values


class Recogniser(eqx.Module):
    """The recurrent network that decides, step by step, whether there is another object and where."""

    lstm: SceneLSTM
    attention: Attention | None
    head: MLP
    cells: int = eqx.field(static=True)

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
        start: Normal,
        key: PRNGKeyArray,
    ):
        """Make the network; before training, its windows are distributed about as `start`, whatever the image.

        `attention` is the size of the keys of a spatial attention over the convolutions' output; 0: none.

        Raises:
            ValueError: there is to be attention, but no convolution.
        """
        if attention and not embed_channels:
            raise ValueError(f"attention must be 0 without convolutions (embed_channels 0), got {attention}")
        lstm, head = jax.random.split(key)
        self.lstm = SceneLSTM(
            image_shape, latents, hidden, embed_channels=embed_channels, embed_hidden=embed_hidden, key=lstm
        )
        self.attention, self.cells = None, 0
        if attention:
            features = jax.eval_shape(self.lstm.embed.convolve, jax.ShapeDtypeStruct(image_shape, jnp.float32))
            self.cells = features.shape[0] * features.shape[1]
            self.attention = Attention(2 * embed_channels, hidden, attention, key=jax.random.fold_in(key, 1))
        mlp = MLP((hidden + attention, head_hidden, 7), last_gain=0.1, key=head)
        bias = jnp.concatenate([jnp.zeros(1), start.mean, start.log_sd])
        self.head = eqx.tree_at(lambda m: m.layers[-1].bias, mlp, bias)

    def look(self, image: Float[Array, "c h w"]) -> Seen:
        """Do once what doesn't depend on the state."""
        features = self.lstm.embed.convolve(image)
        places = None if self.attention is None else self.attention.look(features)
        return Seen(self.lstm.embed.summarise(features), places)

    def __call__(
        self, seen: Seen, latents: Float[Array, " z"], state: LSTMState, noise: Float[Array, " cells"]
    ) -> tuple[Float[Array, ""], Normal, LSTMState]:
        """Advance by one step: presence logit and q(where) of the next object, and the LSTM's new state.

        Standard normal `noise` chooses the cell attended to; zeros, the likeliest. It is empty without attention.
        """
        state = self.lstm(seen.gates, latents, state)
        if self.attention is None or seen.places is None:
            output = self.head(state.hidden)
            return output[0], Normal(output[1:4], output[4:7]), state
        attended = self.attention(seen.places, state.hidden, noise)
        output = self.head(jnp.concatenate([state.hidden, attended[2:]]))
        return output[0], Normal(output[1:4].at[1:].add(attended[:2]), output[4:7]), state
