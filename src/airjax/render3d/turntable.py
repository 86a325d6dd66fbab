"""Draw scenes, inferred from one image each, from cameras all around the table."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32

from airjax.render3d.smooth import TURN
from airjax.render3d.stage import Stage


def azimuths(stage: Stage, scene: Float32[np.ndarray, "n s"]) -> Float32[np.ndarray, " n"]:
    """Return the camera azimuths of n scenes, in radians: as inferred by `AIR3D`, or the stage's if that is known."""
    return scene[:, 0] if stage.azimuth_reach else np.full(len(scene), stage.azimuth, np.float32)


def turntable(
    stage: Stage,
    count: Int32[np.ndarray, " n"],
    what: Float32[np.ndarray, "n N 4"],
    azimuth: Float32[np.ndarray, " n"],
    *,
    frames: int,
    side: int,
) -> Float32[np.ndarray, "frames n 3 side side"]:
    """Draw scenes from cameras all around the table: one full turn that starts at each scene's own camera.

    Args:
        stage: kinds of objects, table and camera.
        count: number of objects of each scene.
        what: poses and identities of the objects, (x, y, rotation, identity), as `AIR3D` infers them.
        azimuth: azimuth of the first camera, in radians.
        frames: number of cameras, equally spaced; the step from the last to the first closes the turn.
        side: side of the images, in pixels.

    Raises:
        ValueError: `frames` or `side` is below 1.
    """
    if frames < 1 or side < 1:
        raise ValueError(f"frames and side must be at least 1, got {frames} and {side}")
    turns = jnp.asarray(azimuth) + TURN / frames * jnp.arange(frames)[:, None]
    # Draw one at a time: kinds are known only at run time, so a batch would draw every kind.
    scene = lambda azimuth, count, what: draw_from(stage, side, count, what, azimuth)
    around = [[scene(*one) for one in zip(row, count, what)] for row in turns]
    return np.array(around, np.float32)


@partial(jax.jit, static_argnums=(0, 1))
def draw_from(
    stage: Stage, side: int, count: Int32[Array, ""], what: Float[Array, "N 4"], azimuth: Float[Array, ""]
) -> Float[Array, "3 side side"]:
    """Draw the first `count` objects of a scene, seen from `azimuth`. Differentiable in poses and azimuth."""
    rays = stage.camera(azimuth).rays((side, side))

    def put(canvas, one):
        t, thing = one
        layer = stage.draw_identity(rays, thing[3].astype(jnp.int32), thing[:2], thing[2])
        return canvas.add(layer._replace(opacity=layer.opacity * (t < count))), None

    canvas, _ = jax.lax.scan(put, stage.empty(rays, len(what)), (jnp.arange(len(what)), what))
    return canvas.image
