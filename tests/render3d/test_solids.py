"""Every kind of object against a test of which points lie inside, closed forms, and its symmetry."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stage import NAMES, layer, picture, plain, pose

from airjax import render3d
from airjax.render3d import kinds, revolution, solids

SIDE = 40
CAMERAS = {"usual": (0.3, 0.7, 3.5), "low": (2.0, 0.25, 3.0), "steep": (4.0, 1.3, 3.5), "down": (0.5, np.pi / 2, 3.5)}
TURNED = {"cylinder": kinds._CYLINDER, "cup": kinds._CUP, "bowl": kinds._BOWL, "plate": kinds._PLATE}

BODY = render3d.CUP._replace(handle=None)


def kind_of(name):
    return render3d.KINDS[NAMES.index(name)]


def within(wall, x, y, z):
    low, middle, high = np.square(wall.radii)
    share = (z - wall.bottom) / (wall.top - wall.bottom)
    square = low * (1 - share) * (1 - 2 * share) + 4 * middle * share * (1 - share) + high * share * (2 * share - 1)
    return (z >= wall.bottom) & (z <= wall.top) & (x**2 + y**2 <= square)


def rod(x, y, z):
    points, inside = np.array(kinds._HANDLE), False
    for start, end in pairwise(points):
        offset, along = np.stack([x, y, z], -1) - start, end - start
        share = np.clip(offset @ along / (along @ along), 0, 1)
        inside |= np.linalg.norm(offset - share[..., None] * along, axis=-1) <= kinds._HANDLE_RADIUS
    return inside


def inside(name, x, y, z):
    """Return which points lie in an object of size 1 without rotation."""
    if name == "sphere":
        return x**2 + y**2 + (z - 1) ** 2 <= 1
    if name == "cube":
        return np.maximum(np.maximum(abs(x), abs(y)), abs(z - solids.CUBE)) <= solids.CUBE
    shape = TURNED[name]
    body = within(shape.outside, x, y, z)
    return body & ~within(shape.cavity, x, y, z) if shape.cavity else body


def march(test, camera, turn, size):
    """March along rays in small steps; return the depth of the first point that passes a test, or infinity."""
    rays = camera.rays((SIDE, SIDE))
    depth = np.full((SIDE, SIDE), np.inf)
    origin, direction = np.asarray(rays.origin), np.stack(rays.direction)
    for far in np.arange(1.5, 5.5, 1e-3)[::-1]:
        x, y, z = (origin[:, None, None] + far * direction) / size
        along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        depth[test(along, across, z)] = far
    return depth


@pytest.mark.slow
@pytest.mark.parametrize("view", CAMERAS)
@pytest.mark.parametrize("name", NAMES)
def test_depth_and_opacity_agree_with_ray_marching(name, view):
    camera, turn, size = render3d.orbit(*CAMERAS[view]), 0.4, 0.7
    draw = lambda kind: layer(camera, kind, pose(rotation=turn, size=size), plain(), (SIDE, SIDE))
    body = march(lambda *at: inside(name, *at), camera, turn, size)
    handle = march(rod, camera, turn, size) if name == "cup" else np.inf
    met, opacity = np.isfinite(np.minimum(body, handle)), np.asarray(draw(kind_of(name)).opacity)
    assert met.sum() > 40
    assert opacity[met].min() > 0.4
    assert opacity[~met].max() < 0.6
    # Where depth has a kink within a pixel, it is a blend. A handle's depth is not exact.
    drawn = draw(BODY if name == "cup" else kind_of(name))
    smooth = np.isfinite(body) & (drawn.opacity > 0.98) & (_bend(body) < 0.01)
    assert smooth.sum() > 3
    assert np.mean(abs(np.asarray(drawn.depth) - body)[smooth] < 0.02) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("view", CAMERAS)
def test_no_ray_hangs_on_rounding(view):
    """A handle has bends, where rays are equally near to two of its parts; either makes the same image."""
    drawn = []
    for precision, wide in ((jnp.float32, False), (jnp.float64, True)):
        with jax.enable_x64(wide):
            exact = lambda tree, kind=precision: jax.tree.map(
                lambda x: jnp.asarray(np.asarray(x, np.float32), kind), tree
            )
            seen = exact(render3d.orbit(*CAMERAS[view])), exact(pose(rotation=0.4, size=0.7)), exact(plain())
            drawn.append(layer(seen[0], kind_of("cup"), *seen[1:], (SIDE, SIDE)))
    for single, double in zip(*drawn):
        assert double.dtype == np.float64
        np.testing.assert_allclose(single, double, atol=1e-3)


def _bend(depth):
    """Largest second difference of a map along either axis; jumps count too, with weight 0.05."""
    with np.errstate(invalid="ignore"):
        padded = np.pad(depth, 1, constant_values=np.inf)
        around = (padded[:-2, 1:-1], padded[2:, 1:-1]), (padded[1:-1, :-2], padded[1:-1, 2:])
        bends = [abs(before + after - 2 * depth) for before, after in around]
        jumps = [abs(side - depth) for pair in around for side in pair]
        worst = np.maximum(np.max(bends, 0), 0.05 * np.max(jumps, 0))
    return np.where(np.isfinite(worst), worst, np.inf)


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.7, -0.3), (-0.9, 0.5)])
def test_a_spheres_area_and_centre_are_those_of_its_ellipse(x, y):
    camera, radius, side = render3d.orbit(0.4, 0.8, 4.0), 0.4, 64
    opacity = np.asarray(layer(camera, kind_of("sphere"), pose(x, y, size=radius), plain(), (side, side)).opacity)
    across = np.asarray(camera.axes) @ (np.array([x, y, radius]) - camera.position)
    off_axis, width = np.hypot(*across[:2]) / across[2], np.arcsin(radius / np.linalg.norm(across))
    far, near = np.tan(np.arctan(off_axis) + width), np.tan(np.arctan(off_axis) - width)
    minor = np.sin(width) / np.sqrt(np.cos(np.arctan(off_axis)) ** 2 - np.sin(width) ** 2)
    pixel = 2 * np.tan(camera.field_of_view / 2) / side
    assert opacity.sum() == pytest.approx(np.pi * minor * (far - near) / 2 / pixel**2, rel=0.01)
    middle = (far + near) / 2 * across[:2] / max(np.hypot(*across[:2]), 1e-9)
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    centre = np.array([(columns * opacity).sum(), -(rows * opacity).sum()]) / opacity.sum()
    np.testing.assert_allclose(centre, middle / pixel, atol=0.05)


@pytest.mark.parametrize("kind", render3d.KINDS, ids=NAMES)
def test_rotations_that_are_symmetries_change_nothing_and_others_do(kind):
    camera, shape = render3d.orbit(0.2, 0.8, 2.5), (24, 24)
    setting = render3d.daylight()
    at = lambda rotation: np.asarray(picture(camera, kind, pose(0.2, 0.1, rotation), setting, shape))
    for turn in [2 * np.pi / kind.symmetry, -2 * np.pi / kind.symmetry] if kind.symmetry else [0.1, 1.0, 3.0]:
        np.testing.assert_allclose(at(0.7 + turn), at(0.7), atol=2e-4)
    for part in (2, 3, 4) if kind.symmetry else ():
        assert abs(at(0.7 + 2 * np.pi / kind.symmetry / part) - at(0.7)).max() > 0.05


def test_stripes_have_no_seam():
    camera = render3d.orbit(0.0, 0.7, 2.5)
    drawn = jax.jit(lambda r: layer(camera, kind_of("cylinder"), pose(rotation=r), plain(), (16, 16)).colour)
    turns = jnp.linspace(0.0, 2 * jnp.pi, 201)
    pictures = np.asarray(jax.lax.map(drawn, turns))
    assert abs(np.diff(pictures, axis=0)).max() < 0.1


def test_an_objects_size_is_its_scale():
    twice, once = (
        layer(render3d.orbit(0.3, 0.7, d), kind_of("cup"), pose(size=s), plain(), (24, 24))
        for s, d in ((0.8, 6.0), (0.4, 3.0))
    )
    np.testing.assert_allclose(twice.opacity, once.opacity, atol=1e-4)
    covered = once.opacity > 0.01
    np.testing.assert_allclose(twice.colour[:, covered], once.colour[:, covered], atol=2e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 0.5, (1.0, 1.0, 1.0)), "bottom must be below top"),
        ((0.0, 1.0, (0.0, 1.0, 1.0)), "radii must be positive"),
        ((0.0, 1.0, (1.0, 1.5, 2.0)), "radii must bulge"),
    ],
)
def test_walls_that_are_not_convex_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        revolution.Wall(*arguments)
