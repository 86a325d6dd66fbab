"""What the next object could be: every hypothesis is placed, drawn, and weighed by what it explains."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from airjax.models.air3d.recogniser import Posterior
from airjax.models.layers import Normal
from airjax.models.likelihood import Likelihood
from airjax.render3d.camera import Camera, Rays
from airjax.render3d.compositing import Canvas, Layer
from airjax.render3d.crop import Crop
from airjax.render3d.smooth import TURN
from airjax.render3d.stage import Stage


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
    """Where the next object would be, were it of one kind; attempts of all kinds are stacked.

    Attributes:
        crop: the window in which it is seen.
        image: what is there.
        canvas: what explains it so far.
        rays: through its pixels.
        position: on the table.
        log_p: log p(position), in nats.
        log_q: log q(position | kind).
    """

    crop: Crop
    image: Float[Array, "*k c p p"]
    canvas: Canvas
    rays: Rays
    position: Float[Array, "*k 2"]
    log_p: Float[Array, "*k"]
    log_q: Float[Array, "*k"]


class Turns(NamedTuple):
    """How the next object would be turned, by each hypothesis.

    Attributes:
        rotation: in radians.
        log_q: log q(rotation | kind), but for a constant: of all modes of the kind, whichever it came from.
    """

    rotation: Float[Array, "*h"]
    log_q: Float[Array, "*h"]


class Guess(NamedTuple):
    """What the next object would be, were it of one kind; guesses of all kinds are stacked.

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
    position: Float[Array, "*k 2"]
    rotation: Float[Array, "*k"]
    log_p: Float[Array, "*k"]
    log_q: Float[Array, "*k"]
    bound: Float[Array, "*k"]


class Enumeration(NamedTuple):
    """Place, draw and weigh what the next object could be.

    All kinds and hypotheses are treated at once, stacked: so there is one program, where one for each would take that
    much longer to compile.

    Attributes:
        stage: what can stand on the table.
        likelihood: p(x | canvas).
        prior: p(position).
    """

    stage: Stage
    likelihood: Likelihood
    prior: Normal

    @property
    def kinds(self) -> Integer[np.ndarray, " h"]:
        """List of what kind each hypothesis is; those of a kind are neighbours."""
        return np.array([h.kind for h in self.stage.hypotheses])

    def place(
        self,
        posterior: Posterior,
        view: View,
        image: Float[Array, "c h w"],
        canvas: Canvas,
        noise: Noise,
        learns: Bool[Array, " k"] | None = None,
    ) -> Attempt:
        """Place the next object as if it were of each kind; the view learns by those that `learns` names, or by all."""
        shape = image.shape[1], image.shape[2]

        def attempt(of_position, learns):
            seen = view if learns is None else _learning(view, learns)
            in_frame = of_position.reparameterise(noise.position)
            position = _turned(in_frame, seen.turn)
            crop = self.stage.crop(seen.camera, position, shape)
            window, explained, rays = crop.cut((image, canvas, seen.rays))
            log_p, log_q = self.prior.log_prob(position), of_position.log_prob(in_frame)
            return Attempt(crop, window, explained, rays, position, log_p, log_q)

        return jax.vmap(attempt)(posterior.position, learns)

    def turn(self, posterior: Posterior, view: View, noise: Noise) -> Turns:
        """Turn the next object by each hypothesis."""
        rotation = posterior.rotation.reparameterise(noise.rotation)
        log_q = jax.vmap(posterior.rotation.log_prob)(rotation)  # of each rotation, in each mode
        own = jnp.where(self.kinds[:, None] == self.kinds, log_q, -jnp.inf)
        return Turns(rotation + view.turn, jax.nn.logsumexp(own, axis=-1))

    def evidence(self, attempts: Attempt, turns: Turns) -> Float[Array, " h"]:
        """Weigh every hypothesis: log p / q of the scene with the object, less that without, but for constants."""
        sizes = np.bincount(self.kinds)
        alike = lambda x: [jnp.broadcast_to(one, (size, *one.shape)) for one, size in zip(x, sizes)]
        spread = jax.tree.map(lambda x: jnp.concatenate(alike(x)), attempts)
        return self._draw(self.kinds.tolist(), spread, turns.rotation)[1] + spread.log_p - spread.log_q - turns.log_q

    def guess(
        self, attempts: Attempt, turns: Turns, chosen: Integer[Array, " k"], log_probs: Float[Array, " h"]
    ) -> Guess:
        """Guess the next object as if it were of each kind, by the `chosen` hypotheses, of these `log_probs`."""
        rotation, log_q_rotation = turns.rotation[chosen], turns.log_q[chosen]
        layers, gains = self._draw(range(len(chosen)), attempts, rotation)
        return Guess(
            crop=attempts.crop,
            layer=layers,
            position=attempts.position,
            rotation=rotation,
            log_p=attempts.log_p - math.log(len(self.stage.kinds) * TURN),
            log_q=attempts.log_q + log_q_rotation + log_probs[chosen],
            bound=gains + attempts.log_p - attempts.log_q - log_q_rotation,
        )

    def _draw(self, kinds, attempts: Attempt, rotations) -> tuple[Layer, Float[Array, " n"]]:
        """Draw objects, and tell by how much each raises log p(x | canvas): windows of kinds differ."""
        layers = self.stage.draw_all(attempts.rays, kinds, attempts.position, rotations)
        log_prob = lambda image, canvas: self.likelihood.log_prob(image, canvas.image)
        gain = lambda one, layer: log_prob(one.image, one.canvas.add(layer)) - log_prob(one.image, one.canvas)
        return layers, jax.vmap(gain)(attempts, layers)


def _learning(view: View, learns) -> View:
    """Let gradients reach a view where it `learns`."""
    return jax.tree.map(lambda x: jnp.where(learns, x, jax.lax.stop_gradient(x)), view)


def _turned(position, angle):
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([cos * position[0] - sin * position[1], sin * position[0] + cos * position[1]])
