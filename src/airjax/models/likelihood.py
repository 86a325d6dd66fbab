"""The likelihood p(x | canvas)."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from airjax.models.layers import LOG_2PI


class NormalLikelihood(eqx.Module):
    """Explain every pixel by a Gaussian around the canvas, of one standard deviation that is fixed or learned."""

    log_sd: Float[Array, ""]
    learn: bool = eqx.field(static=True)

    def __init__(self, sd: float, *, learn: bool = False):
        if not sd > 0:
            raise ValueError(f"sd must be positive, got {sd}")
        self.log_sd = jnp.asarray(math.log(sd), jnp.float32)
        self.learn = learn

    @property
    def precision(self) -> Float[Array, ""]:
        """One over the variance, which has a gradient only if the standard deviation is learned."""
        return jnp.exp(-2.0 * self._log_sd)

    @property
    def _log_sd(self):
        return self.log_sd if self.learn else jax.lax.stop_gradient(self.log_sd)

    def log_prob(self, image: Float[Array, "c h w"], canvas: Float[Array, "c h w"]) -> Float[Array, ""]:
        """Evaluate log p(x | canvas), in nats per image."""
        squares = jnp.sum((image - canvas) ** 2)
        return -0.5 * squares * self.precision - image.size * (self._log_sd + 0.5 * LOG_2PI)

    def mean(self, canvas: Float[Array, "c h w"]) -> Float[Array, "c h w"]:
        """Return the mean of p(x | canvas)."""
        return canvas


class BernoulliLikelihood(eqx.Module):
    """Explain every pixel, a probability in [0, 1], by a Bernoulli whose probability is the canvas, clipped."""

    margin: float = eqx.field(static=True, default=1e-3)

    def log_prob(self, image: Float[Array, "c h w"], canvas: Float[Array, "c h w"]) -> Float[Array, ""]:
        """Evaluate log p(x | canvas), in nats per image."""
        p = self.mean(canvas)
        return jnp.sum(image * jnp.log(p) + (1.0 - image) * jnp.log1p(-p))

    def mean(self, canvas: Float[Array, "c h w"]) -> Float[Array, "c h w"]:
        """Return the mean of p(x | canvas)."""
        return jnp.clip(canvas, self.margin, 1.0 - self.margin)


Likelihood = NormalLikelihood | BernoulliLikelihood
