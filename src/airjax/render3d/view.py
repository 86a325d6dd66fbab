"""What solids are drawn from, and what they draw: a view in their own frame, and a part of a picture."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from airjax.render3d.camera import Rays
from airjax.render3d.smooth import Map, Vector, dot, normalise, step

NEAR = 0.05
"""Nothing nearer to the camera than this is drawn in full, and nothing behind it at all."""
LEAST_SIZE = 1e-3
"""A smaller size is drawn as this one: a thousandth of the table, far below a pixel."""


class Pose(eqx.Module):
    """How an object stands on the table.

    Attributes:
        position: (x, y) of its axis, in table coordinates.
        rotation: about the vertical through its position, counterclockwise seen from above, in radians.
        size: what its unit shape is multiplied by (see `airjax.render3d.kinds`), in table coordinates.
        colour: red, green and blue, in [0, 1].
    """

    position: Float[Array, "*n 2"]
    rotation: Float[Array, "*n"]
    size: Float[Array, "*n"]
    colour: Float[Array, "*n 3"]


class Light(eqx.Module):
    """One distant light and what comes from everywhere.

    Attributes:
        direction: towards the light, of any length but zero, in world coordinates.
        ambient: brightness of what faces away from it, between 0 and 1, the brightness of what faces it.
    """

    direction: Float[Array, "3"]
    ambient: Float[Array, ""]


class View(NamedTuple):
    """The rays and the light in the frame of an object, which stands at the origin, turned by nothing.

    All are maps: what is the same for all pixels, too. So a gradient is summed over pixels once, not at every use.

    Attributes:
        origin: where the rays start.
        direction: their unit directions.
        light: unit vector towards the light.
        ambient: see `Light`.
        size: of the object.
        blur: width of soft edges: some pixels, as wide as they are at the object.
    """

    origin: Vector
    direction: Vector
    light: Vector
    ambient: Map
    size: Map
    blur: Map

    def at(self, depth: Map) -> Vector:
        """Find the points of the rays at the given depths."""
        return step(self.origin, depth, self.direction)

    def cover(self, margin: Map) -> Map:
        """Say how much of a pixel lies inside an edge that its ray passes by `margin`, negative outside."""
        return jax.nn.sigmoid(4.0 / self.blur * margin)

    def shade(self, normal: Vector) -> Map:
        """Evaluate Lambert's law for unit normals: the brightness in [ambient, 1]."""
        return self.lit(dot(self.light, normal))

    def lit(self, cosine: Map) -> Map:
        """Evaluate Lambert's law, given the cosine of the angle between normal and light."""
        return self.ambient + (1.0 - self.ambient) * jnp.maximum(0.0, cosine)


class Part(NamedTuple):
    """A part of an object as it is seen: brightness comes in two paints, the object's colour and white.

    Attributes:
        opacity: share of the pixel that it covers, in [0, 1].
        depth: distance from the camera along the ray.
        coloured: brightness of what is painted in the object's colour.
        white: brightness of what is painted white.
    """

    opacity: Float[Array, "h w"]
    depth: Float[Array, "h w"]
    coloured: Float[Array, "h w"]
    white: Float[Array, "h w"]


def view_from(rays: Rays, pose: Pose, light: Light, softness: Float[Array, ""] | float) -> View:
    """Turn rays and light into the frame of an object; edges get `softness` pixels wide."""
    base = jnp.concatenate([pose.position, jnp.zeros_like(pose.position[:1])])
    origin, towards = rays.origin - base, normalise(tuple(light.direction))
    blur = softness * rays.pixel * jnp.maximum(-(origin @ rays.forward), NEAR)
    size = jnp.maximum(pose.size, LEAST_SIZE)
    angle = jnp.cos(pose.rotation), jnp.sin(pose.rotation)
    scalars = _turn(origin, *angle), _turn(towards, *angle), light.ambient, size, blur
    maps = jax.tree.map(lambda x: jnp.broadcast_to(x, rays.direction[0].shape), (angle, *scalars))
    angle, origin, towards, ambient, size, blur = maps
    return View(origin, _turn(rays.direction, *angle), towards, ambient, size, blur)


def _turn(vector, cos, sin):
    x, y, z = vector
    return cos * x + sin * y, cos * y - sin * x, z


def in_front(depth: Map) -> Map:
    """Fade from 0 at the camera, and behind it, to 1 at the distance `NEAR`."""
    return jnp.clip(depth / NEAR, 0.0, 1.0)
