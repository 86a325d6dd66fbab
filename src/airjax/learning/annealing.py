"""Annealing of p(n) and of the likelihood's standard deviation: applied before the first step and after every step."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from airjax.config import ModelConfig
from airjax.models import count
from airjax.models.base import Family
from airjax.models.build import count_prior

COUNT_MEMORY = 0.99
"""Share of a learned p(n) that survives a step."""
COUNT_FLOOR = 1e-6
"""Smallest probability of a count that a learned p(n) moves towards."""


def before_training(config: ModelConfig, model: Family) -> Family:
    """Set p(n) and the likelihood's standard deviation to where annealing starts."""
    first_prior = _annealed_prior(config, jnp.zeros(()))
    if first_prior is not None:
        model = eqx.tree_at(lambda m: m.count_log_prior, model, first_prior)
    return _with_annealed_sd(config, model, jnp.zeros(()))


def after_step(
    config: ModelConfig,
    model: Family,
    log_prior: Float[Array, " counts"],
    step: Int[Array, ""],
    count_probs: Float[Array, " counts"],
) -> Family:
    """Set p(n) and the likelihood's standard deviation after a step.

    Args:
        config: the settings of the model.
        model: the model after the optimiser's update.
        log_prior: log p(n) before the step, n = 0..N.
        step: number of steps done, this one included.
        count_probs: mean of q(n | x) over the batch, n = 0..N.
    """
    model = eqx.tree_at(lambda m: m.count_log_prior, model, _next_prior(config, log_prior, step, count_probs))
    return _with_annealed_sd(config, model, step)


def _annealed_prior(config: ModelConfig, step: Int[Array, ""] | Float[Array, ""]) -> Float[Array, " counts"] | None:
    """Return the annealed log p(n) at a step; None if it isn't annealed."""
    if config.count_ratio_start is None:
        return None
    start = jnp.asarray(count.truncated_geometric(config.max_objects, config.count_ratio_start))
    return count.annealed(start, count_prior(config), step / config.anneal_steps)


def _next_prior(config, log_prior, step, count_probs):
    """Anneal p(n), then let it follow q: the ELBO is largest where p(n) is the mean of q(n | x) over the data."""
    annealed = _annealed_prior(config, step)
    if annealed is not None:
        log_prior = jnp.where(step <= config.anneal_steps, annealed, log_prior)
    if config.learn_count:
        floored = jnp.maximum(count_probs, COUNT_FLOOR)
        followed = jnp.logaddexp(jnp.log(COUNT_MEMORY) + log_prior, jnp.log((1 - COUNT_MEMORY) * floored))
        log_prior = jnp.where(step > config.learn_count_after, jax.nn.log_softmax(followed), log_prior)
    return log_prior


def _with_annealed_sd(config: ModelConfig, model: Family, step: Int[Array, ""] | Float[Array, ""]) -> Family:
    """Set the likelihood's standard deviation to its value at a step, if it is annealed."""
    if config.sd_start is None:
        return model
    after = 0 if config.count_ratio_start is None else config.anneal_steps
    remaining = jnp.clip(1.0 - (step - after) / config.sd_anneal_steps, 0.0, 1.0)
    log_sd = remaining * math.log(config.sd_start) + (1.0 - remaining) * math.log(config.sd)
    return eqx.tree_at(lambda m: m.likelihood.log_sd, model, log_sd)
