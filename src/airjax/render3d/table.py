"""A round table, with a cloth that is striped in both directions, and the background beyond it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from airjax.render3d.camera import Rays
from airjax.render3d.smooth import length, safe, step
from airjax.render3d.view import Light, in_front

CRISPNESS = 4.0
"""Sharpness of the edges of stripes that are many pixels wide."""


class Table(eqx.Module):
    """A round table in the plane z = 0 around the origin.

    Attributes:
        cloth: two colours of the stripes.
        stripe: width of a stripe, in table coordinates.
        radius: radius of the table, in table coordinates.
        beyond: colour of the background beyond the table.
    """

    cloth: Float[Array, "2 3"]
    stripe: Float[Array, ""]
    radius: Float[Array, ""]
    beyond: Float[Array, "3"]


def draw_table(rays: Rays, table: Table, light: Light, softness: Float[Array, ""] | float) -> Float[Array, "3 h w"]:
    """Draw the empty table. It is invisible from below."""
    down = safe(jnp.minimum(rays.direction[2], 0.0))
    depth = -rays.origin[2] / down
    x, y, _ = step(tuple(rays.origin), depth, rays.direction)
    blur = softness * rays.pixel * jnp.maximum(jnp.abs(depth), 1e-3)
    from_centre = length(x, y)
    radial = (x * rays.direction[0] + y * rays.direction[1]) / from_centre
    margin = (table.radius - from_centre) / jnp.sqrt(1.0 + (radial / down) ** 2)
    on_table = jax.nn.sigmoid(4.0 / blur * margin) * in_front(depth)
    crispness = 1.0 / (1.0 / CRISPNESS - 3.0 * blur / (down * table.stripe))
    mix = 0.5 + 0.25 * (_stripes(x, table.stripe, crispness) + _stripes(y, table.stripe, crispness))
    first, second = table.cloth[..., None, None]
    cloth = second + mix * (first - second)
    up = light.direction[2] / length(*light.direction)
    bright = light.ambient + (1.0 - light.ambient) * jnp.maximum(0.0, up)
    beyond = table.beyond[:, None, None]
    return beyond + on_table * (bright * cloth - beyond)


def _stripes(x, width, crispness):
    """Evaluate stripes that alternate between -1 and 1, and fade to 0 where they are finer than pixels."""
    return jnp.tanh(crispness * jnp.sin(jnp.pi / width * x))
