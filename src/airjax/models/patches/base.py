"""The protocol of patch models, and functions that patch models with Gaussian codes share."""

from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from airjax.models.layers import Normal

OUTPUT_BIAS = -2.0
"""Logit of a pixel of an untrained patch: patches start out dark."""


class Code(NamedTuple):
    """A sample of z_what from its posterior, with the log-densities that the bounds need.

    Attributes:
        value: the sample.
        kl: KL(q(what | glimpse) || p(what)), in nats, in closed form where there is one, otherwise an estimate.
        log_p: log p(value), in nats, of this very sample.
        log_q: log q(value | glimpse), in nats, of this very sample.
    """

    value: Float[Array, " d"]
    kl: Float[Array, ""]
    log_p: Float[Array, ""]
    log_q: Float[Array, ""]

    @property
    def log_ratio(self) -> Float[Array, "*b"]:
        """Log p(value) - log q(value | glimpse), in nats."""
        return self.log_p - self.log_q


def central(posterior: Normal) -> Float[Array, " d"]:
    """Choose one typical code of a Gaussian posterior, the prior being N(0, 1).

    It is the mean, except in dimensions whose posterior is close to the prior. Those are up to one deviation off, up
    and down in turn. Their mean is zero, and in tens of dimensions all samples are far from it: decoders never saw such
    a code, and may draw it too dark.
    """
    signs = (-1.0) ** jnp.arange(posterior.mean.size)
    return posterior.mean + signs * jnp.minimum(jnp.exp(4.0 * posterior.log_sd), 1.0)


def gaussian_code(posterior: Normal, noise: Float[Array, " d"] | None, *, pathwise: bool = True) -> Code:
    """Sample a code from a Gaussian posterior, the prior being N(0, 1), or without noise take the central one: z_what.

    Without `pathwise`, no gradient flows through the sample.
    """
    prior = Normal(jnp.zeros_like(posterior.mean), jnp.zeros_like(posterior.mean))
    value = central(posterior) if noise is None else posterior.reparameterise(noise, pathwise=pathwise)
    return Code(value, posterior.kl(prior), prior.log_prob(value), posterior.log_prob(value))


@runtime_checkable
class PatchModel(Protocol):
    """A generative model p(what) p(patch | what) with its inference network q(what | glimpse).

    Implementations are Equinox modules and act on one patch of shape [channels, side, side]. An implementation whose
    untrained patches have pixels of another logit than -2 gives it as an attribute (see `output_bias`).
    """

    @property
    def code_size(self) -> int:
        """The number of dimensions of z_what."""
        ...

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw z_what from its prior."""
        ...

    def encode(
        self, glimpse: Float[Array, "c p p"], noise: Float[Array, " d"] | None, *, pathwise: bool = True
    ) -> Code:
        """Infer the code of a glimpse from standard normal `noise`; zeros give the mean, None a typical code.

        With `pathwise`, gradients flow through the sample, which is reparameterised; without, it is a constant, and
        the gradient of `log_q` is the score.
        """
        ...

    def decode(self, what: Float[Array, " d"]) -> Float[Array, "c p p"]:
        """Draw the patch that `what` describes."""
        ...


def output_bias(patches: PatchModel) -> float:
    """Return the logit of a pixel of an untrained patch.

    It is the model's own `output_bias`, a number that is a static field or property, or `OUTPUT_BIAS` where it has
    none. Objects that cover the background start from the background's colour by it (`compositor.Over`).
    """
    return getattr(patches, "output_bias", OUTPUT_BIAS)


class Tempered(eqx.Module):
    """A patch model whose prior is spread more widely, or less: codes are `temperature` times the prior's."""

    patches: PatchModel
    temperature: Float[Array, ""]

    @property
    def code_size(self) -> int:
        """The number of dimensions of z_what."""
        return self.patches.code_size

    @property
    def output_bias(self) -> float:
        """The logit of a pixel of an untrained patch."""
        return output_bias(self.patches)

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw z_what."""
        return self.temperature * self.patches.prior_sample(key=key)

    def encode(self, glimpse: Float[Array, "c p p"], noise: Float[Array, " d"], *, pathwise: bool = True) -> Code:
        """Infer z_what as the patch model does."""
        return self.patches.encode(glimpse, noise, pathwise=pathwise)

    def decode(self, what: Float[Array, " d"]) -> Float[Array, "c p p"]:
        """Draw the patch that `what` describes."""
        return self.patches.decode(what)


Part = TypeVar("Part")


def trainable_copy(part: Part) -> Part:
    """Copy a part of a model that was made elsewhere, because training overwrites the arrays that it is given.

    Raises:
        ValueError: a leaf is something else than an array of floats, which can't be trained.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(part):
        if not eqx.is_inexact_array(leaf):
            raise ValueError(
                f"every leaf of {type(part).__name__} must be an array of floats, got {type(leaf).__name__} at "
                f"{jax.tree_util.keystr(path)}; what isn't trained must be a static field"
            )
    return jax.tree.map(jnp.copy, part)
