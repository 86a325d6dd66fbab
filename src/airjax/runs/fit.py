"""Training in the folder of a run: progress bar, log, pictures, checkpoints, resuming."""

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from airjax.config import Config
from airjax.data import Scenes
from airjax.data.batches import channels_first
from airjax.inference import infer
from airjax.inference.evaluate import quick_scores
from airjax.learning import trainer
from airjax.learning.loop import Chunk, chunks
from airjax.models.base import Family
from airjax.runs import checkpoint, record
from airjax.runs.log import MetricsLog
from airjax.runs.watchdog import Watchdog

QUICK_SCENES = 1_000
"""Held-out scenes that are scored during training."""
PICTURED = 8
"""Scenes in a picture."""
RESIDENT = 2**30
"""Scenes of up to this many bytes stay on the device; of more, only one chunk at a time is copied there."""
SAVED_EVERY = 60.0
"""Longest time between checkpoints, in seconds, counted from the first chunk of steps."""
_logger = logging.getLogger(__name__)


def fit(
    config: Config,
    scenes: Scenes,
    held_out: Scenes,
    folder: Path,
    *,
    progress: bool = True,
    stalled: Callable[[str], None] | None = None,
) -> Family:
    """Train as configured, or resume the run in `folder`.

    Args:
        config: the settings; those of the run in `folder` if there is one.
        scenes: training scenes.
        held_out: scenes for scores and pictures during training; nothing is learned from them.
        folder: where the run is stored; made if absent.
        progress: whether to show a progress bar on stderr.
        stalled: called in another thread, with a sentence, when training stalls or ignores an interrupt (see
            `watchdog.Watchdog`); it should end the process. None: no watchdog.

    Returns:
        The trained model.

    Raises:
        ValueError: a setting is out of range.
        record.RunError: the folder holds another run or something else.
        checkpoint.RunLocked: another process is training in the folder.
        checkpoint.CheckpointError: no checkpoint of the run is valid.
        trainer.NotFiniteError: the bound or the weights are no longer finite.
    """
    images = channels_first(scenes.images)
    this = record.Record(config, images.shape[1:])
    state = trainer.init(config.model, config.train, this.image_shape)
    trainer.batch_indices(config.train, len(images), 0, 1)
    record.check_folder(folder, this)
    with checkpoint.RunLock(folder):
        record.write_record(folder, this)
        found = checkpoint.restore_newest(folder / record.CHECKPOINTS, this.blank_state())
        if found is None:
            state = trainer.init_from_data(state, images)
        else:
            _logger.info("going on from step %d of %d", found[0], config.train.steps)
            state = found[1]
        with MetricsLog(folder, None if found is None else found[0]) as log:
            run = _Fit(config, images, held_out[:QUICK_SCENES], folder, log, None if found is None else found[0])
            return run.run(state, progress, stalled)


class _Fit:
    """One call of `fit`, once the folder is locked and the state is known."""

    def __init__(self, config, images, held_out, folder, log, kept):
        self.config, self.held_out = config, held_out
        self.images, self.folder, self.log = images, folder, log
        self.saved, self.kept = 0.0, kept

    def run(self, state: trainer.State, progress: bool, stalled: Callable[[str], None] | None) -> Family:
        done = int(state.step)
        if done == self.config.train.steps:
            return state.model
        data = trainer.learn_from(self.config.model, self.config.train, self.images)
        data = jax.tree.map(jnp.asarray, data) if self.images.nbytes <= RESIDENT else data
        with Watchdog(lambda message: stalled(self._with_last(message))) if stalled else nullcontext() as watchdog:
            try:
                step = trainer.step_with(self.config.model)
                for index, chunk in enumerate(chunks(data, self.config.train, step, state, progress=progress)):
                    state, before, done = chunk.state, done, done + len(chunk.info.elbo)
                    self.saved = self.saved or time.monotonic()
                    self._log(done, chunk)
                    if index == 1:  # the first includes compilation
                        self._estimate(done, chunk)
                    self._events(state, before, done)
                    if watchdog:
                        watchdog.beat()
            except trainer.NotFiniteError as error:
                raise trainer.NotFiniteError(self._with_last(str(error))) from None
        return state.model

    def _with_last(self, message: str) -> str:
        """Add the last checkpoint to a message; the disk, which may be what stalls, is not asked."""
        last = "there is no checkpoint yet" if self.kept is None else f"the last good checkpoint is step {self.kept}"
        return f"{message}; {last}, in {self.folder}"

    def _estimate(self, done: int, chunk: Chunk) -> None:
        """Say how long training will take."""
        settings = self.config.train
        left = settings.steps - done
        minutes = left * settings.batch / chunk.images_per_s / 60
        _logger.info("%d of %d steps left, about %.0f minutes", left, settings.steps, minutes)

    def _log(self, done: int, chunk: Chunk) -> None:
        elbo, counts = float(jnp.mean(chunk.info.elbo)), np.mean(chunk.info.count_probs, axis=0)
        named = {f"count_{n}": p for n, p in enumerate(counts)}
        self.log.write(done, {"elbo": elbo, "images_per_s": chunk.images_per_s, **named})

    def _events(self, state: trainer.State, before: int, done: int) -> None:
        """Score held-out scenes and write a checkpoint when they are due, and at the end.

        Checkpoints have no effect on training, so they may also be written by the clock.
        """
        from airjax.runs.figures import draw_found  # here, so that `import airjax` does not load matplotlib

        settings = self.config.train
        due = lambda every: done // every > before // every or done == settings.steps
        if due(settings.evaluate_every) and len(self.held_out):
            found = infer.find(state.model, channels_first(self.held_out.images))
            self.log.write(done, quick_scores(state.model, self.held_out, found))
            picture = self.folder / record.PICTURES / f"step_{done:09d}.png"
            draw_found(self.held_out[:PICTURED], found, picture)
        if due(settings.checkpoint_every) or time.monotonic() - self.saved > SAVED_EVERY:
            checkpoint.save(self.folder / record.CHECKPOINTS, done, state, keep=settings.keep)
            self.saved, self.kept = time.monotonic(), done
