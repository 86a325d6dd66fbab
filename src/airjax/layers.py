"""The few layers and densities that the models are made of.

`Linear` differs from `equinox.nn.Linear` only in keeping its weight as [inputs, outputs]: on a CPU, the gradient of
the image projection (2,500 x 1,024) then takes half the time.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

LOG_2PI = math.log(2.0 * math.pi)


class Normal(eqx.Module):
    """A diagonal Gaussian, given by its mean and the logarithm of its standard deviation."""

    mean: Float[Array, " d"]
    log_sd: Float[Array, " d"]

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw a reparameterised sample."""
        return self.mean + jnp.exp(self.log_sd) * jax.random.normal(key, self.mean.shape)

    def log_prob(self, value: Float[Array, " d"]) -> Float[Array, ""]:
        """Evaluate the log-density of `value`, in nats."""
        standard = (value - self.mean) * jnp.exp(-self.log_sd)
        return -jnp.sum(0.5 * standard**2 + self.log_sd + 0.5 * LOG_2PI)

    def kl(self, other: "Normal") -> Float[Array, ""]:
        """Evaluate KL(self || other), in nats, in closed form."""
        ratio = jnp.exp(2.0 * (self.log_sd - other.log_sd))
        shift = ((self.mean - other.mean) * jnp.exp(-other.log_sd)) ** 2
        return jnp.sum(0.5 * (ratio + shift - 1.0) + other.log_sd - self.log_sd)


class Linear(eqx.Module):
    """Map a vector by `x @ weight + bias`."""

    weight: Float[Array, "i o"]
    bias: Float[Array, " o"]

    def __init__(self, inputs: int, outputs: int, *, gain: float = 1.0, key: PRNGKeyArray):
        self.weight = jax.random.normal(key, (inputs, outputs)) * (gain / math.sqrt(inputs))
        self.bias = jnp.zeros(outputs)

    def __call__(self, x: Float[Array, " i"]) -> Float[Array, " o"]:
        """Apply the layer."""
        return x @ self.weight + self.bias


class MLP(eqx.Module):
    """Stack linear layers with ReLU between them."""

    layers: tuple[Linear, ...]

    def __init__(self, sizes: Sequence[int], *, last_gain: float = 1.0, key: PRNGKeyArray):
        gains = [math.sqrt(2.0)] * (len(sizes) - 2) + [last_gain]
        keys = jax.random.split(key, len(gains))
        self.layers = tuple(Linear(i, o, gain=g, key=k) for i, o, g, k in zip(sizes[:-1], sizes[1:], gains, keys))

    def __call__(self, x: Float[Array, " i"]) -> Float[Array, " o"]:
        """Apply the layers."""
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)


class LSTMState(NamedTuple):
    """The hidden output and the cell of an LSTM."""

    hidden: Float[Array, " h"]
    cell: Float[Array, " h"]


class SceneLSTM(eqx.Module):
    """An LSTM that looks at an image and reads the latents found so far (paper, figure 3).

    The image enters the four gates through one projection, `look`. In AIR every step sees the same image, so that
    this is done once per image rather than once per step; Difference AIR projects what is left of it at every step.
    """

    embed: MLP
    recur: Linear
    size: int = eqx.field(static=True)

    def __init__(self, pixels: int, latents: int, size: int, *, embed_hidden: int = 0, key: PRNGKeyArray):
        """Make an LSTM of `size` units; `embed_hidden` units, if any, stand between the image and its gates."""
        embed, recur = jax.random.split(key)
        between = (embed_hidden,) if embed_hidden else ()
        self.embed = MLP((pixels, *between, 4 * size), key=embed)
        self.recur = Linear(size + latents, 4 * size, key=recur)
        self.size = size

    @property
    def start(self) -> LSTMState:
        """The state before the first step."""
        return LSTMState(jnp.zeros(self.size), jnp.zeros(self.size))

    def look(self, image: Float[Array, "c h w"]) -> Float[Array, " g"]:
        """Project an image to the gates' inputs."""
        return self.embed(image.reshape(-1))

    def __call__(self, seen: Float[Array, " g"], latents: Float[Array, " z"], state: LSTMState) -> LSTMState:
        """Advance by one step, given the projected image and the previous step's latents."""
        gates = seen + self.recur(jnp.concatenate([state.hidden, latents]))
        i, f, g, o = jnp.split(gates, 4)
        cell = jax.nn.sigmoid(f + 1.0) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        return LSTMState(jax.nn.sigmoid(o) * jnp.tanh(cell), cell)
