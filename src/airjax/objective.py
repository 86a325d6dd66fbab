"""Bounds on log p(x) and their gradient estimators.

Each acts on the `Trajectory` of one image; `count_log_prior` is log p(n), n = 0..N. Values are in nats per image, to
be maximised.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from airjax import count
from airjax.model import Trajectory


def marginal(trajectory: Trajectory, count_log_prior: Float[Array, " counts"]) -> Float[Array, ""]:
    """Evaluate the evidence lower bound with the count summed out exactly along one trajectory: L.

    `sum_n w_n (log p(x | canvas_n) + log p(n) - log w_n) - sum_t (prod_(s<=t) p_s) kl_t - kl_ground`, where
    `w_n = q(n | x)`. It is unbiased, and its gradient needs no score-function term (docs/model.md).
    """
    log_w = trajectory.count_log_probs
    reach = jnp.exp(count.log_reach(trajectory.steps.presence_logit))
    per_count = trajectory.log_likelihoods + count_log_prior - log_w
    return jnp.sum(jnp.exp(log_w) * per_count) - jnp.sum(reach * trajectory.steps.kl) - trajectory.ground_kl


class Nvil(NamedTuple):
    """The terms of the score-function estimator for one sampled count.

    Attributes:
        bound: the sampled evidence lower bound, in nats.
        surrogate: what to maximise; its gradient estimates the bound's.
        baseline_loss: squared error of the baselines, to be minimised by them alone.
    """

    bound: Float[Array, ""]
    surrogate: Float[Array, ""]
    baseline_loss: Float[Array, ""]


def nvil(
    trajectory: Trajectory,
    count_log_prior: Float[Array, " counts"],
    n: Int[Array, ""],
    baselines: Float[Array, " N"],
) -> Nvil:
    """Estimate the bound's gradient as the paper does: score function for z_pres, with baselines (section 2.2).

    `n` is a sample from `trajectory.count_log_probs`; steps after n + 1 decided nothing and drop out. Each step's
    learning signal holds only the terms that its decision can still change; `baselines[t]` must not depend on the
    decision of step t (NVIL: Mnih & Gregor, 2014).
    """
    logits, t = trajectory.steps.presence_logit, jnp.arange(trajectory.steps.kl.size)
    present, active = t < n, t <= n
    log_q = jnp.where(active, jax.nn.log_sigmoid(jnp.where(present, logits, -logits)), 0.0)
    kl = jnp.where(present, trajectory.steps.kl, 0.0)
    log_joint = trajectory.log_likelihoods[n] + count_log_prior[n] - trajectory.ground_kl
    signals = jax.lax.stop_gradient(log_joint - jnp.cumsum((kl + log_q)[::-1])[::-1])
    advantage = jax.lax.stop_gradient(signals - baselines)
    score = jnp.sum(jnp.where(active, advantage * log_q, 0.0))
    return Nvil(
        bound=log_joint - jnp.sum(kl + log_q),
        surrogate=log_joint - jnp.sum(kl) + score,
        baseline_loss=jnp.sum(jnp.where(active, (signals - baselines) ** 2, 0.0)),
    )


def _log_weights(trajectories: Trajectory, count_log_prior: Float[Array, " counts"]) -> Float[Array, "K counts"]:
    """Evaluate log p(x, z_k^(1:n), n) - log q(z_k^(1:n) | x) of K trajectories, for every n."""
    ratios = jnp.cumsum(trajectories.steps.log_ratio, axis=1)
    ratios = jnp.pad(ratios, ((0, 0), (1, 0)))
    ratios += trajectories.ground_log_ratio[:, None]
    return jax.vmap(lambda t: t.log_likelihoods)(trajectories) + count_log_prior + ratios


def importance_weighted(trajectories: Trajectory, count_log_prior: Float[Array, " counts"]) -> Float[Array, ""]:
    """Evaluate the importance-weighted bound over K stacked trajectories, the count summed out.

    `log (1/K) sum_k sum_n p(x, z_k^(1:n), n) / q(z_k^(1:n) | x)` (Burda et al., 2016, with q(n) dropped). It is a
    lower bound on log p(x) for every K, tight as K grows.
    """
    log_weights = _log_weights(trajectories, count_log_prior)
    return jax.nn.logsumexp(log_weights) - jnp.log(log_weights.shape[0])


def count_posterior(trajectories: Trajectory, count_log_prior: Float[Array, " counts"]) -> Float[Array, " counts"]:
    """Estimate log p(n | x), n = 0..N, by importance sampling over K stacked trajectories."""
    return jax.nn.log_softmax(jax.nn.logsumexp(_log_weights(trajectories, count_log_prior), axis=0))
