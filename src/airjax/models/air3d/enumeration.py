"""Hypotheses about the next object: each is placed, drawn, and weighed by how well it explains the image."""

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
    """Noise of one step's sample: normal for position and rotation, Gumbel for the hypothesis."""

    position: Float[Array, "*N 2"]
    rotation: Float[Array, "*N h"]
    hypothesis: Float[Array, "*N h"]


class View(NamedTuple):
    """The camera's view of the table.

    Attributes:
        camera: the camera.
        rays: through the pixels of the whole image.
        turn: the camera's azimuth minus the stage's own, in radians.
    """

    camera: Camera
    rays: Rays
    turn: Float[Array, ""]


class Attempt(NamedTuple):
    """The place of the next object if it were of one kind; attempts of all kinds are stacked.

    Attributes:
        crop: the window around the object.
        image: the image in this window.
        canvas: the canvas so far in this window.
        rays: the rays through the window's pixels.
        position: (x, y) on the table.
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
    """The rotation of the next object under each hypothesis.

    Attributes:
        rotation: in radians.
        log_q: log q(rotation | kind) up to a constant, summed over all modes of the kind.
    """

    rotation: Float[Array, "*h"]
    log_q: Float[Array, "*h"]


class Guess(NamedTuple):
    """The next object if it were of one kind; guesses of all kinds are stacked.

    Attributes:
        crop: the window around the object.
        layer: the object as drawn in this window.
        position: (x, y) on the table.
        rotation: in radians.
        log_p: see `Step`.
        log_q: see `Step`.
        bound: the gain in the bound if it were added, in nats.
    """

    crop: Crop
    layer: Layer
    position: Float[Array, "*k 2"]
    rotation: Float[Array, "*k"]
    log_p: Float[Array, "*k"]
    log_q: Float[Array, "*k"]
    bound: Float[Array, "*k"]


class Enumeration(NamedTuple):
    """Place, draw and weigh all hypotheses about the next object.

    All kinds and hypotheses are stacked, so that one program serves all. One program each would take longer to compile.

    Attributes:
        stage: the kinds and the table.
        likelihood: p(x | canvas).
        prior: p(position).
    """

    stage: Stage
    likelihood: Likelihood
    prior: Normal

    @property
    def kinds(self) -> Integer[np.ndarray, " h"]:
        """The kind of each hypothesis; hypotheses of one kind are neighbours."""
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
        """Place the next object as if it were of each kind; gradients reach the view from kinds in `learns`, or all."""
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
        """Sample the next object's rotation under each hypothesis."""
        rotation = posterior.rotation.reparameterise(noise.rotation)
        log_q = jax.vmap(posterior.rotation.log_prob)(rotation)  # of each rotation, in each mode
        own = jnp.where(self.kinds[:, None] == self.kinds, log_q, -jnp.inf)
        return Turns(rotation + view.turn, jax.nn.logsumexp(own, axis=-1))

    def evidence(self, attempts: Attempt, turns: Turns) -> Float[Array, " h"]:
        """Weigh every hypothesis: log p / q of the scene with the object minus without it, up to a constant."""
        sizes = np.bincount(self.kinds)
        alike = lambda x: [jnp.broadcast_to(one, (size, *one.shape)) for one, size in zip(x, sizes)]
        spread = jax.tree.map(lambda x: jnp.concatenate(alike(x)), attempts)
        return self._draw(self.kinds.tolist(), spread, turns.rotation)[1] + spread.log_p - spread.log_q - turns.log_q

    def guess(
        self, attempts: Attempt, turns: Turns, chosen: Integer[Array, " k"], log_probs: Float[Array, " h"]
    ) -> Guess:
        """Guess the next object as if it were of each kind: by its `chosen` hypothesis, with `log_probs`."""
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
        """Draw objects, and compute by how much each raises log p(x | canvas) in its own window."""
        layers = self.stage.draw_all(attempts.rays, kinds, attempts.position, rotations)
        log_prob = lambda image, canvas: self.likelihood.log_prob(image, canvas.image)
        gain = lambda one, layer: log_prob(one.image, one.canvas.add(layer)) - log_prob(one.image, one.canvas)
        return layers, jax.vmap(gain)(attempts, layers)


def _learning(view: View, learns) -> View:
    """Stop gradients to a view unless `learns`."""
    return jax.tree.map(lambda x: jnp.where(learns, x, jax.lax.stop_gradient(x)), view)


def _turned(position, angle):
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([cos * position[0] - sin * position[1], sin * position[0] + cos * position[1]])
