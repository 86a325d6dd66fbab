"""Training in the folder of a run: progress bar, log, pictures, checkpoints, resuming."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from airjax.config import Config
from airjax.data import Scenes
from airjax.data.batches import channels_first
from airjax.data.sources import find_still
from airjax.inference import infer
from airjax.inference.evaluate import quick_scores
from airjax.learning import trainer
from airjax.learning.devices import choose
from airjax.learning.loop import Chunk, chunks
from airjax.models.base import Family
from airjax.runs import checkpoint, processes, record
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
    devices = choose(config.train.batch, config.train.paste > 0)
    processes.check_alike(config, images)
    with ExitStack() as open_until_end:
        keeper = Keeper(this, held_out[:QUICK_SCENES], folder) if processes.is_first() else Follower()
        found = processes.first_does(lambda: open_until_end.enter_context(keeper))
        state = processes.from_first(trainer.init_from_data(state, images) if found is None else found[1])
        return _train(config, images, state, keeper, devices, progress and processes.is_first(), stalled)


def _train(config: Config, images, state: trainer.State, keeper: "Follower", devices, progress, stalled) -> Family:
    """Train from a state to the end."""
    done = int(state.step)
    if done == config.train.steps:
        return state.model
    data = trainer.learn_from(config.model, config.train, images)
    resident = devices is None and images.nbytes <= RESIDENT
    data = jax.tree.map(jnp.asarray, data) if resident else data
    watched = stalled if keeper.watches else None
    with Watchdog(lambda message: watched(keeper.with_last(message))) if watched else nullcontext() as watchdog:
        try:
            step = trainer.step_with(config.model)
            for chunk in chunks(data, config.train, step, state, progress=progress, devices=devices):
                state, before, done = chunk.state, done, done + len(chunk.info.elbo)
                keeper.keep(chunk, before, done)
                if watchdog:
                    watchdog.beat()
        except trainer.NotFiniteError as error:
            raise trainer.NotFiniteError(keeper.with_last(str(error))) from None
    return state.model


class Follower:
    """What a process beside the first one keeps of a run: nothing.

    It has no watchdog either, since it waits while the first one draws and saves. If it stalls, so does the first one,
    whose watchdog ends both.
    """

    watches = False

    def __enter__(self) -> tuple[int, trainer.State] | None:
        """Return the newest checkpoint: its step and the state."""
        return None

    def __exit__(self, *_: object) -> None:
        """Close what was opened."""

    def keep(self, chunk: Chunk, before: int, done: int) -> None:
        """Keep what is due after the steps from `before` to `done`."""

    def with_last(self, message: str) -> str:
        """Add the last checkpoint to a message."""
        return message


class Keeper(Follower):
    """Keeps a run in its folder, locked: log, pictures, checkpoints."""

    watches = True

    def __init__(self, this: record.Record, held_out: Scenes, folder: Path):
        self.record, self.config, self.held_out, self.folder = this, this.config, held_out, folder
        self.saved, self.kept, self.chunks = 0.0, None, 0

    def __enter__(self) -> tuple[int, trainer.State] | None:
        """Take the folder, and read its newest checkpoint."""
        record.check_folder(self.folder, self.record)
        with ExitStack() as opened:
            opened.enter_context(checkpoint.RunLock(self.folder))
            record.write_record(self.folder, self.record)
            record.write_still(self.folder, lambda: find_still(self.config.data))
            found = checkpoint.restore_newest(self.folder / record.CHECKPOINTS, self.record.blank_state())
            if found is not None:
                self.kept = found[0]
                _logger.info("going on from step %d of %d", found[0], self.config.train.steps)
            self.log = opened.enter_context(MetricsLog(self.folder, self.kept))
            self.opened = opened.pop_all()
        return found

    def __exit__(self, *_: object) -> None:
        """Close the log and free the folder."""
        self.opened.close()

    def keep(self, chunk: Chunk, before: int, done: int) -> None:
        """Log a chunk of steps; score, draw and save when they are due."""
        self.saved = self.saved or time.monotonic()
        self._log(done, chunk)
        self.chunks += 1
        if self.chunks == 2:  # the first includes compilation
            self._estimate(done, chunk)
        self._events(chunk.state, before, done)

    def with_last(self, message: str) -> str:
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
