"""The protocol of backgrounds, and what they share."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from airjax.models.likelihood import Likelihood

STARTERS = 1_000
"""Largest number of scenes from which a background is initialised; of channels for a linear background."""


class Layers(NamedTuple):
    """The objects of a scene, ready to be put over a background.

    Attributes:
        colours: the light that the objects add.
        transmittance: share of the background's light that passes the objects, from 0 to 1; None: all of it.
    """

    colours: Float[Array, "c h w"]
    transmittance: Float[Array, "1 h w"] | None

    def over(self, background: Float[Array, "c h w"]) -> Float[Array, "c h w"]:
        """Put the objects over a background."""
        return self.colours + (background if self.transmittance is None else self.transmittance * background)

    @property
    def absent(self) -> "Layers":
        """The same without any object."""
        return jax.tree.map(jnp.zeros_like, self._replace(transmittance=None))


class Explained(NamedTuple):
    """An image, explained by objects and the background behind them.

    Attributes:
        code: the mean of q(code | x, objects), the posterior of the background's code.
        canvas: the background of this code with the objects over it.
        log_likelihood: log p(x | objects) with the background's code integrated out, or a lower bound on it, in nats.
    """

    code: Float[Array, " d"]
    canvas: Float[Array, "c h w"]
    log_likelihood: Float[Array, ""]


@runtime_checkable
class Background(Protocol):
    """A generative model p(background), whose code can be integrated out.

    Implementations are Equinox modules and act on one image.
    """

    @property
    def code_size(self) -> int:
        """The number of dimensions of the latent code; 0: every scene has the same background."""
        ...

    def init_from_data(self, images: UInt8[np.ndarray, "n c h w"]) -> "Background":
        """Initialise the model from training scenes."""
        ...

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw a code from its prior."""
        ...

    def lay(self, code: Float[Array, " d"], objects: Layers) -> Float[Array, "c h w"]:
        """Draw the background that a code describes, with objects over it."""
        ...

    def explain(
        self,
        image: Float[Array, "c h w"],
        objects: Layers,
        likelihood: Likelihood,
        previous: Explained | None = None,
    ) -> Explained:
        """Infer the background behind the objects, and evaluate log p(image | objects).

        `previous` explains the same image by fewer objects, by the same background and likelihood.
        """
        ...


def compare(
    lay: Callable[[Float[Array, " d"], Layers], Float[Array, "c h w"]],
    code: Float[Array, " d"],
    image: Float[Array, "c h w"],
    objects: Layers,
    likelihood: Likelihood,
) -> Explained:
    """Evaluate log p(image | objects, code), where `lay` is that of a background."""
    canvas = lay(code, objects)
    change = canvas - lay(code, objects.absent)
    return Explained(code, canvas, likelihood.log_prob(image, canvas, change))
