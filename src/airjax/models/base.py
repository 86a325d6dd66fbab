"""What every family of objects has in common: trajectories of inference, scenes, and the model as others see it.

Objects are learned patches in 2D (`airjax.models.air.AIR`), or solids of known kinds in 3D
(`airjax.models.air3d.model.AIR3D`).
"""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from airjax.models import count
from airjax.models.background import Layers
from airjax.models.likelihood import Likelihood
from airjax.models.patches.base import Code


class Step(NamedTuple):
    """What one step of inference found, given that it is present. In a `Trajectory`, stacked over N steps.

    Attributes:
        presence_logit: log-odds that this step is present, given that all steps before it are.
        where: (log scale, x, y) of its window: z_where.
        what: appearance code: z_what.
        kl: KL of this step's posteriors over where and what from their priors, in nats.
        log_p: log p(z^t) of the sample, in nats.
        log_q: log q(z^t | x, z^(1:t-1)) of the sample, in nats.
        log_likelihood: log p(x | objects up to this step), in nats, or a lower bound on it (`grounds.Explained`).
        canvas: the ground with the objects placed so far.
        objects: the objects so far, to be put before a ground; None: they have no such order (`airjax.render3d`).
        auxiliary: what a step learns by besides the bound, to be maximised (`airjax.render3d`); None: nothing.
    """

    presence_logit: Float[Array, "*N"]
    where: Float[Array, "*N 3"]
    what: Float[Array, "*N d"]
    kl: Float[Array, "*N"]
    log_p: Float[Array, "*N"]
    log_q: Float[Array, "*N"]
    log_likelihood: Float[Array, "*N"]
    canvas: Float[Array, "*N c h w"]
    objects: Layers | None = None
    auxiliary: Float[Array, "*N"] | None = None

    @property
    def log_ratio(self) -> Float[Array, "*N"]:
        """Log p(z^t) - log q(z^t | x, z^(1:t-1)), in nats."""
        return self.log_p - self.log_q


class Trajectory(NamedTuple):
    """One run of inference that never stops: N steps, so that every count 0..N can be read off it.

    Attributes:
        steps: the N steps.
        ground: the code of what lies behind the objects, or in 3D the camera's azimuth; if it is integrated out, its
            mean given the likeliest number of objects.
        empty_canvas: the canvas without objects: that ground.
        empty_log_likelihood: log p(x | no object), in nats.
    """

    steps: Step
    ground: Code
    empty_canvas: Float[Array, "c h w"]
    empty_log_likelihood: Float[Array, ""]

    @property
    def log_likelihoods(self) -> Float[Array, " counts"]:
        """Log p(x | the first n objects) for n = 0..N, in nats."""
        return jnp.concatenate([self.empty_log_likelihood[None], self.steps.log_likelihood])

    @property
    def count_log_probs(self) -> Float[Array, " counts"]:
        """Log q(n | x) along this trajectory, n = 0..N."""
        return count.stick_breaking(self.steps.presence_logit)


class Scene(eqx.Module):
    """A draw from the generative model.

    Attributes:
        count: number of objects n.
        where: windows (log scale, x, y) of N objects, of which the first n are in the scene.
        what: their codes.
        canvas: mean of p(x | z), values in [0, 1].
    """

    count: Int[Array, ""]
    where: Float[Array, "N 3"]
    what: Float[Array, "N d"]
    canvas: Float[Array, "c h w"]


class Family(eqx.Module):
    """A model p(x, z, n) with its inference network q(z, n | x), for one image at a time.

    Attributes:
        count_log_prior: log p(n), n = 0..N.
        likelihood: p(x | canvas).
        max_objects: N.
        image_shape: (channels, height, width).
    """

    count_log_prior: eqx.AbstractVar[Float[Array, " counts"]]
    likelihood: eqx.AbstractVar[Likelihood]
    max_objects: eqx.AbstractVar[int]
    image_shape: eqx.AbstractVar[tuple[int, int, int]]

    @property
    @abc.abstractmethod
    def code_size(self) -> int:
        """The number of dimensions of an object's `what`."""

    @abc.abstractmethod
    def infer(self, image: Float[Array, "c h w"], *, key: PRNGKeyArray | None) -> Trajectory:
        """Attend, infer, repeat: N steps of inference; without a key, along the central trajectory."""

    @abc.abstractmethod
    def sample(self, *, key: PRNGKeyArray) -> Scene:
        """Draw a scene: n ~ p(n), z^t ~ p(z), and the mean of p(x | z)."""

    @abc.abstractmethod
    def describe(self, what: Float[np.ndarray, " d"]) -> dict[str, Any]:
        """Describe an object in plain numbers, lists and strings, ready for JSON."""

    def describe_scene(self, ground: Float[np.ndarray, " g"]) -> dict[str, Any]:
        """Describe in the same way what lies behind the objects; by default, not at all."""
        return {}

    def init_from_data(self, images: UInt8[np.ndarray, "n c h w"]) -> "Family":
        """Let an untrained model start from training scenes; by default, as it is."""
        return self


def rounded(values: Float[np.ndarray, " n"]) -> list[float]:
    """Make numbers of an array short enough to be read."""
    return [round(float(value), 6) for value in values]
