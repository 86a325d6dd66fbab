"""Solids of known kinds on a table: p(x | z) is the renderer, of which nothing is learned (paper, section 3.3).

    p(x, z, n)  = p(n) p(azimuth) prod_(t<=n) p(identity) p(position) p(rotation) p(x | render(z^(1:n)))
    q(z, n | x) = q(n | x) q(azimuth | x) prod_(t<=n) q(position | x, z^(1:t-1)) q(identity, rotation | x, z^(1:t-1))

Everything acts on one image; callers use `jax.vmap`.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from airjax.family import Family, Scene, Step, Trajectory, rounded
from airjax.layers import Embed, Normal
from airjax.likelihood import Likelihood
from airjax.patches.base import Code
from airjax.scenes3d.circle import TURN
from airjax.scenes3d.recogniser import Posterior, TableRecogniser
from airjax.scenes3d.stage import Stage

TEACHING = 10.0
"""Weight of what q(hypothesis) learns by, beside the bound."""


class Noise(NamedTuple):
    """What a step's sample is made of: normal for position and rotation, Gumbel for the hypothesis."""

    position: Float[Array, "*N 2"]
    rotation: Float[Array, "*N h"]
    hypothesis: Float[Array, "*N h"]


class AIR3D(Family):
    """The whole system: p(x, z, n) and q(z, n | x).

    An object's `what` is (x, y, rotation, identity): position on the table, radians, and index of its kind.
    """

    count_log_prior: Float[Array, " counts"]
    likelihood: Likelihood
    recogniser: TableRecogniser
    viewer: Embed | None
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
        embed_channels: int = 16,
        embed_hidden: int = 256,
        head_hidden: int = 200,
        key: PRNGKeyArray,
    ):
        """Make the networks for images of `image_shape` = (3, height, width) of scenes on this stage.

        Raises:
            ValueError: `count_log_prior` allows no object, or images have no colour.
        """
        if len(count_log_prior) < 2:
            raise ValueError(f"count_log_prior must have at least 2 entries, got {len(count_log_prior)}")
        if image_shape[0] != 3:
            raise ValueError(f"images of solids must have 3 channels, got {image_shape[0]}")
        objects_key, camera_key = jax.random.split(key)
        self.count_log_prior = jnp.asarray(count_log_prior, jnp.float32)
        self.likelihood, self.stage = likelihood, stage
        self.image_shape, self.max_objects = image_shape, len(count_log_prior) - 1
        self.recogniser = TableRecogniser(
            image_shape,
            stage.hypotheses,
            start=self.position_prior,
            embed_channels=embed_channels,
            embed_hidden=embed_hidden,
            head_hidden=head_hidden,
            key=objects_key,
        )
        self.viewer = None
        if stage.azimuth_reach:
            self.viewer = Embed(image_shape, 2, channels=embed_channels, hidden=embed_hidden, key=camera_key)

    # The generative model

    @property
    def position_prior(self) -> Normal:
        """p(position): a Gaussian of the same spread as positions that are uniform within reach."""
        return Normal(jnp.zeros(2), jnp.full(2, math.log(self.stage.reach / math.sqrt(3.0))))

    @property
    def azimuth_prior(self) -> Normal:
        """p(azimuth), like that of positions."""
        spread = math.log(self.stage.azimuth_reach / math.sqrt(3.0))
        return Normal(jnp.full(1, self.stage.azimuth), jnp.full(1, spread))

    def sample(self, *, key: PRNGKeyArray) -> Scene:
        """Draw a scene: n, azimuth, identities and poses from their priors, and its picture."""
        n_key, camera_key, place_key, turn_key, kind_key = jax.random.split(key, 5)
        shape = (self.max_objects,)
        n = jax.random.categorical(n_key, self.count_log_prior)
        azimuth = jnp.full(1, self.stage.azimuth) if self.viewer is None else self.azimuth_prior.sample(key=camera_key)
        positions = jax.vmap(lambda k: self.position_prior.sample(key=k))(jax.random.split(place_key, *shape))
        rotations = jax.random.uniform(turn_key, shape, maxval=TURN)
        identities = jax.random.randint(kind_key, shape, 0, len(self.stage.kinds))
        camera = self.stage.camera(azimuth[0])
        rays = camera.rays(self.image_shape[1:])

        def put(canvas, one):
            t, identity, position, rotation = one
            layer = self.stage.draw_identity(rays, identity, position, rotation)
            return canvas.add(layer._replace(opacity=layer.opacity * (t < n))), None

        objects = jnp.arange(self.max_objects), identities, positions, rotations
        canvas, _ = jax.lax.scan(put, self.stage.empty(rays, self.max_objects), objects)
        where = jax.vmap(lambda p: self.stage.where(camera, p, self.image_shape[1:]))(positions)
        return Scene(n, where, _what(positions, rotations, identities), self.likelihood.mean(canvas.image))

    def tell(self, where: Float[np.ndarray, "3"], what: Float[np.ndarray, "4"]) -> dict[str, Any]:
        """Describe an object by its kind and pose: position on the table, rotation in degrees."""
        rotation, identity = what[2:]
        return {
            "identity": self.stage.kinds[int(identity)].name,
            "position": rounded(what[:2]),
            "rotation_deg": round(float(np.degrees(rotation) % 360.0), 3),
        }

    def tell_ground(self, ground: Float[np.ndarray, " g"]) -> dict[str, Any]:
        """Describe the camera by its azimuth, in degrees, if that is not known."""
        return {"azimuth_deg": round(float(np.degrees(ground[0])), 3)} if ground.size else {}

    # The inference network

    def infer(self, image: Float[Array, "c h w"], *, key: PRNGKeyArray | None) -> Trajectory:
        """Infer the camera, then N objects, one after the other; without a key, all at their modes.

        The code of the ground is the camera's azimuth, if that is not known.
        """
        azimuth = self._look(image, key)
        camera = self.stage.camera(azimuth.value[0] if azimuth.value.size else jnp.asarray(self.stage.azimuth))
        rays = camera.rays(self.image_shape[1:])
        empty = self.stage.empty(rays, self.max_objects)
        turn = azimuth.value[0] - self.stage.azimuth if azimuth.value.size else jnp.zeros(())
        step = lambda canvas, noise: self._step(image, camera, rays, turn, canvas, noise)
        _, steps = jax.lax.scan(step, empty, self._noise(key))
        return Trajectory(steps, azimuth, empty.image, self.likelihood.log_prob(image, empty.image))

    def _look(self, image, key):
        """Infer the camera's azimuth."""
        if self.viewer is None:
            return Code(jnp.zeros(0), *3 * (jnp.zeros(()),))
        prior, output = self.azimuth_prior, self.viewer(image)
        posterior = Normal(prior.mean + 0.3 * output[:1], prior.log_sd + output[1:])
        noise = jnp.zeros(1) if key is None else jax.random.normal(jax.random.fold_in(key, self.max_objects), (1,))
        value = posterior.shape_noise(noise)
        return Code(value, posterior.kl(prior), prior.log_prob(value), posterior.log_prob(value))

    def _noise(self, key):
        n, hypotheses = self.max_objects, len(self.stage.hypotheses)
        if key is None:
            return Noise(jnp.zeros((n, 2)), jnp.zeros((n, hypotheses)), jnp.zeros((n, hypotheses)))
        normal_key, gumbel_key = jax.random.split(key)
        normal = jax.random.normal(normal_key, (n, 2 + hypotheses))
        return Noise(normal[:, :2], normal[:, 2:], jax.random.gumbel(gumbel_key, (n, hypotheses)))

    def _step(self, image, camera, rays, turn, canvas, noise):
        posterior = self.recogniser(image, image - jax.lax.stop_gradient(canvas.image))
        position = _turned(posterior.position.shape_noise(noise.position), turn)
        in_frame = posterior.rotation.shape_noise(noise.rotation)
        chosen, rotations = jnp.argmax(posterior.log_probs + noise.hypothesis), in_frame + turn
        identity, rotation = self._kinds[chosen], rotations[chosen]
        crop = self.stage.crop(camera, position, self.image_shape[1:])
        seen, near, behind = crop.cut((image, rays, canvas))
        canvas = canvas.add(crop.put(self.stage.draw_identity(near, identity, position, rotation)))
        log_q = self._log_q(posterior, in_frame, chosen)
        prior, log_prior = self.position_prior, -math.log(len(self.stage.kinds) * TURN)
        found = Step(
            presence_logit=posterior.presence_logit,
            where=self.stage.where(camera, position, self.image_shape[1:]),
            what=_what(position, rotation, identity),
            kl=posterior.position.kl(prior) + log_q - log_prior,
            log_p=prior.log_prob(position) + log_prior,
            log_q=posterior.position.log_prob(_turned(position, -turn)) + log_q,
            log_likelihood=self.likelihood.log_prob(image, canvas.image),
            canvas=canvas.image,
            taught=self._taught(posterior, in_frame, (seen, near, behind, position, rotations)),
        )
        return canvas, found

    @property
    def _kinds(self) -> Int[Array, " h"]:
        """The kind of each hypothesis."""
        return jnp.array([h.kind for h in self.stage.hypotheses])

    def _log_q(self, posterior: Posterior, rotations, chosen):
        """Evaluate log q(identity, rotation) of the hypothesis chosen: the sum over all modes of its kind."""
        joint = jax.lax.stop_gradient(posterior.log_probs) + posterior.rotation.log_prob(rotations[chosen])
        return jax.nn.logsumexp(jnp.where(self._kinds == self._kinds[chosen], joint, -jnp.inf))

    def _taught(self, posterior: Posterior, in_frame, drawn):
        """Score log q(hypothesis) by the exact posterior over hypotheses, all else being as sampled (docs/scenes3d.md).

        The bound's own gradient would vanish for a kind that is wrongly held to be impossible; this one does not.
        """
        fixed = jax.lax.stop_gradient((*drawn, posterior.rotation.log_prob(in_frame)))
        image, rays, canvas, position, rotations, log_q = fixed
        layers = self._draw_each(rays, position, rotations)
        fits = jax.vmap(lambda layer: self.likelihood.log_prob(image, canvas.add(layer).image))(layers)
        return TEACHING * (jax.nn.softmax(fits - log_q) @ posterior.log_probs)

    def _draw_each(self, rays, position, rotations):
        """Draw the object as every hypothesis has it; the modes of a kind together, which compiles quickly."""
        kinds = np.array([h.kind for h in self.stage.hypotheses])
        of_kind = lambda kind: jax.vmap(lambda rotation: self.stage.draw(rays, kind, position, rotation))
        layers = [of_kind(kind)(rotations[kinds == kind]) for kind in range(len(self.stage.kinds))]
        return jax.tree.map(lambda *each: jnp.concatenate(each), *layers)


def _turned(position, angle):
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([cos * position[0] - sin * position[1], sin * position[0] + cos * position[1]])


def _what(position, rotation, identity):
    return jnp.concatenate([position, rotation[..., None], identity[..., None].astype(position.dtype)], axis=-1)
