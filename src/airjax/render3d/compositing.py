"""Composite layers by depth, in any order.

Layer i is seen through the layers in front of it. Its transmittance T_i is the product, over the other layers j, of

    1 - opacity_j * nearer(depth_i - depth_j),

where nearer() rises from 0 at -BLEND to 1 at BLEND. Where depths differ by more than BLEND, this equals painting the
layers from far to near. Where solids intersect, they blend. A canvas keeps its layers, so that a new layer can update
their transmittances, at whatever depth it is added. So every intermediate canvas is exact, and no layer is drawn twice.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from airjax.render3d.view import Part

BLEND = 0.02
"""Difference in depth below which layers blend, in table coordinates."""

_LITTLE = 1e-6


class Layer(NamedTuple):
    """The image of one object alone.

    Attributes:
        colour: colours of the object, in [0, 1].
        opacity: fraction of each pixel that the object covers, in [0, 1].
        depth: distance from the camera along the ray.
    """

    colour: Float[Array, "*n 3 h w"]
    opacity: Float[Array, "*n h w"]
    depth: Float[Array, "*n h w"]


class Canvas(eqx.Module):
    """A background and up to n layers in front of it, where n is the capacity.

    Layers are a tuple, not an axis. So XLA fuses all work on a pixel into one loop, and products have cheap gradients.

    Attributes:
        background: image behind the layers.
        layers: n slots, the latest layer first; unused slots have opacity 0.
        transmittances: fraction of each layer that the other layers don't hide.
        covered: fraction of each pixel that the layers cover together.
    """

    background: Float[Array, "3 h w"]
    layers: tuple[Layer, ...]
    transmittances: tuple[Float[Array, "h w"], ...]
    covered: Float[Array, "h w"]

    def add(self, layer: Layer) -> "Canvas":
        """Add a layer at its depth. If the canvas is full, the oldest layer is dropped."""
        ahead, behind = jnp.ones_like(layer.opacity), []
        for other, transmittance in zip(self.layers, self.transmittances):
            hidden = _nearer(other.depth - layer.depth)  # by the new layer
            behind.append(transmittance * (1.0 - layer.opacity * hidden))
            ahead = ahead * (1.0 - other.opacity * (1.0 - hidden))
        capacity = len(self.layers)
        return Canvas(
            background=self.background,
            layers=(layer, *self.layers)[:capacity],
            transmittances=(ahead, *behind)[:capacity],
            covered=self.covered + layer.opacity * (1.0 - self.covered),
        )

    @property
    def image(self) -> Float[Array, "3 h w"]:
        """Image of the layers, composited in front of the background."""
        front, total = jnp.zeros_like(self.background), jnp.zeros_like(self.covered)
        for layer, transmittance in zip(self.layers, self.transmittances):
            weight = layer.opacity * transmittance
            front, total = front + weight * layer.colour, total + weight
        # The sum of weights differs from `covered` only where at least three layers blend at one depth.
        scale = (self.covered + _LITTLE) / (total + _LITTLE)
        return (1.0 - self.covered) * self.background + scale * front


def blank(background: Float[Array, "3 h w"], capacity: int) -> Canvas:
    """Create a canvas without layers.

    Raises:
        ValueError: `capacity` is negative.
    """
    if capacity < 0:
        raise ValueError(f"capacity must be at least 0, got {capacity}")
    nothing = jnp.zeros_like(background[0])
    slot = Layer(jnp.zeros_like(background), nothing, nothing)
    return Canvas(background, capacity * (slot,), capacity * (nothing,), nothing)


def join(first: Part, second: Part) -> Part:
    """Composite two parts into one, the nearer in front of the other."""
    hidden = _nearer(second.depth - first.depth)  # the second part by the first
    weights = first.opacity * (1.0 - second.opacity * (1.0 - hidden)), second.opacity * (1.0 - first.opacity * hidden)
    share = (weights[0] + _LITTLE) / (weights[0] + weights[1] + _LITTLE)
    depth, *paints = jax.tree.map(lambda a, b: b + share * (a - b), first[1:], second[1:])
    return Part(first.opacity + second.opacity * (1.0 - first.opacity), depth, *paints)


def _nearer(difference):
    """Return how much of a layer is hidden by one that is nearer by `difference`: from 0 to 1, and 1/2 at 0."""
    share = jnp.clip(0.5 + 0.5 / BLEND * difference, 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)
