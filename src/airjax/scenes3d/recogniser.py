"""The network that decides, step by step, whether there is another object on the table, which, where and how."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.layers import Embed, Linear, Normal
from airjax.scenes3d.circle import WIDEST, WrappedNormals, towards
from airjax.scenes3d.stage import Hypothesis


class Posterior(NamedTuple):
    """What q says of the next object.

    Attributes:
        presence_logit: log-odds that there is one.
        position: q(position | kind), in the camera's frame, for each kind.
        log_probs: log q(hypothesis): of what kind it is, and in which mode of its rotation.
        rotation: q(rotation | hypothesis), in the camera's frame.
    """

    presence_logit: Float[Array, ""]
    position: Normal
    log_probs: Float[Array, " h"]
    rotation: WrappedNormals


class TableRecogniser(eqx.Module):
    """Look at the image and at what the canvas leaves of it; there is no memory but the canvas."""

    embed: Embed
    head: Linear
    kinds: int = eqx.field(static=True)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        hypotheses: tuple[Hypothesis, ...],
        *,
        start: Normal,
        embed_channels: int,
        embed_hidden: int,
        head_hidden: int,
        key: PRNGKeyArray,
    ):
        """Make the network; before training, positions are distributed as `start`, rotations as the hypotheses say."""
        embed, head = jax.random.split(key)
        channels, height, width = image_shape
        self.embed = Embed(
            (2 * channels, height, width), head_hidden, channels=embed_channels, hidden=embed_hidden, key=embed
        )
        angles, spreads = (jnp.array([getattr(h, name) for h in hypotheses]) for name in ("angle", "spread"))
        self.kinds = 1 + max(h.kind for h in hypotheses)
        bias = [
            jnp.zeros(1),
            jnp.tile(start.mean, self.kinds),
            jnp.tile(start.log_sd, self.kinds),
            jnp.zeros_like(angles),
            jnp.cos(angles),
            jnp.sin(angles),
            jnp.log(spreads),
        ]
        joined = jnp.concatenate(bias)
        linear = Linear(head_hidden, len(joined), gain=0.1, key=head)
        self.head = eqx.tree_at(lambda m: m.bias, linear, joined)

    def __call__(self, image: Float[Array, "c h w"], left: Float[Array, "c h w"]) -> Posterior:
        """Look for the next object, given what is `left` of the image."""
        output = self.head(jax.nn.relu(self.embed(jnp.concatenate([image, left]))))
        presence, positions, rotations = jnp.split(output, (1, 1 + 4 * self.kinds))
        logits, x, y, log_sd = rotations.reshape(4, -1)
        return Posterior(
            presence_logit=presence[0],
            position=Normal(*positions.reshape(2, self.kinds, 2)),
            log_probs=jax.nn.log_softmax(logits),
            rotation=WrappedNormals(towards(jnp.stack([x, y], axis=-1)), jnp.minimum(log_sd, math.log(WIDEST))),
        )
