"""Inputs and outputs of drawing a solid: a view in the solid's own frame, and a part of the image."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from airjax.render3d.camera import Rays
from airjax.render3d.smooth import Map, Vector, dot, normalise, step

NEAR = 0.05
"""Depth below which objects fade out, in table coordinates. Nothing behind the camera is drawn."""
LEAST_SIZE = 1e-3
"""Smaller sizes are drawn as this one. It is far below a pixel."""


class Pose(eqx.Module):
    """Pose and colour of an object on the table.

    Attributes:
        position: (x, y) of its axis, in table coordinates.
        rotation: rotation about its axis, counterclockwise as seen from above, in radians.
        size: factor of its unit shape (see `airjax.render3d.kinds`), in table coordinates.
        colour: red, green and blue, in [0, 1].
    """

    position: Float[Array, "*n 2"]
    rotation: Float[Array, "*n"]
    size: Float[Array, "*n"]
    colour: Float[Array, "*n 3"]


class Light(eqx.Module):
    """One distant light, and ambient light.

    Attributes:
        direction: vector towards the light, in world coordinates, of any length but zero.
        ambient: brightness of surfaces that face away from the light, in [0, 1]; those that face it have 1.
    """

    direction: Float[Array, "3"]
    ambient: Float[Array, ""]


class View(NamedTuple):
    """Rays and light in the frame of an object, where it stands at the origin without rotation.

    All fields are maps, even those that are constant over pixels. So gradients are summed over pixels once, not at
    every use.

    Attributes:
        origin: start of the rays.
        direction: unit directions of the rays.
        light: unit vector towards the light.
        ambient: see `Light`.
        size: size of the object.
        blur: width of soft edges at the object, in table coordinates.
    """

    origin: Vector
    direction: Vector
    light: Vector
    ambient: Map
    size: Map
    blur: Map

    def at(self, depth: Map) -> Vector:
        """Return the points of the rays at the given depths."""
        return step(self.origin, depth, self.direction)

    def cover(self, margin: Map) -> Map:
        """Return the fraction of a pixel inside an edge, given the margin of its ray (negative outside)."""
        return jax.nn.sigmoid(4.0 / self.blur * margin)

    def shade(self, normal: Vector) -> Map:
        """Return the brightness for unit normals by Lambert's law, in [ambient, 1]."""
        return self.lit(dot(self.light, normal))

    def lit(self, cosine: Map) -> Map:
        """Return the brightness by Lambert's law, given the cosine of the angle between normal and light."""
        return self.ambient + (1.0 - self.ambient) * jnp.maximum(0.0, cosine)


class Part(NamedTuple):
    """The image of a part of an object, in two paints: the object's colour and white.

    Attributes:
        opacity: fraction of each pixel that the part covers, in [0, 1].
        depth: distance from the camera along the ray.
        coloured: brightness in the object's colour.
        white: brightness in white.
    """

    opacity: Float[Array, "h w"]
    depth: Float[Array, "h w"]
    coloured: Float[Array, "h w"]
    white: Float[Array, "h w"]


def view_from(rays: Rays, pose: Pose, light: Light, softness: Float[Array, ""] | float) -> View:
    """Transform rays and light to the frame of an object. Soft edges are `softness` pixels wide."""
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
    """Return a weight that rises from 0 at the camera (and behind it) to 1 at depth `NEAR`."""
    return jnp.clip(depth / NEAR, 0.0, 1.0)
