"""Training by gradient steps, for any model; and `init` and `step` for AIR.

A model's training is a function `step(config, state, batch)` that returns the next state and an `Info`. It calls
`gradient_step` with a loss and an optimiser, and may then change the model further, as the annealing of AIR does.
`run_chunk` takes many such steps in one dispatch to the device, and `loop.chunks` trains to the end.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree, UInt8, UInt32

from airjax.config import ModelConfig, TrainConfig
from airjax.learning import annealing, devices, losses
from airjax.learning.baseline import Baseline, build_baseline
from airjax.learning.cuts import ENOUGH
from airjax.learning.pasting import Pasted, paste
from airjax.models.build import build_model
from airjax.models.patches.base import PatchModel, trainable_copy

Aux = TypeVar("Aux")
_logger = logging.getLogger(__name__)


class NotFiniteError(RuntimeError):
    """Training produced a number that is not finite."""


class State(NamedTuple):
    """Everything that training changes and a checkpoint holds.

    Attributes:
        model: the model, priors included: an Equinox module whose every leaf is an array of floats.
        baseline: the baseline network of objective nvil, otherwise None.
        optimiser: optax's state for the pair (model, baseline).
        step: number of steps done.
        key: key from which the noise of each step is derived.
    """

    model: Any
    baseline: Baseline | None
    optimiser: optax.OptState
    step: Int[Array, ""]
    key: UInt32[Array, "2"]

    @property
    def noise_key(self) -> UInt32[Array, "2"]:
        """The key of the next step's noise."""
        return jax.random.fold_in(self.key, self.step)


class Info(NamedTuple):
    """Measurements of a step, as means over its batch.

    Attributes:
        elbo: evidence lower bound on the training batch, in nats per image, whatever the objective; in supervised
            training, the log-probability of the true objects.
        count_probs: mean of q(n | x), n = 0..N; empty for models without a count.
    """

    elbo: Float[Array, "*steps"]
    count_probs: Float[Array, "*steps counts"]


Step = Callable[[TrainConfig, State, Any], tuple[State, Info]]


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


def start(
    model: Any, optimiser: optax.GradientTransformation, key: UInt32[Array, "2"], baseline: Baseline | None = None
) -> State:
    """Make the state before the first step; training overwrites the arrays of `model`."""
    networks: Any = model, baseline  # typed loosely because optax knows no modules
    return State(model, baseline, optimiser.init(networks), jnp.zeros((), jnp.int32), key)


def gradient_step(
    loss: Callable[[tuple[Any, Baseline | None]], tuple[Float[Array, ""], Aux]],
    optimiser: optax.GradientTransformation,
    state: State,
) -> tuple[State, Aux]:
    """Update model and baseline once by the gradient of a loss.

    Args:
        loss: maps (model, baseline) to what is minimised, a mean over the batch, and to other means worth returning.
        optimiser: the one that made the state's `optimiser`.
        state: the state before the step.
    """
    networks: Any = state.model, state.baseline
    gradients, aux = devices.mean(jax.grad(loss, has_aux=True)(networks))
    updates, optimised = optimiser.update(gradients, state.optimiser, networks)
    model, baseline = eqx.apply_updates(networks, updates)
    return State(model, baseline, optimised, state.step + 1, state.key), aux


@eqx.filter_jit(donate="all-except-first")
def run_chunk(
    fixed: tuple[PyTree, TrainConfig, Step], state: State, indices: Int[Array, "steps b"]
) -> tuple[State, Info]:
    """Take a step for every row of `indices` in one dispatch to the device.

    Args:
        fixed: the data, whose arrays have one row per example (those with fewer are repeated); the settings; and the
            step function. Equal settings and step functions share one compiled program.
        state: the state before the first of these steps; its memory is reused.
        indices: rows of the data in each batch.
    """
    data, config, step = fixed
    most = examples(data)
    take = lambda i: jax.tree.map(lambda x: x[i] if len(x) == most else x[i % len(x)], data)
    return jax.lax.scan(lambda s, i: step(config, s, take(i)), state, indices)


@eqx.filter_jit(donate="all-except-first")
def run_shared(fixed: tuple[PyTree, TrainConfig, Step, devices.Devices], state: State) -> tuple[State, Info]:
    """Take a step for every batch on several devices, in one dispatch.

    Args:
        fixed: the batches, the settings, the step function, and the devices that share the batches.
        state: the state before the first of these steps, the same on every device; its memory is reused.
    """
    batches, config, step, shared = fixed
    steps = lambda state, batches: jax.lax.scan(lambda s, batch: step(config, s, batch), state, batches)
    specs = devices.WHOLE, devices.SHARED
    return jax.shard_map(steps, mesh=shared.mesh, in_specs=specs, out_specs=devices.WHOLE, check_vma=False)(
        state, batches
    )


def examples(data: PyTree) -> int:
    """Count the examples of training data: the rows of its longest arrays."""
    return max(map(len, jax.tree.leaves(data)))


def batch_indices(config: TrainConfig, scenes: int, first: int, steps: int) -> Int[np.ndarray, "steps b"]:
    """Choose the scenes of `steps` batches from step `first` on.

    Every epoch is a new permutation of all scenes. It depends on the seed and the epoch alone, so that a resumed run
    sees the batches of an uninterrupted one. Scenes that don't fill a last batch are left out of that epoch.

    Raises:
        ValueError: there are fewer scenes than a batch needs.
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


# AIR, in 2D or 3D


def init(
    model_config: ModelConfig,
    config: TrainConfig,
    image_shape: tuple[int, int, int],
    patches: PatchModel | None = None,
) -> State:
    """Make the state before the first step of AIR; `config.seed` fixes it.

    A patch model of your own, made for patches of side `model_config.window`, replaces the configured one. It is
    copied.

    Raises:
        ValueError: a value of a configuration is out of range, or `patches` has a leaf that can't be trained.
    """
    model_key, baseline_key, key = jax.random.split(jax.random.PRNGKey(config.seed), 3)
    own = None if patches is None else trainable_copy(patches)
    model = annealing.before_training(model_config, build_model(model_config, image_shape, patches=own, key=model_key))
    baseline = build_baseline(model_config, model, key=baseline_key) if config.objective == "nvil" else None
    return start(model, make_optimiser(config), key, baseline)


def init_from_data(state: State, images: UInt8[np.ndarray, "n c h w"]) -> State:
    """Initialise the parts of an untrained model that start from training scenes."""
    return state._replace(model=state.model.init_from_data(images))


class Data(NamedTuple):
    """What AIR learns from: images, and scenes pasted together from pieces of them.

    Attributes:
        images: the images, one row per example.
        pasted: scenes of known objects; None: there are none.
    """

    images: UInt8[Array, "n c h w"] | UInt8[np.ndarray, "n c h w"]
    pasted: Pasted | None


def learn_from(
    model_config: ModelConfig, config: TrainConfig, images: UInt8[np.ndarray, "n c h w"]
) -> UInt8[np.ndarray, "n c h w"] | Data:
    """Add pasted scenes, no more than images, if they are asked for and there are pieces enough.

    With `config.apart`, images in which objects seem to touch are left out: two objects that the bound once takes for
    one, it learns to draw as one.
    """
    if not config.paste:
        return images
    _logger.info("pasting scenes together from pieces of the pictures")
    pasting = paste(images, model_config.max_objects, min(config.pasted_scenes, len(images)), seed=config.seed)
    if pasting is None:
        _logger.warning("too few objects lie alone in the pictures to paste scenes together: the bound alone teaches")
        return images
    if config.apart and len(pasting.apart) >= ENOUGH:
        images = images[pasting.apart]
        _logger.info("in %d pictures, objects seem to lie apart: the bound is learned from those", len(images))
    return Data(images, pasting.scenes)


def step(
    model_config: ModelConfig,
    config: TrainConfig,
    state: State,
    batch: UInt8[Array, "b c h w"] | Data,
) -> tuple[State, Info]:
    """Train AIR on a batch of images for one step. Pure: the noise follows from `state.key` and `state.step`.

    Pasted scenes, where there are any, are learned from beside the images, and alone in the first `config.paste_alone`
    steps, or a fifth of all.
    """
    pictures, pasted = batch if isinstance(batch, Data) else (batch, None)
    images = jnp.asarray(pictures, jnp.float32) / 255.0
    keys = devices.keys(state.noise_key, len(images))

    def loss(networks):
        value, aux = losses.batch_loss(config, networks, images, keys)
        if pasted is None:
            return value, aux
        few = jax.tree.map(lambda x: x[: -(-len(x) // 2)], (pasted, keys))
        drawing, telling = losses.pasted_loss(config, networks[0], *few)
        alone = min(config.paste_alone, config.steps // 5)
        return jnp.where(state.step < alone, 0.0, value) + drawing + telling, aux

    after, (elbo, count_probs) = gradient_step(loss, make_optimiser(config), state)
    log_prior = state.model.count_log_prior
    model = annealing.after_step(model_config, after.model, log_prior, after.step, count_probs)
    return after._replace(model=model), Info(elbo, count_probs)


def step_with(model_config: ModelConfig) -> Step:
    """Fix the model's settings of `step`, for `run_chunk` and `loop.chunks`."""
    return jax.tree_util.Partial(step, model_config)  # compared by value; functools.partial would be compiled anew
