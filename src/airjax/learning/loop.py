"""The training loop: chunk after chunk of steps, under a progress bar, until a number is not finite."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, UInt8
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from airjax.config import ModelConfig, TrainConfig
from airjax.learning import trainer


class Chunk(NamedTuple):
    """A chunk of training steps.

    Attributes:
        state: the state after it; the next chunk takes its memory.
        info: what each of its steps told.
        images_per_s: how fast it was.
    """

    state: trainer.State
    info: trainer.Info
    images_per_s: float


def chunks(
    images: UInt8[np.ndarray, "n c h w"] | UInt8[Array, "n c h w"],
    model_config: ModelConfig,
    config: TrainConfig,
    state: trainer.State,
    *,
    progress: bool,
) -> Iterator[Chunk]:
    """Train from a state's step to the last.

    Args:
        images: what to learn from; of a numpy array, only what a chunk needs is brought to the device.
        model_config: what the state's model was made by.
        config: the training.
        state: where to start.
        progress: whether to show a progress bar on stderr.

    Raises:
        ValueError: there are fewer images than a batch needs.
        trainer.NotFiniteError: the bound or the weights are no longer finite.
    """
    columns = BarColumn(bar_width=12), MofNCompleteColumn(), TextColumn("{task.fields[news]}"), TimeRemainingColumn()
    total, done = config.steps, int(state.step)
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("training", total=total, completed=done, news="compiling")
        while done < total:
            chunk = _chunk(images, model_config, config, state, done)
            state, done = chunk.state, done + len(chunk.info.elbo)
            bar.update(task, completed=done, news=_news(chunk))
            yield chunk


def _chunk(images, model_config, config, state, done) -> Chunk:
    rows = trainer.batch_indices(config, len(images), done, min(config.chunk, config.steps - done))
    start = time.perf_counter()
    if isinstance(images, np.ndarray):
        images, rows = images[rows.reshape(-1)], np.arange(rows.size, dtype=np.int32).reshape(rows.shape)
    # Steps don't depend on the seed but through the state: one compilation serves all seeds.
    fixed = jnp.asarray(images), model_config, replace(config, seed=0)
    state, info = jax.block_until_ready(trainer.run_chunk(fixed, state, jnp.asarray(rows)))
    _check_finite(info, state, done, config.seed)
    return Chunk(state, info, rows.size / (time.perf_counter() - start))


def _news(chunk: Chunk) -> str:
    histogram = "/".join(f"{100 * p:.0f}" for p in np.mean(chunk.info.count_probs, axis=0))
    return f"ELBO {jnp.mean(chunk.info.elbo):.1f}  counts {histogram} %  {chunk.images_per_s:,.0f} images/s"


def _check_finite(info: trainer.Info, state: trainer.State, done: int, seed: int) -> None:
    bad = ~np.isfinite(info.elbo)
    bad[-1] |= not _all_finite(state)  # the last step's bound says nothing of the weights it made
    if bad.any():
        step = done + int(np.argmax(bad)) + 1
        raise trainer.NotFiniteError(f"the bound or the weights are not finite at step {step} (seed {seed})")


@jax.jit
def _all_finite(state: trainer.State) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state)]))
