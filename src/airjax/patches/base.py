"""The protocol that every generative model of patches follows."""

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float, PRNGKeyArray


class Code(NamedTuple):
    """A sample of z_what from its posterior, with what the bounds need to know about it.

    Attributes:
        value: the sample.
        kl: KL(q(what | glimpse) || p(what)), in nats, in closed form where there is one, otherwise an estimate.
        log_ratio: log p(value) - log q(value | glimpse), in nats, of this very sample.
    """

    value: Float[Array, " d"]
    kl: Float[Array, ""]
    log_ratio: Float[Array, ""]


@runtime_checkable
class PatchModel(Protocol):
    """A generative model p(what) p(patch | what) with its inference network q(what | glimpse).

    Implementations are Equinox modules and act on one patch of shape [channels, side, side].
    """

    @property
    def code_size(self) -> int:
        """The number of dimensions of z_what."""
        ...

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw z_what from its prior."""
        ...

    def encode(self, glimpse: Float[Array, "c p p"], noise: Float[Array, " d"]) -> Code:
        """Infer what is in `glimpse`: reparameterise standard normal `noise`, of which zeros give the mean."""
        ...

    def decode(self, what: Float[Array, " d"]) -> Float[Array, "c p p"]:
        """Draw the patch that `what` describes."""
        ...
