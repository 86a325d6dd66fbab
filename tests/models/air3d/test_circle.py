import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.models.air3d.circle import WrappedNormals
from airjax.render3d.smooth import TURN


@pytest.mark.parametrize("sd", [0.05, 0.7, 2.5])
def test_densities_sum_to_one_around_the_circle(sd):
    angles = jnp.linspace(-np.pi, np.pi, 2_000, endpoint=False)
    density = jnp.exp(WrappedNormals(jnp.asarray(2.9), jnp.log(sd)).log_prob(angles))
    assert float(jnp.mean(density) * TURN) == pytest.approx(1.0, abs=2e-3)


def test_there_is_no_seam():
    modes = WrappedNormals(jnp.array([3.1, -3.1]), jnp.log(jnp.array([0.3, 0.3])))
    at, turned = modes.log_prob(jnp.array([-3.1, 3.1])), modes.log_prob(jnp.array([-3.1, 3.1]) + TURN)
    np.testing.assert_allclose(at, turned, rtol=1e-5)
    np.testing.assert_allclose(at, modes.log_prob(modes.mean + jnp.array([TURN - 6.2, 6.2 - TURN])), rtol=1e-4)


@pytest.mark.slow
def test_samples_have_the_density_they_are_scored_by():
    """The mean of 1 / q(z) over samples is the length of the circle."""
    modes = WrappedNormals(jnp.full(20_000, 3.0), jnp.full(20_000, jnp.log(1.5)))
    angles = modes.reparameterise(jax.random.normal(jax.random.PRNGKey(0), (20_000,)))
    assert float(jnp.mean(jnp.exp(-modes.log_prob(angles)))) == pytest.approx(TURN, rel=0.03)
