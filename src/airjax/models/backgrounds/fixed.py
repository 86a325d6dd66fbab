"""Backgrounds that are the same in every scene: black, one colour, one picture."""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from airjax.common_values import common_colour, common_picture
from airjax.models.backgrounds.base import STARTERS, Explained, Layers, compare
from airjax.models.likelihood import Likelihood


class _Uncoded(eqx.Module):
    """Base class of backgrounds without a latent code."""

    @property
    def code_size(self) -> int:
        """No dimensions."""
        return 0

    def prior_sample(self, *, key: PRNGKeyArray) -> Float[Array, "0"]:
        """Return the empty code."""
        del key
        return jnp.zeros(0)

    @abc.abstractmethod
    def lay(self, code: Float[Array, "0"], objects: Layers) -> Float[Array, "c h w"]:
        """Put objects over the background."""

    def explain(
        self,
        image: Float[Array, "c h w"],
        objects: Layers,
        likelihood: Likelihood,
        previous: Explained | None = None,
    ) -> Explained:
        """Compare an image with the objects over the background, which is the same for every image."""
        del previous
        return compare(self.lay, jnp.zeros(0), image, objects, likelihood)


class BlackBackground(_Uncoded):
    """A black background (the paper)."""

    shape: tuple[int, int, int] = eqx.field(static=True)

    def init_from_data(self, images: UInt8[np.ndarray, "n c h w"]) -> "BlackBackground":
        """Return the same background."""
        del images
        return self

    def lay(self, code: Float[Array, "0"], objects: Layers) -> Float[Array, "c h w"]:
        """Draw the objects alone."""
        del code
        return objects.colours


class FixedBackground(_Uncoded):
    """A learned colour or picture, the same for every scene."""

    image: Float[Array, "c rows columns"]
    shape: tuple[int, int, int] = eqx.field(static=True)

    def __init__(self, shape: tuple[int, int, int], *, uniform: bool):
        """Start from black, for images of `shape`; `uniform`: the same colour everywhere."""
        self.image = jnp.zeros((shape[0], 1, 1) if uniform else shape)
        self.shape = shape

    def init_from_data(self, images: UInt8[np.ndarray, "n c h w"]) -> "FixedBackground":
        """Start from the most common colour, or from each pixel's most common value over scenes."""
        uniform = self.image.shape[1:] == (1, 1)
        some = images[:STARTERS] / np.float32(255)
        image = common_colour(np.moveaxis(some, 1, -1)) if uniform else common_picture(some)
        return eqx.tree_at(lambda g: g.image, self, jnp.asarray(image, jnp.float32).reshape(self.image.shape))

    def lay(self, code: Float[Array, "0"], objects: Layers) -> Float[Array, "c h w"]:
        """Put objects over the background."""
        del code
        return objects.over(jnp.broadcast_to(self.image, self.shape))
