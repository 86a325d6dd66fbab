"""The few layers and densities that the models are made of.

`Linear` differs from `equinox.nn.Linear` only in keeping its weight as [inputs, outputs]: on a CPU, the gradient of
the image projection (2,500 x 1,024) then takes half the time.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

LOG_2PI = math.log(2.0 * math.pi)


class Normal(eqx.Module):
    """A diagonal Gaussian, given by its mean and the logarithm of its standard deviation; or a stack of them."""

    mean: Float[Array, "*n d"]
    log_sd: Float[Array, "*n d"]

    def reparameterise(self, noise: Float[Array, " d"], *, pathwise: bool = True) -> Float[Array, " d"]:
        """Turn standard normal noise into a sample, reparameterised or else constant; zeros give the mean."""
        sample = self.mean + jnp.exp(self.log_sd) * noise
        return sample if pathwise else jax.lax.stop_gradient(sample)

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw a reparameterised sample."""
        return self.reparameterise(jax.random.normal(key, self.mean.shape))

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

    def __call__(self, x: Float[Array, "*d i"]) -> Float[Array, "*d o"]:
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


class Conv(eqx.Module):
    """Convolve with a 4 x 4 kernel at stride 2, zero-padded: [h, w, i] to [h / 2, w / 2, o], rounded up.

    It is written as one matrix product over blocks of 2 x 2 and their neighbours, because XLA's convolutions are up
    to twenty times slower on a CPU once they stand inside a loop over training steps.
    """

    linear: Linear

    def __init__(self, inputs: int, outputs: int, *, key: PRNGKeyArray):
        self.linear = Linear(16 * inputs, outputs, gain=math.sqrt(2.0), key=key)

    def __call__(self, x: Float[Array, "h w i"]) -> Float[Array, "h2 w2 o"]:
        """Apply the layer."""
        return self.linear(_with_neighbours(blocks_to_channels(x), (0, 1)))


class ConvTranspose(eqx.Module):
    """Double both sides with a 4 x 4 kernel, the adjoint of `Conv`: [h / 2, w / 2, i], rounded up, to [h, w, o].

    It, too, is one matrix product, from 2 x 2 neighbours to blocks of 2 x 2.
    """

    linear: Linear

    def __init__(self, inputs: int, outputs: int, *, gain: float = 1.0, key: PRNGKeyArray):
        self.linear = Linear(4 * inputs, 4 * outputs, gain=gain, key=key)

    def __call__(self, x: Float[Array, "h2 w2 i"], shape: tuple[int, int]) -> Float[Array, "h w o"]:
        """Apply the layer; `shape` is (h, w), whose odd sides lose the last half of a block."""
        return channels_to_blocks(self.linear(_with_neighbours(x, (1, 0))), shape)


def _with_neighbours(x, padding):
    """Join the channels of every 2 x 2 neighbours, the image being padded with (before, after) zeros: [h, w, 4 c]."""
    rows, columns, _ = x.shape
    padded = jnp.pad(x, (padding, padding, (0, 0)))
    return jnp.concatenate([padded[i : i + rows, j : j + columns] for i in (0, 1) for j in (0, 1)], axis=-1)


def largest_channel(x: Float[Array, "c h w"]) -> Float[Array, "1 h w"]:
    """Return the largest value of each pixel's channels.

    The gradient of `jnp.max` divides by the number of channels that equal the largest. If XLA computes x twice, by two
    roundings, none does, and the gradient is 0 / 0. That of `jnp.maximum` is finite.
    """
    return reduce(jnp.maximum, tuple(x))[None]


def blocks_to_channels(x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 4*c"]:
    """Turn blocks of 2 x 2 into channels; an odd side is padded with zeros. Nothing is lost."""
    h, w, c = x.shape
    rows, columns = -(-h // 2), -(-w // 2)
    blocks = jnp.pad(x, ((0, h % 2), (0, w % 2), (0, 0))).reshape(rows, 2, columns, 2, c)
    return blocks.transpose(0, 2, 1, 3, 4).reshape(rows, columns, 4 * c)


def channels_to_blocks(x: Float[Array, "h2 w2 blocks"], shape: tuple[int, int]) -> Float[Array, "h w c"]:
    """Undo `blocks_to_channels` of an image of `shape` = (h, w)."""
    rows, columns, channels = x.shape
    blocks = x.reshape(rows, columns, 2, 2, channels // 4).transpose(0, 2, 1, 3, 4)
    return blocks.reshape(2 * rows, 2 * columns, channels // 4)[: shape[0], : shape[1]]


class Embed(eqx.Module):
    """Embed an image in a vector: two convolutions and a hidden layer, each of which can be left out.

    Before the convolutions, blocks of 2 x 2 pixels become channels, so that they cost a quarter.
    """

    convs: tuple[Conv, ...]
    dense: MLP

    def __init__(
        self, image_shape: tuple[int, int, int], outputs: int, *, channels: int, hidden: int, key: PRNGKeyArray
    ):
        """Make the layers for images of `image_shape`; the first convolution has `channels`, the second twice as many.

        0 `channels` or `hidden` units leave theirs out.
        """
        first, second, dense = jax.random.split(key, 3)
        depth, height, width = image_shape
        if channels:
            self.convs = (Conv(4 * depth, channels, key=first), Conv(channels, 2 * channels, key=second))
            features = -(-height // 8) * -(-width // 8) * 2 * channels
        else:
            self.convs, features = (), depth * height * width
        self.dense = MLP((features, *((hidden,) if hidden else ()), outputs), key=dense)

    def __call__(self, image: Float[Array, "c h w"]) -> Float[Array, " o"]:
        """Apply the layers."""
        x = image.transpose(1, 2, 0)
        x = blocks_to_channels(x) if self.convs else x
        for conv in self.convs:
            x = jax.nn.relu(conv(x))
        return self.dense(x.reshape(-1))


class LSTMState(NamedTuple):
    """The hidden output and the cell of an LSTM."""

    hidden: Float[Array, " h"]
    cell: Float[Array, " h"]


class LSTM(eqx.Module):
    """A long short-term memory, whose forget gates start out open."""

    linear: Linear
    size: int = eqx.field(static=True)

    def __init__(self, inputs: int, size: int, *, key: PRNGKeyArray):
        self.linear = Linear(size + inputs, 4 * size, key=key)
        self.size = size

    @property
    def initial_state(self) -> LSTMState:
        """The state before the first step."""
        return LSTMState(jnp.zeros(self.size), jnp.zeros(self.size))

    def __call__(self, x: Float[Array, " i"], state: LSTMState, *, seen: Float[Array, " g"] | float = 0.0) -> LSTMState:
        """Advance by one step, given an input `x` and a further input `seen`, already projected to the gates."""
        gates = seen + self.linear(jnp.concatenate([state.hidden, x]))
        i, f, g, o = jnp.split(gates, 4)
        cell = jax.nn.sigmoid(f + 1.0) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        return LSTMState(jax.nn.sigmoid(o) * jnp.tanh(cell), cell)


class SceneLSTM(eqx.Module):
    """An LSTM that looks at an image and reads the latents found so far (paper, figure 3).

    The image enters the four gates through one embedding, `look`. In AIR every step sees the same image, so that
    this is done once per image rather than once per step; Difference AIR embeds the residual at every step.
    """

    embed: Embed
    recur: LSTM

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latents: int,
        size: int,
        *,
        embed_channels: int,
        embed_hidden: int,
        key: PRNGKeyArray,
    ):
        """Make an LSTM of `size` units for images of `image_shape`; see `Embed` for how they enter it."""
        embed, recur = jax.random.split(key)
        self.embed = Embed(image_shape, 4 * size, channels=embed_channels, hidden=embed_hidden, key=embed)
        self.recur = LSTM(latents, size, key=recur)

    @property
    def initial_state(self) -> LSTMState:
        """The state before the first step."""
        return self.recur.initial_state

    def look(self, image: Float[Array, "c h w"]) -> Float[Array, " g"]:
        """Embed an image as inputs of the gates."""
        return self.embed(image)

    def __call__(self, seen: Float[Array, " g"], latents: Float[Array, " z"], state: LSTMState) -> LSTMState:
        """Advance by one step, given the projected image and the previous step's latents."""
        return self.recur(latents, state, seen=seen)
