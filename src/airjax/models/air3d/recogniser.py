"""The network that decides, step by step, whether there is another object on the table, which, where and how."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.models.air3d.circle import WrappedNormals
from airjax.models.layers import Embed, Linear, Normal
from airjax.render3d.stage import Stage

OVERLAP = 0.6
"""How far a mode can get from the middle of its part of the circle, as a share of it: a little beyond its edge."""

CONTRAST = 4.0
"""Factor of pixels, after middle grey is subtracted, at the networks' input."""


class Posterior(NamedTuple):
    """The parameters of q for the next object.

    Attributes:
        presence_logit: log-odds that there is one.
        position: q(position | kind), in the camera's frame, for each kind.
        log_probs: log q(hypothesis); a hypothesis is a kind and a mode of its rotation.
        rotation: q(rotation | hypothesis), in the camera's frame.
    """

    presence_logit: Float[Array, ""]
    position: Normal
    log_probs: Float[Array, " h"]
    rotation: WrappedNormals


class TableRecogniser(eqx.Module):
    """Attend, then infer: look at the whole image for a place, then at a window around it for the object there.

    Both looks see the image and its residual; there is no memory but the canvas. Each mode of a
    rotation keeps to its part of the circle. If modes could move freely, all would gather where a handle is hidden,
    because that costs less than a handle on the wrong side.
    """

    attend: Embed
    embed: Embed
    head: Linear
    stage: Stage = eqx.field(static=True)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        stage: Stage,
        *,
        start: Normal,
        embed_channels: int,
        embed_hidden: int,
        head_hidden: int,
        key: PRNGKeyArray,
    ):
        """Make the networks; before training, positions are distributed as `start`, rotations as the hypotheses say."""
        attend, embed, head = jax.random.split(key, 3)
        self.stage = stage
        size = dict(channels=embed_channels, hidden=embed_hidden)
        channels, height, width = image_shape
        side = stage.window_side(height)
        self.attend = Embed((2 * channels, height, width), 3, **size, key=attend)
        self.embed = Embed((2 * channels, min(side, height), min(side, width)), head_hidden, **size, key=embed)
        kinds = len(stage.kinds)
        bias = [
            jnp.tile(start.mean, kinds),
            jnp.tile(start.log_sd, kinds),
            jnp.zeros(2 * len(stage.hypotheses)),
            jnp.log(self._parts / 3.0),
        ]
        joined = jnp.concatenate(bias)
        linear = Linear(head_hidden + 4, len(joined), gain=0.1, key=head)
        self.head = eqx.tree_at(lambda m: m.bias, linear, joined)

    @property
    def _parts(self):
        return jnp.array([h.part for h in self.stage.hypotheses])

    def __call__(self, image: Float[Array, "c h w"], residual: Float[Array, "c h w"]) -> Posterior:
        """Look for the next object, given the image and its `residual`, the image minus the canvas."""
        both, kinds = CONTRAST * jnp.concatenate([image - 0.5, residual]), len(self.stage.kinds)
        presence, *place = self.attend(both)
        place = self.stage.reach * jnp.stack(place)
        camera, (_, height, width) = self.stage.camera(self.stage.azimuth), image.shape
        crop = self.stage.crop(camera, place, (height, width))
        within = crop.within(self.stage.middle(camera, place, (height, width)))
        seen = jax.nn.relu(self.embed(crop.cut(both)))
        output = self.head(jnp.concatenate([seen, place, within]))
        positions, rotations = jnp.split(output, (4 * kinds,))
        mean, log_sd_position = positions.reshape(2, kinds, 2)
        logits, offset, log_sd = rotations.reshape(3, -1)
        angles = jnp.array([h.angle for h in self.stage.hypotheses])
        return Posterior(
            presence_logit=presence,
            position=Normal(place + mean, log_sd_position),
            log_probs=jax.nn.log_softmax(logits),
            rotation=WrappedNormals(
                mean=angles + OVERLAP * self._parts * jnp.tanh(offset),
                log_sd=jnp.minimum(log_sd, jnp.log(self._parts / 3.0)),
            ),
        )
