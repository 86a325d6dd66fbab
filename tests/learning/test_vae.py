"""Patch models trained alone on whole pictures."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from airjax.config import ModelConfig, TrainConfig
from airjax.learning import vae
from airjax.learning.trainer import NotFiniteError
from airjax.models.build import build_patches
from airjax.models.likelihood import BernoulliLikelihood, NormalLikelihood

KEY = jax.random.PRNGKey(0)
MODEL = ModelConfig(patches="draw", code_size=4, draw_steps=2, draw_hidden=8)
TRAIN = TrainConfig(steps=60, batch=8, chunk=20, learning_rate=1e-2, warmup=5)


@pytest.fixture(scope="module")
def pictures():
    """Bright squares somewhere on 8 x 8 pixels."""
    images = np.zeros((40, 1, 8, 8), np.uint8)
    for image, (y, x) in zip(images, np.random.default_rng(0).integers(0, 5, (40, 2))):
        image[:, y : y + 4, x : x + 4] = 230
    return images


@pytest.fixture(scope="module")
def patches():
    return build_patches(MODEL, (1, 8, 8), key=KEY)


@pytest.fixture(scope="module")
def fitted(patches, pictures):
    return vae.fit(patches, NormalLikelihood(0.3), pictures, TRAIN)


def leaves(model):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(model)]


def same(one, other):
    return all((a == b).all() for a, b in zip(leaves(one), leaves(other), strict=True))


def test_training_raises_the_bound_and_leaves_what_it_was_given(patches, pictures, fitted):
    model, info = fitted
    assert info.elbo.shape == (60,)
    assert info.elbo[-10:].mean() > info.elbo[:10].mean() + 5
    assert same(patches, build_patches(MODEL, (1, 8, 8), key=KEY))
    assert not same(patches, model.patches)


@pytest.mark.slow
def test_the_seed_fixes_everything_and_chunks_change_nothing(patches, pictures, fitted):
    shorter = replace(TRAIN, chunk=25)
    assert same(vae.fit(patches, NormalLikelihood(0.3), pictures, shorter)[0], fitted[0])
    other = replace(TRAIN, seed=1)
    assert not same(vae.fit(patches, NormalLikelihood(0.3), pictures, other)[0], fitted[0])


def test_a_likelihood_that_is_learned_moves_and_one_that_is_fixed_stays(patches, pictures, fitted):
    learned, _ = vae.fit(patches, NormalLikelihood(0.3, learn=True), pictures, TRAIN)
    assert fitted[0].likelihood.log_sd == NormalLikelihood(0.3).log_sd
    assert abs(learned.likelihood.log_sd - NormalLikelihood(0.3).log_sd) > 0.1


def test_the_two_bounds_of_one_sample_differ_only_by_the_divergence_of_that_sample(pictures, fitted):
    one = vae.bound(fitted[0], pictures, samples=1, key=KEY, batch=40)
    noise = jax.random.normal(jax.random.fold_in(KEY, 0), (40, 1, 4))[:, 0]
    code = jax.vmap(fitted[0].patches.encode)(pictures / np.float32(255), noise)
    np.testing.assert_allclose(one.iw_bound - one.elbo, code.kl + code.log_ratio, atol=1e-3)


def test_more_samples_tighten_the_bound(pictures, fitted):
    means = [vae.bound(fitted[0], pictures, samples=k, key=KEY).iw_bound.mean() for k in (1, 10, 300)]
    assert means[0] < means[1] < means[2]
    assert means[0] < vae.bound(fitted[0], pictures, samples=1, key=KEY).elbo.mean() + 1


@pytest.mark.slow
def test_many_samples_come_to_the_log_likelihood(pictures):
    """With a code of one number, p(x) is an integral that a sum over a grid evaluates."""
    config = ModelConfig(code_size=1, patch_hidden=4)
    model = vae.PictureModel(build_patches(config, (1, 8, 8), key=KEY), BernoulliLikelihood())
    grid = jnp.linspace(-8.0, 8.0, 2_001)
    image = jnp.asarray(pictures[0] / np.float32(255))
    log_likelihoods = jax.vmap(lambda z: model.likelihood.log_prob(image, model.patches.decode(z[None])))(grid)
    log_p = jax.nn.logsumexp(log_likelihoods + jax.scipy.stats.norm.logpdf(grid)) + jnp.log(grid[1] - grid[0])
    bound = vae.bound(model, pictures[:1], samples=5_000, key=KEY).iw_bound[0]
    assert bound == pytest.approx(float(log_p), abs=0.1)


@pytest.mark.parametrize("batch", [7, 40])
def test_codes_are_those_without_noise(pictures, fitted, batch):
    patches = fitted[0].patches
    expected = jax.vmap(lambda x: patches.encode(x, jnp.zeros(4)).value)(pictures / np.float32(255))
    np.testing.assert_allclose(vae.codes(patches, pictures, batch=batch), expected, atol=1e-4)


def test_a_run_that_diverges_stops_and_says_where(patches, pictures):
    config = TrainConfig(steps=20, batch=8, chunk=5, learning_rate=1e30, warmup=0, seed=3)
    with pytest.raises(NotFiniteError, match=r"not finite at step \d+ \(seed 3\)"):
        vae.fit(patches, NormalLikelihood(0.3), pictures, config)


def test_too_few_pictures_or_samples_are_refused(patches, pictures, fitted):
    with pytest.raises(ValueError, match="batch must be at most"):
        vae.fit(patches, NormalLikelihood(0.3), pictures[:5], TRAIN)
    for samples, images in ((0, pictures), (1, pictures[:0])):
        with pytest.raises(ValueError, match="at least 1"):
            vae.bound(fitted[0], images, samples=samples, key=KEY)
