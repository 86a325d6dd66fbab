"""Cameras that look at the table, and the ray of every pixel.

World coordinates: the table is the plane z = 0 with its centre at the origin, and z points upwards. Objects stand
around the centre, at x and y of about -1 to 1. Angles are in radians.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from airjax.render3d.smooth import TINY, length, normalise, safe

FIELD_OF_VIEW = 0.7
"""Vertical field of view, in radians: 40 degrees."""


class Rays(NamedTuple):
    """The rays of an image.

    Attributes:
        origin: start of all rays: the camera's position.
        direction: unit directions of the rays.
        forward: viewing direction of the camera.
        pixel: side of a pixel divided by its distance along `forward`.
    """

    origin: Float[Array, "3"]
    direction: tuple[Float[Array, "h w"], ...]
    forward: Float[Array, "3"]
    pixel: Float[Array, ""]


class Camera(eqx.Module):
    """A pinhole camera. Create it with `orbit` or `look_at`.

    Attributes:
        position: position of the pinhole.
        axes: unit vectors right, up and forward, as rows.
        field_of_view: vertical field of view, in radians, between 0 and pi.
    """

    position: Float[Array, "3"]
    axes: Float[Array, "3 3"]
    field_of_view: Float[Array, ""]

    def rays(self, shape: tuple[int, int]) -> Rays:
        """Return the rays through the centres of the square pixels of an image of `shape` = (height, width).

        Raises:
            ValueError: a side is below 1.
        """
        height, width = shape
        if min(shape) < 1:
            raise ValueError(f"shape must be at least 1 x 1, got {height} x {width}")
        pixel = 2.0 * jnp.tan(0.5 * self.field_of_view) / height
        right = pixel * (jnp.arange(width) - 0.5 * (width - 1))
        up = -pixel * (jnp.arange(height) - 0.5 * (height - 1))
        right, up = jnp.broadcast_arrays(right, up[:, None])
        direction = (right * r + up * u + f for r, u, f in zip(*self.axes))
        return Rays(self.position, normalise(tuple(direction)), self.axes[2], pixel)

    def project(self, point: Float[Array, "3"], shape: tuple[int, int]) -> Float[Array, "2"]:
        """Project a point to (x, y), in pixels of an image of `shape`. Points behind the camera land far outside."""
        height, width = shape
        right, up, forward = self.axes @ (point - self.position)
        scale = 0.5 * height / jnp.tan(0.5 * self.field_of_view) / jnp.maximum(forward, TINY)
        return jnp.stack([0.5 * width + scale * right, 0.5 * height - scale * up])


def orbit(
    azimuth: Float[Array, ""] | float,
    elevation: Float[Array, ""] | float,
    distance: Float[Array, ""] | float,
    *,
    target: Float[Array, "3"] | None = None,
    field_of_view: Float[Array, ""] | float = FIELD_OF_VIEW,
) -> Camera:
    """Place a camera on a sphere around `target` (by default the table's centre), looking at it.

    At azimuth 0 the camera looks along y, with x to the right. Azimuth grows counterclockwise as seen from above.
    Elevation is measured from the table's plane. Elevation pi / 2 (straight down) and distance 0 are allowed.
    """
    sin_a, cos_a = jnp.sin(azimuth), jnp.cos(azimuth)
    sin_e, cos_e = jnp.sin(elevation), jnp.cos(elevation)
    right = jnp.stack([cos_a, sin_a, jnp.zeros_like(sin_a)])
    up = jnp.stack([-sin_a * sin_e, cos_a * sin_e, cos_e])
    forward = jnp.stack([-sin_a * cos_e, cos_a * cos_e, -sin_e])
    centre = jnp.zeros(3) if target is None else target
    return Camera(centre - distance * forward, jnp.stack([right, up, forward]), jnp.asarray(field_of_view))


def look_at(
    position: Float[Array, "3"],
    target: Float[Array, "3"],
    *,
    field_of_view: Float[Array, ""] | float = FIELD_OF_VIEW,
) -> Camera:
    """Place an upright camera at `position`, looking at `target`.

    A camera that looks straight up or down has x to the right. A camera at its own target looks along y.
    """
    offset = target - position
    distance = length(*offset)
    forward = jnp.where(distance > TINY, offset / safe(distance), jnp.array([0.0, 1.0, 0.0]))
    level = length(*forward[:2])
    right = jnp.where(level > TINY, jnp.stack([forward[1], -forward[0]]) / safe(level), jnp.array([1.0, 0.0]))
    right = jnp.concatenate([right, jnp.zeros(1)])
    return Camera(position, jnp.stack([right, jnp.cross(right, forward), forward]), jnp.asarray(field_of_view))
