"""Solids of known kinds on a table: p(x | z) is the renderer, of which nothing is learned (paper, section 3.3).

    p(x, z, n)  = p(n) p(azimuth) prod_(t<=n) p(identity) p(position) p(rotation) p(x | render(z^(1:n)))
    q(z, n | x) = q(n | x) q(azimuth | x) prod_(t<=n) q(position | x, z^(1:t-1)) q(identity, rotation | x, z^(1:t-1))

Everything acts on one image; callers use `jax.vmap`.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.models import count
from airjax.models.air3d.enumeration import Enumeration, Noise, View
from airjax.models.air3d.recogniser import CONTRAST, TableRecogniser
from airjax.models.base import EDGE, Family, Scene, Step, Trajectory, rounded
from airjax.models.layers import Embed, Normal
from airjax.models.likelihood import Likelihood
from airjax.models.patches.base import Code
from airjax.render3d.smooth import TURN
from airjax.render3d.stage import Stage

TEACHING = 10.0
"""Weight of the loss that teaches the network log q(hypothesis)."""
EXPLORING = 0.1
"""Weight of the loss that teaches poses of kinds that were not chosen."""


class AIR3D(Family):
    """The whole system: p(x, z, n) and q(z, n | x).

    An object's `what` is (x, y, rotation, identity): position on the table, radians, and index of its kind.
    """

    count_log_prior: Float[Array, " counts"]
    likelihood: Likelihood
    recogniser: TableRecogniser
    viewer: Embed | None
    _stage: Stage = eqx.field(static=True)
    enumerated: bool = eqx.field(static=True)
    max_objects: int = eqx.field(static=True)
    image_shape: tuple[int, int, int] = eqx.field(static=True)
    edge: float = eqx.field(static=True, default=EDGE)
    trajectories: int = eqx.field(static=True, default=1)

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
        enumerated: bool = True,
        key: PRNGKeyArray,
    ):
        """Make the networks for images of `image_shape` = (3, height, width) of scenes on this stage.

        If hypotheses are `enumerated`, all are drawn, and q(hypothesis) is their exact posterior. Otherwise it comes
        from the network.

        Raises:
            ValueError: `count_log_prior` allows no object, or images have no colour.
        """
        if image_shape[0] != 3:
            raise ValueError(f"images of solids must have 3 channels, got {image_shape[0]}")
        objects_key, camera_key = jax.random.split(key)
        self.count_log_prior = count.as_log_prior(count_log_prior)
        self.likelihood, self._stage, self.enumerated = likelihood, stage, enumerated
        self.image_shape, self.max_objects = image_shape, len(count_log_prior) - 1
        self.recogniser = TableRecogniser(
            image_shape,
            stage,
            start=self.position_prior,
            embed_channels=embed_channels,
            embed_hidden=embed_hidden,
            head_hidden=head_hidden,
            key=objects_key,
        )
        self.viewer = None
        if stage.azimuth_reach:
            self.viewer = Embed(image_shape, 2, channels=embed_channels, hidden=embed_hidden, key=camera_key)

    @property
    def code_size(self) -> int:
        """The number of values that describe an object: x, y, rotation, identity."""
        return 4

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

    @property
    def stage(self) -> Stage:
        """The stage that objects stand on."""
        return self._stage

    @property
    def covers(self) -> bool:
        """Solids hide what is behind them."""
        return True

    @property
    def mean_background(self) -> Float[Array, "3 h w"]:
        """The empty table, seen from the middle of the camera's azimuths."""
        rays = self.stage.camera(jnp.asarray(self.stage.azimuth)).rays(self.image_shape[1:])
        return self.stage.empty(rays, self.max_objects).image

    def sample(self, *, key: PRNGKeyArray) -> Scene:
        """Draw a scene: n, azimuth, identities and poses from their priors, and its picture."""
        n_key, camera_key, place_key, turn_key, kind_key = jax.random.split(key, 5)
        objects = self.max_objects
        n = jax.random.categorical(n_key, self.count_log_prior)
        azimuth = jnp.full(1, self.stage.azimuth) if self.viewer is None else self.azimuth_prior.sample(key=camera_key)
        positions = jax.vmap(lambda k: self.position_prior.sample(key=k))(jax.random.split(place_key, objects))
        rotations = jax.random.uniform(turn_key, (objects,), maxval=TURN)
        identities = jax.random.randint(kind_key, (objects,), 0, len(self.stage.kinds))
        camera = self.stage.camera(azimuth[0])
        rays = camera.rays(self.image_shape[1:])

        def put(canvas, one):
            t, identity, position, rotation = one
            layer = self.stage.draw_identity(rays, identity, position, rotation)
            return canvas.add(layer._replace(opacity=layer.opacity * (t < n))), None

        things = jnp.arange(objects), identities, positions, rotations
        canvas, _ = jax.lax.scan(put, self.stage.empty(rays, objects), things)
        where = jax.vmap(lambda p: self.stage.where(camera, p, self.image_shape[1:]))(positions)
        return Scene(n, where, _what(positions, rotations, identities), self.likelihood.mean(canvas.image))

    def describe(self, what: Float[np.ndarray, "4"]) -> dict[str, Any]:
        """Describe an object by its kind and pose: position on the table, rotation in degrees."""
        rotation, identity = what[2:]
        return {
            "identity": self.stage.kinds[int(identity)].name,
            "position": rounded(what[:2]),
            "rotation_deg": round(float(np.degrees(rotation) % 360.0), 3),
        }

    def describe_scene(self, scene: Float[np.ndarray, " s"]) -> dict[str, Any]:
        """Describe the camera by its azimuth, in degrees, if that is not known."""
        return {"azimuth_deg": round(float(np.degrees(scene[0])), 3)} if scene.size else {}

    # The inference network

    def infer(self, image: Float[Array, "c h w"], *, key: PRNGKeyArray | None) -> Trajectory:
        """Infer the camera, then N objects, one after the other; without a key, all at their modes.

        The scene's own latent is the camera's azimuth, if that is not known.
        """
        azimuth = self._look(image, key)
        angle = azimuth.value[0] if self.viewer else jnp.asarray(self.stage.azimuth)
        camera = self.stage.camera(angle)
        view = View(camera, camera.rays(self.image_shape[1:]), angle - self.stage.azimuth)
        empty = self.stage.empty(view.rays, self.max_objects)
        step = lambda canvas, noise: self._step(image, view, canvas, noise)
        _, (steps, auxiliary) = jax.lax.scan(step, empty, self._noise(key))
        # Each step counts as far as it is reached: sum_t q(n >= t | x) auxiliary_t.
        reach = jax.lax.stop_gradient(jnp.exp(count.log_reach(steps.presence_logit)))
        return Trajectory(
            steps=steps,
            scene=azimuth,
            empty_canvas=empty.image,
            empty_log_likelihood=self.likelihood.log_prob(image, empty.image),
            auxiliary=jnp.sum(reach * auxiliary),
        )

    def _look(self, image, key):
        """Infer the camera's azimuth."""
        if self.viewer is None:
            return Code(jnp.zeros(0), *3 * (jnp.zeros(()),))
        prior, output = self.azimuth_prior, self.viewer(CONTRAST * (image - 0.5))
        posterior = Normal(prior.mean + 0.3 * output[:1], prior.log_sd + output[1:])
        noise = jnp.zeros(1) if key is None else jax.random.normal(jax.random.fold_in(key, self.max_objects), (1,))
        value = posterior.reparameterise(noise)
        return Code(value, posterior.kl(prior), prior.log_prob(value), posterior.log_prob(value))

    def _noise(self, key):
        n, hypotheses = self.max_objects, len(self.stage.hypotheses)
        if key is None:
            return Noise(jnp.zeros((n, 2)), jnp.zeros((n, hypotheses)), jnp.zeros((n, hypotheses)))
        normal_key, gumbel_key = jax.random.split(key)
        normal = jax.random.normal(normal_key, (n, 2 + hypotheses))
        return Noise(normal[:, :2], normal[:, 2:], jax.random.gumbel(gumbel_key, (n, hypotheses)))

    def _step(self, image, view: View, canvas, noise):
        posterior = self.recogniser(image, image - jax.lax.stop_gradient(canvas.image))
        could_be = Enumeration(self.stage, self.likelihood, self.position_prior)
        turns = could_be.turn(posterior, view, noise)
        still = jax.lax.stop_gradient((image, canvas))
        attempts = could_be.place(posterior, view, *still, noise)
        evidence = could_be.evidence(*jax.lax.stop_gradient((attempts, turns)))
        log_probs = jax.nn.log_softmax(evidence) if self.enumerated else jax.lax.stop_gradient(posterior.log_probs)
        sampled = log_probs + noise.hypothesis
        kinds = np.arange(len(self.stage.kinds))
        best = jnp.argmax(jnp.where(could_be.kinds == kinds[:, None], sampled, -jnp.inf), axis=1)  # of each kind
        identity = jnp.argmax(sampled[best])
        attempts = could_be.place(posterior, view, *still, noise, learns=kinds == identity)  # the camera, by one alone
        guesses = could_be.guess(attempts, turns, best, log_probs)
        one = jax.tree.map(lambda x: x[identity], guesses)
        canvas = canvas.add(one.crop.put(one.layer))
        found = Step(
            presence_logit=posterior.presence_logit,
            where=self.stage.where(view.camera, one.position, self.image_shape[1:]),
            what=_what(one.position, one.rotation, identity),
            kl=one.log_q - one.log_p,  # sampled: which object it is depends on where it would be
            log_p=one.log_p,
            log_q=one.log_q,
            log_likelihood=self.likelihood.log_prob(image, canvas.image),
            canvas=canvas.image,
        )
        return canvas, (found, _auxiliary(posterior, evidence, guesses.bound, identity))


def _auxiliary(posterior, evidence, bounds, identity):
    """Evaluate the auxiliary objective, which teaches q where the bound's gradient vanishes (docs/scenes3d.md).

    The bound teaches nothing about hypotheses that q holds to be impossible. So the network's log q(hypothesis) is
    trained by cross-entropy on the exact posterior over hypotheses, all else being as sampled. And the poses of kinds
    that were not chosen are trained, with a lower weight, as if they had been.
    """
    others = jnp.where(jnp.arange(len(bounds)) == identity, 0.0, bounds)
    return TEACHING * (jax.nn.softmax(evidence) @ posterior.log_probs) + EXPLORING * jnp.sum(others)


def _what(position, rotation, identity):
    return jnp.concatenate([position, rotation[..., None], identity[..., None].astype(position.dtype)], axis=-1)
