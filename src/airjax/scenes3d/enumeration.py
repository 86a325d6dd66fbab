"""What the next object could be: every hypothesis is placed, drawn, and weighed by what it explains."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from airjax.layers import Normal
from airjax.likelihood import Likelihood
from airjax.scenes3d.camera import Camera, Rays
from airjax.scenes3d.circle import TURN
from airjax.scenes3d.compositing import Canvas, Layer
from airjax.scenes3d.crop import Crop
from airjax.scenes3d.recogniser import Posterior
from airjax.scenes3d.stage import Stage


class Noise(NamedTuple):
    """What a step's sample is made of: normal for position and rotation, Gumbel for the hypothesis."""

    position: Float[Array, "*N 2"]
    rotation: Float[Array, "*N h"]
    hypothesis: Float[Array, "*N h"]


class View(NamedTuple):
    """From where the table is seen.

    Attributes:
        camera: the camera.
        rays: through the pixels of the whole image.
        turn: its azimuth less the stage's own, in radians.
    """

    camera: Camera
    rays: Rays
    turn: Float[Array, ""]


class Attempt(NamedTuple):
    """Where the next object would be, were it of one kind, and how turned, in each mode of its rotation.

    Attributes:
        crop: the window in which it is seen.
        image: what is there.
        canvas: what explains it so far.
        rays: through its pixels.
        position: on the table.
        rotations: in radians.
        log_p: log p(position), in nats.
        log_q: log q(position | kind).
        log_q_rotations: the sum of q(rotation | mode) over all modes of the kind, as a logarithm.
    """

    crop: Crop
    image: Float[Array, "c p p"]
    canvas: Canvas
    rays: Rays
    position: Float[Array, "2"]
    rotations: Float[Array, " m"]
    log_p: Float[Array, ""]
    log_q: Float[Array, ""]
    log_q_rotations: Float[Array, " m"]


class Guess(NamedTuple):
    """What the next object would be, were it of one kind.

    Attributes:
        crop: the window in which it is seen.
        layer: what is seen there.
        position: on the table.
        rotation: in radians.
        log_p: see `Step`.
        log_q: see `Step`.
        bound: by how much it would raise the bound, in nats.
    """

    crop: Crop
    layer: Layer
    position: Float[Array, "2"]
    rotation: Float[Array, ""]
    log_p: Float[Array, ""]
    log_q: Float[Array, ""]
    bound: Float[Array, ""]


class Enumeration(NamedTuple):
    """Place, draw and weigh what the next object could be.

    Attributes:
        stage: what can stand on the table.
        likelihood: p(x | canvas).
        prior: p(position).
    """

    stage: Stage
    likelihood: Likelihood
    prior: Normal

    def modes(self, kind: int) -> Integer[np.ndarray, " m"]:
        """List the hypotheses of a kind."""
        return np.flatnonzero([h.kind == kind for h in self.stage.hypotheses])

    def attempt(
        self, kind: int, posterior: Posterior, view: View, image: Float[Array, "c h w"], canvas: Canvas, noise: Noise
    ) -> Attempt:
        """Place the next object as if it were of this kind."""
        modes = self.modes(kind)
        of_position = jax.tree.map(lambda x: x[kind], posterior.position)
        of_rotation = jax.tree.map(lambda x: x[modes], posterior.rotation)
        in_frame, rotations = of_position.shape_noise(noise.position), of_rotation.shape_noise(noise.rotation[modes])
        position = _turned(in_frame, view.turn)
        crop = self.stage.crop(view.camera, position, (image.shape[1], image.shape[2]))
        return Attempt(
            crop,
            *crop.cut((image, canvas, view.rays)),
            position=position,
            rotations=rotations + view.turn,
            log_p=self.prior.log_prob(position),
            log_q=of_position.log_prob(in_frame),
            # Of a rotation, whichever of the kind's modes it came from.
            log_q_rotations=jax.nn.logsumexp(jax.vmap(of_rotation.log_prob)(rotations), axis=-1),
        )

    def evidence(self, kind: int, attempt: Attempt) -> Float[Array, " m"]:
        """Weigh every mode of a kind: log p / q of the scene with the object, less that without, but for constants."""
        gains = jax.vmap(lambda rotation: self._draw(kind, attempt, rotation)[1])(attempt.rotations)
        return gains + attempt.log_p - attempt.log_q - attempt.log_q_rotations

    def guess(self, kind: int, attempt: Attempt, mode: Integer[Array, ""], log_prob: Float[Array, ""]) -> Guess:
        """Guess the next object as if it were of this kind, in one mode of its rotation, which has `log_prob`."""
        rotation, log_q_rotation = attempt.rotations[mode], attempt.log_q_rotations[mode]
        layer, gain = self._draw(kind, attempt, rotation)
        return Guess(
            crop=attempt.crop,
            layer=layer,
            position=attempt.position,
            rotation=rotation,
            log_p=attempt.log_p - math.log(len(self.stage.kinds) * TURN),
            log_q=attempt.log_q + log_q_rotation + log_prob,
            bound=gain + attempt.log_p - attempt.log_q - log_q_rotation,
        )

    def _draw(self, kind, attempt: Attempt, rotation) -> tuple[Layer, Float[Array, ""]]:
        """Draw an object, and tell by how much it raises log p(x | canvas): windows of kinds differ."""
        layer = self.stage.draw(attempt.rays, kind, attempt.position, rotation)
        log_prob = lambda canvas: self.likelihood.log_prob(attempt.image, canvas.image)
        return layer, log_prob(attempt.canvas.add(layer)) - log_prob(attempt.canvas)


def learning(view: View, learns: Array) -> View:
    """Let gradients reach a view where `learns`."""
    return jax.tree.map(lambda x: jnp.where(learns, x, jax.lax.stop_gradient(x)), view)


def _turned(position, angle):
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([cos * position[0] - sin * position[1], sin * position[0] + cos * position[1]])
