"""Distributions on the circle: mixtures of wrapped Gaussians, which have no jump at a full turn."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from airjax.models.layers import LOG_2PI
from airjax.render3d.smooth import TURN

WINDINGS = 2
"""Turns, each way, over which a Gaussian is wrapped: enough for standard deviations of up to 2.5 radians."""


class WrappedNormals(eqx.Module):
    """A Gaussian wrapped around the circle, for each mode of a mixture.

    Attributes:
        mean: angles, in radians.
        log_sd: logarithms of the standard deviations before wrapping.
    """

    mean: Float[Array, "*modes"]
    log_sd: Float[Array, "*modes"]

    def reparameterise(self, noise: Float[Array, "*modes"]) -> Float[Array, "*modes"]:
        """Turn standard normal noise into a sample of each mode, reparameterised; zeros give the means."""
        return self.mean + jnp.exp(self.log_sd) * noise

    def log_prob(self, angle: Float[Array, "*#modes"]) -> Float[Array, "*modes"]:
        """Evaluate each mode's log-density at an angle, in nats per radian."""
        away = jnp.mod(angle - self.mean + math.pi, TURN) - math.pi
        turns = away[..., None] + TURN * jnp.arange(-WINDINGS, WINDINGS + 1)
        standard = turns * jnp.exp(-self.log_sd)[..., None]
        return jax.nn.logsumexp(-0.5 * standard**2, axis=-1) - self.log_sd - 0.5 * LOG_2PI
