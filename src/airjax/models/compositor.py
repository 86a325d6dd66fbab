"""Compositors: how AIR puts objects before a background, and before one another.

A compositor decides how many channels a patch has, how a decoded patch is prepared before it is written to the canvas,
how a placed object joins the others, and the input of the patch encoder.
"""

import math
from typing import ClassVar, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from airjax.models.backgrounds.base import Layers
from airjax.models.layers import largest_channel


@runtime_checkable
class Compositor(Protocol):
    """The protocol of compositors: Equinox modules without arrays, which act on one image.

    Attributes:
        covers: whether an object hides what is behind it.
    """

    covers: ClassVar[bool]

    def patch_channels(self, channels: int) -> int:
        """Return the number of channels of patches, for images with `channels`."""
        ...

    def nothing(self, image_shape: tuple[int, int, int]) -> Layers:
        """Return the layers of a scene without objects."""
        ...

    def prepare(
        self, patch: Float[Array, "k p p"], background: Float[Array, "c h w"], bias: float
    ) -> Float[Array, "k p p"]:
        """Prepare a decoded patch for being written to the canvas.

        Args:
            patch: the decoded patch.
            background: the expected background.
            bias: the logit of a pixel of an untrained patch (`patches.base.output_bias`).
        """
        ...

    def compose(self, objects: Layers, placed: Float[Array, "k h w"]) -> Layers:
        """Put a placed object before the others."""
        ...

    def paint(self, canvas: Float[Array, "c h w"], placed: Float[Array, "k h w"]) -> Float[Array, "c h w"]:
        """Put a placed object before what a canvas shows, background included."""
        ...

    def shown(self, image: Float[Array, "c h w"], canvas: Float[Array, "c h w"]) -> Float[Array, "k h w"]:
        """Return the patch encoder's view of an image that `canvas` explains in part; it has a patch's channels."""
        ...

    def ink(self, placed: Float[Array, "k h w"]) -> Float[Array, "h w"]:
        """Return how strongly a placed object changes each pixel."""
        ...


class Add(eqx.Module):
    """Add patches to the canvas (the paper)."""

    covers: ClassVar[bool] = False

    def patch_channels(self, channels: int) -> int:
        """Return the number of channels of images."""
        return channels

    def nothing(self, image_shape: tuple[int, int, int]) -> Layers:
        """Return black, which lets all of the background through."""
        return Layers(jnp.zeros(image_shape), None)

    def prepare(
        self, patch: Float[Array, "c p p"], background: Float[Array, "c h w"], bias: float
    ) -> Float[Array, "c p p"]:
        """Return the patch as it is."""
        del background, bias
        return patch

    def compose(self, objects: Layers, placed: Float[Array, "c h w"]) -> Layers:
        """Add an object to the others."""
        return Layers(self.paint(objects.colours, placed), None)

    def paint(self, canvas: Float[Array, "c h w"], placed: Float[Array, "c h w"]) -> Float[Array, "c h w"]:
        """Add an object to the canvas."""
        return canvas + placed

    def shown(self, image: Float[Array, "c h w"], canvas: Float[Array, "c h w"]) -> Float[Array, "c h w"]:
        """Return the residual."""
        return image - canvas

    def ink(self, placed: Float[Array, "c h w"]) -> Float[Array, "h w"]:
        """Return the object's brightness, the mean over channels."""
        return jnp.mean(placed, axis=0)


class Over(eqx.Module):
    """Let objects cover the background and the objects before them; the last channel of patches is their mask."""

    covers: ClassVar[bool] = True

    def patch_channels(self, channels: int) -> int:
        """Return one channel more than images have."""
        return channels + 1

    def nothing(self, image_shape: tuple[int, int, int]) -> Layers:
        """Return black with a transmittance of 1 everywhere."""
        return Layers(jnp.zeros(image_shape), jnp.ones((1, *image_shape[1:])))

    def prepare(
        self, patch: Float[Array, "k p p"], background: Float[Array, "c h w"], bias: float
    ) -> Float[Array, "k p p"]:
        """Shift colours to the background's mean colour, and multiply them by the mask.

        Masked before they are resampled, colours don't darken towards the window's border.
        """
        colours, mask = _shift(patch[:-1], _level(background), math.exp(bias)), patch[-1:]
        return jnp.concatenate([colours * mask, mask])

    def compose(self, objects: Layers, placed: Float[Array, "k h w"]) -> Layers:
        """Let an object cover the others where its mask is 1."""
        assert objects.transmittance is not None
        return Layers(self.paint(objects.colours, placed), objects.transmittance * (1.0 - placed[-1:]))

    def paint(self, canvas: Float[Array, "c h w"], placed: Float[Array, "k h w"]) -> Float[Array, "c h w"]:
        """Let an object cover the canvas where its mask is 1."""
        return canvas * (1.0 - placed[-1:]) + placed[:-1]

    def shown(self, image: Float[Array, "c h w"], canvas: Float[Array, "c h w"]) -> Float[Array, "k h w"]:
        """Return the image, masked by how badly the canvas explains it, and last this mask."""
        mask = largest_channel(jnp.abs(image - canvas))
        return jnp.concatenate([image * mask, mask])

    def ink(self, placed: Float[Array, "k h w"]) -> Float[Array, "h w"]:
        """Return the mask."""
        return placed[-1]


def _level(background):
    """Return the mean colour of the background, from which the colours of objects start."""
    return jax.lax.stop_gradient(jnp.clip(jnp.mean(background, axis=(1, 2), keepdims=True), 0.1, 0.9))


def _shift(colours, level, untrained):
    """Scale the odds of colours so that untrained patches, whose pixels have odds `untrained`, have the colour `level`.

    If they stood out at first, masks would vanish wherever objects differ from the background in the other direction.
    """
    odds = level / (1.0 - level) / untrained
    return colours * odds / (1.0 - colours + colours * odds)
