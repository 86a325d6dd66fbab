"""The loss of a training step: minus the mean of the configured objective over a batch of images."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt32

from airjax.config import TrainConfig
from airjax.learning import bounds, estimators
from airjax.learning.baseline import Baseline
from airjax.learning.pasting import Pasted
from airjax.models.air import AIR
from airjax.models.base import Family, Trajectory

Networks = tuple[Family, Baseline | None]


class Terms(NamedTuple):
    """The terms of one image: one for the loss, and two for the log.

    Attributes:
        surrogate: the quantity to maximise; its gradient is the configured estimator.
        elbo: estimate of the evidence lower bound, in nats.
        count_probs: q(n | x), n = 0..N, averaged over trajectories.
    """

    surrogate: Float[Array, "*b"]
    elbo: Float[Array, "*b"]
    count_probs: Float[Array, "*b counts"]


def batch_loss(
    config: TrainConfig, networks: Networks, images: Float[Array, "b c h w"], keys: UInt32[Array, "b 2"]
) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Float[Array, " counts"]]]:
    """Return minus the mean surrogate over a batch, and the means of the bound and of q(n | x)."""
    terms = jax.vmap(lambda image, key: image_terms(config, networks, image, key=key))(images, keys)
    return -jnp.mean(terms.surrogate), (jnp.mean(terms.elbo), jnp.mean(terms.count_probs, axis=0))


def pasted_loss(
    config: TrainConfig, model: AIR, pasted: Pasted, keys: UInt32[Array, "b 2"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return minus the mean bound of pasted scenes, given where their objects are, and minus the mean of log q of that.

    The first teaches what objects look like, the second how many there are and where. The second is weighted by
    `config.paste`.
    """
    one = lambda image, where, count, key: model.infer_given(image / 255.0, where, count, key=key)
    given = jax.vmap(one)(*pasted, keys)
    return -jnp.mean(given.log_joint), -config.paste * jnp.mean(given.log_q)


def image_terms(config: TrainConfig, networks: Networks, image: Float[Array, "c h w"], *, key: PRNGKeyArray) -> Terms:
    """Evaluate the configured objective on one image."""
    model, baseline = networks
    if config.objective == "marginal":
        return _marginal(model, image, key)
    match config.objective:
        case "nvil":
            return _nvil(model, baseline, image, key)
        case "importance":
            trajectories = _infer(model, image, config.samples, key)
            return _multi(estimators.importance(trajectories, model.count_log_prior), trajectories, model)
        case "rws":
            trajectories = _infer(model, image, config.samples, key, pathwise=False)
            return _multi(estimators.rws(trajectories, model.count_log_prior), trajectories, model)
        case "vimco":
            return _vimco(model, image, config.samples, key)
        case "concrete":
            return _concrete(model, image, config.temperature, key)


def _marginal(model, image, key):
    trajectory = model.infer(image, key=key)
    bound = bounds.marginal(trajectory, model.count_log_prior)
    surrogate = bound + trajectory.auxiliary
    return Terms(surrogate, bound, jnp.exp(trajectory.count_log_probs))


def _nvil(model, baseline, image, key):
    noise_key, count_key = jax.random.split(key)
    trajectory = model.infer(image, key=noise_key)
    log_w = trajectory.count_log_probs
    n = jax.random.categorical(count_key, log_w)
    terms = estimators.nvil(trajectory, model.count_log_prior, n, baseline(image, trajectory))
    # The baseline's loss in its own units. With Adam, only the relative sizes within the batch matter.
    return Terms(terms.surrogate - terms.baseline_loss / baseline.unit**2, terms.bound, jnp.exp(log_w))


def _vimco(model, image, samples, key):
    noise_key, count_key = jax.random.split(key)
    trajectories = _infer(model, image, samples, noise_key)
    n = jax.random.categorical(count_key, jax.vmap(lambda t: t.count_log_probs)(trajectories))
    return _multi(estimators.vimco(trajectories, model.count_log_prior, n).surrogate, trajectories, model)


def _concrete(model, image, temperature, key):
    noise_key, presence_key = jax.random.split(key)
    trajectory, layers = model.infer_layers(image, key=noise_key)
    presences = estimators.relaxed_presences(trajectory.steps.presence_logit, temperature, key=presence_key)
    log_likelihood = lambda objects: model.background.explain(image, objects, model.likelihood).log_likelihood
    surrogate = estimators.concrete(trajectory, layers, model.count_log_prior, presences, log_likelihood)
    bound = bounds.marginal(trajectory, model.count_log_prior)
    return Terms(surrogate, bound, jnp.exp(trajectory.count_log_probs))


def _infer(model, image, samples, key, *, pathwise=True):
    """Sample K trajectories, stacked."""
    return jax.vmap(lambda k: model.infer(image, key=k, pathwise=pathwise))(jax.random.split(key, samples))


def _multi(surrogate: Float[Array, ""], trajectories: Trajectory, model: Family) -> Terms:
    """Add the logged quantities to a surrogate over K trajectories."""
    elbos = jax.vmap(lambda t: bounds.marginal(t, model.count_log_prior))(trajectories)
    count_probs = jax.vmap(lambda t: jnp.exp(t.count_log_probs))(trajectories)
    return Terms(surrogate, jnp.mean(elbos), jnp.mean(count_probs, axis=0))
