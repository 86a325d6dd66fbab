"""The network that decides, step by step, whether there is another object on the table, which, where and how."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import math
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.layers import Embed, Linear, Normal
from airjax.scenes3d.circle import TURN, WIDEST, WrappedNormals, towards


class Posterior(NamedTuple):
    """What q says of the next object.

    Attributes:
        presence_logit: log-odds that there is one.
        position: q(position).
        logits: log q(identity, mode), normalised over both.
        rotation: q(rotation | identity, mode).
    """

    presence_logit: Float[Array, ""]
    position: Normal
    logits: Float[Array, "kinds modes"]
    rotation: WrappedNormals


class TableRecogniser(eqx.Module):
    """Look at the image and at what the canvas leaves of it; there is no memory but the canvas."""

    embed: Embed
    head: Linear
    kinds: int = eqx.field(static=True)
    modes: int = eqx.field(static=True)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        kinds: int,
        modes: int,
        *,
        position: Normal,
        embed_channels: int,
        embed_hidden: int,
        head_hidden: int,
        key: PRNGKeyArray,
    ):
        """Make the network; before training, positions are distributed as `position`, modes evenly over the circle."""
        embed, head = jax.random.split(key)
        channels, height, width = image_shape
        self.embed = Embed(
            (2 * channels, height, width), head_hidden, channels=embed_channels, hidden=embed_hidden, key=embed
        )
        each = kinds * modes
        angles = jnp.tile(TURN * jnp.arange(modes) / modes, kinds)
        spread = jnp.full(each, math.log(TURN / modes / 3.0))
        bias = [jnp.zeros(1), position.mean, position.log_sd, jnp.zeros(each), jnp.cos(angles), jnp.sin(angles), spread]
        linear = Linear(head_hidden, 5 + 4 * each, gain=0.1, key=head)
        self.head = eqx.tree_at(lambda m: m.bias, linear, jnp.concatenate(bias))
        self.kinds, self.modes = kinds, modes

    def __call__(self, image: Float[Array, "c h w"], left: Float[Array, "c h w"]) -> Posterior:
        """Look for the next object, given what is `left` of the image."""
        output = self.head(jax.nn.relu(self.embed(jnp.concatenate([image, left]))))
        logits, x, y, log_sd = output[5:].reshape(4, self.kinds, self.modes)
        logits = jax.nn.log_softmax(logits.reshape(-1)).reshape(logits.shape)
        rotation = WrappedNormals(towards(jnp.stack([x, y], axis=-1)), jnp.minimum(log_sd, math.log(WIDEST)))
        return Posterior(output[0], Normal(output[1:3], output[3:5]), logits, rotation)
