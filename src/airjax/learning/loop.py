"""The training loop: chunks of steps under a progress bar, until the last step or a number that is not finite."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from airjax.config import TrainConfig
from airjax.learning import trainer
from airjax.learning.devices import Devices, here

APART = "seed", "chunk", "evaluate_every", "checkpoint_every", "keep"
"""Settings of training that a step doesn't depend on."""


class Chunk(NamedTuple):
    """A chunk of training steps.

    Attributes:
        state: the state after it; the next chunk reuses its memory.
        info: measurements of each of its steps.
        images_per_s: training speed.
    """

    state: trainer.State
    info: trainer.Info
    images_per_s: float


def chunks(
    data: PyTree,
    config: TrainConfig,
    step: trainer.Step,
    state: trainer.State,
    *,
    progress: bool = False,
    devices: Devices | None = None,
) -> Iterator[Chunk]:
    """Train from the step of `state` to the last.

    Args:
        data: training data, an array or a tree of arrays, with one row per example. Of numpy arrays, only the rows of
            one chunk at a time are copied to the device.
        config: the settings of training.
        step: takes one step, given the settings, a state and a batch (for AIR, `trainer.step_with`).
        state: where to start; its memory is reused.
        progress: whether to show a progress bar on stderr.
        devices: devices that share every batch, of arrays of numpy; None: one device.

    Raises:
        ValueError: there are fewer examples than a batch needs.
        trainer.NotFiniteError: the bound or the weights are no longer finite.
    """
    columns = BarColumn(bar_width=12), MofNCompleteColumn(), TextColumn("{task.fields[news]}"), TimeRemainingColumn()
    total, done = config.steps, int(state.step)
    run = _run_here if devices is None else _Shared(devices)
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("training", total=total, completed=done, news="compiling")
        while done < total:
            chunk = _chunk(run, data, config, step, state, done)
            state, done = chunk.state, done + len(chunk.info.elbo)
            bar.update(task, completed=done, news=_news(chunk))
            yield chunk


def _chunk(run, data, config, step, state, done) -> Chunk:
    rows = trainer.batch_indices(config, trainer.examples(data), done, min(config.chunk, config.steps - done))
    start = time.perf_counter()
    state, info = jax.block_until_ready(run(data, rows, _of_steps(config), step, state))
    _check_finite(info, state, done, config.seed)
    return Chunk(state, info, rows.size / (time.perf_counter() - start))


def _run_here(data, rows, config, step, state):
    """Take steps on one device."""
    if isinstance(jax.tree.leaves(data)[0], np.ndarray):
        data, rows = _select(data, rows), np.arange(rows.size, dtype=np.int32).reshape(rows.shape)
    return trainer.run_chunk((jax.device_put(data), config, step), state, jnp.array(rows))  # whose memory is given away


class _Shared:
    """Take steps on several devices; what is returned is on one of them, in every process."""

    def __init__(self, devices: Devices):
        self._devices, self._state = devices, None

    def __call__(self, data, rows, config, step, state):
        before = self._devices.everywhere(state) if self._state is None else self._state
        fixed = self._devices.share(data, rows), config, step, self._devices
        self._state, info = trainer.run_shared(fixed, before)
        return here((self._state, info))


def _of_steps(config: TrainConfig) -> TrainConfig:
    """Set what steps don't depend on to its default, so that all such configurations share one compiled program.

    They depend on the seed only through the state.
    """
    plain = TrainConfig()
    return replace(config, **{name: getattr(plain, name) for name in APART})


def _select(data, rows):
    return jax.tree.map(lambda x: x[rows.reshape(-1) % len(x)], data)


def _news(chunk: Chunk) -> str:
    probs = chunk.info.count_probs
    counts = f"  counts {'/'.join(f'{100 * p:.0f}' for p in np.mean(probs, axis=0))} %" if probs.size else ""
    return f"ELBO {jnp.mean(chunk.info.elbo):.1f}{counts}  {chunk.images_per_s:,.0f} images/s"


def _check_finite(info: trainer.Info, state: trainer.State, done: int, seed: int) -> None:
    bad = ~np.isfinite(info.elbo)
    bad[-1] |= not _all_finite(state)  # the last bound was evaluated before the last update of the weights
    if bad.any():
        step = done + int(np.argmax(bad)) + 1
        raise trainer.NotFiniteError(f"the bound or the weights are not finite at step {step} (seed {seed})")


def _all_finite(state: PyTree) -> bool:
    if jax.default_backend() != "cpu":  # weights are not copied from the device
        return bool(_finite_there(state))
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))  # nothing is compiled


@jax.jit
def _finite_there(state: PyTree) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state)]))
