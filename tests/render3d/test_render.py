"""Images of whole scenes: gradients, finite values for all poses, invariance to rotation and batching."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stage import NAMES, layer, picture, plain, pose, stack

from airjax import render3d

USUAL = render3d.orbit(0.3, 0.8, 3.5)
SHAPE = (13, 11)

render = jax.jit(render3d.render, static_argnums=(4, 5))


def scene(kind, latents):
    """Draw one object on the table, in 13 x 13 pixels, as a function of all latents that have gradients."""
    x, y, rotation, size, *colour, azimuth, elevation, distance = latents
    one = render3d.Pose(jnp.stack([x, y]), rotation, size, jnp.stack(colour))
    return picture(render3d.orbit(azimuth, elevation, distance), kind, one, render3d.daylight(), (13, 13))


drawn = jax.jit(scene, static_argnums=0)
slopes_of = jax.jit(jax.jacfwd(scene, argnums=1), static_argnums=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", render3d.KINDS, ids=NAMES)
def test_gradients_of_every_pixel_equal_finite_differences(kind):
    # With so few pixels, a third of those that an object covers lie on its silhouette.
    with jax.enable_x64(True):
        for elevation in (0.3, 0.7, 1.4):
            latents = np.array([0.13, -0.21, 0.77, 0.71, 0.8, 0.35, 0.25, 0.31, elevation, 3.2])
            slopes, moves = np.asarray(slopes_of(kind, latents)), 1e-6 * np.eye(len(latents))
            expected = np.stack([(drawn(kind, latents + e) - drawn(kind, latents - e)) / 2e-6 for e in moves], -1)
            np.testing.assert_allclose(slopes, expected, atol=1e-5)
            seen = abs(slopes).max((0, 1, 2))
            assert (np.delete(seen, 2) > 0.1).all()
            assert (seen[2] > 0.1) == (kind.symmetry > 0)


@pytest.mark.slow
def test_reverse_mode_gradients_equal_forward_mode():
    with jax.enable_x64(True):
        latents = np.array([0.13, -0.21, 0.77, 0.71, 0.8, 0.35, 0.25, 0.31, 0.7, 3.2])
        weights = np.random.default_rng(0).standard_normal((3, 13, 13))
        backwards = jax.jit(jax.grad(lambda latents: jnp.vdot(weights, scene(render3d.CYLINDER, latents))))(latents)
        expected = np.tensordot(weights, slopes_of(render3d.CYLINDER, latents), 3)
        np.testing.assert_allclose(backwards, expected, atol=1e-9)


FORWARD = jnp.array([0.0, 1.0, 0.0])
BAD = {
    "behind the camera": (USUAL, pose(1.0, -9.0), pose()),
    "outside the view": (USUAL, pose(50.0, 0.0), pose(-50.0, 3.0)),
    "very far": (USUAL, pose(1e6, 0.0), pose(0.0, 1e6)),
    "coincident": (USUAL, pose(), pose()),
    "nested": (USUAL, pose(size=0.2), pose(size=0.9)),
    "no size": (USUAL, pose(size=0.0), pose(size=1e-12)),
    "a negative size": (USUAL, pose(size=-0.5), pose(size=-1e-9)),
    "huge": (USUAL, pose(size=1e3), pose()),
    "turned often": (USUAL, pose(rotation=1e6), pose(rotation=-1e6)),
    "straight down": (render3d.orbit(0.0, np.pi / 2, 3.0), pose(), pose(0.5)),
    "straight down by target": (render3d.look_at(jnp.array([0.0, 0.0, 3.0]), jnp.zeros(3)), pose(), pose(0.5)),
    "straight up": (render3d.look_at(jnp.zeros(3), jnp.array([0.0, 0.0, 3.0])), pose(), pose(0.5)),
    "along the table": (render3d.orbit(0.0, 0.0, 3.0), pose(), pose(0.5)),
    "level with a face": (render3d.look_at(jnp.array([0.0, -3.0, 0.96]), FORWARD * 3 + 0.96), pose(), pose(0.5)),
    "along a face": (render3d.orbit(0.0, 0.5, 3.0, target=jnp.array([0.48, 0.0, 0.0])), pose(), pose(0.5)),
    "along a wall": (render3d.look_at(jnp.array([0.45, 0.0, 3.0]), jnp.array([0.45, 0.0, 0.0])), pose(), pose(0.5)),
    "inside": (render3d.look_at(jnp.array([0.01, 0.0, 0.3]), FORWARD), pose(), pose(0.5)),
    "inside, on the axis": (render3d.look_at(jnp.array([0.0, 0.0, 0.48]), jnp.zeros(3)), pose(), pose(0.5)),
    "at the middle": (render3d.orbit(0.0, 0.0, 0.0), pose(), pose()),
    "below the table": (render3d.orbit(0.0, -0.5, 3.0), pose(), pose(0.5)),
    "a needle's view": (render3d.orbit(0.0, 0.5, 3.0, field_of_view=1e-4), pose(), pose(0.5)),
}


@jax.jit
def sensitivity(camera, identities, poses, setting):
    """Draw a scene, and return the gradient of a sum of pixels by all arguments."""
    weights = jnp.cos(jnp.arange(3.0 * np.prod(SHAPE)).reshape(3, *SHAPE))
    total = lambda c, p, s: (images := render3d.render(c, identities, p, s, SHAPE), jnp.vdot(images[-1], weights))[::-1]
    return jax.grad(total, argnums=(0, 1, 2), has_aux=True)(camera, poses, setting)


def in_single_precision(tree):
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float32), tree)


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_no_pose_makes_a_picture_or_a_gradient_that_is_not_finite(name):
    camera, *poses = BAD[name]
    fixed = in_single_precision((camera, stack(*poses), render3d.daylight()))
    for identity in range(len(NAMES)):
        slopes, images = sensitivity(fixed[0], jnp.full(2, identity), *fixed[1:])
        assert ((images > -1e-5) & (images < 1 + 1e-5)).all(), NAMES[identity]
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes)), NAMES[identity]


@pytest.mark.slow
def test_objects_behind_the_camera_outside_the_view_or_of_no_size_are_not_seen():
    for name in ("behind the camera", "outside the view", "no size", "a negative size"):
        camera, *poses = BAD[name]
        for identity in range(len(NAMES)):
            fixed = in_single_precision((stack(*poses), render3d.daylight()))
            images = render(in_single_precision(camera), jnp.full(2, identity), *fixed, SHAPE)
            np.testing.assert_allclose(images[1], images[0], atol=1e-3, err_msg=f"{NAMES[identity]} {name}")


@pytest.mark.slow
def test_an_image_of_one_pixel_and_a_scene_without_objects():
    none = jax.tree.map(lambda x: x[:0], stack(pose()))
    images = render(USUAL, jnp.zeros(0, jnp.int32), none, render3d.daylight(), (1, 1))
    assert images.shape == (1, 3, 1, 1)
    empty = render3d.empty_table(USUAL.rays((1, 1)), render3d.daylight(), 0).image
    np.testing.assert_allclose(images[0], empty, atol=1e-2)


@pytest.mark.slow
def test_camera_objects_and_light_turned_together_make_the_same_picture():
    chosen = (render3d.CUBE, render3d.CYLINDER, render3d.CUP, render3d.PLATE)

    def turned(angle):
        cos, sin = np.cos(angle), np.sin(angle)
        turn = lambda x, y: (cos * x - sin * y, sin * x + cos * y)
        poses = stack(*(pose(*turn(0.7 * k - 1, 0.4 * (-1) ** k), rotation=k + angle, size=0.4) for k in range(4)))
        setting = plain(light=(*turn(-0.5, -0.6), 1.0))
        return render(render3d.orbit(0.3 + angle, 0.8, 3.5), jnp.arange(4), poses, setting, (24, 24), chosen)[-1]

    np.testing.assert_allclose(turned(1.1), turned(0.0), atol=1e-3)


def test_a_nearer_object_hides_a_farther_one_whichever_is_added_first():
    near, far = pose(0.0, -0.6, size=0.6, colour=(1.0, 0.0, 0.0)), pose(0.0, 0.8, size=0.6, colour=(0.0, 1.0, 0.0))
    camera, identities = render3d.orbit(0.0, 0.3, 4.0), jnp.zeros(2, jnp.int32)
    one, other = (
        render(camera, identities, stack(*poses), render3d.daylight(), (32, 32), render3d.SOLIDS[:1])[-1]
        for poses in ((near, far), (far, near))
    )
    np.testing.assert_allclose(one, other, atol=1e-6)
    alone = [layer(camera, render3d.KINDS[0], p, render3d.daylight(), (32, 32)).opacity > 0.999 for p in (near, far)]
    both = np.asarray(alone[0] & alone[1])
    assert both.sum() > 5
    assert (one[0, both] > 0.2).all()
    assert (one[1, both] < 1e-3).all()


@pytest.mark.slow
def test_every_intermediate_image_is_the_picture_of_its_objects():
    poses = stack(*(pose(0.5 * k - 0.7, 0.3 * (-1) ** k, rotation=float(k), size=0.4) for k in range(4)))
    identities = jnp.array([1, 0, 2, 1])
    images = render(USUAL, identities, poses, render3d.daylight(), SHAPE, render3d.SOLIDS)
    for n in (0, 2):
        fewer = jax.tree.map(lambda x, n=n: x[:n], poses)
        alone = render(USUAL, identities[:n], fewer, render3d.daylight(), SHAPE, render3d.SOLIDS)
        np.testing.assert_allclose(images[: n + 1], alone, atol=2e-5)


@pytest.mark.slow
def test_draw_identity_alone_and_in_a_batch_equals_a_slice_of_draw_each():
    rays, setting, kinds = USUAL.rays(SHAPE), render3d.daylight(), (render3d.CUBE, render3d.CUP, render3d.SPHERE)
    poses = stack(pose(0.1, 0.2, 0.3), pose(-0.4, 0.1, 2.0, size=0.3))
    each = jax.jit(jax.vmap(lambda p: render3d.draw_each(rays, p, setting, kinds)))(poses)
    by_index = jax.jit(lambda i, p: render3d.draw_identity(rays, i, p, setting, kinds))
    batched = jax.jit(jax.vmap(lambda i, p: render3d.draw_identity(rays, i, p, setting, kinds)))
    for identity in range(len(kinds)):
        together = batched(jnp.full(2, identity), poses)
        for row in range(2):
            one = jax.tree.map(lambda x, row=row: x[row], poses)
            expected = jax.tree.map(lambda x, row=row, identity=identity: x[row, identity], each)
            same = jax.tree.map(lambda x, row=row: x[row], together)
            for other in (by_index(identity, one), same):
                # The depth of a ray nearly parallel to a plane is large, and not visible.
                seen = expected.opacity > 1e-4
                np.testing.assert_allclose(other.opacity, expected.opacity, atol=1e-4)
                np.testing.assert_allclose(other.colour[:, seen], expected.colour[:, seen], atol=1e-3)
                np.testing.assert_allclose(other.depth[seen], expected.depth[seen], atol=1e-3)


@pytest.mark.slow
def test_kinds_can_be_a_subset():
    rays, setting = USUAL.rays(SHAPE), render3d.daylight()
    chosen = render3d.draw_identity(rays, jnp.asarray(0), pose(), setting, render3d.CROCKERY)
    np.testing.assert_allclose(
        chosen.opacity, layer(USUAL, render3d.CROCKERY[0], pose(), setting, SHAPE).opacity, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [render3d.SOLIDS, render3d.CROCKERY], ids=["solids", "crockery"])
def test_a_small_picture_is_a_large_one_averaged(kinds):
    poses = stack(*(pose(0.8 * (k % 3) - 0.8, 0.9 * (k // 3) - 0.4, rotation=float(k), size=0.35) for k in range(6)))
    small, large = (
        render(USUAL, jnp.arange(6) % 3, poses, render3d.daylight(), (side, side), kinds)[-1] for side in (32, 128)
    )
    averaged = large.reshape(3, 32, 4, 32, 4).mean((2, 4))
    assert abs(small - averaged).mean() < 0.02
    assert abs(small - averaged).max() < 0.3
