"""Arithmetic on maps, one number a pixel, whose values and derivatives are finite everywhere.

A vector of three maps is a tuple of them, not an array: so that XLA makes one loop of all that is done to a pixel.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

Map = Float[Array, "..."]
"""A number for each pixel, or one for all."""
Vector = tuple[Map, ...]
"""Three maps: components along x, y and z."""

TURN = 2.0 * math.pi
"""A full turn, in radians."""

TINY = 1e-5
"""What is shorter counts as nothing: in units of the table, or of a unit vector."""


def dot(first: Vector, second: Vector) -> Map:
    """Evaluate scalar products."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def step(start: Vector, far: Map, along: Vector) -> Vector:
    """Go `far` from `start` along a direction."""
    return start[0] + far * along[0], start[1] + far * along[1], start[2] + far * along[2]


def length(*components: Map) -> Map:
    """Measure vectors of two components or three; none is shorter than 1e-10, so that each has a derivative."""
    return jnp.sqrt(sum((component * component for component in components), jnp.asarray(TINY**4)))


def normalise(vector: Vector) -> Vector:
    """Scale vectors to length 1; zero remains zero."""
    inverse = 1.0 / length(*vector)
    return vector[0] * inverse, vector[1] * inverse, vector[2] * inverse


def safe(divisor: Map, least: float = TINY) -> Map:
    """Keep a divisor `least` or more away from zero, on its side of it."""
    return jnp.where(jnp.abs(divisor) < least, jnp.where(divisor < 0, -least, least), divisor)


def rounded_root(square: Map, rounding: Map) -> Map:
    """Take the root of what may be negative: zero there, but rounded off where `square` is within `rounding` of zero.

    Half the way of a ray through a ball is such a root. It falls vertically to zero at the silhouette, which would make
    derivatives infinite.
    """
    positive = 0.5 * (square + jnp.sqrt(square * square + rounding * rounding + TINY**4))
    return jnp.sqrt(positive + TINY**2)
