"""Gradient estimators other than `bounds.marginal`, as surrogates to maximise.

Each function takes the `Trajectory` of one image, or K of them, stacked; `count_log_prior` is log p(n), n = 0..N.
Values are in nats per image.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from airjax.learning import bounds
from airjax.models.backgrounds.base import Layers
from airjax.models.base import Trajectory


class Nvil(NamedTuple):
    """The terms of the score-function estimator for one sampled count.

    Attributes:
        bound: the sampled evidence lower bound, in nats.
        surrogate: the quantity to maximise; its gradient estimates that of the bound.
        baseline_loss: squared error of the baselines; they alone are trained by it.
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
    """Estimate the gradient of the bound as the paper does: score function for z_pres, with baselines (section 2.2).

    `n` is a sample from `trajectory.count_log_probs`; steps after n + 1 have no effect and drop out. The learning
    signal of a step contains only the terms that its decision can still change. `baselines[t]` must not depend on the
    decision of step t (NVIL: Mnih & Gregor, 2014).
    """
    logits, t = trajectory.steps.presence_logit, jnp.arange(trajectory.steps.kl.size)
    present, active = t < n, t <= n
    log_q = jnp.where(active, jax.nn.log_sigmoid(jnp.where(present, logits, -logits)), 0.0)
    kl = jnp.where(present, trajectory.steps.kl, 0.0)
    log_joint = trajectory.log_likelihoods[n] + count_log_prior[n] - trajectory.scene.kl
    signals = jax.lax.stop_gradient(log_joint - jnp.cumsum((kl + log_q)[::-1])[::-1])
    advantage = jax.lax.stop_gradient(signals - baselines)
    score = jnp.sum(jnp.where(active, advantage * log_q, 0.0))
    return Nvil(
        bound=log_joint - jnp.sum(kl + log_q),
        surrogate=log_joint - jnp.sum(kl) + score,
        baseline_loss=jnp.sum(jnp.where(active, (signals - baselines) ** 2, 0.0)),
    )


def importance(trajectories: Trajectory, count_log_prior: Float[Array, " counts"]) -> Float[Array, ""]:
    """Evaluate the importance-weighted bound minus the cross-entropy between the count posterior and q(n | x).

    The bound (Burda et al., 2016; `bounds.importance_weighted`) sums the count out and does not contain q(n | x). The
    cross-entropy therefore trains q(n | x), along every trajectory, towards the estimate of p(n | x) from all K.
    """
    target = jax.lax.stop_gradient(jnp.exp(bounds.count_posterior(trajectories, count_log_prior)))
    log_q = jnp.mean(_count_log_probs(trajectories), axis=0)
    return bounds.importance_weighted(trajectories, count_log_prior) + jnp.sum(target * log_q)


def rws(trajectories: Trajectory, count_log_prior: Float[Array, " counts"]) -> Float[Array, ""]:
    """Average log p(x, z, n) + log q(z, n | x) with the weights of reweighted wake-sleep, in its wake phase.

    The weights p(x, z_k^(1:n), n) / q(z_k^(1:n) | x), normalised over samples k and counts n together, estimate the
    posterior. The count is summed out in both terms. The trajectories must be made without `pathwise`, so that log p
    trains only the generative model and log q only the recogniser (Bornschein & Bengio, 2015; AIR: Le et al., 2019).
    """
    weights = jax.nn.softmax(bounds.log_weights(trajectories, count_log_prior), axis=(0, 1))
    steps, scene = trajectories.steps, trajectories.scene
    log_likelihoods = jax.vmap(lambda t: t.log_likelihoods)(trajectories)
    log_p = log_likelihoods + count_log_prior + bounds.up_to_count(steps.log_p) + scene.log_p[:, None]
    log_q = _count_log_probs(trajectories) + bounds.up_to_count(steps.log_q) + scene.log_q[:, None]
    return jnp.sum(jax.lax.stop_gradient(weights) * (log_p + log_q))


class Vimco(NamedTuple):
    """The terms of the multi-sample estimator for K sampled counts.

    Attributes:
        bound: the K-sample bound with sampled counts, in nats.
        surrogate: the quantity to maximise; its gradient estimates that of the bound.
    """

    bound: Float[Array, ""]
    surrogate: Float[Array, ""]


def vimco(trajectories: Trajectory, count_log_prior: Float[Array, " counts"], n: Int[Array, " K"]) -> Vimco:
    """Estimate the gradient of a K-sample bound with sampled counts: score function, other samples as control variate.

    `n[k]` is a sample from q(n | x) along trajectory k. The learning signal of a count is the bound minus the bound in
    which the weight of its sample is replaced by the geometric mean of the others (Mnih & Rezende, 2016, section 2.4).
    K must be at least 2. The continuous latents are reparameterised.
    """
    samples = jnp.arange(len(n))
    log_q = _count_log_probs(trajectories)[samples, n]
    log_w = bounds.log_weights(trajectories, count_log_prior)[samples, n] - log_q
    others = (jnp.sum(log_w) - log_w) / (len(n) - 1)
    controls = _log_mean_exp(jnp.where(jnp.eye(len(n), dtype=bool), others[:, None], log_w))
    bound = _log_mean_exp(log_w)
    signals = jax.lax.stop_gradient(bound - controls)
    return Vimco(bound, bound + jnp.sum(signals * log_q))


def relaxed_presences(logits: Float[Array, " N"], temperature: float, *, key: PRNGKeyArray) -> Float[Array, " N"]:
    """Sample relaxed Bernoulli variables, which tend to 0 or 1 as the temperature falls (Maddison et al., 2017)."""
    return jax.nn.sigmoid((logits + jax.random.logistic(key, logits.shape, logits.dtype)) / temperature)


def concrete(
    trajectory: Trajectory,
    layers: Layers,
    count_log_prior: Float[Array, " counts"],
    presences: Float[Array, " N"],
    log_likelihood: Callable[[Layers], Float[Array, ""]],
) -> Float[Array, ""]:
    """Evaluate the bound with its expected log-likelihood replaced by that of a relaxed scene.

    The relaxed scene is a mixture of the first 0..N objects, stacked as `layers` (`AIR.infer_layers`); the weights are
    cumulative products of the relaxed `presences`. The divergence is that of the discrete model, in closed form, so the
    result is not a bound on log p(x). As the temperature falls, its mean over presences tends to `bounds.marginal`.
    """
    weights = jnp.cumprod(presences)
    last_alone = weights - jnp.append(weights[1:], 0.0)
    colours, transmittance = layers
    mixture = Layers(
        jnp.einsum("n,nchw->chw", last_alone, colours),
        None if transmittance is None else jnp.einsum("n,nchw->chw", last_alone, transmittance) + (1.0 - weights[0]),
    )
    return log_likelihood(mixture) - bounds.divergence(trajectory, count_log_prior)


def _count_log_probs(trajectories: Trajectory) -> Float[Array, "K counts"]:
    return jax.vmap(lambda t: t.count_log_probs)(trajectories)


def _log_mean_exp(values: Float[Array, "*k K"]) -> Float[Array, "*k"]:
    return jax.nn.logsumexp(values, axis=-1) - jnp.log(values.shape[-1])
