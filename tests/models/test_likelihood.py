import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from airjax.models.likelihood import BernoulliLikelihood, NormalLikelihood

RNG = np.random.default_rng(0)
IMAGE, CANVAS = (jnp.asarray(RNG.random((3, 4, 5)), jnp.float32) for _ in range(2))


def test_a_perfect_canvas_at_sd_0_3_is_worth_0_28503_nats_a_pixel():
    pixel, scene = jnp.full((1, 1, 1), 0.4), jnp.asarray(RNG.random((1, 50, 50)), jnp.float32)
    likelihood = NormalLikelihood(0.3)
    assert float(likelihood.log_prob(pixel, pixel)) == pytest.approx(0.28503, abs=1e-5)
    assert float(likelihood.log_prob(scene, scene)) == pytest.approx(712.6, abs=0.05)


def test_normal_likelihood_is_scipys():
    expected = scipy.stats.norm(CANVAS, 0.2).logpdf(IMAGE).sum()
    assert float(NormalLikelihood(0.2).log_prob(IMAGE, CANVAS)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("learn", [True, False])
def test_the_normals_sd_gets_a_gradient_only_if_it_is_learned(learn):
    gradient = jax.grad(lambda m: m.log_prob(IMAGE, CANVAS))(NormalLikelihood(0.2, learn=learn))
    expected = float(jnp.sum((IMAGE - CANVAS) ** 2)) / 0.04 - IMAGE.size
    assert float(gradient.log_sd) == pytest.approx(expected if learn else 0.0, rel=1e-4)


def test_the_deviation_grows_with_what_objects_change():
    change = jnp.asarray(RNG.normal(size=IMAGE.shape), jnp.float32)
    spread = np.sqrt(0.2**2 + 0.5**2 * np.max(np.square(change), axis=0))
    likelihood = NormalLikelihood(0.2, gain=0.5)
    expected = scipy.stats.norm(CANVAS, spread).logpdf(IMAGE).sum()
    assert float(likelihood.log_prob(IMAGE, CANVAS, change)) == pytest.approx(expected, rel=1e-5)
    unchanged = float(NormalLikelihood(0.2).log_prob(IMAGE, CANVAS))
    assert float(likelihood.log_prob(IMAGE, CANVAS)) == unchanged
    assert float(likelihood.log_prob(IMAGE, CANVAS, 0 * change)) == pytest.approx(unchanged, rel=1e-6)


@pytest.mark.parametrize("gain", [-0.1, float("nan")])
def test_a_gain_that_is_negative_is_refused(gain):
    with pytest.raises(ValueError, match="gain must be at least 0, got"):
        NormalLikelihood(0.2, gain=gain)


@pytest.mark.parametrize("sd", [0.0, -1.0, float("nan")])
def test_an_sd_that_is_not_positive_is_refused(sd):
    with pytest.raises(ValueError, match="sd must be positive, got"):
        NormalLikelihood(sd)


def test_bernoulli_likelihood_is_scipys():
    image = (IMAGE > 0.5).astype(jnp.float32)
    canvas = jnp.clip(CANVAS, 0.01, 0.99)
    expected = scipy.stats.bernoulli(canvas).logpmf(np.asarray(image)).sum()
    assert float(BernoulliLikelihood().log_prob(image, canvas)) == pytest.approx(expected, rel=1e-5)


def test_bernoulli_likelihood_is_linear_in_grey_values():
    likelihood, black, white = BernoulliLikelihood(), jnp.zeros_like(IMAGE), jnp.ones_like(IMAGE)
    ends = [float(likelihood.log_prob(end, CANVAS)) for end in (black, white)]
    assert float(likelihood.log_prob(0.3 * white, CANVAS)) == pytest.approx(0.7 * ends[0] + 0.3 * ends[1], rel=1e-5)


def test_bernoulli_likelihood_is_finite_where_the_canvas_leaves_its_range():
    canvas = 4.0 * CANVAS - 2.0
    mean = BernoulliLikelihood(0.01).mean(canvas)
    assert float(mean.min()) == pytest.approx(0.01)
    assert float(mean.max()) == pytest.approx(0.99)
    assert np.isfinite(BernoulliLikelihood(0.01).log_prob(IMAGE, canvas))
