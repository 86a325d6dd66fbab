"""Train a model in a run's folder: progress, log, pictures, checkpoints, resuming."""

import logging
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from airjax import checkpoint, inference, run, train
from airjax.config import Config
from airjax.data import Scenes
from airjax.evaluate import quick_scores
from airjax.family import Family
from airjax.figures import draw_attention
from airjax.logs import MetricsLog

QUICK_SCENES = 1_000
"""Held-out scenes that are looked at during training."""
PICTURED = 8
"""Scenes in a picture."""
RESIDENT = 2**30
"""Bytes of scenes that are kept on the device; of more, only those of a chunk of steps are brought there."""
_logger = logging.getLogger(__name__)


def fit(config: Config, scenes: Scenes, held_out: Scenes, folder: Path, *, progress: bool = True) -> Family:
    """Train as configured, or go on where the run in `folder` was stopped.

    Args:
        config: the run; the same one if the folder holds a run already.
        scenes: training scenes.
        held_out: scenes for the scores and pictures made on the way; nothing is learned from them.
        folder: where everything is kept; made if absent.
        progress: whether to show a progress bar on stderr.

    Returns:
        The trained model.

    Raises:
        ValueError: a setting is out of range.
        run.RunError: the folder holds another run or something else.
        checkpoint.RunLocked: another process is training in the folder.
        checkpoint.CheckpointError: no checkpoint of the run is valid.
        train.NotFiniteError: the bound or its gradient is no longer finite.
    """
    images = inference.channels_first(scenes.images)
    record = run.Record(config, images.shape[1:])
    state = train.init(config.model, config.train, record.image_shape)
    train.batch_indices(config.train, len(images), 0, 1)
    run.check_folder(folder, record)
    with checkpoint.RunLock(folder):
        run.write_record(folder, record)
        found = checkpoint.restore_newest(folder / run.CHECKPOINTS, record.blank_state())
        if found is None:
            state = train.start(state, images)
        else:
            _logger.info("going on from step %d of %d", found[0], config.train.steps)
            state = found[1]
        with MetricsLog(folder, None if found is None else found[0]) as log:
            return _Fit(config, images, held_out[:QUICK_SCENES], folder, log, progress).run(state)


class _Fit:
    """One call of `fit`, after the folder is ours and the state is known."""

    def __init__(self, config, images, held_out, folder, log, progress):
        self.config, self.held_out = config, held_out
        self.images = jnp.asarray(images) if images.nbytes <= RESIDENT else images
        self.folder, self.log = folder, log
        columns = (
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[news]}"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=Console(stderr=True), disable=not progress)

    def run(self, state: train.State) -> Family:
        total, done = self.config.train.steps, int(state.step)
        with self.bar:
            task = self.bar.add_task("training", total=total, completed=done, news="compiling")
            while done < total:
                steps = min(self.config.train.chunk, total - done)
                state, news = self._chunk(state, done, steps)
                done += steps
                self.bar.update(task, completed=done, news=news)
                self._events(state, done - steps, done)
        return state.model

    def _chunk(self, state: train.State, done: int, steps: int) -> tuple[train.State, str]:
        settings = self.config.train
        indices, images = train.batch_indices(settings, len(self.images), done, steps), self.images
        start = time.perf_counter()
        if isinstance(images, np.ndarray):
            images, indices = (
                images[indices.reshape(-1)],
                np.arange(indices.size, dtype=np.int32).reshape(indices.shape),
            )
        fixed = (jnp.asarray(images), self.config.model, settings)
        state, info = jax.block_until_ready(train.run_chunk(fixed, state, jnp.asarray(indices)))
        rate = indices.size / (time.perf_counter() - start)
        self._check_finite(info, state, done)
        elbo, counts = float(jnp.mean(info.elbo)), np.mean(info.count_probs, axis=0)
        named = {f"count_{n}": p for n, p in enumerate(counts)}
        self.log.write(done + steps, {"elbo": elbo, "images_per_s": rate, **named})
        histogram = "/".join(f"{100 * p:.0f}" for p in counts)
        return state, f"ELBO {elbo:.1f}  counts {histogram} %  {rate:,.0f} images/s"

    def _check_finite(self, info: train.Info, state: train.State, done: int) -> None:
        bad = ~np.isfinite(info.elbo)
        bad[-1] |= not _all_finite(state)  # the last step's bound says nothing of the weights it made
        if bad.any():
            kept = checkpoint.newest_step(self.folder / run.CHECKPOINTS)
            last = "there is no checkpoint yet" if kept is None else f"the last good checkpoint is step {kept}"
            raise train.NotFiniteError(
                f"the bound or the weights are not finite at step {done + int(np.argmax(bad)) + 1} "
                f"(seed {self.config.train.seed}); {last}, in {self.folder}"
            )

    def _events(self, state: train.State, before: int, done: int) -> None:
        """Look at held-out scenes and write a checkpoint whenever their turn has come, and at the end."""
        settings = self.config.train
        due = lambda every: done // every > before // every or done == settings.steps
        if due(settings.evaluate_every) and len(self.held_out):
            self.log.write(done, quick_scores(state.model, self.held_out))
            picture = self.folder / run.PICTURES / f"step_{done:09d}.png"
            draw_attention(state.model, self.held_out[:PICTURED], picture)
        if due(settings.checkpoint_every):
            checkpoint.save(self.folder / run.CHECKPOINTS, done, state, keep=settings.keep)


@jax.jit
def _all_finite(state: train.State) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state)]))
