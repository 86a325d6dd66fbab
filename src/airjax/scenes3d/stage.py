"""Where 3D scenes take place: what can stand on the table, how large it is, and from where it is seen."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from airjax.scenes3d.camera import Rays, orbit
from airjax.scenes3d.compositing import Canvas, Layer
from airjax.scenes3d.kinds import CROCKERY, SOLIDS, Kind
from airjax.scenes3d.render import daylight, draw, empty_table
from airjax.scenes3d.view import Pose


@dataclass(frozen=True)
class Stage:
    """All that scenes of a data set have in common, and a model of them knows.

    Attributes:
        kinds: what an identity is an index into.
        size: of every object.
        colour: of every object: red, green and blue, in [0, 1].
        reach: x and y of positions are within this of the table's centre.
        azimuth: of the camera, as its elevation and distance (see `airjax.scenes3d.orbit`).
        elevation: in radians.
        distance: in table coordinates.
    """

    kinds: tuple[Kind, ...]
    size: float
    colour: tuple[float, float, float] = (0.85, 0.35, 0.2)
    reach: float = 0.8
    azimuth: float = 0.3
    elevation: float = 0.8
    distance: float = 4.0

    def rays(self, shape: tuple[int, int]) -> Rays:
        """Find the rays of an image of `shape` = (height, width)."""
        return orbit(self.azimuth, self.elevation, self.distance).rays(shape)

    def empty(self, rays: Rays, capacity: int) -> Canvas:
        """Make the canvas without objects, for up to `capacity` of them."""
        return empty_table(rays, daylight(), capacity)

    def pose(self, position: Float[Array, "2"], rotation: Float[Array, ""]) -> Pose:
        """Put an object in its place."""
        return Pose(position, rotation, jnp.asarray(self.size), jnp.asarray(self.colour))

    def draw(self, rays: Rays, identity: int, position: Float[Array, "2"], rotation: Float[Array, ""]) -> Layer:
        """Draw one object of the kind `identity`."""
        return draw(rays, self.kinds[identity], self.pose(position, rotation), daylight())

    def draw_each(self, rays: Rays, position: Float[Array, "2"], rotations: Float[Array, " k"]) -> tuple[Layer, ...]:
        """Draw one object as if it were of each kind, each kind turned by its own of the `rotations`."""
        return tuple(self.draw(rays, i, position, rotations[i]) for i in range(len(self.kinds)))


ONE_SOLID = Stage(SOLIDS, size=0.6)
"""One sphere, cube or cylinder on the table."""
LAID_TABLE = Stage(CROCKERY, size=0.42)
"""Cups, bowls and plates."""
