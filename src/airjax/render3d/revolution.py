"""Solids of revolution: cylinders, and the open vessels of a laid table.

A wall is a quadric of revolution, rho^2 = a + b z + c z^2: a cylinder, or for c < 0 an ellipsoid, which bulges. Its
intersections with rays have a closed form, its normals are smooth, and the body between two heights is convex. A vessel
is such a body with a cavity of the same form. Rays through the opening hit the cavity's wall or floor from inside.
"""

from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from airjax.render3d.smooth import TINY, Map, dot, length, normalise, rounded_root, safe
from airjax.render3d.solids import PARALLEL
from airjax.render3d.view import Part, View, in_front

GLAZE = 0.3
"""Share of the object's colour inside a vessel; the rest is white."""
DIMNESS = 0.35
"""Strength of the dimming in a cavity: at a depth of its radius, brightness is 1 / (1 + DIMNESS)."""
MOST_PETALS = 3
"""Largest number of petals of a shape."""
SHARPNESS = 3.0
"""Sharpness of the edges of petals."""
AXIS = 0.15
"""Distance from the axis, in sizes, within which petals fade."""
LEAST_CURVATURE = 1e-6
"""Lower bound on the curvature of a wall along a ray. It is zero for a cylinder and rays along its axis."""


@dataclass(frozen=True)
class Wall:
    """The profile of a wall. rho^2 is the parabola in z through the squares of three radii.

    All lengths are in units of the object's size.

    Attributes:
        bottom: height of the lower end.
        top: height of the upper end.
        radii: radii at the bottom, half way up, and at the top.

    Raises:
        ValueError: `bottom` is not below `top`, a radius is not positive, or the wall is neither a cylinder nor bulges.
    """

    bottom: float
    top: float
    radii: tuple[float, float, float]

    def __post_init__(self):
        low, middle, high = self.radii
        if not self.bottom < self.top:
            raise ValueError(f"bottom must be below top, got {self.bottom} and {self.top}")
        if min(self.radii) <= 0:
            raise ValueError(f"radii must be positive, got {self.radii}")
        if not low == middle == high and not 2 * middle**2 > low**2 + high**2:
            raise ValueError(
                f"radii must bulge, twice the middle's square above the sum of the others', got {self.radii}"
            )

    @property
    def profile(self) -> "Profile":
        """The wall as numbers for drawing."""
        low, middle, high = (radius**2 for radius in self.radii)
        height = self.top - self.bottom
        c = 2.0 * (low - 2.0 * middle + high) / height**2
        b = (high - low) / height - c * (self.bottom + self.top)
        coefficients = low - self.bottom * (b + c * self.bottom), b, c
        return Profile(self.bottom, self.top, self.radii[0], self.radii[2], coefficients)


@dataclass(frozen=True)
class Turned:
    """A solid of revolution, filled or a vessel.

    Attributes:
        outside: the wall seen from outside.
        cavity: the wall seen from inside, which ends at the same top; None: a filled solid.
        petals: number of white stripes around the axis, up to `MOST_PETALS`; on the cavity's wall if there is a cavity.

    Raises:
        ValueError: `petals` is out of range.
    """

    outside: Wall
    cavity: Wall | None = None
    petals: int = 0

    def __post_init__(self):
        if not 0 <= self.petals <= MOST_PETALS:
            raise ValueError(f"petals must be between 0 and {MOST_PETALS}, got {self.petals}")

    @property
    def form(self) -> "Form":
        """The solid as numbers for drawing."""
        return Form(self.outside.profile, self.cavity and self.cavity.profile, self.petals)


class Profile(NamedTuple):
    """A wall as numbers, which may be arrays, so that one program can draw all shapes with walls.

    Attributes:
        bottom: see `Wall`.
        top: see `Wall`.
        foot: radius at the bottom.
        rim: radius at the top.
        coefficients: coefficients (a, b, c) of rho^2 = a + b z + c z^2.
    """

    bottom: float | Float[Array, ""]
    top: float | Float[Array, ""]
    foot: float | Float[Array, ""]
    rim: float | Float[Array, ""]
    coefficients: tuple[float | Float[Array, ""], ...]


class Form(NamedTuple):
    """A solid of revolution as numbers, which may be arrays; see `Turned`."""

    outside: Profile
    cavity: Profile | None
    petals: int | Integer[Array, ""]


def turned(view: View, shape: Form) -> Part:
    """Draw a solid of revolution that stands on the table."""
    wall, from_above = shape.outside, view.direction[2] < 0
    bottom, top = (_crossing(view, height) for height in (wall.bottom, wall.top))
    first, last = jnp.minimum(bottom, top), jnp.maximum(bottom, top)
    middle, half = _roots(view, wall)
    seen = _outside(view, shape, from_above, first, jnp.clip(middle - half, first, last))
    if shape.cavity is not None:
        opening = view.cover(_margin(view, top, view.size * shape.cavity.rim))
        seen = _blend(jnp.where(from_above, opening, 0.0), _inside(view, shape, shape.cavity, top), seen)
    nearest = jnp.clip(middle, first, last)
    opacity = view.cover(_margin(view, nearest, jnp.sqrt(_square(view, wall, _height(view, nearest)))))
    return Part(opacity * in_front(seen[0]), *seen)


def _outside(view, shape, from_above, flat, side):
    """Return depth and paints of the filled body, given the depths of its flat end and of its side."""
    wall = shape.outside
    lid = view.cover(_margin(view, flat, view.size * jnp.where(from_above, wall.rim, wall.foot)))
    lit_lid = view.lit(jnp.where(from_above, view.light[2], -view.light[2]))
    of_lid, of_side = (
        (depth, *_paint(view, depth, light, None if shape.cavity else shape.petals, 1.0))
        for depth, light in ((flat, lit_lid), (side, view.shade(_normal(view, wall, side))))
    )
    return _blend(lid, of_lid, of_side)


def _inside(view, shape, wall, top):
    """Return depth and paints of the cavity, for rays through the opening."""
    floor = _crossing(view, wall.bottom)
    middle, half = _roots(view, wall)
    hit = jnp.clip(middle + half, jnp.minimum(top, floor), jnp.maximum(top, floor))
    on_floor = view.cover(_margin(view, floor, view.size * wall.foot))
    of_floor, of_wall = (
        (depth, *_paint(view, depth, light * brightness_within(wall, _height(view, depth) / view.size), petals, GLAZE))
        for depth, light, petals in (
            (floor, view.lit(view.light[2]), None),
            (hit, view.lit(-dot(view.light, _normal(view, wall, hit))), shape.petals),
        )
    )
    return _blend(on_floor, of_floor, of_wall)


def brightness_within(wall: Profile, height: Map) -> Map:
    """Return the brightness in a cavity at a height, in units of the size. Deep down, walls hide more of the sky."""
    return 1.0 / (1.0 + DIMNESS * jnp.maximum(0.0, wall.top - height) / wall.rim)


def _blend(share, front, back):
    return jax.tree.map(lambda f, b: b + share * (f - b), front, back)


def _crossing(view, height):
    """Return the depth at which rays cross a height, in units of the size."""
    return (height * view.size - view.origin[2]) / safe(view.direction[2], PARALLEL)


def _height(view, depth):
    return view.origin[2] + depth * view.direction[2]


def _square(view, wall, height):
    """Evaluate rho^2 of a wall at a height, both in table coordinates."""
    a, b, c = wall.coefficients
    return jnp.maximum(a * view.size**2 + height * (b * view.size + c * height), TINY**2)


def _roots(view, wall):
    """Intersect rays with the whole quadric: the mean of both depths, and half their difference (0 for a miss)."""
    (ox, oy, oz), (dx, dy, dz) = view.origin, view.direction
    _, b, c = wall.coefficients
    steep = jnp.maximum(dx * dx + dy * dy - c * dz * dz, LEAST_CURVATURE)
    middle = -(ox * dx + oy * dy - (0.5 * b * view.size + c * oz) * dz) / steep
    x, y, z = view.at(middle)
    inside = (_square(view, wall, z) - x * x - y * y) / steep
    return middle, rounded_root(inside, wall.rim * view.size * view.blur / steep)


def _margin(view, depth, radius):
    """Return how far inside a horizontal circle around the axis rays pass, where `depth` is that of the circle's plane.

    This is the distance between ray and circle to first order, negative outside. For a ray that touches a wall's
    silhouette at `depth`, the same formula gives the distance from the wall.
    """
    x, y, _ = view.at(depth)
    dx, dy, _ = view.direction
    dz = safe(view.direction[2], PARALLEL)
    from_axis = length(x, y)
    outward = (x * dx + y * dy) / from_axis
    return (radius - from_axis) * jnp.abs(dz) / jnp.sqrt(dz * dz + outward * outward)


def _normal(view, wall, depth):
    x, y, z = view.at(depth)
    _, b, c = wall.coefficients
    return normalise((x, y, -(0.5 * b * view.size + c * z)))


def _paint(view, depth, light, petals, share):
    x, y, _ = view.at(depth)
    return paint(x, y, view.size, light, petals, share)


def paint(
    x: Map, y: Map, size: Map | float, light: Map, petals: int | Integer[Array, ""] | None, share: float
) -> tuple[Map, Map]:
    """Split brightness into the object's colour (a fraction `share`) and white. Petals alternate between the two."""
    coloured = share
    if petals is not None:
        coloured = jnp.where(jnp.asarray(petals) > 0, 0.5 + 0.5 * _petals(x, y, petals, size), share)
    return light * coloured, light * (1.0 - coloured)


def _petals(x, y, number, size):
    """Evaluate cos(number * angle) with sharpened edges. It fades out at the axis, where the angle is undefined.

    It is computed from powers of (x + i y), without an angle, so that there is no seam.
    """
    scale = 1.0 / jnp.sqrt(x * x + y * y + (AXIS * size) ** 2)
    u, v = x * scale, y * scale
    times = lambda power, _: (power[0] * u - power[1] * v, power[0] * v + power[1] * u)
    powers = accumulate(repeat(None, MOST_PETALS - 1), times, initial=(u, v))
    return jnp.tanh(SHARPNESS * sum(jnp.where(number == n, real, 0.0) for n, (real, _) in enumerate(powers, 1)))
