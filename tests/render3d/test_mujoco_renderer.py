"""MuJoCo's images against those of render3d. Without OpenGL, these tests fail in CI and are skipped elsewhere."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from opengl import by_mujoco

from airjax import render3d
from airjax.data.tables import tables
from airjax.inference.evaluate import redraw
from airjax.render3d import LAID_TABLE, ONE_SOLID
from airjax.render3d.mujoco_renderer import MuJoCoRenderer

SHAPE = (48, 48)
STAGES = {"solids": ONE_SOLID, "crockery": LAID_TABLE}
NONE = np.zeros(0, int), np.zeros((0, 3))
AZIMUTH = 0.8
POSE = np.array([0.4, -0.3, 1.1])
"""A pose in which a cup's handle is visible, on the right."""


@pytest.fixture(scope="module")
def renderers():
    return {name: by_mujoco(stage, SHAPE) for name, stage in STAGES.items()}


@partial(jax.jit, static_argnums=0)
def ours(stage, pose):
    """Draw each kind with render3d: images [k, h, w, 3] from 0 to 255, opacities [k, h, w], and the empty table."""
    rays = stage.camera(AZIMUTH).rays(SHAPE)
    layers = render3d.draw_each(rays, stage.pose(pose[:2], pose[2]), render3d.daylight(), stage.kinds)
    empty = stage.empty(rays, 1)
    images = jax.vmap(lambda layer: empty.add(layer).image)(layers)
    return 255.0 * jnp.moveaxis(images, 1, -1), layers.opacity, 255.0 * jnp.moveaxis(empty.image, 0, -1)


@pytest.mark.parametrize("name", STAGES)
def test_every_kind_looks_as_in_render3d(renderers, name):
    images, opacities, empty = map(np.asarray, ours(STAGES[name], jnp.asarray(POSE)))
    draw = lambda kind, turn: renderers[name](np.array([kind]), POSE[None] + [0.0, 0.0, turn], AZIMUTH).astype(float)
    blank = renderers[name](*NONE, AZIMUTH).astype(float)
    assert np.abs(blank - empty).mean() < 5.0
    for index, kind in enumerate(STAGES[name].kinds):
        image, inside = draw(index, 0.0), opacities[index] > 0.5
        seen = np.abs(image - blank).max(-1) > 25
        assert (seen & inside).sum() > 0.88 * (seen | inside).sum(), kind.name
        right, left, straight = (
            np.abs(draw(index, turn) - images[index])[seen | inside].mean() for turn in (-0.6, 0.6, 0.0)
        )
        assert straight < 8.0, kind.name
        if kind.symmetry:
            assert straight < 0.6 * min(left, right), kind.name


def test_what_is_nearer_hides_what_is_behind_it_in_any_order(renderers):
    labels, poses = np.array([0, 1, 2]), np.array([[-0.2, -0.7, 0.3], [0.0, 0.1, 0.0], [0.1, 0.9, 1.0]])
    image = renderers["crockery"](labels, poses)
    np.testing.assert_array_equal(renderers["crockery"](labels[::-1], poses[::-1]), image)
    cup = renderers["crockery"](labels[:1], poses[:1])
    changed = np.abs(cup.astype(int) - renderers["crockery"](*NONE)).max(-1) > 60
    assert changed.sum() > 150
    assert np.mean(image[changed] == cup[changed]) > 0.9  # all but its edge


def test_objects_of_one_kind_can_stand_beside_each_other(renderers):
    poses = np.array([[-0.7, 0.0, 0.0], [0.7, 0.0, 0.0]])
    both = renderers["solids"](np.array([1, 1]), poses)
    for one in poses:
        alone = renderers["solids"](np.array([1]), one[None])
        changed = np.abs(alone.astype(int) - renderers["solids"](*NONE)).max(-1) > 25
        np.testing.assert_array_equal(both[changed], alone[changed])


def test_any_thread_can_draw(renderers):
    draw = lambda _: renderers["crockery"](np.array([0]), POSE[None])
    with ThreadPoolExecutor(4) as pool:
        for image in pool.map(draw, range(12)):
            np.testing.assert_array_equal(image, draw(None))


def test_descent_by_finite_differences_finds_the_pose_of_an_object(renderers):
    host = lambda pose: renderers["crockery"](np.array([0]), pose[None]).transpose(2, 0, 1)
    render = render3d.differentiable(host, (3, *SHAPE), (0.04, 0.04, 0.1))
    true = jnp.asarray(POSE, jnp.float32)
    jacobian = jax.jit(jax.jacrev(render))(true)
    assert jnp.all(jnp.isfinite(jacobian))
    assert jnp.all(jnp.linalg.norm(jacobian.reshape(-1, 3), axis=0) > 1.0)
    target, pose, optimiser = render(true), true + jnp.array([0.12, -0.1, 0.4]), optax.adam(0.04)
    slope, state = jax.jit(jax.grad(lambda pose: jnp.mean((render(pose) - target) ** 2))), optimiser.init(true)
    for _ in range(25):
        update, state = optimiser.update(slope(pose), state)
        pose = pose + update
    assert jnp.linalg.norm(pose[:2] - true[:2]) < 0.04
    assert abs(pose[2] - true[2]) < 0.15


def test_a_redrawn_set_has_new_images_and_the_same_annotations(renderers):
    stage = replace(ONE_SOLID, azimuth_reach=0.5)
    scenes = tables(stage, 6, seed=0, counts=(0, 1), canvas=24)
    again = redraw(stage, scenes)
    for name in ("counts", "boxes", "labels", "poses", "azimuths"):
        np.testing.assert_array_equal(getattr(again, name), getattr(scenes, name))
    error = lambda images: np.abs(again.images.astype(int) - images).mean()
    assert 0 < error(scenes.images) < 8.0
    turned = replace(scenes, azimuths=scenes.azimuths + np.float32(0.5))
    assert error(redraw(stage, turned).images) > 2.0 * error(scenes.images)
    assert redraw(stage, scenes[:0]).images.shape == (0, 24, 24, 3)


@pytest.mark.parametrize("name", ["counts", "labels", "poses"])
def test_scenes_without_annotations_are_not_redrawn(name):
    scenes = tables(ONE_SOLID, 0, seed=0, counts=(1,))
    with pytest.raises(ValueError, match="must have counts, labels and poses"):
        redraw(ONE_SOLID, replace(scenes, **{name: None}))


def test_invalid_arguments_are_refused(renderers):
    with pytest.raises(ValueError, match="at least 1 x 1, got 0 x 3"):
        MuJoCoRenderer(ONE_SOLID, (0, 3))
    with pytest.raises(ValueError, match="at most 6 kinds, got 7"):
        MuJoCoRenderer(replace(ONE_SOLID, kinds=(*render3d.KINDS, render3d.CUP)), SHAPE)
    for label in (-1, 3):
        with pytest.raises(ValueError, match=f"labels must be from 0 to 2, got \\[{label}\\]"):
            renderers["solids"](np.array([label]), POSE[None])


def test_all_six_kinds_can_share_a_stage(renderers):
    everything = MuJoCoRenderer(replace(ONE_SOLID, kinds=render3d.KINDS), SHAPE)
    for label in range(3):
        drawn = everything(np.array([label]), POSE[None])
        np.testing.assert_array_equal(drawn, renderers["solids"](np.array([label]), POSE[None]))


def test_a_missing_package_or_library_is_named(renderers, monkeypatch):
    import mujoco

    def broken(width, height):
        raise AttributeError("'NoneType' object has no attribute 'eglQueryString'")

    monkeypatch.setattr(mujoco, "GLContext", broken)
    with pytest.raises(ValueError, match=r"eglQueryString'\); it needs pip install 'airjax\[mujoco\]', and .* libegl1"):
        MuJoCoRenderer(ONE_SOLID, SHAPE)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(ValueError, match=r"pip install 'airjax\[mujoco\]'"):
        MuJoCoRenderer(ONE_SOLID, SHAPE)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there always is a display")
@pytest.mark.parametrize(
    ("environment", "chosen"),
    [({}, "egl"), ({"MUJOCO_GL": "osmesa"}, "osmesa"), ({"DISPLAY": ":0"}, None), ({"WAYLAND_DISPLAY": "a"}, None)],
)
def test_opengl_is_chosen_by_display_and_environment(renderers, monkeypatch, environment, chosen):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    MuJoCoRenderer(ONE_SOLID, (8, 8))
    assert os.environ.get("MUJOCO_GL") == chosen
