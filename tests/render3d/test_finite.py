import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stage import layer, plain, pose

from airjax import render3d

SIDE = 12
CAMERA = render3d.orbit(0.3, 0.8, 3.5)
ORIGIN, DIRECTION, FORWARD, PIXEL = (np.asarray(part, np.float64) for part in CAMERA.rays((SIDE, SIDE)))


def host_sphere(latents):
    """Draw the opacity of a sphere, given (x, y, size), in NumPy, as a black box."""
    assert type(latents) is np.ndarray
    x, y, size = latents.astype(np.float64)
    origin = ORIGIN - [x, y, size]
    nearest = -np.tensordot(origin, DIRECTION, 1)
    distance = np.linalg.norm(origin[:, None, None] + nearest * DIRECTION, axis=0)
    blur = PIXEL * (np.array([x, y, 0.0]) - ORIGIN) @ FORWARD
    resolved = size**4 / (size**4 + blur**4 / 16)
    return resolved / (1.0 + np.exp(-4.0 / blur * (size - distance)))[None]


def sphere(latents):
    one = pose()
    one = render3d.Pose(latents[:2], one.rotation, latents[2], one.colour)
    return layer(CAMERA, render3d.KINDS[0], one, plain(), (SIDE, SIDE)).opacity[None]


LATENTS = jnp.array([[0.1, -0.2, 0.6], [-0.4, 0.3, 0.4], [0.8, 0.0, 0.9]])
of_host = render3d.differentiable(host_sphere, (1, SIDE, SIDE), (5e-3, 5e-3, 5e-3))


@pytest.mark.slow
def test_image_and_jacobian_are_those_of_the_analytic_renderer():
    np.testing.assert_allclose(of_host(LATENTS[0]), sphere(LATENTS[0]), atol=1e-4)
    expected = jax.jacfwd(sphere)(LATENTS[0])
    for jacobian in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(jax.jit(jacobian(of_host))(LATENTS[0]), expected, atol=0.01 * abs(expected).max())


def test_a_batch_equals_its_vectors_one_by_one():
    loss = lambda latents: jnp.sum(of_host(latents) ** 2)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(loss)))(LATENTS)
    for row, latents in enumerate(LATENTS):
        value, slope = jax.value_and_grad(loss)(latents)
        np.testing.assert_allclose(values[row], value, rtol=1e-5)
        np.testing.assert_allclose(slopes[row], slope, rtol=1e-4, atol=1e-4)
    grid = jax.vmap(jax.vmap(of_host))(jnp.stack([LATENTS, LATENTS]))
    np.testing.assert_allclose(grid[1], jax.vmap(of_host)(LATENTS), atol=1e-6)


def test_it_works_inside_a_loop():
    def descend(latents, _):
        loss, slope = jax.value_and_grad(lambda z: jnp.mean((of_host(z) - of_host(LATENTS[0])) ** 2))(latents)
        return latents - 0.2 * slope, loss

    _, losses = jax.jit(lambda start: jax.lax.scan(descend, start, None, length=20))(LATENTS[0] + 0.1)
    assert losses[-1] < 0.3 * losses[0]


def test_each_step_is_in_its_own_unit_and_differences_are_central():
    function = render3d.differentiable(lambda z: (z**2).sum().reshape(1, 1, 1), (1, 1, 1), (1.0, 100.0))
    np.testing.assert_allclose(jax.grad(lambda z: function(z).sum())(jnp.array([3.0, 7.0])), [6.0, 14.0], rtol=1e-4)


def test_bytes_become_numbers_up_to_one():
    ramp = lambda z: np.full((1, 1, 2), np.uint8(round(100 * float(z[0]))))
    function = render3d.differentiable(ramp, (1, 1, 2), (0.25,))
    np.testing.assert_allclose(function(jnp.array([2.0])), np.full((1, 1, 2), 200 / 255), rtol=1e-6)
    np.testing.assert_allclose(jax.jacrev(function)(jnp.array([2.0]))[0, 0, 0], [100 / 255], rtol=1e-5)


def test_double_precision_reaches_the_host():
    seen = []
    with jax.enable_x64(True):
        function = render3d.differentiable(lambda z: seen.append(z.dtype) or np.zeros((1, 1, 1)), (1, 1, 1), (0.1,))
        assert function(jnp.zeros(1, jnp.float64)).dtype == jnp.float64
    assert seen == [np.float64]


@pytest.mark.parametrize("steps", [(), (0.1, 0.0), (0.1, -1.0), (float("nan"),)])
def test_steps_that_are_not_positive_are_refused(steps):
    with pytest.raises(ValueError, match="steps must be positive"):
        render3d.differentiable(host_sphere, (1, SIDE, SIDE), steps)


def test_a_wrong_number_of_latents_or_shape_of_image_is_refused():
    with pytest.raises(ValueError, match=r"latents must have shape \(3,\)"):
        of_host(jnp.zeros(2))
    wrong = render3d.differentiable(host_sphere, (3, SIDE, SIDE), (0.1, 0.1, 0.1))
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"image must have shape \(3, 12, 12\)"):
        jax.block_until_ready(wrong(LATENTS[0]))
