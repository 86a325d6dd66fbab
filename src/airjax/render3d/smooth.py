"""Arithmetic on maps (one number per pixel) with finite values and derivatives everywhere.

A vector is a tuple of three maps, not an array. So XLA fuses all work on a pixel into one loop.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

Map = Float[Array, "..."]
"""One number per pixel, or one number for all pixels."""
Vector = tuple[Map, ...]
"""Three maps: the components along x, y and z."""

TURN = 2.0 * math.pi
"""A full turn, in radians."""

TINY = 1e-5
"""Lengths below this count as zero, in table coordinates or for unit vectors."""


def dot(first: Vector, second: Vector) -> Map:
    """Evaluate scalar products."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def step(start: Vector, far: Map, along: Vector) -> Vector:
    """Move from `start` by a distance `far` along a direction."""
    return start[0] + far * along[0], start[1] + far * along[1], start[2] + far * along[2]


def length(*components: Map) -> Map:
    """Return the lengths of vectors of two or three components, at least 1e-10 so that derivatives exist."""
    return jnp.sqrt(sum((component * component for component in components), jnp.asarray(TINY**4)))


def normalise(vector: Vector) -> Vector:
    """Scale vectors to length 1; zero remains zero."""
    inverse = 1.0 / length(*vector)
    return vector[0] * inverse, vector[1] * inverse, vector[2] * inverse


def safe(divisor: Map, least: float = TINY) -> Map:
    """Move a divisor to at least `least` from zero, and keep its sign."""
    return jnp.where(jnp.abs(divisor) < least, jnp.where(divisor < 0, -least, least), divisor)


def rounded_root(square: Map, rounding: Map) -> Map:
    """Return a smooth version of sqrt(max(0, square)), rounded off where `square` is within `rounding` of zero.

    An example is half the length of a ray's chord through a ball. At the silhouette its slope would be infinite.
    """
    positive = 0.5 * (square + jnp.sqrt(square * square + rounding * rounding + TINY**4))
    return jnp.sqrt(positive + TINY**2)
