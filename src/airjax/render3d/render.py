"""Draw objects on a table: one object as a layer, one of every kind, or a whole scene.

Functions act on one image; callers `vmap`. They are smooth in pose, colours, camera, light and table, but not in the
identity.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from airjax.render3d.camera import Camera, Rays
from airjax.render3d.compositing import Canvas, Layer, blank
from airjax.render3d.kinds import KINDS, Kind, draw_kind, draw_kinds
from airjax.render3d.table import Table, draw_table
from airjax.render3d.view import Light, Pose, view_from


class Setting(eqx.Module):
    """Light and table of a scene.

    Attributes:
        light: light on objects and table.
        table: the table and its surroundings.
        softness: width of soft edges, in pixels.
    """

    light: Light
    table: Table
    softness: Float[Array, ""]


def daylight() -> Setting:
    """Return the default setting: a blue and white cloth, lit from the upper left behind a camera of azimuth 0."""
    light = Light(jnp.array([-0.5, -0.6, 1.0]), jnp.asarray(0.35))
    table = Table(
        cloth=jnp.array([[0.80, 0.84, 0.90], [0.52, 0.62, 0.78]]),
        stripe=jnp.asarray(0.4),
        radius=jnp.asarray(2.2),
        beyond=jnp.array([0.24, 0.22, 0.22]),
    )
    return Setting(light, table, jnp.asarray(1.0))


def draw(rays: Rays, kind: Kind, pose: Pose, setting: Setting) -> Layer:
    """Draw one object of a known kind."""
    view = view_from(rays, pose, setting.light, setting.softness)
    return _layer(view, kind.draw(view), pose)


def draw_all(rays: Rays, poses: Pose, setting: Setting, kinds: Sequence[Kind]) -> Layer:
    """Draw objects of known kinds, each with its own rays (`rays` and `poses` are stacked), as layers [n, ...]."""
    views = jax.vmap(lambda rays, pose: view_from(rays, pose, setting.light, setting.softness))(rays, poses)
    return jax.vmap(_layer)(views, draw_kinds(kinds, views), poses)


def draw_each(rays: Rays, pose: Pose, setting: Setting, kinds: Sequence[Kind] = KINDS) -> Layer:
    """Draw one object as each of the kinds, as layers [k, ...], to enumerate identities."""
    repeated = lambda tree: jax.tree.map(lambda x: jnp.broadcast_to(x, (len(kinds), *x.shape)), tree)
    return draw_all(repeated(rays), repeated(pose), setting, kinds)


def draw_identity(
    rays: Rays, identity: Int[Array, ""], pose: Pose, setting: Setting, kinds: Sequence[Kind] = KINDS
) -> Layer:
    """Draw one object whose kind is `kinds[identity]`.

    Without `vmap`, only that kind is drawn. Under `vmap` over identities, one object of each group of similar kinds
    (vessels, filled solids of revolution, cubes, spheres) is drawn, and one of them is selected. An identity out of
    range is clipped.
    """
    view = view_from(rays, pose, setting.light, setting.softness)
    return _layer(view, draw_kind(kinds, identity, view), pose)


def _layer(view, part, pose) -> Layer:
    """Colour a part, and convert it to a layer."""
    # If edges are softer than the object is large, even an object of no size would show, as a spot of opacity 1/2.
    resolved = jax.nn.sigmoid(4.0 * jnp.log(2.0 * view.size / view.blur))
    colour = pose.colour[:, None, None] * part.coloured + part.white
    return Layer(colour, part.opacity * resolved, part.depth)


def empty_table(rays: Rays, setting: Setting, capacity: int) -> Canvas:
    """Create a canvas of the empty table, for up to `capacity` objects.

    Raises:
        ValueError: `capacity` is negative.
    """
    return blank(draw_table(rays, setting.table, setting.light, setting.softness), capacity)


def render(
    camera: Camera,
    identities: Int[Array, " n"],
    poses: Pose,
    setting: Setting,
    shape: tuple[int, int],
    kinds: Sequence[Kind] = KINDS,
) -> Float[Array, "n+1 3 h w"]:
    """Draw the scenes of the first 0, 1, ..., n of n objects (`poses` are stacked).

    Raises:
        ValueError: a side of `shape` = (height, width) is below 1.
    """
    rays = camera.rays(shape)
    empty = empty_table(rays, setting, len(identities))

    def add(canvas, one):
        identity, pose = one
        canvas = canvas.add(draw_identity(rays, identity, pose, setting, kinds))
        return canvas, canvas.image

    _, images = jax.lax.scan(add, empty, (identities, poses))
    return jnp.concatenate([empty.image[None], images])
