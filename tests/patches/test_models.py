import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.patches.base import PatchModel
from airjax.patches.mlp import MLPPatches

KEY = jax.random.PRNGKey(0)
GLIMPSE = jnp.asarray(np.random.default_rng(0).random((2, 5, 5)), jnp.float32)


@pytest.fixture(scope="module")
def patches() -> PatchModel:
    return MLPPatches((2, 5, 5), code_size=3, hidden=8, key=KEY)


def encode_many(patches, number):
    encode = lambda noise: patches.encode(GLIMPSE, noise)
    return jax.jit(jax.vmap(encode))(jax.random.normal(KEY, (number, 3)))


def test_a_code_decodes_to_a_patch_within_zero_and_one(patches):
    codes = 3.0 * jax.random.normal(KEY, (200, 3))
    drawn = jax.vmap(patches.decode)(codes)
    assert drawn.shape == (200, 2, 5, 5)
    assert float(drawn.min()) >= 0.0
    assert float(drawn.max()) <= 1.0


def test_patches_start_out_dark(patches):
    assert float(patches.decode(jnp.zeros(3)).mean()) < 0.25


def test_without_noise_the_code_is_the_posteriors_mean(patches):
    samples = np.asarray(encode_many(patches, 4_000).value)
    standard_error = samples.std(0) / np.sqrt(len(samples))
    assert (abs(samples.mean(0) - patches.encode(GLIMPSE, jnp.zeros(3)).value) < 5 * standard_error).all()


def test_the_kl_is_minus_the_mean_log_ratio(patches):
    code = encode_many(patches, 4_000)
    ratios = np.asarray(code.log_ratio)
    assert ratios.std() > 0
    assert np.ptp(code.kl) < 1e-5
    assert abs(float(code.kl[0]) + ratios.mean()) < 5 * ratios.std() / np.sqrt(ratios.size)


def test_prior_samples_are_standard_normal(patches):
    samples = jax.vmap(lambda key: patches.prior_sample(key=key))(jax.random.split(KEY, 4_000))
    np.testing.assert_allclose(samples.mean(0), 0.0, atol=0.1)
    np.testing.assert_allclose(jnp.cov(samples.T), np.eye(3), atol=0.15)
