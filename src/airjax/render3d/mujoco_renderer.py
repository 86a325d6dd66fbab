"""Draw the same scenes with MuJoCo's OpenGL renderer. This is an optional extra, which no model uses.

MuJoCo has no derivatives; `airjax.render3d.differentiable` takes finite differences. Its images differ slightly from
those of `airjax.render3d.render`: edges are sampled, surfaces are triangles, and the cloth is a texture.
"""

import math
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Integer, UInt8

from airjax.render3d.camera import FIELD_OF_VIEW, orbit
from airjax.render3d.render import Setting, daylight
from airjax.render3d.sheets import Sheet, triangles
from airjax.render3d.smooth import length
from airjax.render3d.stage import Stage
from airjax.render3d.table import draw_table
from airjax.render3d.view import NEAR

NEEDED = "pip install 'airjax[mujoco]', and on Debian apt install libegl1 libgl1-mesa-dri libopengl0"
FINENESS = 4
"""Samples of a pixel in each direction. With more samples, a moving edge changes the pixel in smaller steps."""
MARGIN = 1.05
"""Half the side of the table's texture, in units of the table's radius."""
TEXELS = 512
"""Side of the table's texture, in texels."""
MOST_KINDS = 6
"""Largest number of kinds of a stage: the number of MuJoCo's visibility groups."""
NONE = [0.0, 0.0, 0.0]


class MuJoCoRenderer:
    """Draw the objects of a stage with MuJoCo, on the host.

    It can be called from any thread, as `airjax.render3d.differentiable` requires. Calls run one at a time.

    Args:
        stage: kinds of objects, table and camera.
        shape: (height, width) of images.

    Raises:
        ValueError: MuJoCo or OpenGL is missing, a side is below 1, or the stage has more than 6 kinds.
    """

    def __init__(self, stage: Stage, shape: tuple[int, int]):
        if min(shape) < 1:
            raise ValueError(f"shape must be at least 1 x 1, got {shape[0]} x {shape[1]}")
        if len(stage.kinds) > MOST_KINDS:
            raise ValueError(f"stage must have at most {MOST_KINDS} kinds, got {len(stage.kinds)}")
        self._stage, self._shape, self._lock = stage, shape, threading.Lock()
        self._samples = FINENESS * shape[0], FINENESS * shape[1]
        with _needed():
            self._mujoco = _import_mujoco()
        self._model = _model(self._mujoco, stage, self._samples)
        with _needed():
            self._window, self._context = _open(self._mujoco, self._model, self._samples)
        weakref.finalize(self, _free, self._window, self._context)
        self._data = self._mujoco.MjData(self._model)
        self._scene = self._mujoco.MjvScene(self._model, maxgeom=10_000)

    def __call__(
        self, labels: Integer[np.ndarray, " n"], poses: Float[np.ndarray, "n 3"], azimuth: float | None = None
    ) -> UInt8[np.ndarray, "h w 3"]:
        """Draw a scene.

        Args:
            labels: kinds of the objects, as indices into the stage's kinds.
            poses: positions x, y and rotations (in radians) of the objects.
            azimuth: azimuth of the camera, in radians; None: the stage's.

        Raises:
            ValueError: a label is out of range.
        """
        if len(labels) and not 0 <= min(labels) <= max(labels) < len(self._stage.kinds):
            raise ValueError(f"labels must be from 0 to {len(self._stage.kinds) - 1}, got {labels}")
        mujoco, (height, width) = self._mujoco, self._samples
        image, all_of_it = np.empty((height, width, 3), np.uint8), mujoco.MjrRect(0, 0, width, height)
        with self._lock, self._window.as_current():
            self._lay(labels, poses, self._stage.azimuth if azimuth is None else azimuth)
            mujoco.mjr_render(all_of_it, self._scene, self._context)
            mujoco.mjr_readPixels(image, None, all_of_it, self._context)
        (height, width), samples = self._shape, image[::-1]  # OpenGL starts at the bottom
        return np.rint(samples.reshape(height, FINENESS, width, FINENESS, 3).mean((1, 3))).astype(np.uint8)

    def _lay(self, labels, poses, azimuth):
        """Add the table to the scene, then each object. The model has one body of each kind, moved for each object."""
        mujoco, option, pushed = self._mujoco, self._mujoco.MjvOption(), self._mujoco.MjvPerturb()
        model, data, scene = self._model, self._data, self._scene
        fixed, movable = mujoco.mjtCatBit.mjCAT_STATIC.value, mujoco.mjtCatBit.mjCAT_DYNAMIC.value
        mujoco.mj_forward(model, data)
        mujoco.mjv_updateScene(model, data, option, pushed, self._camera(azimuth), fixed, scene)
        for label, (x, y, rotation) in zip(labels, poses):
            data.mocap_pos[label, :2] = x, y
            data.mocap_quat[label] = math.cos(0.5 * rotation), 0.0, 0.0, math.sin(0.5 * rotation)
            mujoco.mj_kinematics(model, data)
            option.geomgroup[:] = np.arange(MOST_KINDS) == label
            mujoco.mjv_addGeoms(model, data, option, pushed, movable, scene)

    def _camera(self, azimuth):
        camera = self._mujoco.MjvCamera()
        camera.lookat, camera.distance = np.zeros(3), self._stage.distance
        camera.azimuth, camera.elevation = 90.0 + math.degrees(azimuth), -math.degrees(self._stage.elevation)
        return camera


@contextmanager
def _needed() -> Iterator[None]:
    """Name what to install if something is missing. A missing OpenGL can raise any error."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"MuJoCo can't draw here ({error}); it needs {NEEDED}") from error


def _import_mujoco() -> Any:
    """Import MuJoCo. Without a display, use EGL unless the environment chooses another OpenGL."""
    if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        os.environ.setdefault("MUJOCO_GL", "egl")
    import mujoco

    return mujoco


def _open(mujoco, model, samples) -> tuple[Any, Any]:
    """Create an off-screen window, and MuJoCo's rendering context in it."""
    window = mujoco.GLContext(*reversed(samples))
    with window.as_current():
        context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, context)
    return window, context


def _free(window, context):
    with window.as_current():  # otherwise the resources of another context would be freed
        context.free()


def _model(mujoco, stage, samples):
    """Compile a model of the stage: light, table, and one movable object of each kind."""
    spec, setting = mujoco.MjSpec(), daylight()
    _set_view(spec.visual, stage, samples, float(setting.light.ambient))
    _light(mujoco, spec, setting.light)
    beyond = spec.add_texture(name="beyond", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=8, height=8)
    beyond.builtin, beyond.rgb1 = mujoco.mjtBuiltin.mjBUILTIN_FLAT, np.asarray(setting.table.beyond, np.float64)
    spec.stat.extent = 1.0
    _add(mujoco, spec, spec.worldbody, "table", _table(setting), group=0)
    for group, kind in enumerate(stage.kinds):
        body = spec.worldbody.add_body(mocap=True)
        for i, sheet in enumerate(kind.sheets()):
            colour = sheet.paint[..., :1] * np.asarray(stage.colour) + sheet.paint[..., 1:]
            part = sheet._replace(points=stage.size * sheet.points, paint=colour)
            _add(mujoco, spec, body, f"{kind.name} {i}", part, group)
    return spec.compile()


def _set_view(visual, stage, samples, ambient):
    visual.quality.shadowsize = visual.quality.offsamples = 0  # even an empty shadow map would take most of the time
    visual.global_.offheight, visual.global_.offwidth = samples
    visual.global_.fovy = math.degrees(FIELD_OF_VIEW)
    visual.map.znear, visual.map.zfar = NEAR, 10.0 * stage.distance
    visual.headlight.ambient, visual.headlight.diffuse, visual.headlight.specular = [ambient] * 3, NONE, NONE


def _light(mujoco, spec, light):
    spec.worldbody.add_light(
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        dir=-np.asarray(light.direction, np.float64),
        diffuse=[1.0 - float(light.ambient)] * 3,
        ambient=NONE,
        specular=NONE,
        castshadow=False,
    )


def _table(setting):
    """Return a square sheet that shows the table and its surroundings, as seen from far above."""
    half = MARGIN * float(setting.table.radius)
    x, y = np.meshgrid([-half, half], [-half, half])
    up = np.broadcast_to([0.0, 0.0, 1.0], (2, 2, 3))
    picture = np.asarray(_seen_from_above(setting, half))
    return Sheet(np.stack([x, y, np.zeros_like(x)], axis=-1), up, picture.transpose(1, 2, 0)[::-1])


@partial(jax.jit, static_argnums=1)
def _seen_from_above(setting: Setting, half: float, high: float = 100.0) -> Float[Array, "3 h w"]:
    """Draw the table without lighting."""
    light = setting.light
    rays = orbit(0.0, 0.5 * math.pi, high, field_of_view=2.0 * math.atan(half / high)).rays((TEXELS, TEXELS))
    lit = light.ambient + (1.0 - light.ambient) * light.direction[2] / length(*light.direction)
    return draw_table(rays, setting.table, light, 1.0) / lit


def _add(mujoco, spec, body, name, sheet, group):
    """Add a sheet, whose paint is red, green and blue, as a mesh with a texture."""
    height, width, _ = sheet.paint.shape
    rows, columns, _ = sheet.points.shape
    y, x = (np.linspace(0.5, n - 0.5, m) / n for n, m in ((height, rows), (width, columns)))
    texcoords = np.stack(np.broadcast_arrays(x, y[:, None]), axis=-1)
    spec.add_mesh(
        name=name,
        uservert=sheet.points.ravel(),
        usernormal=sheet.normals.ravel(),
        usertexcoord=texcoords.ravel(),
        userface=triangles((rows, columns)).ravel(),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
    )
    texels = np.rint(255.0 * np.clip(sheet.paint, 0.0, 1.0)).astype(np.uint8).tobytes()
    texture = mujoco.mjtTexture.mjTEXTURE_2D
    spec.add_texture(name=name, type=texture, width=width, height=height, nchannel=3).data = texels
    material = spec.add_material(name=name, specular=0.0, shininess=0.0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    mesh = mujoco.mjtGeom.mjGEOM_MESH
    body.add_geom(type=mesh, meshname=name, material=name, group=group, contype=0, conaffinity=0)
