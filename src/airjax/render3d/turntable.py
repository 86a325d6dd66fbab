"""Walk around a scene that was inferred from one picture, and see it from where nobody has."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32

from airjax.render3d.smooth import TURN
from airjax.render3d.stage import Stage


def azimuths(stage: Stage, scene: Float32[np.ndarray, "n s"]) -> Float32[np.ndarray, " n"]:
    """Tell from where n scenes are seen, in radians: from where `AIR3D` inferred, if the stage leaves that open."""
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
    """Draw scenes from cameras all around the table, one full turn that begins at each scene's own camera.

    Args:
        stage: what can stand on the table.
        count: number of objects of each scene.
        what: their poses and identities, (x, y, rotation, identity), as `AIR3D` infers them.
        azimuth: of the camera that a turn begins with, in radians.
        frames: number of cameras, at equal distances; after the last comes the first again.
        side: of the pictures, in pixels.

    Raises:
        ValueError: `frames` or `side` is below 1.
    """
    if frames < 1 or side < 1:
        raise ValueError(f"frames and side must be at least 1, got {frames} and {side}")
    turns = jnp.asarray(azimuth) + TURN / frames * jnp.arange(frames)[:, None]
    # One after the other: of a kind that is known at run time, a batch would draw every kind.
    scene = lambda azimuth, count, what: draw_from(stage, side, count, what, azimuth)
    around = [[scene(*one) for one in zip(row, count, what)] for row in turns]
    return np.array(around, np.float32)


@partial(jax.jit, static_argnums=(0, 1))
def draw_from(
    stage: Stage, side: int, count: Int32[Array, ""], what: Float[Array, "N 4"], azimuth: Float[Array, ""]
) -> Float[Array, "3 side side"]:
    """Draw the first `count` objects of a scene, seen from `azimuth`: differentiable in poses and azimuth."""
    rays = stage.camera(azimuth).rays((side, side))

    def put(canvas, one):
        t, thing = one
        layer = stage.draw_identity(rays, thing[3].astype(jnp.int32), thing[:2], thing[2])
        return canvas.add(layer._replace(opacity=layer.opacity * (t < count))), None

    canvas, _ = jax.lax.scan(put, stage.empty(rays, len(what)), (jnp.arange(len(what)), what))
    return canvas.image
