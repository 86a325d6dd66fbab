"""Where 3D scenes take place: what can stand on the table, how large it is, and from where it is seen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from airjax.render3d.camera import Camera, Rays, orbit
from airjax.render3d.compositing import Canvas, Layer
from airjax.render3d.crop import Crop, crop_around
from airjax.render3d.kinds import CROCKERY, SOLIDS, Kind
from airjax.render3d.render import daylight, draw, draw_all, draw_identity, empty_table
from airjax.render3d.smooth import TURN
from airjax.render3d.view import Pose

PART = math.pi / 6.0
"""Length of the part of the circle that each mode of q(rotation) has: not much more than a cup's handle takes up."""


class Hypothesis(NamedTuple):
    """What an object could be: a kind, and a part of the circle within which it is turned.

    Attributes:
        kind: index into the kinds of a stage.
        angle: the middle of that part, in radians.
        part: its length, in radians.
    """

    kind: int
    angle: float
    part: float


@dataclass(frozen=True)
class Stage:
    """All that scenes of a data set have in common, and a model of them knows.

    Attributes:
        kinds: what an identity is an index into.
        size: of every object.
        window: side of the window that an object and its soft edges lie in, as a fraction of the image's height.
        colour: of every object: red, green and blue, in [0, 1].
        reach: x and y of positions are within this of the table's centre.
        azimuth: of the camera, as its elevation and distance (see `airjax.render3d.orbit`), in radians.
        azimuth_reach: how far the camera's azimuth can be from that; 0: it is known.
        elevation: in radians.
        distance: in table coordinates.
    """

    kinds: tuple[Kind, ...]
    size: float
    window: float
    colour: tuple[float, float, float] = (0.85, 0.35, 0.2)
    reach: float = 0.8
    azimuth: float = 0.3
    azimuth_reach: float = 0.0
    elevation: float = 0.8
    distance: float = 4.0

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """List what an object could be; the rotations of a kind are spread over those that look different."""
        modes = lambda kind: round(TURN / (kind.symmetry * PART)) if kind.symmetry else 1
        part = lambda kind: TURN / (modes(kind) * max(kind.symmetry, 1))
        return tuple(
            Hypothesis(k, part(kind) * mode, part(kind))
            for k, kind in enumerate(self.kinds)
            for mode in range(modes(kind))
        )

    def camera(self, azimuth: Float[Array, ""] | float) -> Camera:
        """Place the camera."""
        return orbit(azimuth, self.elevation, self.distance)

    def empty(self, rays: Rays, capacity: int) -> Canvas:
        """Make the canvas without objects, for up to `capacity` of them."""
        return empty_table(rays, daylight(), capacity)

    def pose(self, position: Float[Array, "2"], rotation: Float[Array, ""]) -> Pose:
        """Put an object in its place."""
        return Pose(position, rotation, jnp.asarray(self.size), jnp.asarray(self.colour))

    def draw(self, rays: Rays, kind: int, position: Float[Array, "2"], rotation: Float[Array, ""]) -> Layer:
        """Draw one object of a kind."""
        return draw(rays, self.kinds[kind], self.pose(position, rotation), daylight())

    def draw_all(
        self, rays: Rays, kinds: Sequence[int], positions: Float[Array, "n 2"], rotations: Float[Array, " n"]
    ) -> Layer:
        """Draw objects of known kinds, each through rays of its own (`rays` are stacked): layers [n, ...]."""
        poses = jax.vmap(self.pose)(positions, rotations)
        return draw_all(rays, poses, daylight(), [self.kinds[kind] for kind in kinds])

    def draw_identity(
        self, rays: Rays, identity: Int[Array, ""], position: Float[Array, "2"], rotation: Float[Array, ""]
    ) -> Layer:
        """Draw one object whose kind is known at run time only."""
        return draw_identity(rays, identity, self.pose(position, rotation), daylight(), self.kinds)

    def crop(self, camera: Camera, position: Float[Array, "2"], shape: tuple[int, int]) -> Crop:
        """Make the window in which an object at `position` is seen."""
        return crop_around(self.middle(camera, position, shape), self.window_side(shape[0]), shape)

    def window_side(self, height: int) -> int:
        """Tell the side of that window in pixels, unless the image is smaller."""
        return math.ceil(self.window * height)

    def where(self, camera: Camera, position: Float[Array, "2"], shape: tuple[int, int]) -> Float[Array, "3"]:
        """Tell that window as others are told: (log scale, x, y), the image being [-1, 1]^2."""
        height, width = shape
        x, y = 2.0 * self.middle(camera, position, shape) / jnp.array([width, height]) - 1.0
        return jnp.stack([jnp.asarray(math.log(self.window)), x, y])

    def middle(self, camera: Camera, position: Float[Array, "2"], shape: tuple[int, int]) -> Float[Array, "2"]:
        """Find where the middle of an object is seen: x and y, in pixels."""
        return camera.project(jnp.concatenate([position, jnp.array([0.5 * self.size])]), shape)


ONE_SOLID = Stage(SOLIDS, size=0.5, window=0.75, reach=0.75)
"""One sphere, cube or cylinder on the table."""
LAID_TABLE = Stage(CROCKERY, size=0.42, window=0.63)
"""Cups, bowls and plates."""
ROUND_TABLE = replace(LAID_TABLE, azimuth_reach=math.pi / 4.0)
"""The same, seen from a quarter of all directions: the cloth looks the same after a quarter of a turn."""
STAGES = {"solids": ONE_SOLID, "crockery": LAID_TABLE, "crockery-round": ROUND_TABLE}
"""The stage of every data set in 3D."""
