"""The bounds and their gradients against the definition, in double precision."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact import IMAGE, KEY, scrambled, value_and_flat_gradient

from airjax.learning import bounds
from airjax.models.likelihood import NormalLikelihood

SAMPLES = 4_096


@pytest.fixture(scope="module", autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def image(double_precision):
    return jnp.asarray(IMAGE)


@pytest.fixture(scope="module")
def model(rich_model):
    return rich_model


@pytest.fixture(scope="module")
def trajectory(model, image):
    return jax.jit(lambda: model.infer(image, key=KEY))()


@pytest.fixture(scope="module")
def vague(double_precision, tiny_model):
    """A model whose posterior is so vague that a few thousand samples estimate integrals well."""
    model = tiny_model(counts=(0.4, 0.3, 0.3), dtype=jnp.float64, likelihood=NormalLikelihood(2.0), rough=0.05)
    widen = lambda bias: bias.at[4:].add(0.2)
    return eqx.tree_at(lambda m: m.recogniser.head.layers[-1].bias, model, replace_fn=widen)


@pytest.fixture(scope="module")
def many(vague, image):
    """Trajectories of one image and the vague model."""
    infer_all = jax.jit(jax.vmap(lambda key: vague.infer(image, key=key)))
    return infer_all(jax.random.split(KEY, SAMPLES))


def marginal(model, image):
    return bounds.marginal(model.infer(image, key=KEY), model.count_log_prior)


def test_every_count_is_likely_enough_to_matter_here(trajectory):
    assert float(trajectory.count_log_probs.min()) > np.log(0.02)


@pytest.mark.slow
def test_the_marginal_bound_is_the_expectation_over_all_masks(model, image, exact):
    value, gradient = value_and_flat_gradient(lambda m: marginal(m, image), model)
    assert value == pytest.approx(exact[0], rel=1e-10)
    assert (gradient != 0).mean() > 0.5  # the background's components are kept
    np.testing.assert_allclose(gradient, exact[1], rtol=1e-7, atol=1e-8 * abs(gradient).max())


@pytest.mark.slow
def test_without_objects_a_linear_ground_is_factor_analysis(model, image):
    """The evidence is then known, and so is the bound: a Gaussian of the components' covariance plus the noise's."""
    prior = jnp.array([0.0, -1e9, -1e9, -1e9])
    spread, sd = np.asarray(model.background.components), np.exp(model.likelihood.log_sd)
    covariance = spread.T @ spread + sd**2 * np.eye(image.size)
    evidence = jax.scipy.stats.multivariate_normal.logpdf(
        image.reshape(-1), model.background.mean.reshape(-1), covariance
    )
    trajectory = model.infer(image, key=KEY)
    empty = trajectory.steps._replace(presence_logit=jnp.full(3, -1e9))
    bound = bounds.marginal(trajectory._replace(steps=empty), prior)
    assert float(bound) == pytest.approx(float(evidence), rel=1e-9)


@pytest.mark.parametrize("n", range(3))
def test_steps_that_are_never_reached_change_nothing(model, trajectory, n):
    def bound(steps):
        never = steps.presence_logit.at[n].set(-1e4)
        found = trajectory._replace(steps=steps._replace(presence_logit=never))
        return bounds.marginal(found, model.count_log_prior)

    value_and_gradient = jax.jit(jax.value_and_grad(bound))
    value, gradient = value_and_gradient(trajectory.steps)
    assert float(value_and_gradient(scrambled(trajectory.steps, n + 1))[0]) == pytest.approx(float(value), rel=1e-12)
    assert all((leaf[n + 1 :] == 0).all() for leaf in jax.tree.leaves(gradient))


@jax.jit
def marginals(trajectories, log_prior):
    return jax.vmap(lambda trajectory: bounds.marginal(trajectory, log_prior))(trajectories)


@partial(jax.jit, static_argnums=2)
def grouped_bounds(trajectories, log_prior, size):
    """Evaluate importance-weighted bounds of consecutive groups of `size` trajectories."""
    groups = jax.tree.map(lambda x: x.reshape(SAMPLES // size, size, *x.shape[1:]), trajectories)
    return jax.vmap(lambda group: bounds.importance_weighted(group, log_prior))(groups)


def test_importance_weights_tighten_the_bound(vague, many):
    prior = vague.count_log_prior
    # A group's bound is at least the mean of its parts' by Jensen's inequality, sample by sample.
    means = [float(grouped_bounds(many, prior, size).mean()) for size in (1, 8, 64)]
    assert (np.diff(means) > 0).all()


def test_one_importance_sample_bounds_the_sampled_marginal_bound_from_above(vague, many):
    """Summing counts inside the logarithm is tighter than weighing them by q(n), on every trajectory."""
    sampled = many._replace(steps=many.steps._replace(kl=-many.steps.log_ratio))
    singles = grouped_bounds(many, vague.count_log_prior, 1)
    assert (singles > marginals(sampled, vague.count_log_prior)).all()


def test_the_marginal_bound_is_the_mean_of_its_sampled_form(vague, many):
    sampled = many._replace(steps=many.steps._replace(kl=-many.steps.log_ratio))
    difference = np.asarray(marginals(many, vague.count_log_prior) - marginals(sampled, vague.count_log_prior))
    assert difference.std() > 0
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(SAMPLES)


@pytest.fixture(scope="module")
def joint(vague, image):
    """The log of p(x, n), n = 0..N, with its largest standard error, from samples of the prior."""

    def log_likelihoods(key):
        where_key, what_key = jax.random.split(key)
        where = jax.vmap(lambda k: vague.where_prior().sample(key=k))(jax.random.split(where_key, 2))
        what = jax.vmap(lambda k: vague.patches.prior_sample(key=k))(jax.random.split(what_key, 2))
        canvases = jnp.cumsum(jax.vmap(vague.place)(where, what), axis=0)
        canvases = jnp.concatenate([jnp.zeros((1, 1, 12, 12)), canvases])
        return jax.vmap(lambda canvas: vague.likelihood.log_prob(image, canvas))(canvases)

    values = jax.jit(jax.vmap(log_likelihoods))(jax.random.split(jax.random.PRNGKey(2), SAMPLES))
    weights = np.exp(np.asarray(values) - np.max(values))
    error = (weights.std(0) / weights.mean(0)).max() / np.sqrt(SAMPLES)
    return np.log(weights.mean(0)) + np.max(values) + np.asarray(vague.count_log_prior), error


def test_the_importance_weighted_bound_converges_to_the_evidence(vague, many, joint):
    evidence = np.logaddexp.reduce(joint[0])
    bound = float(bounds.importance_weighted(many, vague.count_log_prior))
    gap = evidence - float(grouped_bounds(many, vague.count_log_prior, 1).mean())
    assert joint[1] < 0.03
    assert gap > 0.2
    assert bound == pytest.approx(evidence, abs=0.06)


def test_the_count_posterior_is_the_one_that_prior_samples_give(vague, many, joint):
    log_posterior = bounds.count_posterior(many, vague.count_log_prior)
    assert float(jnp.exp(log_posterior).sum()) == pytest.approx(1.0)
    expected = np.exp(joint[0] - np.logaddexp.reduce(joint[0]))
    assert abs(expected - np.exp(vague.count_log_prior)).max() > 0.05
    np.testing.assert_allclose(np.exp(log_posterior), expected, atol=0.02)


@pytest.mark.slow
def test_where_q_is_the_prior_and_the_prior_is_sharp_the_evidence_is_known(tiny_model, image):
    """All objects look the same and lie at one place: p(x) is a mixture of N + 1 Gaussians."""
    model = tiny_model(dtype=jnp.float64, rough=0.0)
    parts = lambda m: (
        m.recogniser.head.layers[-1].weight,
        m.patches.encoder.layers[-1].weight,
        m.patches.decoder.layers[-1].weight,
    )
    model = eqx.tree_at(parts, model, replace_fn=jnp.zeros_like)
    sharp = jnp.full(3, np.log(1e-9))
    model = eqx.tree_at(lambda m: m.where_prior.normal.log_sd, model, sharp)
    model = eqx.tree_at(lambda m: m.recogniser.head.layers[-1].bias, model, replace_fn=lambda b: b.at[4:].set(sharp))
    drawn = model.place(model.where_prior.normal.mean, jnp.zeros(3))
    log_joint = [jax.scipy.stats.norm.logpdf(image, n * drawn, 0.3).sum() + model.count_log_prior[n] for n in range(4)]
    evidence = np.logaddexp.reduce(log_joint)
    trajectories = jax.jit(jax.vmap(lambda key: model.infer(image, key=key)))(jax.random.split(KEY, 2))
    bound = bounds.importance_weighted(trajectories, model.count_log_prior)
    posterior = bounds.count_posterior(trajectories, model.count_log_prior)
    assert float(bound) == pytest.approx(evidence, rel=1e-6)
    np.testing.assert_allclose(posterior, np.asarray(log_joint) - evidence, rtol=1e-4, atol=1e-4)
