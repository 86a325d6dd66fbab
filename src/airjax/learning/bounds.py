"""Bounds on log p(x), and importance-sampled posteriors over counts.

Each function takes the `Trajectory` of one image, or K of them, stacked; `count_log_prior` is log p(n), n = 0..N.
Values are in nats per image.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from airjax.models import count
from airjax.models.base import Trajectory


def marginal(trajectory: Trajectory, count_log_prior: Float[Array, " counts"]) -> Float[Array, ""]:
    """Evaluate the evidence lower bound with the count summed out exactly along one trajectory: L.

    `sum_n w_n (log p(x | canvas_n) + log p(n) - log w_n) - sum_t (prod_(s<=t) p_s) kl_t - kl_scene`, where
    `w_n = q(n | x)`. The estimate is unbiased, and its gradient needs no score-function term (docs/model.md).
    """
    expected = jnp.sum(jnp.exp(trajectory.count_log_probs) * trajectory.log_likelihoods)
    return expected - divergence(trajectory, count_log_prior)


def divergence(trajectory: Trajectory, count_log_prior: Float[Array, " counts"]) -> Float[Array, ""]:
    """Evaluate KL(q(z, n | x) || p(z, n)) along one trajectory.

    `KL(q(n | x) || p(n)) + sum_t q(n >= t | x) kl_t + kl_scene`.
    """
    log_w = trajectory.count_log_probs
    reach = jnp.exp(count.log_reach(trajectory.steps.presence_logit))
    kl_count = jnp.sum(jnp.exp(log_w) * (log_w - count_log_prior))
    return kl_count + jnp.sum(reach * trajectory.steps.kl) + trajectory.scene.kl


def of_counts(trajectory: Trajectory, count_log_prior: Float[Array, " counts"]) -> Float[Array, " counts"]:
    """Evaluate lower bounds on log p(x, n) along one trajectory: `log p(x | canvas_n) + log p(n) - sum_(t<=n) kl_t`."""
    kl = up_to_count(trajectory.steps.kl[None])[0] + trajectory.scene.kl
    return trajectory.log_likelihoods + count_log_prior - kl


def log_weights(trajectories: Trajectory, count_log_prior: Float[Array, " counts"]) -> Float[Array, "K counts"]:
    """Evaluate log p(x, z_k^(1:n), n) - log q(z_k^(1:n) | x) of K stacked trajectories, for every n = 0..N."""
    log_likelihoods = jax.vmap(lambda t: t.log_likelihoods)(trajectories)
    ratios = up_to_count(trajectories.steps.log_ratio) + trajectories.scene.log_ratio[:, None]
    return log_likelihoods + count_log_prior + ratios


def up_to_count(terms: Float[Array, "K N"]) -> Float[Array, "K counts"]:
    """Sum a per-step term over the first n steps, for every n = 0..N."""
    return jnp.pad(jnp.cumsum(terms, axis=1), ((0, 0), (1, 0)))


def importance_weighted(trajectories: Trajectory, count_log_prior: Float[Array, " counts"]) -> Float[Array, ""]:
    """Evaluate the importance-weighted bound over K stacked trajectories, the count summed out.

    `log (1/K) sum_k sum_n p(x, z_k^(1:n), n) / q(z_k^(1:n) | x)` (Burda et al., 2016, without q(n)). It is a lower
    bound on log p(x) for every K, and becomes tight as K grows.
    """
    weights = log_weights(trajectories, count_log_prior)
    return jax.nn.logsumexp(weights) - jnp.log(len(weights))


def count_posterior(trajectories: Trajectory, count_log_prior: Float[Array, " counts"]) -> Float[Array, " counts"]:
    """Estimate log p(n | x), n = 0..N, by importance sampling over K stacked trajectories."""
    return jax.nn.log_softmax(jax.nn.logsumexp(log_weights(trajectories, count_log_prior), axis=0))
