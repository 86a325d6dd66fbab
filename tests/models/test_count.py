import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from airjax.models import count

logits = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=6)


@pytest.mark.parametrize(
    "log_probs",
    [
        count.truncated_geometric(4, 0.01),
        count.uniform(4),
        count.poisson(4, 1.7),
        count.table([1.0, 2.0, 3.0, 4.0, 90.0], 4),
        count.annealed(jnp.asarray(count.uniform(4)), jnp.asarray(count.poisson(4, 9.0)), jnp.float32(0.3)),
    ],
)
def test_priors_are_normalised(log_probs):
    assert log_probs.shape == (5,)
    assert np.exp(np.asarray(log_probs, float)).sum() == pytest.approx(1.0, abs=1e-6)


def test_geometric_prior_falls_by_its_ratio():
    np.testing.assert_allclose(np.diff(count.truncated_geometric(5, 0.2)), np.log(0.2), rtol=1e-5)


def test_geometric_prior_of_ratio_one_is_uniform():
    np.testing.assert_allclose(count.truncated_geometric(5, 1.0), count.uniform(5))


def test_poisson_prior_is_the_poisson_distribution_cut_off():
    expected = scipy.stats.poisson(1.7).pmf(np.arange(5))
    np.testing.assert_allclose(np.exp(count.poisson(4, 1.7)), expected / expected.sum(), rtol=1e-5)


def test_table_prior_keeps_the_proportions():
    np.testing.assert_allclose(np.exp(count.table([1.0, 3.0, 4.0], 2)), [0.125, 0.375, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: count.truncated_geometric(3, 0.0),
        lambda: count.truncated_geometric(3, float("nan")),
        lambda: count.poisson(3, -1.0),
        lambda: count.table([0.5, 0.5], 2),
        lambda: count.table([0.5, 0.0, 0.5], 2),
        lambda: count.table([0.5, -0.1, 0.5], 2),
        lambda: count.table([0.5, float("inf"), 0.5], 2),
    ],
)
def test_priors_outside_their_range_are_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()


def test_annealing_starts_at_one_prior_and_ends_and_stays_at_the_other():
    start, end = jnp.asarray(count.uniform(3)), jnp.asarray(count.poisson(3, 0.3))
    at = lambda progress: count.annealed(start, end, jnp.float32(progress))
    np.testing.assert_allclose(at(0.0), start, rtol=1e-6)
    np.testing.assert_allclose(at(-1.0), start, rtol=1e-6)
    np.testing.assert_allclose(at(1.0), end, rtol=1e-6)
    np.testing.assert_allclose(at(7.0), end, rtol=1e-6)


def test_annealing_between_geometric_priors_goes_through_geometric_priors():
    start, end = (jnp.asarray(count.truncated_geometric(3, ratio)) for ratio in (1.0, 0.01))
    np.testing.assert_allclose(
        count.annealed(start, end, jnp.float32(0.5)), count.truncated_geometric(3, 0.1), rtol=1e-5
    )


@pytest.mark.slow
@settings(max_examples=30)
@given(logits)
def test_stick_breaking_sums_to_one(values):
    log_w = count.stick_breaking(jnp.asarray(values, jnp.float32))
    assert np.exp(np.asarray(log_w, float)).sum() == pytest.approx(1.0, abs=1e-5)


@settings(max_examples=30)
@given(logits)
def test_stick_breaking_sums_the_masks_whose_leading_ones_are_the_count(values):
    p = scipy.special.expit(values)
    expected = np.zeros(len(p) + 1)
    for mask in itertools.product((0, 1), repeat=len(p)):
        n = next((i for i, m in enumerate(mask) if not m), len(p))
        expected[n] += np.prod(np.where(mask, p, 1 - p))
    log_w = count.stick_breaking(jnp.asarray(values, jnp.float32))
    np.testing.assert_allclose(np.exp(log_w), expected, rtol=1e-4, atol=1e-6)


@settings(max_examples=30)
@given(logits)
def test_reach_is_the_upper_tail_of_the_count(values):
    values = jnp.asarray(values, jnp.float32)
    tail = np.cumsum(np.exp(count.stick_breaking(values))[::-1])[::-1][1:]
    np.testing.assert_allclose(np.exp(count.log_reach(values)), tail, rtol=1e-4, atol=1e-6)


def test_certain_decisions_have_finite_values_and_gradients():
    extreme = jnp.asarray([200.0, -200.0, 200.0])
    assert np.isfinite(count.stick_breaking(extreme)).all()
    assert np.isfinite(jax.jacobian(count.stick_breaking)(extreme)).all()
