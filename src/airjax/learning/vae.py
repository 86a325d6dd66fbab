"""Patch models without AIR, as variational autoencoders of whole square pictures.

    p(x, what) = p(what) p(x | decode(what)),    q(what | x) = encode(x)

They serve as baselines (DRAW over whole scenes), as codes of pictures, and for comparing patch models by themselves.
Of `TrainConfig`, only seed, steps, batch, learning_rate, schedule, warmup and chunk have an effect here.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray, UInt8

from airjax.config import TrainConfig
from airjax.data.batches import in_batches
from airjax.learning import devices, loop, trainer
from airjax.models.likelihood import Likelihood
from airjax.models.patches.base import PatchModel, trainable_copy


class PictureBounds(NamedTuple):
    """Lower bounds on log p(x) of n pictures, in nats.

    Attributes:
        elbo: evidence lower bound, from one sample of the code.
        iw_bound: importance-weighted bound over K samples.
    """

    elbo: Float32[np.ndarray, " n"]
    iw_bound: Float32[np.ndarray, " n"]


class PictureModel(eqx.Module):
    """A patch model whose patch is the whole picture."""

    patches: PatchModel
    likelihood: Likelihood

    def explain(
        self, image: Float[Array, "c p p"], noise: Float[Array, " d"]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Encode a picture with standard normal noise, and decode the code.

        Returns:
            The evidence lower bound, and log p(x, what) - log q(what | x), of this one sample, in nats.
        """
        code = self.patches.encode(image, noise)
        log_likelihood = self.likelihood.log_prob(image, self.patches.decode(code.value))
        return log_likelihood - code.kl, log_likelihood + code.log_ratio


def init(patches: PatchModel, likelihood: Likelihood, config: TrainConfig) -> trainer.State:
    """Make the state before the first step; `patches` and `likelihood` are copied.

    Raises:
        ValueError: the patch model has a leaf that can't be trained.
    """
    model = PictureModel(trainable_copy(patches), trainable_copy(likelihood))
    return trainer.start(model, trainer.make_optimiser(config), jax.random.PRNGKey(config.seed))


def step(
    config: TrainConfig, state: trainer.State, batch: UInt8[Array, "b c p p"]
) -> tuple[trainer.State, trainer.Info]:
    """Train on a batch of pictures for one step. Pure: the noise follows from `state.key` and `state.step`."""
    shape = len(batch) * devices.count(), state.model.patches.code_size
    noise = devices.own(jax.random.normal(state.noise_key, shape))

    def loss(networks):
        elbos, _ = jax.vmap(networks[0].explain)(batch / 255.0, noise)
        return -jnp.mean(elbos), jnp.mean(elbos)

    state, elbo = trainer.gradient_step(loss, trainer.make_optimiser(config), state)
    return state, trainer.Info(elbo, jnp.zeros(0))


def fit(
    patches: PatchModel, likelihood: Likelihood, images: UInt8[np.ndarray, "n c p p"], config: TrainConfig
) -> tuple[PictureModel, trainer.Info]:
    """Train a patch model on whole pictures; the seed fixes everything.

    Returns:
        The trained model, and the measurements of every step.

    Raises:
        ValueError: there are fewer pictures than a batch needs, or the patch model has a leaf that can't be trained.
        trainer.NotFiniteError: the bound or the weights are no longer finite.
    """
    state, infos = init(patches, likelihood, config), []
    for chunk in loop.chunks(jnp.asarray(images), config, step, state):
        state = chunk.state
        infos.append(chunk.info)
    return state.model, jax.tree.map(lambda *x: jnp.concatenate(x), *infos)


def bound(
    model: PictureModel, images: UInt8[np.ndarray, "n c p p"], *, samples: int, key: PRNGKeyArray, batch: int = 100
) -> PictureBounds:
    """Evaluate both bounds on log p(x) with `samples` codes per picture.

    Raises:
        ValueError: there are no samples or no pictures.
    """
    if samples < 1 or not len(images):
        raise ValueError(f"samples and images must be at least 1, got {samples} and {len(images)}")
    evaluate = lambda chunk, index: _bound(model, chunk, samples, jax.random.fold_in(key, index))
    return PictureBounds(**in_batches(evaluate, images, batch))


@eqx.filter_jit
def _bound(model: PictureModel, images: UInt8[Array, "b c p p"], samples: int, key: PRNGKeyArray) -> dict[str, Array]:
    noise = jax.random.normal(key, (len(images), samples, model.patches.code_size))
    elbos, log_weights = jax.vmap(jax.vmap(model.explain, in_axes=(None, 0)))(images / 255.0, noise)
    iw_bound = jax.nn.logsumexp(log_weights, axis=1) - jnp.log(samples)
    return dict(elbo=elbos[:, 0], iw_bound=iw_bound)


def codes(patches: PatchModel, images: UInt8[np.ndarray, "n c p p"], *, batch: int = 256) -> Float32[np.ndarray, "n d"]:
    """Encode pictures without noise: the means of Gaussian posteriors."""
    return in_batches(lambda chunk, _: _codes(patches, chunk), images, batch)["codes"]


@eqx.filter_jit
def _codes(patches: PatchModel, images: UInt8[Array, "b c p p"]) -> dict[str, Array]:
    encode = lambda image: patches.encode(image, jnp.zeros(patches.code_size)).value
    return dict(codes=jax.vmap(encode)(images / 255.0))
