"""The network that decides, step by step, whether there is another object on the table, which, where and how."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.layers import Embed, Linear, Normal
from airjax.scenes3d.circle import WrappedNormals
from airjax.scenes3d.stage import Hypothesis

OVERLAP = 0.6
"""How far a mode can get from the middle of its part of the circle, as a share of it: a little beyond its edge."""


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
    """Look at the image and at what the canvas leaves of it; there is no memory but the canvas.

    Each mode of a rotation keeps to its part of the circle. Free to move, all would gather where a handle is hidden,
    which costs less than to draw it on the wrong side.
    """

    embed: Embed
    head: Linear
    hypotheses: tuple[Hypothesis, ...] = eqx.field(static=True)

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
        self.hypotheses = hypotheses
        bias = [
            jnp.zeros(1),
            jnp.tile(start.mean, self._kinds),
            jnp.tile(start.log_sd, self._kinds),
            jnp.zeros(2 * len(hypotheses)),
            jnp.log(self._parts / 3.0),
        ]
        joined = jnp.concatenate(bias)
        linear = Linear(head_hidden, len(joined), gain=0.1, key=head)
        self.head = eqx.tree_at(lambda m: m.bias, linear, joined)

    @property
    def _kinds(self):
        return 1 + max(h.kind for h in self.hypotheses)

    @property
    def _parts(self):
        return jnp.array([h.part for h in self.hypotheses])

    def __call__(self, image: Float[Array, "c h w"], left: Float[Array, "c h w"]) -> Posterior:
        """Look for the next object, given what is `left` of the image."""
        output = self.head(jax.nn.relu(self.embed(jnp.concatenate([image, left]))))
        presence, positions, rotations = jnp.split(output, (1, 1 + 4 * self._kinds))
        logits, offset, log_sd = rotations.reshape(3, -1)
        angles = jnp.array([h.angle for h in self.hypotheses])
        return Posterior(
            presence_logit=presence[0],
            position=Normal(*positions.reshape(2, self._kinds, 2)),
            log_probs=jax.nn.log_softmax(logits),
            rotation=WrappedNormals(
                mean=angles + OVERLAP * self._parts * jnp.tanh(offset),
                log_sd=jnp.minimum(log_sd, jnp.log(self._parts / 3.0)),
            ),
        )
