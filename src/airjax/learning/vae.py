"""Patch models alone, as generative models of whole square pictures: `init`, `step`, `fit`, bounds and codes.

    p(x, what) = p(what) p(x | decode(what)),    q(what | x) = encode(x)

For baselines (DRAW over whole scenes), for codes of pictures, and to compare patch models without AIR. Of `TrainConfig`
this heeds what concerns any training: seed, steps, batch, learning_rate, schedule, warmup and chunk.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int, PRNGKeyArray, UInt8, UInt32

from airjax.config import TrainConfig
from airjax.data.batches import in_batches
from airjax.learning import trainer
from airjax.models.likelihood import Likelihood
from airjax.models.patches.base import PatchModel, trainable_copy


class Terms(NamedTuple):
    """What one sample of the code says of a picture.

    Attributes:
        elbo: evidence lower bound, in nats.
        log_weight: log p(x, what) - log q(what | x), in nats.
    """

    elbo: Float[Array, ""]
    log_weight: Float[Array, ""]


class PictureModel(eqx.Module):
    """A patch model whose patch is the whole picture."""

    patches: PatchModel
    likelihood: Likelihood

    def explain(self, image: Float[Array, "c p p"], noise: Float[Array, " d"]) -> Terms:
        """Encode a picture with standard normal noise, and draw it again."""
        code = self.patches.encode(image, noise)
        log_likelihood = self.likelihood.log_prob(image, self.patches.decode(code.value))
        return Terms(log_likelihood - code.kl, log_likelihood + code.log_ratio)


class State(NamedTuple):
    """All that training changes.

    Attributes:
        model: patch model and likelihood.
        optimiser: optax's state.
        step: number of steps done.
        key: key from which each step's noise is derived.
    """

    model: PictureModel
    optimiser: optax.OptState
    step: Int[Array, ""]
    key: UInt32[Array, "2"]


class Info(NamedTuple):
    """What a step tells of itself: the mean evidence lower bound of its batch, in nats per picture."""

    elbo: Float[Array, "*steps"]


class Bounds(NamedTuple):
    """Lower bounds on log p(x) of n pictures, in nats: from one sample of the code, and importance-weighted over K."""

    elbo: Float32[np.ndarray, " n"]
    iw_bound: Float32[np.ndarray, " n"]


def init(patches: PatchModel, likelihood: Likelihood, config: TrainConfig) -> State:
    """Make the state before the first step; `patches` and `likelihood` themselves are left as they are.

    Raises:
        ValueError: the patch model has a leaf that can't be trained.
    """
    model = PictureModel(trainable_copy(patches), trainable_copy(likelihood))
    optimiser = optax.adam(trainer.learning_rate(config)).init(eqx.filter(model, eqx.is_array))
    return State(model, optimiser, jnp.zeros((), jnp.int32), jax.random.PRNGKey(config.seed))


def step(config: TrainConfig, state: State, batch: UInt8[Array, "b c p p"]) -> tuple[State, Info]:
    """Take one gradient step on a batch of pictures. Pure: the noise follows from `state.key` and `state.step`."""
    shape = (len(batch), state.model.patches.code_size)
    noise = jax.random.normal(jax.random.fold_in(state.key, state.step), shape)

    def loss(model):
        return -jnp.mean(jax.vmap(model.explain)(batch / 255.0, noise).elbo)

    negative_elbo, gradients = jax.value_and_grad(loss)(state.model)
    updates, optimiser = optax.adam(trainer.learning_rate(config)).update(gradients, state.optimiser)
    model = eqx.apply_updates(state.model, updates)
    return State(model, optimiser, state.step + 1, state.key), Info(-negative_elbo)


@eqx.filter_jit(donate="all-except-first")
def run_chunk(
    fixed: tuple[UInt8[Array, "n c p p"], TrainConfig], state: State, indices: Int[Array, "steps b"]
) -> tuple[State, Info]:
    """Take a step for every row of `indices`, positions among the pictures, in one dispatch to the device."""
    images, config = fixed
    return jax.lax.scan(lambda s, i: step(config, s, images[i]), state, indices)


def fit(
    patches: PatchModel, likelihood: Likelihood, images: UInt8[np.ndarray, "n c p p"], config: TrainConfig
) -> tuple[PictureModel, Info]:
    """Train a patch model on whole pictures; the seed fixes everything.

    Returns:
        The trained model, and what every step told.

    Raises:
        ValueError: there are fewer pictures than a batch needs, or the patch model has a leaf that can't be trained.
        trainer.NotFiniteError: the bound is no longer finite.
    """
    state, fixed, infos = init(patches, likelihood, config), (jnp.asarray(images), config), []
    for first in range(0, config.steps, config.chunk):
        rows = trainer.batch_indices(config, len(images), first, min(config.chunk, config.steps - first))
        state, info = run_chunk(fixed, state, jnp.asarray(rows))
        bad = ~np.isfinite(info.elbo)
        if bad.any():
            raise trainer.NotFiniteError(
                f"the bound is not finite at step {first + int(np.argmax(bad)) + 1} (seed {config.seed})"
            )
        infos.append(info)
    return state.model, Info(jnp.concatenate([info.elbo for info in infos]))


def bound(
    model: PictureModel, images: UInt8[np.ndarray, "n c p p"], *, samples: int, key: PRNGKeyArray, batch: int = 100
) -> Bounds:
    """Evaluate bounds on log p(x) with `samples` codes a picture.

    Raises:
        ValueError: there are no samples or no pictures.
    """
    if samples < 1 or not len(images):
        raise ValueError(f"samples and images must be at least 1, got {samples} and {len(images)}")
    evaluate = lambda chunk, index: _bound(model, chunk, samples, jax.random.fold_in(key, index))
    return Bounds(**in_batches(evaluate, images, batch))


@eqx.filter_jit
def _bound(model: PictureModel, images: UInt8[Array, "b c p p"], samples: int, key: PRNGKeyArray) -> dict[str, Array]:
    noise = jax.random.normal(key, (len(images), samples, model.patches.code_size))
    terms = jax.vmap(jax.vmap(model.explain, in_axes=(None, 0)))(images / 255.0, noise)
    iw_bound = jax.nn.logsumexp(terms.log_weight, axis=1) - jnp.log(samples)
    return dict(elbo=terms.elbo[:, 0], iw_bound=iw_bound)


def codes(patches: PatchModel, images: UInt8[np.ndarray, "n c p p"], *, batch: int = 256) -> Float32[np.ndarray, "n d"]:
    """Encode pictures without noise: for Gaussian posteriors, their means."""
    return in_batches(lambda chunk, _: _codes(patches, chunk), images, batch)["codes"]


@eqx.filter_jit
def _codes(patches: PatchModel, images: UInt8[Array, "b c p p"]) -> dict[str, Array]:
    encode = lambda image: patches.encode(image, jnp.zeros(patches.code_size)).value
    return dict(codes=jax.vmap(encode)(images / 255.0))
