"""The protocol of every family of objects: trajectories of inference, scenes, and the model's base class.

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
from airjax.models.likelihood import Likelihood
from airjax.models.patches.base import Code
from airjax.render3d.stage import Stage

EDGE = 0.15
"""Share of an object's largest change of a pixel from which on pixels count for its box, unless said otherwise."""


class Step(NamedTuple):
    """The object that one step of inference found, given that it is present. Stacked over N steps in a `Trajectory`.

    Attributes:
        presence_logit: log-odds that this step is present, given that all steps before it are.
        where: (log scale, x, y) of its window: z_where.
        what: appearance code: z_what.
        kl: KL of this step's posteriors over where and what from their priors, in nats.
        log_p: log p(z^t) of the sample, in nats.
        log_q: log q(z^t | x, z^(1:t-1)) of the sample, in nats.
        log_likelihood: log p(x | objects up to this step), in nats, or a lower bound (`backgrounds.base.Explained`).
        canvas: the background with the objects placed so far.
    """

    presence_logit: Float[Array, "*N"]
    where: Float[Array, "*N 3"]
    what: Float[Array, "*N d"]
    kl: Float[Array, "*N"]
    log_p: Float[Array, "*N"]
    log_q: Float[Array, "*N"]
    log_likelihood: Float[Array, "*N"]
    canvas: Float[Array, "*N c h w"]

    @property
    def log_ratio(self) -> Float[Array, "*N"]:
        """Log p(z^t) - log q(z^t | x, z^(1:t-1)), in nats."""
        return self.log_p - self.log_q


class Trajectory(NamedTuple):
    """One run of inference that never stops: N steps, so that every count 0..N can be read off it.

    Attributes:
        steps: the N steps.
        scene: latent that the whole scene shares: the background's code in 2D, the camera's azimuth in 3D. If it is
            integrated out, its mean given the likeliest number of objects.
        empty_canvas: the canvas without objects.
        empty_log_likelihood: log p(x | no object), in nats.
        auxiliary: auxiliary objective, to be maximised beside the bound; 0 if the family has none.
    """

    steps: Step
    scene: Code
    empty_canvas: Float[Array, "c h w"]
    empty_log_likelihood: Float[Array, ""]
    auxiliary: Float[Array, ""]

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


class View(NamedTuple):
    """Glimpses and objects of a scene, step by step.

    Attributes:
        glimpses: x_att without a mask. With `AIR.residual_glimpses` they are cut from the residual, which can be
            negative.
        objects: each decoded patch, magnified from its window to a square as large as the image's longer side.
    """

    glimpses: Float[Array, "*n N c p p"]
    objects: Float[Array, "*n N c s s"]


class Family(eqx.Module):
    """A model p(x, z, n) with its inference network q(z, n | x), for one image at a time.

    Attributes:
        count_log_prior: log p(n), n = 0..N.
        likelihood: p(x | canvas).
        max_objects: N.
        image_shape: (channels, height, width).
        edge: share of an object's largest change of a pixel from which on pixels count for its box.
        trajectories: number of trajectories from which inference chooses the best.
    """

    count_log_prior: eqx.AbstractVar[Float[Array, " counts"]]
    likelihood: eqx.AbstractVar[Likelihood]
    max_objects: eqx.AbstractVar[int]
    image_shape: eqx.AbstractVar[tuple[int, int, int]]
    edge: eqx.AbstractVar[float]
    trajectories: eqx.AbstractVar[int]

    @property
    def stage(self) -> Stage | None:
        """The stage that objects stand on; None: objects are patches in 2D."""
        return None

    @property
    def glimpse_side(self) -> int | None:
        """The side of glimpses, in samples; None: no glimpses are cut."""
        return None

    @property
    def window_side(self) -> float | None:
        """The median side of attention windows under their prior, in pixels; None: there are none."""
        return None

    @property
    def covers(self) -> bool:
        """Whether an object hides what is behind it, instead of being added to it."""
        return False

    @property
    @abc.abstractmethod
    def mean_background(self) -> Float[Array, "c h w"]:
        """The canvas of a scene without objects, at the mean of the scene's own latent."""

    @property
    def on_black(self) -> bool:
        """Whether scenes are light objects on black, so that pictures of dark objects on white must be inverted."""
        return False

    @property
    @abc.abstractmethod
    def code_size(self) -> int:
        """The number of dimensions of an object's `what`."""

    @abc.abstractmethod
    def infer(self, image: Float[Array, "c h w"], *, key: PRNGKeyArray | None) -> Trajectory:
        """Attend, infer, repeat: N steps of inference; without a key, along the central trajectory."""

    def infer_again(self, image: Float[Array, "c h w"], *, key: PRNGKeyArray) -> Trajectory:
        """Infer along a trajectory that is central but for the places where it looks, which the key chooses.

        Raises:
            ValueError: the model does not choose places; it has one such trajectory.
        """
        raise ValueError(f"{type(self).__name__} has no attention, so it has one central trajectory")

    @abc.abstractmethod
    def sample(self, *, key: PRNGKeyArray) -> Scene:
        """Draw a scene: n ~ p(n), z^t ~ p(z), and the mean of p(x | z)."""

    @abc.abstractmethod
    def describe(self, what: Float[np.ndarray, " d"]) -> dict[str, Any]:
        """Describe an object in plain numbers, lists and strings, ready for JSON."""

    def describe_scene(self, scene: Float[np.ndarray, " s"]) -> dict[str, Any]:
        """Describe the scene's own latent (`Trajectory.scene`) in the same way; by default, not at all."""
        return {}

    def init_from_data(self, images: UInt8[np.ndarray, "n c h w"]) -> "Family":
        """Initialise an untrained model from training scenes; by default, change nothing."""
        del images
        return self

    def view(
        self,
        image: Float[Array, "c h w"],
        where: Float[Array, "N 3"],
        what: Float[Array, "N d"],
        canvases: Float[Array, "counts c h w"],
    ) -> View:
        """Cut out the glimpses of a scene, and draw each object by itself.

        Args:
            image: the scene.
            where: windows of the objects that were inferred.
            what: their codes.
            canvases: the reconstruction after 0, 1, ..., N objects.

        Raises:
            ValueError: objects are not patches.
        """
        raise ValueError(f"glimpses are cut by models of patches, not by {type(self).__name__}")

    def steer(self, scale: float, temperature: float) -> "Family":
        """Change the priors: objects `scale` times as large, and codes `temperature` times as far from their mean.

        Raises:
            ValueError: objects are not patches.
        """
        raise ValueError(f"scale and temperature steer models of patches, not {type(self).__name__}")

    def ink(self, *, where_key: PRNGKeyArray, what_key: PRNGKeyArray) -> Float[Array, "h w"]:
        """Draw an object from the prior in the middle of a scene: how strongly it changes each pixel.

        Raises:
            ValueError: objects are not patches.
        """
        raise ValueError(f"single objects are drawn by models of patches, not by {type(self).__name__}")


def rounded(values: Float[np.ndarray, " n"]) -> list[float]:
    """Round the numbers of an array so that they are short to read."""
    return [round(float(value), 6) for value in values]
