"""The likelihood p(x | canvas)."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from airjax.models.layers import LOG_2PI, largest_channel


class NormalLikelihood(eqx.Module):
    """Explain every pixel by a Gaussian around the canvas, whose standard deviation is fixed or learned.

    With a gain g, the deviation grows with what objects change: the variance of a pixel that they change by a is
    sd^2 + g^2 a^2. So the texture of a bright object is no evidence for another, faint one.

    `precision` leaves the gain out. Where a background's code is integrated out with it, the result is a lower bound,
    for more noise only lowers log det P.
    """

    log_sd: Float[Array, ""]
    learn: bool = eqx.field(static=True)
    gain: float = eqx.field(static=True)

    def __init__(self, sd: float, *, learn: bool = False, gain: float = 0.0):
        if not sd > 0:
            raise ValueError(f"sd must be positive, got {sd}")
        if not gain >= 0:
            raise ValueError(f"gain must be at least 0, got {gain}")
        self.log_sd = jnp.asarray(math.log(sd), jnp.float32)
        self.learn = learn
        self.gain = gain

    @property
    def precision(self) -> Float[Array, ""]:
        """One over the variance, which has a gradient only if the standard deviation is learned."""
        return jnp.exp(-2.0 * self._log_sd)

    @property
    def _log_sd(self):
        return self.log_sd if self.learn else jax.lax.stop_gradient(self.log_sd)

    def log_prob(
        self,
        image: Float[Array, "c h w"],
        canvas: Float[Array, "c h w"],
        change: Float[Array, "c h w"] | None = None,
    ) -> Float[Array, ""]:
        """Evaluate log p(x | canvas), in nats per image; `change` is what objects change in it, None: nothing."""
        squares = (image - canvas) ** 2
        constant = image.size * (self._log_sd + 0.5 * LOG_2PI)
        if not self.gain or change is None:
            return -0.5 * jnp.sum(squares) * self.precision - constant
        wider = self.widened(change)
        return -0.5 * jnp.sum(squares * self.precision / wider + jnp.log(wider)) - constant

    def widened(self, change: Float[Array, "c h w"]) -> Float[Array, "1 h w"]:
        """Return the factor by which what objects change widens each pixel's variance."""
        return 1.0 + self.gain**2 * self.precision * largest_channel(change**2)

    def mean(self, canvas: Float[Array, "c h w"]) -> Float[Array, "c h w"]:
        """Return the mean of p(x | canvas)."""
        return canvas


class BernoulliLikelihood(eqx.Module):
    """Explain every pixel, a probability in [0, 1], by a Bernoulli whose probability is the canvas, clipped."""

    margin: float = eqx.field(static=True, default=1e-3)

    def log_prob(
        self,
        image: Float[Array, "c h w"],
        canvas: Float[Array, "c h w"],
        change: Float[Array, "c h w"] | None = None,
    ) -> Float[Array, ""]:
        """Evaluate log p(x | canvas), in nats per image; `change` plays no part."""
        del change
        p = self.mean(canvas)
        return jnp.sum(image * jnp.log(p) + (1.0 - image) * jnp.log1p(-p))

    def mean(self, canvas: Float[Array, "c h w"]) -> Float[Array, "c h w"]:
        """Return the mean of p(x | canvas)."""
        return jnp.clip(canvas, self.margin, 1.0 - self.margin)


Likelihood = NormalLikelihood | BernoulliLikelihood
