"""Spheres, cubes and bent rods: their intersections with rays, and distances of rays from their silhouettes.

The opacity of a solid is a sigmoid of its margin: the signed distance between ray and silhouette, positive where the
ray hits the solid. So the image is smooth in the pose, and edges are about a pixel wide.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise

import jax
import jax.numpy as jnp

from airjax.render3d.smooth import dot, length, normalise, rounded_root, safe, step
from airjax.render3d.view import Part, View, in_front

PARALLEL = 1e-4
"""Smallest slope of a ray to a plane. Rays closer to parallel are tilted to it, by a small fraction of a pixel."""
CUBE = 0.8
"""Half the side of a cube of size 1, chosen so that the cube looks no larger than the other kinds."""


def sphere(view: View) -> Part:
    """Draw a sphere of radius `view.size` that rests on the table."""
    radius = view.size
    x, y, z = view.origin
    origin = x, y, z - radius
    nearest = -dot(origin, view.direction)
    return _ball(view, radius, nearest, step(origin, nearest, view.direction))


def _ball(view, radius, nearest, offset):
    """Draw balls, given the depth at which rays pass closest to the centres, and the offset from the centres there."""
    distance = length(*offset)
    half = rounded_root(radius**2 - distance**2, radius * view.blur)
    outward = step(offset, -half, view.direction)
    depth = nearest - half
    opacity = view.cover(radius - distance) * in_front(depth)
    return Part(opacity, depth, view.shade(normalise(outward)), jnp.zeros_like(depth))


def cube(view: View) -> Part:
    """Draw a cube with sides of 1.6 times `view.size`, in one colour, that rests on the table."""
    half = CUBE * view.size
    x, y, z = view.origin
    origin = x, y, z - half
    directions = tuple(safe(d, PARALLEL) for d in view.direction)
    enter = tuple(-o / d - half / jnp.abs(d) for o, d in zip(origin, directions))
    depth = jnp.maximum(jnp.maximum(*enter[:2]), enter[2])
    coloured = _faces(view, directions, enter)
    opacity = view.cover(_cube_margin(origin, directions, half)) * in_front(depth)
    return Part(opacity, depth, coloured, jnp.zeros_like(depth))


def _cube_margin(origin, directions, half):
    """Return how far inside a cube's silhouette rays pass.

    The silhouette consists of edges. The distance of a ray from an edge is found in a projection along the edge. There
    the cube is a square, and the ray passes its centre at a distance given by the ray's moment.
    """
    margin = jnp.inf
    for i, j in ((0, 1), (1, 2), (2, 0)):
        (p, u), (q, v) = ((origin[k], directions[k]) for k in (i, j))
        reach = half * (jnp.abs(u) + jnp.abs(v)) - jnp.abs(p * v - q * u)
        margin = jnp.minimum(margin, reach / jnp.sqrt(u * u + v * v))
    return margin


def _faces(view, directions, enter):
    """Shade the faces through which rays enter, blended near the edge between two faces."""
    x, y, z = (
        view.cover((enter[i] - enter[j]) * jnp.abs(u * v) / jnp.sqrt(u * u + v * v))
        for i, j in ((0, 1), (1, 2), (2, 0))
        for u, v in [(directions[i], directions[j])]
    )
    weights = x * (1.0 - z), y * (1.0 - x), z * (1.0 - y)
    lights = (view.lit(jnp.where(d < 0, light, -light)) for d, light in zip(directions, view.light))
    return dot(weights, tuple(lights)) / (weights[0] + weights[1] + weights[2])


def tube(view: View, points: Sequence[tuple[float, float, float]], radius: float) -> Part:
    """Draw a bent rod: all points within `radius` of the polyline through `points`, in units of the object's size.

    The silhouette is exact. Depth and normals are those of a ball around the nearest point of the polyline.
    """
    corners = [tuple(map(jnp.asarray, point)) for point in points]
    segments = [(start, tuple(e - s for s, e in zip(start, end))) for start, end in pairwise(corners)]
    # Rays that pass a bend are equally near to two segments, and rounding decides, which may differ from one compiled
    # loop to the next. So the points are chosen, which are the same for both, and not the segments.
    approaches = (_approach(view, *segment) for segment in segments)
    _, approach = reduce(_closer, ((_square(approach[1]), approach) for approach in approaches))
    return _ball(view, radius * view.size, *approach)


def _approach(view, start, along):
    """Return the depth at which rays pass closest to a segment (in units of the size), and the offset from it."""
    origin = step(view.origin, -view.size, start)
    climb, back = dot(along, view.direction), dot(origin, view.direction)
    across = jnp.maximum(_square(along) - climb**2, 1e-4 * _square(along))
    share = jnp.clip((dot(origin, along) - back * climb) / across, 0.0, view.size)
    nearest = share * climb - back
    return nearest, step(step(origin, nearest, view.direction), -share, along)


def _square(vector):
    return dot(vector, vector)


def _closer(first, second):
    nearer = second[0] < first[0]
    return jax.tree.map(lambda new, old: jnp.where(nearer, new, old), second, first)
