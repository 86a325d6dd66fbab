import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from airjax.render3d import look_at, orbit

UPRIGHT = (0.3, 0.8, 4.0)


def test_orbit_equals_look_at_from_the_same_position():
    for azimuth in np.linspace(0.0, 6.0, 5):
        around = orbit(azimuth, 0.7, 3.0, target=jnp.array([0.2, -0.1, 0.3]))
        straight = look_at(around.position, jnp.array([0.2, -0.1, 0.3]))
        np.testing.assert_allclose(around.axes, straight.axes, atol=1e-6)


def test_axes_are_orthonormal_and_right_handed():
    axes = np.asarray(orbit(*UPRIGHT).axes)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(np.cross(axes[0], axes[1]), -axes[2], atol=1e-6)


def test_azimuth_0_looks_along_y_with_x_to_the_right_and_grows_counterclockwise():
    np.testing.assert_allclose(orbit(0.0, 0.0, 2.0).position, [0, -2, 0], atol=1e-6)
    np.testing.assert_allclose(orbit(np.pi / 2, 0.0, 2.0).position, [2, 0, 0], atol=1e-6)
    direction = orbit(0.0, 0.5, 2.0).rays((4, 6)).direction
    assert (np.diff(direction[0], axis=1) > 0).all()
    assert (np.diff(direction[2], axis=0) < 0).all()


def test_the_middle_ray_looks_at_the_target_and_the_field_of_view_is_between_outer_edges():
    camera = orbit(*UPRIGHT, field_of_view=0.6)
    rays = camera.rays((9, 15))
    direction = np.stack(rays.direction)
    np.testing.assert_allclose(direction[:, 4, 7], camera.axes[2], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=0), 1.0, atol=1e-6)
    across = np.tensordot(np.asarray(camera.axes), direction, 1)
    top = across[1, 0, 7] / across[2, 0, 7]
    assert top * 9 / 8 == pytest.approx(np.tan(0.3), rel=1e-5)
    assert across[0, 4, 14] / across[2, 4, 14] / 7 == pytest.approx(top / 4, rel=1e-5)  # square pixels


def test_straight_down_keeps_the_azimuth_and_look_at_has_x_to_the_right():
    azimuth = 0.4
    np.testing.assert_allclose(orbit(azimuth, np.pi / 2, 3.0).axes[0], [np.cos(azimuth), np.sin(azimuth), 0], atol=1e-6)
    np.testing.assert_allclose(
        look_at(jnp.array([0.0, 0.0, 3.0]), jnp.zeros(3)).axes, [[1, 0, 0], [0, 1, 0], [0, 0, -1]]
    )


@pytest.mark.slow
def test_gradients_equal_finite_differences():
    def towards(azimuth, elevation, distance, field_of_view):
        rays = orbit(azimuth, elevation, distance, field_of_view=field_of_view).rays((2, 3))
        return (rays.origin, *rays.direction)

    with jax.enable_x64(True):
        check_grads(jax.jit(towards), (0.3, 0.8, 4.0, 0.7), order=1, eps=1e-6)
        straight = lambda position: look_at(jnp.asarray(position), jnp.zeros(3)).axes
        check_grads(straight, (jnp.array([1.0, -2.0, 3.0]),), order=1, eps=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("position", [(0.0, 0.0, 3.0), (0.0, 0.0, 0.0), (0.0, 0.0, -1.0), (1e-7, 0.0, 1.0)])
def test_a_camera_without_an_upright_has_finite_axes_and_gradients(position):
    function = lambda position: look_at(position, jnp.zeros(3)).axes
    axes, slopes = function(jnp.array(position)), jax.jacrev(function)(jnp.array(position))
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-5)
    assert np.isfinite(slopes).all()


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ValueError, match="shape must be at least 1 x 1, got 0 x 4"):
        orbit(*UPRIGHT).rays((0, 4))
