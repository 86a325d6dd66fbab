"""Surfaces of solids as curved grids of points (sheets), for renderers that draw triangles.

Sheets are computed on the host, with the same dimensions and paints that `airjax.render3d` draws in closed form. Flat
undersides that rest on the table are omitted.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from airjax.render3d.revolution import GLAZE, Turned, Wall, brightness_within, paint
from airjax.render3d.smooth import TURN
from airjax.render3d.solids import CUBE

SIDES = 32
"""Number of sides of a polygon that stands for a circle."""
ROWS = 8
"""Number of points along a profile."""
DOTS = 96
"""Number of paint samples around an axis: more than `SIDES`, since petals have sharp edges."""

Profile = Float[np.ndarray, "r 4"]
"""Half a section through a solid of revolution, upwards outside and downwards inside.

Rows are (rho, z, rho of the normal, z of the normal).
"""


def _directions(angles: Float[np.ndarray, " c"]) -> Float[np.ndarray, "c 2"]:
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


AROUND, PAINTED = (_directions(np.linspace(0.0, TURN, 1 + number)) for number in (SIDES, DOTS))


class Sheet(NamedTuple):
    """A curved rectangular grid of points. Seen from outside, columns go to the right if rows go up.

    Attributes:
        points: points, in units of the object's size.
        normals: outward unit vectors.
        paint: brightness in the object's colour and in white (see `airjax.render3d.view.Part`), without lighting. It is
            spread evenly over the sheet, from corner to corner.
    """

    points: Float[np.ndarray, "r c 3"]
    normals: Float[np.ndarray, "r c 3"]
    paint: Float[np.ndarray, "h w 2"]


def sphere_sheets() -> tuple[Sheet, ...]:
    """Cover the sphere of radius 1 that rests on the table."""
    return (_moved(_rod(1.0, 0.0), np.eye(3), np.array([0.0, 0.0, 1.0])),)


def cube_sheets() -> tuple[Sheet, ...]:
    """Cover the cube with sides of 1.6 that rests on the table."""
    sides = np.repeat(np.arange(4) * TURN / 4, 2)
    corners = np.sqrt(2.0) * _directions(sides + np.tile([-TURN / 8, TURN / 8], 4))
    wall = np.array([[CUBE, 0.0, 1.0, 0.0], [CUBE, 2.0 * CUBE, 1.0, 0.0]])
    return tuple(_plain(*_turn(part, corners, _directions(sides))) for part in (wall, _ring(2.0 * CUBE, CUBE, 0.0)))


def turned_sheets(shape: Turned) -> tuple[Sheet, ...]:
    """Cover a solid of revolution that rests on the table: wall and lid, or wall, rim, and cavity's wall and floor."""
    wall, cavity = shape.outside, shape.cavity
    (_, _, outer), top = wall.radii, wall.top
    if cavity is None:
        return tuple(_painted(part, 1.0, shape.petals) for part in (_side(wall), _ring(top, outer, 0.0)))
    floor, _, inner = cavity.radii
    return (
        _painted(_side(wall), 1.0),
        _painted(_ring(top, outer, inner), 1.0),
        _painted(_side(cavity)[::-1] * [1.0, 1.0, -1.0, -1.0], GLAZE, shape.petals, cavity),
        _painted(_ring(cavity.bottom, floor, 0.0), GLAZE, 0, cavity),
    )


def tube_sheets(points: Sequence[tuple[float, float, float]], radius: float) -> tuple[Sheet, ...]:
    """Cover a bent rod: all points within `radius` of the polyline through `points`."""
    return tuple(_between(start, end, radius) for start, end in pairwise(np.array(points)))


def triangles(shape: tuple[int, int]) -> Int[np.ndarray, "t 3"]:
    """List the triangles of a sheet as indices into its points, row by row, counterclockwise as seen from outside."""
    index = np.arange(shape[0] * shape[1]).reshape(shape)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    return np.concatenate([np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)])


def _side(wall: Wall) -> Profile:
    """Return the profile of a wall, rho^2 = a + b z + c z^2. The normal's part along -z is half the derivative."""
    a, b, c = wall.profile.coefficients
    z = np.linspace(wall.bottom, wall.top, ROWS)
    rho, slope = np.sqrt(a + b * z + c * z**2), 0.5 * b + c * z
    far = np.hypot(rho, slope)
    return np.stack([rho, z, rho / far, -slope / far], axis=-1)


def _ring(height, outer, inner) -> Profile:
    rho = np.linspace(outer, inner, ROWS)
    return np.stack([rho, np.full(ROWS, height), np.zeros(ROWS), np.ones(ROWS)], axis=-1)


def _turn(profile, around, outwards):
    """Rotate a profile about the vertical; return points and normals, given the horizontal directions of both."""
    rho, z, out, up = profile.T[..., None]
    stack = lambda r, direction, h: np.concatenate([r[..., None] * direction, np.tile(h, len(around))[..., None]], -1)
    return stack(rho, around, z), stack(out, outwards, up)


def _painted(profile, share, petals=0, cavity=None) -> Sheet:
    dots, _ = _turn(profile, PAINTED, PAINTED)
    return Sheet(*_turn(profile, AROUND, AROUND), np.asarray(_paint(dots, share, petals, cavity)))


@partial(jax.jit, static_argnums=(1, 2, 3))
def _paint(points, share, petals, cavity):
    x, y, z = jnp.moveaxis(points, -1, 0)
    light = jnp.ones_like(z) if cavity is None else brightness_within(cavity.profile, z)
    return jnp.stack(paint(x, y, 1.0, light, petals, share), axis=-1)


def _plain(points, normals) -> Sheet:
    return Sheet(points, normals, np.array([[[1.0, 0.0]]]))


def _rod(radius, length) -> Sheet:
    """Cover all points within `radius` of the vertical segment from the origin up to `length`."""
    angles = np.concatenate([np.linspace(-TURN / 4, 0.0, ROWS), np.linspace(0.0, TURN / 4, ROWS)])
    out, up = _directions(angles).T
    profile = np.stack([radius * out, radius * up + np.repeat([0.0, length], ROWS), out, up], axis=-1)
    return _plain(*_turn(profile, AROUND, AROUND))


def _between(start, end, radius) -> Sheet:
    length = np.linalg.norm(end - start)
    along = (end - start) / length
    across = np.cross(along, np.eye(3)[np.argmin(np.abs(along))])
    across /= np.linalg.norm(across)
    return _moved(_rod(radius, length), np.stack([across, np.cross(along, across), along], axis=1), start)


def _moved(sheet, turn, by) -> Sheet:
    return Sheet(sheet.points @ turn.T + by, sheet.normals @ turn.T, sheet.paint)
