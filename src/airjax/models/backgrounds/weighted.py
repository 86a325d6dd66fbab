"""Backgrounds whose code is a Gaussian given the image, in closed form: a mean picture plus weighted components."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.models.backgrounds.base import Explained, Layers, compare
from airjax.models.likelihood import Likelihood, NormalLikelihood

LOOKS = 8
"""Rounds in which a code is inferred again without the pixels that it explains badly."""

OUTLIER = 0.1
"""Error, for pixels in [0, 1], above which a pixel counts as part of an object rather than of the background."""

CLEAN = 100.0
"""Precision of pixels when components are fitted."""


class Weighted(eqx.Module):
    """Base class of backgrounds that are a mean picture plus components, weighed anew for every scene and channel."""

    mean: Float[Array, "c h w"]
    components: Float[Array, "k pixels"]

    @property
    def code_size(self) -> int:
        """The number of components, summed over channels."""
        return len(self.mean) * len(self.components)

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw a code ~ N(0, 1)."""
        return jax.random.normal(key, (self.code_size,))

    def lay(self, code: Float[Array, " d"], objects: Layers) -> Float[Array, "c h w"]:
        """Add the weighted components to the mean, and put objects over the sum."""
        mean, components = jax.lax.stop_gradient((self.mean, self.components))
        return objects.over(mean + (code.reshape(len(mean), -1) @ components).reshape(mean.shape))

    def explain(
        self,
        image: Float[Array, "c h w"],
        objects: Layers,
        likelihood: Likelihood,
        previous: Explained | None = None,
    ) -> Explained:
        """Infer q(code | x, objects), a Gaussian, and bound log p(x | objects), with the code integrated out.

        With s the likelihood's sd, q has the precision P and a mean a_c for each channel c, and

            log p(x | objects) >= log N(x; canvas at a, s) - sum_c (a_c' a_c + log det P) / 2.

        No gradient flows through a. With equality or not, see the background's class.

        Raises:
            ValueError: the likelihood is not normal.
        """
        if not isinstance(likelihood, NormalLikelihood):
            raise ValueError(f"{type(self).__name__} needs a normal likelihood")
        code, log_det = self._posterior(image, objects, likelihood.precision, previous)
        compared = compare(self.lay, code, image, objects, likelihood)
        integrated = 0.5 * (jnp.sum(code**2) + len(self.mean) * log_det)
        return compared._replace(log_likelihood=compared.log_likelihood - integrated)

    @abc.abstractmethod
    def _posterior(
        self,
        image: Float[Array, "c h w"],
        objects: Layers,
        precision: Float[Array, ""],
        previous: Explained | None,
    ) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """Infer the mean of q(code | x, objects) and log det P, given the precision of the pixels' noise."""


def code_precision(components, transmittance, precision):
    """Compute the precision of the code's posterior, `1 + B B' / s^2`, where B are components times transmittance.

    Products of pairs of components are the same for all images of a batch, so that one matrix product serves all.
    """
    size = len(components)
    if transmittance is None:
        products = components @ components.T
    else:
        products = ((components[:, None] * components).reshape(size**2, -1) @ transmittance**2).reshape(size, size)
    return jnp.eye(size) + precision * products


@jax.custom_jvp
def inverse_root(matrix: Float[Array, "k k"]) -> tuple[Float[Array, "k k"], Float[Array, ""]]:
    """Invert the Cholesky factor L of a positive definite matrix L L', and find the matrix's log-determinant.

    Gaussian elimination turns the matrix, with the identity beside it, into L' and L^-1. LAPACK's routines must not be
    called here: in a compiled program, batches of small triangular solves wait for one another in XLA's threads. Only
    the log-determinant has a derivative; none flows through the root.
    """
    size = len(matrix)
    rows = jax.lax.fori_loop(0, size, _eliminate, jnp.concatenate([matrix, jnp.eye(size, dtype=matrix.dtype)], axis=1))
    return rows[:, size:], 2.0 * jnp.sum(jnp.log(jnp.diagonal(rows)))


def _eliminate(k, rows):
    """Eliminate row k from those below it; one function for all calls, so that JAX traces it once for each shape."""
    pivot = rows[k] / jnp.sqrt(rows[k, k])
    below = jnp.where(jnp.arange(len(rows)) > k, rows[:, k] / jnp.sqrt(rows[k, k]), 0.0)
    return (rows - below[:, None] * pivot).at[k].set(pivot)


@inverse_root.defjvp
def _(primals, tangents):
    root, log_det = inverse_root(*primals)
    return (root, log_det), (jnp.zeros_like(root), jnp.sum((root.T @ root) * tangents[0]))
