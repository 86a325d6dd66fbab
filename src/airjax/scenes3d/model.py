"""Objects in 3D as a family beside that of patches: p(x | z) is the renderer, and nothing of it is learned (section 3.3).

    p(x, z, n)  = p(n) prod_(t<=n) p(identity) p(position) p(rotation) p(x | render(z^(1:n)))
    q(z, n | x) = q(n | x) prod_(t<=n) q(identity, rotation | x, z^(1:t-1)) q(position | x, z^(1:t-1))
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from airjax.layers import Normal
from airjax.likelihood import Likelihood
from airjax.model import Scene, Step, Trajectory
from airjax.patches.base import Code
from airjax.scenes3d.circle import TURN
from airjax.scenes3d.compositing import Canvas, Layer
from airjax.scenes3d.recogniser import Posterior, TableRecogniser
from airjax.scenes3d.stage import Stage


class Noise(NamedTuple):
    position: Float[Array, "*N 2"]
    rotation: Float[Array, "*N kinds modes"]
    mode: Float[Array, "*N kinds modes"]
    identity: Float[Array, "*N kinds"]


class AIR3D(eqx.Module):
    """The whole system: p(x, z, n) and q(z, n | x)."""

    count_log_prior: Float[Array, " counts"]
    likelihood: Likelihood
    recogniser: TableRecogniser
    stage: Stage = eqx.field(static=True)
    max_objects: int = eqx.field(static=True)
    image_shape: tuple[int, int, int] = eqx.field(static=True)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        stage: Stage,
        likelihood: Likelihood,
        count_log_prior: Float[Array, " counts"] | Float[np.ndarray, " counts"],
        *,
        modes: int = 4,
        embed_channels: int = 16,
        embed_hidden: int = 256,
        head_hidden: int = 200,
        key: PRNGKeyArray,
    ):
        self.count_log_prior = jnp.asarray(count_log_prior, jnp.float32)
        self.likelihood, self.stage = likelihood, stage
        self.image_shape, self.max_objects = image_shape, len(count_log_prior) - 1
        self.recogniser = TableRecogniser(
            image_shape,
            len(stage.kinds),
            modes,
            position=self.position_prior,
            embed_channels=embed_channels,
            embed_hidden=embed_hidden,
            head_hidden=head_hidden,
            key=key,
        )

    @property
    def position_prior(self) -> Normal:
        """p(position): a Gaussian of the same spread as positions that are uniform within reach."""
        return Normal(jnp.zeros(2), jnp.full(2, math.log(self.stage.reach / math.sqrt(3.0))))

    def infer(self, image: Float[Array, "c h w"], *, key: PRNGKeyArray | None) -> Trajectory:
        rays = self.stage.rays(self.image_shape[1:])
        empty = self.stage.empty(rays, self.max_objects)

        def step(carry, noise):
            canvas, credit = carry
            canvas, credit, found = self._step(image, rays, canvas, credit, noise)
            return (canvas, credit), found

        _, steps = jax.lax.scan(step, (empty, jnp.zeros(())), self._noise(key), unroll=self.max_objects)
        nothing = Code(jnp.zeros(0), jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))
        return Trajectory(steps, nothing, empty.image, self.likelihood.log_prob(image, empty.image))

    def _noise(self, key):
        n, kinds, modes = self.max_objects, len(self.stage.kinds), self.recogniser.modes
        shapes = Noise((n, 2), (n, kinds, modes), (n, kinds, modes), (n, kinds))
        if key is None:
            return Noise(*map(jnp.zeros, shapes))
        keys = Noise(*jax.random.split(key, 4))
        draw = Noise(jax.random.normal, jax.random.normal, jax.random.gumbel, jax.random.gumbel)
        return Noise(*(d(k, s) for d, k, s in zip(draw, keys, shapes)))

    def _step(self, image, rays, canvas, credit, noise):
        posterior = self.recogniser(image, image - jax.lax.stop_gradient(canvas.image))
        position = posterior.position.shape_noise(noise.position)
        rotations = posterior.rotation.shape_noise(noise.rotation)
        of_kinds = jax.nn.logsumexp(posterior.logits, axis=1)
        identity = jnp.argmax(of_kinds + noise.identity)
        modes = jnp.argmax(posterior.logits + noise.mode, axis=1)
        turned = jnp.take_along_axis(rotations, modes[:, None], axis=1)[:, 0]
        layers = self.stage.draw_each(rays, position, turned)
        canvases = [canvas.add(layer) for layer in layers]
        fits = jnp.stack([self.likelihood.log_prob(image, c.image) for c in canvases])
        expected = jax.lax.stop_gradient(jnp.exp(of_kinds)) @ fits
        expected = expected + jax.lax.stop_gradient(fits[identity] - expected)
        all_fits = jax.lax.stop_gradient(self._fits(image, rays, canvas, position, rotations))
        worth = jnp.sum(jnp.exp(posterior.logits) * all_fits)
        credit = credit + worth - jax.lax.stop_gradient(worth)
        canvas = jax.tree.map(lambda *c: jnp.stack(c)[identity], *canvases)
        rotation = turned[identity]
        kl, log_p, log_q = self._densities(posterior, position, rotations, identity, rotation)
        found = Step(
            presence_logit=posterior.presence_logit,
            where=jnp.zeros(3),
            what=jnp.stack([*position, rotation, identity.astype(jnp.float32)]),
            kl=kl,
            log_p=log_p,
            log_q=log_q,
            log_likelihood=expected + credit,
            canvas=canvas.image,
        )
        return canvas, credit, found

    def _fits(self, image, rays, canvas, position, rotations):
        def one(rotations):
            layers = self.stage.draw_each(rays, position, rotations)
            return jnp.stack([self.likelihood.log_prob(image, canvas.add(layer).image) for layer in layers])

        rotations, canvas, position = jax.lax.stop_gradient((rotations, canvas, position))
        return jnp.stack([one(r) for r in rotations.T], axis=1)

    def _densities(self, posterior, position, rotations, identity, rotation):
        prior, log_each = self.position_prior, -math.log(len(self.stage.kinds) * TURN)
        log_q_of = lambda i, angle: jax.nn.logsumexp(
            posterior.logits[i] + jax.tree.map(lambda x: x[i], posterior.rotation).log_prob(angle)
        )
        kinds = jnp.arange(len(self.stage.kinds))
        log_q = jax.vmap(lambda i: jax.vmap(lambda a: log_q_of(i, a))(rotations[i]))(kinds)
        kl = posterior.position.kl(prior) + jnp.sum(jnp.exp(posterior.logits) * (log_q - log_each))
        log_p = prior.log_prob(position) + log_each
        return kl, log_p, posterior.position.log_prob(position) + log_q_of(identity, rotation)
