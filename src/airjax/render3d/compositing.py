"""Put layers over each other by depth, in any order.

Layer i is seen through what is nearer: its transmittance T_i is the product, over the other layers j, of

    1 - opacity_j * nearer(depth_i - depth_j),

where nearer() rises from 0 at -BLEND to 1 at BLEND. Where depths differ by more, that is what painting the layers from
far to near gives; where solids run into each other, they blend. A canvas remembers its layers, so that a new one
changes their transmittances, whatever is before or behind it: every canvas on the way is exact, and no layer is drawn
twice.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from airjax.render3d.view import Part

BLEND = 0.02
"""Difference of depths within which layers blend, in table coordinates."""

_LITTLE = 1e-6


class Layer(NamedTuple):
    """One object as it is seen alone.

    Attributes:
        colour: its colours, in [0, 1], wherever it is.
        opacity: share of a pixel that it covers, in [0, 1].
        depth: its distance from the camera along the ray.
    """

    colour: Float[Array, "*n 3 h w"]
    opacity: Float[Array, "*n h w"]
    depth: Float[Array, "*n h w"]


class Canvas(eqx.Module):
    """A background and the layers before it, of which there may be up to a capacity of n.

    Slots are a tuple, not an axis: so that everything done to a pixel is one loop, and a product has a cheap gradient.

    Attributes:
        background: what is seen where there is no layer.
        layers: the n slots, the latest layer first; those not in use have no opacity.
        transmittances: what share of each layer is not hidden by the others.
        covered: share of each pixel that is covered by any.
    """

    background: Float[Array, "3 h w"]
    layers: tuple[Layer, ...]
    transmittances: tuple[Float[Array, "h w"], ...]
    covered: Float[Array, "h w"]

    def add(self, layer: Layer) -> "Canvas":
        """Add a layer at its depth; beyond the capacity, the layer added first is lost."""
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
        """What is seen: the layers over each other, and the background behind them."""
        front, total = jnp.zeros_like(self.background), jnp.zeros_like(self.covered)
        for layer, transmittance in zip(self.layers, self.transmittances):
            weight = layer.opacity * transmittance
            front, total = front + weight * layer.colour, total + weight
        # Only where three layers or more blend at one depth do the weights sum to something else than what is covered.
        scale = (self.covered + _LITTLE) / (total + _LITTLE)
        return (1.0 - self.covered) * self.background + scale * front


def blank(background: Float[Array, "3 h w"], capacity: int) -> Canvas:
    """Make a canvas without layers.

    Raises:
        ValueError: `capacity` is negative.
    """
    if capacity < 0:
        raise ValueError(f"capacity must be at least 0, got {capacity}")
    nothing = jnp.zeros_like(background[0])
    slot = Layer(jnp.zeros_like(background), nothing, nothing)
    return Canvas(background, capacity * (slot,), capacity * (nothing,), nothing)


def join(first: Part, second: Part) -> Part:
    """Make one part of two, the nearer over the other."""
    hidden = _nearer(second.depth - first.depth)  # the second part by the first
    weights = first.opacity * (1.0 - second.opacity * (1.0 - hidden)), second.opacity * (1.0 - first.opacity * hidden)
    share = (weights[0] + _LITTLE) / (weights[0] + weights[1] + _LITTLE)
    depth, *paints = jax.tree.map(lambda a, b: b + share * (a - b), first[1:], second[1:])
    return Part(first.opacity + second.opacity * (1.0 - first.opacity), depth, *paints)


def _nearer(difference):
    """Say how far something is hidden by what is nearer by `difference`: from 0 over 1/2 at none to 1."""
    share = jnp.clip(0.5 + 0.5 / BLEND * difference, 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)
