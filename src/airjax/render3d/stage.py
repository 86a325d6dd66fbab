"""Stages of 3D scenes: the kinds of objects, their size, and the camera."""

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
"""Arc of each mode of q(rotation), in radians, a little more than a cup's handle spans."""


class Hypothesis(NamedTuple):
    """A hypothesis about an object: its kind, and an arc of the circle that contains its rotation.

    Attributes:
        kind: index into the kinds of a stage.
        angle: middle of the arc, in radians.
        part: length of the arc, in radians.
    """

    kind: int
    angle: float
    part: float


@dataclass(frozen=True)
class Stage:
    """The constants of a 3D data set, which its models know.

    Attributes:
        kinds: kinds of objects; an identity is an index into them.
        size: size of every object, in table coordinates.
        window: side of a window that holds an object and its soft edges, as a fraction of the image's height.
        colour: red, green and blue of every object, in [0, 1].
        reach: largest absolute x and y of an object's position, in table coordinates.
        azimuth: azimuth of the camera, in radians (see `airjax.render3d.orbit`).
        azimuth_reach: largest deviation of the camera's azimuth from `azimuth`, in radians; 0: it is known.
        elevation: elevation of the camera, in radians.
        distance: distance of the camera, in table coordinates.
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
        """All hypotheses about an object. The arcs of a kind cover its distinguishable rotations once."""
        modes = lambda kind: round(TURN / (kind.symmetry * PART)) if kind.symmetry else 1
        part = lambda kind: TURN / (modes(kind) * max(kind.symmetry, 1))
        return tuple(
            Hypothesis(k, part(kind) * mode, part(kind))
            for k, kind in enumerate(self.kinds)
            for mode in range(modes(kind))
        )

    def camera(self, azimuth: Float[Array, ""] | float) -> Camera:
        """Return the camera at an azimuth, in radians."""
        return orbit(azimuth, self.elevation, self.distance)

    def empty(self, rays: Rays, capacity: int) -> Canvas:
        """Create a canvas of the empty table, for up to `capacity` objects."""
        return empty_table(rays, daylight(), capacity)

    def pose(self, position: Float[Array, "2"], rotation: Float[Array, ""]) -> Pose:
        """Return the pose of an object, given its position and its rotation in radians."""
        return Pose(position, rotation, jnp.asarray(self.size), jnp.asarray(self.colour))

    def draw(self, rays: Rays, kind: int, position: Float[Array, "2"], rotation: Float[Array, ""]) -> Layer:
        """Draw one object of a kind."""
        return draw(rays, self.kinds[kind], self.pose(position, rotation), daylight())

    def draw_all(
        self, rays: Rays, kinds: Sequence[int], positions: Float[Array, "n 2"], rotations: Float[Array, " n"]
    ) -> Layer:
        """Draw objects of known kinds, each with its own rays (`rays` are stacked), as layers [n, ...]."""
        poses = jax.vmap(self.pose)(positions, rotations)
        return draw_all(rays, poses, daylight(), [self.kinds[kind] for kind in kinds])

    def draw_identity(
        self, rays: Rays, identity: Int[Array, ""], position: Float[Array, "2"], rotation: Float[Array, ""]
    ) -> Layer:
        """Draw one object whose kind is known only at run time."""
        return draw_identity(rays, identity, self.pose(position, rotation), daylight(), self.kinds)

    def crop(self, camera: Camera, position: Float[Array, "2"], shape: tuple[int, int]) -> Crop:
        """Return the window around an object at `position`."""
        return crop_around(self.middle(camera, position, shape), self.window_side(shape[0]), shape)

    def window_side(self, height: int) -> int:
        """Return the side of an object's window, in pixels. In a smaller image, the window is cut to the image."""
        return math.ceil(self.window * height)

    def where(self, camera: Camera, position: Float[Array, "2"], shape: tuple[int, int]) -> Float[Array, "3"]:
        """Return an object's window as z_where: (log scale, x, y), where the image spans [-1, 1]^2."""
        height, width = shape
        x, y = 2.0 * self.middle(camera, position, shape) / jnp.array([width, height]) - 1.0
        return jnp.stack([jnp.asarray(math.log(self.window)), x, y])

    def middle(self, camera: Camera, position: Float[Array, "2"], shape: tuple[int, int]) -> Float[Array, "2"]:
        """Project the centre of an object to (x, y), in pixels."""
        return camera.project(jnp.concatenate([position, jnp.array([0.5 * self.size])]), shape)


ONE_SOLID = Stage(SOLIDS, size=0.5, window=0.75, reach=0.75)
"""One sphere, cube or cylinder on the table."""
LAID_TABLE = Stage(CROCKERY, size=0.42, window=0.63)
"""Cups, bowls and plates."""
ROUND_TABLE = replace(LAID_TABLE, azimuth_reach=math.pi / 4.0)
"""Like `LAID_TABLE`, with azimuths that span a quarter turn, after which the cloth looks the same again."""
STAGES = {"solids": ONE_SOLID, "crockery": LAID_TABLE, "crockery-round": ROUND_TABLE}
"""The stages of the 3D data sets, by name."""
