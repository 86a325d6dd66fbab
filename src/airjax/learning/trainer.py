"""Learning: `init` a state, `step` it on a batch, or `run_chunk` for many steps in one dispatch."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt8, UInt32

from airjax.config import ModelConfig, TrainConfig
from airjax.learning import losses
from airjax.learning.baseline import Baseline, build_baseline
from airjax.models import count
from airjax.models.air import AIR
from airjax.models.base import Family
from airjax.models.build import build_model, count_prior
from airjax.models.patches.base import PatchModel, trainable_copy

COUNT_MEMORY = 0.99
"""Share of a learned p(n) that survives a step."""
COUNT_FLOOR = 1e-6
"""Smallest probability of a count that a learned p(n) moves towards."""


class NotFiniteError(RuntimeError):
    """Training produced a number that is not finite."""


class State(NamedTuple):
    """All that training changes, and all that a checkpoint holds.

    Attributes:
        model: the model, priors included.
        baseline: the baseline network of objective nvil, otherwise None.
        optimiser: optax's state.
        step: number of steps done.
        key: key from which each step's noise is derived.
    """

    model: Family
    baseline: Baseline | None
    optimiser: optax.OptState
    step: Int[Array, ""]
    key: UInt32[Array, "2"]


class Info(NamedTuple):
    """What a step tells of itself; means over the batch.

    Attributes:
        elbo: evidence lower bound on the training batch, in nats per image, whatever the objective.
        count_probs: mean of q(n | x), n = 0..N.
    """

    elbo: Float[Array, "*steps"]
    count_probs: Float[Array, "*steps counts"]


def learning_rate(config: TrainConfig) -> optax.Schedule:
    """Make the configured schedule of Adam's rate."""
    if config.schedule == "cosine":
        warmup = min(config.warmup, config.steps // 2)
        return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warmup, config.steps)
    return optax.warmup_constant_schedule(0.0, config.learning_rate, config.warmup)


def make_optimiser(config: TrainConfig) -> optax.GradientTransformation:
    """Make Adam for the pair (model, baseline), the baseline at its own rate."""
    return optax.partition(
        {"model": optax.adam(learning_rate(config)), "baseline": optax.adam(config.baseline_learning_rate)},
        ("model", "baseline"),
    )


def _trained(model: Family, baseline: Baseline | None) -> Any:
    """Pair what is trained; typed loosely because optax knows no modules."""
    return model, baseline


def init(
    model_config: ModelConfig,
    config: TrainConfig,
    image_shape: tuple[int, int, int],
    patches: PatchModel | None = None,
) -> State:
    """Make the state before the first step; `config.seed` fixes it.

    A patch model of your own, made for patches of side `model_config.window`, takes the place of the configured one;
    it is copied.

    Raises:
        ValueError: a value of a configuration is out of range, or `patches` has a leaf that can't be trained.
    """
    model_key, baseline_key, key = jax.random.split(jax.random.PRNGKey(config.seed), 3)
    own = None if patches is None else trainable_copy(patches)
    model = build_model(model_config, image_shape, patches=own, key=model_key)
    first_prior = _annealed_prior(model_config, jnp.zeros(()))
    if first_prior is not None:
        model = eqx.tree_at(lambda m: m.count_log_prior, model, first_prior)
    model = _with_annealed_sd(model_config, model, jnp.zeros(()))
    baseline = None
    if config.objective == "nvil":
        assert isinstance(model, AIR)
        baseline = build_baseline(model_config, model, key=baseline_key)
    optimiser = make_optimiser(config).init(_trained(model, baseline))
    return State(model, baseline, optimiser, jnp.zeros((), jnp.int32), key)


def init_from_data(state: State, images: UInt8[np.ndarray, "n c h w"]) -> State:
    """Let an untrained model start from training scenes."""
    return state._replace(model=state.model.init_from_data(images))


def _annealed_prior(config: ModelConfig, step: Int[Array, ""] | Float[Array, ""]) -> Float[Array, " counts"] | None:
    """Return the annealed p(n) at a step; None if it isn't annealed."""
    if config.count_ratio_start is None:
        return None
    start = jnp.asarray(count.truncated_geometric(config.max_objects, config.count_ratio_start))
    return count.annealed(start, count_prior(config), step / config.anneal_steps)


def _next_count_prior(config, log_prior, step, count_probs):
    """Anneal p(n); then let it follow q: the ELBO's maximum in p(n) is the mean of q(n | x) over the data."""
    annealed = _annealed_prior(config, step)
    if annealed is not None:
        log_prior = jnp.where(step <= config.anneal_steps, annealed, log_prior)
    if config.learn_count:
        floored = jnp.maximum(count_probs, COUNT_FLOOR)
        followed = jnp.logaddexp(jnp.log(COUNT_MEMORY) + log_prior, jnp.log((1 - COUNT_MEMORY) * floored))
        log_prior = jnp.where(step > config.learn_count_after, jax.nn.log_softmax(followed), log_prior)
    return log_prior


def _with_annealed_sd(config: ModelConfig, model: Family, step: Int[Array, ""] | Float[Array, ""]) -> Family:
    """Give the likelihood the standard deviation that it has at a step, if that is annealed."""
    if config.sd_start is None:
        return model
    after = 0 if config.count_ratio_start is None else config.anneal_steps
    left = jnp.clip(1.0 - (step - after) / config.sd_anneal_steps, 0.0, 1.0)
    log_sd = left * math.log(config.sd_start) + (1.0 - left) * math.log(config.sd)
    return eqx.tree_at(lambda m: m.likelihood.log_sd, model, log_sd)


def step(
    model_config: ModelConfig,
    config: TrainConfig,
    state: State,
    batch: UInt8[Array, "b c h w"],
) -> tuple[State, Info]:
    """Take one gradient step on a batch of images. Pure: the noise follows from `state.key` and `state.step`."""
    images = batch.astype(jnp.float32) / 255.0
    keys = jax.random.split(jax.random.fold_in(state.key, state.step), len(batch))
    networks = _trained(state.model, state.baseline)
    of_networks = lambda networks: losses.batch_loss(config, networks, images, keys)
    gradients, (elbo, count_probs) = jax.grad(of_networks, has_aux=True)(networks)
    updates, optimiser = make_optimiser(config).update(gradients, state.optimiser, networks)
    model, baseline = eqx.apply_updates(networks, updates)
    log_prior = _next_count_prior(model_config, state.model.count_log_prior, state.step + 1, count_probs)
    model = eqx.tree_at(lambda m: m.count_log_prior, model, log_prior)
    model = _with_annealed_sd(model_config, model, state.step + 1)
    return State(model, baseline, optimiser, state.step + 1, state.key), Info(elbo, count_probs)


@eqx.filter_jit(donate="all-except-first")
def run_chunk(
    fixed: tuple[UInt8[Array, "n c h w"], ModelConfig, TrainConfig],
    state: State,
    indices: Int[Array, "steps b"],
) -> tuple[State, Info]:
    """Take a step for every row of `indices`, positions in the data set, in one dispatch to the device."""
    images, model_config, config = fixed
    return jax.lax.scan(lambda s, i: step(model_config, config, s, images[i]), state, indices)


def batch_indices(config: TrainConfig, scenes: int, first: int, steps: int) -> Int[np.ndarray, "steps b"]:
    """Choose the scenes of `steps` batches from step `first` on.

    Every epoch is a new permutation of all scenes that depends on the seed and the epoch alone, so that a resumed run
    sees what an uninterrupted one would have seen. What doesn't fill a batch waits for another epoch.

    Raises:
        ValueError: fewer scenes than a batch needs.
    """
    if scenes < config.batch:
        raise ValueError(f"batch must be at most the number of training scenes, {scenes}, got {config.batch}")
    per_epoch = scenes // config.batch
    rows = []
    for epoch in range(first // per_epoch, (first + steps - 1) // per_epoch + 1):
        order = np.random.default_rng((config.seed, epoch)).permutation(scenes)
        rows.append(order[: per_epoch * config.batch].reshape(per_epoch, config.batch))
    offset = first % per_epoch
    return np.concatenate(rows)[offset : offset + steps].astype(np.int32)
