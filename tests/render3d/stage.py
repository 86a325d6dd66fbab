"""Shared helpers of the render3d tests: poses, cameras and the image of one object."""

from functools import partial

import jax
import jax.numpy as jnp

from airjax import render3d

NAMES = tuple(kind.name for kind in render3d.KINDS)


def pose(x=0.0, y=0.0, rotation=0.0, size=0.6, colour=(0.8, 0.3, 0.2)):
    return render3d.Pose(jnp.array([x, y]), jnp.asarray(rotation), jnp.asarray(size), jnp.array(colour))


def stack(*poses):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *poses)


def plain(light=(0.0, 0.0, 1.0)):
    """A setting without a preferred horizontal direction: the cloth has one colour."""
    setting = render3d.daylight()
    cloth = jnp.broadcast_to(setting.table.cloth[:1], (2, 3))
    table = render3d.Table(cloth, setting.table.stripe, setting.table.radius, setting.table.beyond)
    return render3d.Setting(render3d.Light(jnp.array(light), setting.light.ambient), table, setting.softness)


@partial(jax.jit, static_argnums=(1, 4))
def picture(camera, kind, pose, setting, shape):
    """Draw one object on the table."""
    rays = camera.rays(shape)
    return render3d.empty_table(rays, setting, 1).add(render3d.draw(rays, kind, pose, setting)).image


@partial(jax.jit, static_argnums=(1, 4))
def layer(camera, kind, pose, setting, shape):
    return render3d.draw(camera.rays(shape), kind, pose, setting)
