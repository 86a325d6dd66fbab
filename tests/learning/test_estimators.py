"""Estimators of gradients against definitions written out here, in double precision."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact import IMAGE, KEY, scrambled, value_and_flat_gradient
from jax.flatten_util import ravel_pytree
from scipy.special import expit, logsumexp, softmax

from airjax.learning import bounds, estimators
from airjax.models import windows
from airjax.models.backgrounds.base import Layers
from airjax.models.layers import Normal
from airjax.models.likelihood import NormalLikelihood

BASELINES = [-150.0, 30.0, 7.0]


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
def inferred(model, image):
    return jax.jit(lambda: model.infer_layers(image, key=KEY))()


@pytest.fixture(scope="module")
def trajectory(inferred):
    return inferred[0]


def infer_some(model, image, samples, *, pathwise=True):
    return jax.vmap(lambda key: model.infer(image, key=key, pathwise=pathwise))(jax.random.split(KEY, samples))


@pytest.fixture(scope="module")
def three(model, image):
    """Three trajectories whose likelihoods are drawn together, so that each of them and each count has some weight."""
    trajectories = jax.jit(lambda: infer_some(model, image, 3))()
    steps = lambda t: (t.steps.log_likelihood, t.empty_log_likelihood, t.steps.log_p, t.steps.log_q)
    soften = lambda t: (*steps(t), t.scene.log_p, t.scene.log_q)
    return eqx.tree_at(soften, trajectories, replace_fn=lambda x: x / 200)


def log_weights(trajectories, log_prior):
    """Write out log p(x, z, n) - log q(z | x) of every trajectory, a row each."""
    steps = trajectories.steps
    rows = []
    for k in range(len(steps.kl)):
        likelihoods = [trajectories.empty_log_likelihood[k], *steps.log_likelihood[k]]
        scene = trajectories.scene.log_p[k] - trajectories.scene.log_q[k]
        ratios = [scene + sum(steps.log_p[k, :n] - steps.log_q[k, :n]) for n in range(4)]
        rows.append([likelihoods[n] + log_prior[n] + ratios[n] for n in range(4)])
    return np.array(rows, float)


def count_log_probs(logits):
    """Write out log q(n | x), n = 0..3."""
    p = expit(np.asarray(logits))
    return np.log([1 - p[0], p[0] * (1 - p[1]), p[0] * p[1] * (1 - p[2]), p[0] * p[1] * p[2]])


@pytest.fixture(scope="module")
def nvil_gradients(model, image):
    """The score-function estimate for each of the counts 0..N, one row each."""

    def surrogate(model, n):
        trajectory = model.infer(image, key=KEY)
        return estimators.nvil(trajectory, model.count_log_prior, n, jnp.asarray(BASELINES)).surrogate

    gradients = jax.jit(jax.vmap(jax.grad(surrogate), in_axes=(None, 0)))(model, jnp.arange(4))
    return np.asarray(jax.vmap(lambda g: ravel_pytree(g)[0])(gradients))


nvil = jax.jit(estimators.nvil)


def nvil_terms(trajectory, model, baselines=BASELINES):
    return [nvil(trajectory, model.count_log_prior, jnp.asarray(n), jnp.asarray(baselines)) for n in range(4)]


@pytest.mark.slow
def test_the_score_function_gradient_is_exact_on_average_over_counts_whatever_the_baselines(
    trajectory, nvil_gradients, exact
):
    w = np.exp(trajectory.count_log_probs)
    np.testing.assert_allclose(w @ nvil_gradients, exact[1], rtol=1e-6, atol=1e-8 * abs(exact[1]).max())


def test_the_sampled_bound_is_exact_on_average_over_counts(model, trajectory, exact):
    sampled = [float(terms.bound) for terms in nvil_terms(trajectory, model)]
    assert float(np.exp(trajectory.count_log_probs) @ sampled) == pytest.approx(exact[0], rel=1e-10)


def test_the_score_function_gradient_of_sampled_counts_converges_to_the_exact_one(trajectory, nvil_gradients, exact):
    counts = jax.random.categorical(KEY, trajectory.count_log_probs, shape=(20_000,))
    shares = np.bincount(counts, minlength=4) / counts.size
    mean = shares @ nvil_gradients
    standard_error = np.sqrt(shares @ (nvil_gradients - mean) ** 2 / counts.size)
    assert (abs(mean - exact[1]) <= 5 * standard_error + 1e-9).all()
    assert (standard_error > 0).any()


def test_a_steps_signal_is_all_that_its_decision_can_still_change(model, trajectory):
    """For baselines that equal the signals, as written out here, the baselines' loss vanishes."""
    p = np.asarray(jax.nn.sigmoid(trajectory.steps.presence_logit))
    kl, log_likelihoods, log_prior = map(
        np.asarray, (trajectory.steps.kl, trajectory.log_likelihoods, model.count_log_prior)
    )
    for n in range(4):
        log_joint = log_likelihoods[n] + log_prior[n] - float(trajectory.scene.kl)
        decisions = np.log(np.where(np.arange(3) < n, p, 1 - p))
        signals = np.array([log_joint - kl[t:n].sum() - decisions[t : n + 1].sum() for t in range(3)])
        terms = nvil_terms(trajectory, model, signals)[n]
        assert float(terms.baseline_loss) == pytest.approx(0.0, abs=1e-12)
        assert float(terms.surrogate) == pytest.approx(log_joint - kl[:n].sum())
        assert float(nvil_terms(trajectory, model, signals + 2.0)[n].baseline_loss) == pytest.approx(4 * min(n + 1, 3))


def test_baselines_learn_from_their_own_loss_alone(model, trajectory):
    def terms(baselines, kl):
        found = trajectory._replace(steps=trajectory.steps._replace(kl=kl))
        result = estimators.nvil(found, model.count_log_prior, jnp.asarray(1), baselines)
        return result.surrogate, result.baseline_loss

    by = jax.jit(jax.jacrev(terms, argnums=(0, 1)))(jnp.asarray(BASELINES), trajectory.steps.kl)
    (surrogate_by_baselines, surrogate_by_kl), (loss_by_baselines, loss_by_kl) = by
    np.testing.assert_array_equal(surrogate_by_baselines, 0.0)
    np.testing.assert_array_equal(surrogate_by_kl, [-1.0, 0.0, 0.0])
    np.testing.assert_array_equal(np.asarray(loss_by_baselines) != 0, [True, True, False])
    np.testing.assert_array_equal(loss_by_kl, 0.0)


@pytest.mark.parametrize("n", range(3))
def test_latents_beyond_the_sampled_count_change_nothing(model, trajectory, n):
    # Whether step n + 1 is present has been decided: that logit belongs to the count.
    logits = scrambled(trajectory.steps, n + 1).presence_logit
    other = trajectory._replace(steps=scrambled(trajectory.steps, n)._replace(presence_logit=logits))
    before, after = (nvil_terms(t, model)[n] for t in (trajectory, other))
    np.testing.assert_allclose(before, after, rtol=1e-12)


def with_gradient(estimator, trajectories, log_prior):
    """Evaluate an estimator and its gradient by everything that the trajectories hold."""
    return jax.jit(jax.value_and_grad(estimator))(trajectories, log_prior)


@pytest.mark.parametrize("samples", [1, 3])
def test_the_importance_surrogate_is_the_collapsed_bound_and_a_cross_entropy(model, three, samples):
    some = jax.tree.map(lambda x: x[:samples], three)
    log_w = log_weights(some, model.count_log_prior)
    posterior = softmax(logsumexp(log_w, axis=0))
    assert (posterior > 0.01).all()
    q = np.mean([count_log_probs(logits) for logits in some.steps.presence_logit], axis=0)
    value, of = with_gradient(estimators.importance, some, model.count_log_prior)
    by = of.steps
    assert float(value) == pytest.approx(logsumexp(log_w) - math.log(samples) + posterior @ q, rel=1e-10)
    # A step's presence is pulled up by the counts that include it, and down by the one that ends before it.
    p = expit(np.asarray(some.steps.presence_logit))
    pull = [posterior[t + 1 :].sum() * (1 - p[:, t]) - posterior[t] * p[:, t] for t in range(3)]
    np.testing.assert_allclose(by.presence_logit, np.transpose(pull) / samples, rtol=1e-8)
    # The posterior is a constant: latents see the bound alone.
    weights = softmax(log_w)
    later = [weights[:, t + 1 :].sum(1) for t in range(3)]
    np.testing.assert_allclose(by.log_p, np.transpose(later), rtol=1e-8)
    np.testing.assert_allclose(by.log_likelihood, weights[:, 1:], rtol=1e-8)
    np.testing.assert_allclose(of.scene.log_p, weights.sum(1), rtol=1e-8)


def test_presence_is_at_rest_where_q_is_the_importance_sampled_posterior(model, three):
    log_posterior = np.asarray(bounds.count_posterior(three, model.count_log_prior))
    tails = np.logaddexp.accumulate(log_posterior[::-1])[::-1]
    logits = jnp.tile(tails[1:] - log_posterior[:-1], (3, 1))
    told = three._replace(steps=three.steps._replace(presence_logit=logits))
    _, of = with_gradient(estimators.importance, told, model.count_log_prior)
    np.testing.assert_allclose(of.steps.presence_logit, 0.0, atol=1e-10)


def test_reweighted_wake_sleep_weighs_both_densities_by_the_normalised_weights(model, three):
    weights = softmax(log_weights(three, model.count_log_prior))
    _, of = with_gradient(estimators.rws, three, model.count_log_prior)
    later, by = np.transpose([weights[:, t + 1 :].sum(1) for t in range(3)]), of.steps
    for gradient, scene in ((by.log_p, of.scene.log_p), (by.log_q, of.scene.log_q)):
        np.testing.assert_allclose(gradient, later, rtol=1e-8)
        np.testing.assert_allclose(scene, weights.sum(1), rtol=1e-8)
    np.testing.assert_allclose(by.log_likelihood, weights[:, 1:], rtol=1e-8)
    p = expit(np.asarray(three.steps.presence_logit))
    np.testing.assert_allclose(by.presence_logit, later * (1 - p) - weights[:, :3] * p, rtol=1e-8)


def log_joint_and_log_q(generative, recogniser, image, where, what):
    """Replay given latents: log p(x, z, n) of one model and log q(z, n | x) of another, n = 0..N."""
    state, latents = recogniser.recogniser.lstm.initial_state, jnp.zeros(6)
    canvas, log_z, log_q, reach = jnp.zeros_like(image), 0.0, 0.0, 0.0
    joints, posteriors = [generative.likelihood.log_prob(image, canvas) + generative.count_log_prior[0]], []
    for t in range(3):
        left = image - jax.lax.stop_gradient(canvas)
        seen = recogniser.recogniser.look(image)
        logit, places, state = recogniser.recogniser(seen, latents, state, None)
        glimpse = windows.read(left, jnp.exp(where[t, 0]), where[t, 1:], recogniser.window)
        code = Normal(*jnp.split(recogniser.patches.encoder(glimpse.reshape(-1)), 2))
        posteriors.append(log_q + reach + jnp.log(1 - jax.nn.sigmoid(logit)))
        reach += jnp.log(jax.nn.sigmoid(logit))
        log_q += places.log_prob(where[t]) + code.log_prob(what[t])
        log_z += generative.where_prior().log_prob(where[t]) + jax.scipy.stats.norm.logpdf(what[t]).sum()
        canvas += generative.place(where[t], what[t])
        likelihood = generative.likelihood.log_prob(image, canvas)
        joints.append(likelihood + generative.count_log_prior[t + 1] + log_z)
        latents = jnp.concatenate([where[t], what[t]])
    return jnp.stack(joints), jnp.stack([*posteriors, log_q + reach])


@pytest.mark.slow
def test_in_reweighted_wake_sleep_log_p_teaches_the_model_and_log_q_the_recogniser(tiny_model, image):
    model = tiny_model(dtype=jnp.float64, likelihood=NormalLikelihood(2.0, learn=True))
    trajectories = jax.jit(lambda: infer_some(model, image, 3))()
    weights = softmax(log_weights(trajectories, model.count_log_prior))
    assert weights.max() < 0.99

    def weighed(networks):
        total = 0.0
        for k in range(3):
            latents = trajectories.steps.where[k], trajectories.steps.what[k]
            log_p, log_q = log_joint_and_log_q(*networks, image, *latents)
            total += weights[k] @ (log_p + log_q)
        return total

    def surrogate(model):
        return estimators.rws(infer_some(model, image, 3, pathwise=False), model.count_log_prior)

    value, gradient = value_and_flat_gradient(surrogate, model)
    expected, by = jax.jit(jax.value_and_grad(weighed))((model, model))
    generative, recogniser = (np.asarray(ravel_pytree(g)[0]) for g in by)
    assert value == pytest.approx(float(expected), rel=1e-9)
    assert generative.any()
    assert recogniser.any()
    np.testing.assert_allclose(gradient, generative + recogniser, rtol=1e-6, atol=1e-9 * abs(gradient).max())


def soft(trajectories):
    """Draw likelihoods together, so that both of two samples have some weight."""
    return eqx.tree_at(
        lambda t: (t.steps.log_likelihood, t.empty_log_likelihood), trajectories, replace_fn=lambda x: x / 20
    )


def expected_pair_bound(model, image):
    """Write out the expectation, over two sampled counts, of the bound of two samples."""
    trajectories = soft(infer_some(model, image, 2))
    steps, total = trajectories.steps, 0.0
    p = 1.0 / (1.0 + jnp.exp(-steps.presence_logit))
    for pair in itertools.product(range(4), repeat=2):
        chance, weights = 1.0, []
        for k, n in enumerate(pair):
            q = jnp.prod(p[k, :n]) * (1 - p[k, n] if n < 3 else 1.0)
            likelihood = steps.log_likelihood[k, n - 1] if n else trajectories.empty_log_likelihood[k]
            ratio = trajectories.scene.log_ratio[k] + sum(steps.log_p[k, :n] - steps.log_q[k, :n])
            weights.append(jnp.exp(likelihood + model.count_log_prior[n] + ratio) / q)
            chance *= q
        total += chance * jnp.log((weights[0] + weights[1]) / 2)
    return total


PAIRS = np.array(list(itertools.product(range(4), repeat=2)))
"""Counts of two trajectories."""


@pytest.fixture(scope="module")
def two(model, image):
    return soft(jax.jit(lambda: infer_some(model, image, 2))())


@pytest.fixture(scope="module")
def chances(two):
    """The probability of each pair of counts."""
    q = np.exp([count_log_probs(logits) for logits in two.steps.presence_logit])
    return np.array([q[0, a] * q[1, b] for a, b in PAIRS])


@pytest.mark.slow
def test_vimcos_gradient_is_on_average_that_of_the_bound_of_two_samples(model, image, chances):
    def mean_surrogate(model):
        trajectories = soft(infer_some(model, image, 2))
        vimco = jax.vmap(lambda n: estimators.vimco(trajectories, model.count_log_prior, n).surrogate)
        return jnp.asarray(chances) @ vimco(PAIRS)

    _, mean = value_and_flat_gradient(mean_surrogate, model)
    _, gradient = value_and_flat_gradient(lambda m: expected_pair_bound(m, image), model)
    assert (gradient != 0).mean() > 0.8
    np.testing.assert_allclose(mean, gradient, rtol=1e-6, atol=1e-8 * abs(gradient).max())


def test_vimcos_control_lowers_the_variance_and_leaves_the_mean(model, two, chances):
    def surrogates(logits, n):
        trajectories = two._replace(steps=two.steps._replace(presence_logit=logits))
        terms = estimators.vimco(trajectories, model.count_log_prior, n)
        log_q = jnp.sum(jax.vmap(lambda t, m: t.count_log_probs[m])(trajectories, n))
        return jnp.stack([terms.surrogate, terms.bound + jax.lax.stop_gradient(terms.bound) * log_q])

    gradients = jax.jit(jax.vmap(jax.jacrev(surrogates), in_axes=(None, 0)))(two.steps.presence_logit, PAIRS)
    controlled, uncontrolled = np.asarray(gradients).reshape(len(PAIRS), 2, -1).transpose(1, 0, 2)
    mean = chances @ controlled
    np.testing.assert_allclose(chances @ uncontrolled, mean, rtol=1e-6, atol=1e-9)
    variances = [(chances @ (rows - mean) ** 2).sum() for rows in (controlled, uncontrolled)]
    assert 0 < variances[0] < 0.1 * variances[1]


@pytest.mark.parametrize("n", [[0, 3, 1], [2, 2, 2]])
def test_vimcos_signal_is_what_a_sample_adds_to_the_bound(model, three, n):
    log_prior = model.count_log_prior
    log_q = [count_log_probs(logits)[m] for logits, m in zip(three.steps.presence_logit, n)]
    log_w = log_weights(three, log_prior)[range(3), n] - log_q
    surrogate = lambda log_prior: estimators.vimco(three, log_prior, jnp.asarray(n)).surrogate
    value, by = jax.jit(jax.value_and_grad(surrogate))(log_prior)
    bound = logsumexp(log_w) - math.log(3)
    signals = []
    for k in range(3):
        others = np.delete(log_w, k)
        signals.append(bound - (logsumexp([*others, others.mean()]) - math.log(3)))
    assert float(value) == pytest.approx(bound + np.dot(signals, log_q), rel=1e-10)
    np.testing.assert_allclose(by, np.bincount(n, softmax(log_w), 4), rtol=1e-8)


def concrete(model, image, inferred, presences):
    log_likelihood = lambda objects: model.background.explain(image, objects, model.likelihood).log_likelihood
    return estimators.concrete(*inferred, model.count_log_prior, presences, log_likelihood)


@pytest.mark.parametrize("temperature", [0.1, 0.7, 3.0])
def test_a_relaxed_presence_is_above_a_half_as_often_as_the_step_is_present(temperature):
    logits = jnp.array([-2.0, 0.3, 1.5])
    draw = jax.jit(jax.vmap(lambda key: estimators.relaxed_presences(logits, temperature, key=key)))
    samples = np.asarray(draw(jax.random.split(KEY, 10_000)))
    assert 0 <= samples.min() < samples.max() <= 1
    np.testing.assert_allclose((samples > 0.5).mean(0), expit(np.asarray(logits)), atol=0.02)
    # A quantile, besides: its logit is that of a logistic variable, over the temperature.
    expected = expit((np.asarray(logits) + math.log(3)) / temperature)
    np.testing.assert_allclose(np.quantile(samples, 0.75, axis=0), expected, atol=0.03)


@pytest.mark.slow
def test_relaxed_objects_mix_those_of_all_counts_as_stopping_would(model, image, inferred, trajectory):
    weights = [0.1, 0.9 * 0.5, 0.9 * 0.5 * 0.8, 0.9 * 0.5 * 0.2]
    layers = [Layers(jnp.zeros_like(image), jnp.ones_like(image))]
    for where, what in zip(trajectory.steps.where, trajectory.steps.what):
        layers.append(model.compositor.compose(layers[-1], model.place(where, what)))
    mixed = Layers(*(sum(weight * part for weight, part in zip(weights, parts)) for parts in zip(*layers)))
    log_p = model.background.explain(image, mixed, model.likelihood).log_likelihood
    log_w, steps = count_log_probs(trajectory.steps.presence_logit), trajectory.steps
    reach = np.cumprod(expit(np.asarray(steps.presence_logit)))
    divergence = np.exp(log_w) @ (log_w - np.asarray(model.count_log_prior)) + reach @ np.asarray(steps.kl)
    value = jax.jit(concrete)(model, image, inferred, jnp.array([0.9, 0.5, 0.2]))
    assert float(value) == pytest.approx(float(log_p) - divergence, rel=1e-9)


def test_the_relaxed_bound_tends_to_the_marginal_one_as_the_temperature_falls(model, image, inferred, trajectory):
    logits = trajectory.steps.presence_logit

    @jax.jit
    @jax.vmap
    def surrogates(key):
        draw = lambda temperature: estimators.relaxed_presences(logits, temperature, key=key)
        return jnp.stack([concrete(model, image, inferred, draw(temperature)) for temperature in (3.0, 1e-1, 1e-4)])

    samples = np.asarray(surrogates(jax.random.split(KEY, 4_000)))
    exact = float(bounds.marginal(trajectory, model.count_log_prior))
    biases, errors = abs(samples.mean(0) - exact), samples.std(0) / math.sqrt(len(samples))
    assert biases[0] > 10 * errors[0]
    assert biases[0] > biases[1]
    assert biases[2] < 5 * errors[2]
