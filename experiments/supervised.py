"""Supervised training of the recognition network of AIR in 3D.

The model is an `AIR3D`, so inference, scores and figures are those of AIR; only the training differs. The network
learns log q of the true objects, ordered by kind. At each step it sees the canvas of the true objects before this one;
at test time it sees its own canvas.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, UInt8

from airjax.config import TrainConfig
from airjax.data import Scenes
from airjax.data.batches import channels_first
from airjax.inference import infer
from airjax.inference.metrics import count_accuracy
from airjax.inference.poses import pose_scores
from airjax.learning import loop, trainer
from airjax.models import count
from airjax.models.air3d.model import AIR3D
from airjax.models.air3d.recogniser import Posterior
from airjax.models.likelihood import NormalLikelihood
from airjax.render3d import Pose, Stage, daylight, render
from airjax.render3d.smooth import TURN
from airjax.runs import checkpoint
from airjax.runs.log import MetricsLog

DRAWN = 250
"""Scenes per batch when canvases are drawn."""
QUICK_SCENES = 500
"""Held-out scenes that are scored during training."""


class Lessons(NamedTuple):
    """Training data of n scenes of up to N objects.

    Attributes:
        images: the scenes.
        canvases: the table with the objects before each object.
        counts: numbers of objects.
        labels: identities, in the order of the objects; 0 beyond the count.
        poses: (x, y, rotation) of each object; 0 beyond the count.
    """

    images: UInt8[Array, "*n 3 h w"]
    canvases: UInt8[Array, "*n N 3 h w"]
    counts: Int32[Array, "*n"]
    labels: Int32[Array, "*n N"]
    poses: Float32[Array, "*n N 3"]


def untold(stage: Stage) -> Stage:
    """Remove the symmetries of all kinds: the posterior then has one mode of rotation, on the full circle."""
    return replace(stage, kinds=tuple(kind._replace(symmetry=0) for kind in stage.kinds))


def lessons(stage: Stage, scenes: Scenes) -> Lessons:
    """Sort the objects of scenes by kind and draw all canvases, from the azimuth of the stage."""
    assert scenes.labels is not None
    assert scenes.poses is not None
    kinds = np.where(scenes.labels < 0, len(stage.kinds), scenes.labels)
    order = np.argsort(kinds, axis=1, kind="stable")
    labels = np.maximum(np.take_along_axis(scenes.labels, order, axis=1), 0)
    poses = np.nan_to_num(np.take_along_axis(scenes.poses, order[..., None], axis=1))
    images, shape = channels_first(scenes.images), scenes.images.shape[1:3]
    canvases = _canvases(stage, shape, jnp.asarray(labels[:, :-1]), jnp.asarray(poses[:, :-1]))
    return Lessons(*map(jnp.asarray, (images, canvases, scenes.counts, labels, poses)))


@eqx.filter_jit
def _canvases(stage: Stage, shape, labels, poses) -> UInt8[Array, "n N 3 h w"]:
    """Draw tables with the first 0, 1, ..., N - 1 objects."""
    camera = stage.camera(stage.azimuth)

    def one(scene):
        labels, poses = scene
        stood: Pose = jax.vmap(stage.pose)(poses[:, :2], poses[:, 2])
        images = render(camera, labels, stood, daylight(), shape, stage.kinds)
        return jnp.round(255.0 * jnp.clip(images, 0.0, 1.0)).astype(jnp.uint8)

    return jax.lax.map(one, (labels, poses), batch_size=DRAWN)


def log_prob(stage: Stage, model: AIR3D, lesson: Lessons) -> Float[Array, ""]:
    """Evaluate log q(n, z^(1:n) | x) of one scene's true objects, in nats.

    For an object with symmetries, q is the density of all rotations that look the same.
    """
    image, canvases = lesson.images / 255.0, lesson.canvases / 255.0
    posteriors = jax.vmap(lambda canvas: model.recogniser(image, image - canvas))(canvases)
    objects = jax.vmap(lambda *each: _object_log_prob(stage, *each))(posteriors, lesson.labels, lesson.poses)
    present = jnp.arange(len(objects)) < lesson.counts
    return count.stick_breaking(posteriors.presence_logit)[lesson.counts] + jnp.sum(jnp.where(present, objects, 0.0))


def _object_log_prob(stage: Stage, posterior: Posterior, label: Int[Array, ""], pose: Float[Array, "3"]):
    of_kind = jnp.array([h.kind for h in stage.hypotheses]) == label
    # For a kind that looks the same from all sides, one broad mode learns the label itself, which costs nothing.
    symmetry = np.array([max(stage.kinds[h.kind].symmetry, 1) for h in stage.hypotheses])
    turns = np.arange(symmetry.max())[:, None]
    alike = posterior.rotation.log_prob(pose[2] + TURN / symmetry * turns)
    chosen = jnp.where(of_kind & (turns < symmetry), posterior.log_probs + alike, -jnp.inf)
    position = jax.tree.map(lambda x: x[label], posterior.position)
    return position.log_prob(pose[:2]) + jax.nn.logsumexp(chosen)


def fit(stage: Stage, scenes: Scenes, held_out: Scenes, config: TrainConfig, folder: Path, truth: Stage) -> AIR3D:
    """Train the network from AIR's initial weights, or continue the run in `folder`.

    Args:
        stage: the stage of the model, whose symmetries q uses.
        scenes: training scenes.
        held_out: scenes to score during training.
        config: steps and learning rates; the objective is not used.
        folder: folder of checkpoints and `metrics.jsonl`.
        truth: the stage for scores, with the true symmetries.

    Raises:
        trainer.NotFiniteError: log q or the weights are no longer finite.
    """
    known, kept = lessons(stage, scenes), folder / "checkpoints"
    shape, objects = known.images.shape[1:], known.labels.shape[1]
    key = jax.random.PRNGKey(config.seed)
    model = AIR3D(shape, stage, NormalLikelihood(0.2), count.uniform(objects), enumerated=False, key=key)
    state = trainer.start(model, trainer.make_optimiser(config), key)
    done, state = checkpoint.restore_newest(kept, state) or (0, state)
    with MetricsLog(folder, done or None) as log:
        for chunk in loop.chunks(known, replace(config, chunk=config.evaluate_every), step, state):
            state, done = chunk.state, done + len(chunk.info.elbo)
            quick = scores(truth, state.model, held_out[:QUICK_SCENES])
            seen = {f"held_out_{k.removesuffix('_mode')}": v for k, v in quick.items() if v is not None}
            log.write(done, {"log_q": float(chunk.info.elbo.mean()), **seen})
            checkpoint.save(kept, done, state, keep=1)
    return state.model


def step(config: TrainConfig, state: trainer.State, batch: Lessons) -> tuple[trainer.State, trainer.Info]:
    """Take a step on a batch of scenes that raises the mean of log q, in nats per scene."""

    def loss(networks):
        model = networks[0]
        log_q = jnp.mean(jax.vmap(lambda one: log_prob(model.stage, model, one))(batch))
        return -log_q, log_q

    state, log_q = trainer.gradient_step(loss, trainer.make_optimiser(config), state)
    return state, trainer.Info(log_q, jnp.zeros(0))


def scores(truth: Stage, model: AIR3D, scenes: Scenes) -> dict[str, float | None]:
    """Score a network as AIR is scored, with the symmetries of the true stage."""
    found = infer.find(model, channels_first(scenes.images))
    return {"count_accuracy_mode": count_accuracy(found.count, scenes.counts), **pose_scores(truth, found, scenes)}
