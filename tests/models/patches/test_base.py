import jax.numpy as jnp
import numpy as np

from airjax.models.layers import Normal
from airjax.models.patches.base import central, gaussian_code


def test_the_central_code_is_the_mean_where_it_says_much_and_a_deviation_off_where_it_says_nothing():
    posterior = Normal(jnp.array([0.7, -1.2, 0.1, 0.0]), jnp.log(jnp.array([0.1, 0.2, 0.9, 1.0])))
    np.testing.assert_allclose(central(posterior), [0.7001, -1.2016, 0.7561, -1.0], rtol=1e-4)


def test_no_code_lies_further_off_than_a_deviation_of_the_prior():
    wide = Normal(jnp.zeros(2), jnp.log(jnp.array([3.0, 1e9])))
    np.testing.assert_array_equal(central(wide), [1.0, -1.0])


def test_without_noise_a_code_is_the_central_one_and_its_densities_are_its_own():
    posterior = Normal(jnp.array([0.5, -0.5]), jnp.log(jnp.array([0.5, 0.8])))
    code = gaussian_code(posterior, None)
    np.testing.assert_array_equal(code.value, central(posterior))
    np.testing.assert_allclose(code.log_q, posterior.log_prob(code.value), rtol=1e-6)
