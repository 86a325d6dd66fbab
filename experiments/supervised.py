"""The recognition network of AIR in 3D, taught by what is on the table instead of by its picture.

It is the same network in the same model; only what it learns from differs, so that inference, scores and figures of an
`AIR3D` are this one's, too. It learns to name a scene's objects one after another, those of the first kind first, each
after having been shown the canvas of the true ones before; at test it goes by its own canvas.
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
"""Scenes whose canvases are drawn at once."""
QUICK_SCENES = 500
"""Held-out scenes that are looked at during training."""


class Lessons(NamedTuple):
    """What is learned from n scenes of up to N objects.

    Attributes:
        images: the scenes.
        canvases: the table before each object is named, with those that are named before it.
        counts: numbers of objects.
        labels: identities, in the order in which objects are named; 0 beyond the count.
        poses: (x, y, rotation) of each; 0 beyond the count.
    """

    images: UInt8[Array, "*n 3 h w"]
    canvases: UInt8[Array, "*n N 3 h w"]
    counts: Int32[Array, "*n"]
    labels: Int32[Array, "*n N"]
    poses: Float32[Array, "*n N 3"]


def untold(stage: Stage) -> Stage:
    """Forget what kinds look the same after which turn: each has one mode of rotation, all around the circle."""
    return replace(stage, kinds=tuple(kind._replace(symmetry=0) for kind in stage.kinds))


def lessons(stage: Stage, scenes: Scenes) -> Lessons:
    """Put the objects of scenes, seen from the stage's own azimuth, into their order, and draw all canvases."""
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
    """Draw tables with the first 0, 1, ..., N - 1 objects, as bytes."""
    camera = stage.camera(stage.azimuth)

    def one(scene):
        labels, poses = scene
        stood: Pose = jax.vmap(stage.pose)(poses[:, :2], poses[:, 2])
        images = render(camera, labels, stood, daylight(), shape, stage.kinds)
        return jnp.round(255.0 * jnp.clip(images, 0.0, 1.0)).astype(jnp.uint8)

    return jax.lax.map(one, (labels, poses), batch_size=DRAWN)


def log_prob(stage: Stage, model: AIR3D, lesson: Lessons) -> Float[Array, ""]:
    """Evaluate log q(n, z^(1:n) | x) of one scene's true objects, in nats.

    Rotations of an object that look the same count as one: q is that of any of them.
    """
    image, canvases = lesson.images / 255.0, lesson.canvases / 255.0
    posteriors = jax.vmap(lambda canvas: model.recogniser(image, image - canvas))(canvases)
    objects = jax.vmap(lambda *each: _object_log_prob(stage, *each))(posteriors, lesson.labels, lesson.poses)
    present = jnp.arange(len(objects)) < lesson.counts
    return count.stick_breaking(posteriors.presence_logit)[lesson.counts] + jnp.sum(jnp.where(present, objects, 0.0))


def _object_log_prob(stage: Stage, posterior: Posterior, label: Int[Array, ""], pose: Float[Array, "3"]):
    of_kind = jnp.array([h.kind for h in stage.hypotheses]) == label
    # Of a kind that looks the same from all sides, the label itself is learned: one broad mode, at no cost.
    symmetry = np.array([max(stage.kinds[h.kind].symmetry, 1) for h in stage.hypotheses])
    turns = np.arange(symmetry.max())[:, None]
    alike = posterior.rotation.log_prob(pose[2] + TURN / symmetry * turns)
    chosen = jnp.where(of_kind & (turns < symmetry), posterior.log_probs + alike, -jnp.inf)
    position = jax.tree.map(lambda x: x[label], posterior.position)
    return position.log_prob(pose[:2]) + jax.nn.logsumexp(chosen)


def fit(stage: Stage, scenes: Scenes, held_out: Scenes, config: TrainConfig, folder: Path, truth: Stage) -> AIR3D:
    """Train the network that AIR begins with, or go on where the run in `folder` was stopped.

    Args:
        stage: what the network knows of the scenes.
        scenes: what is learned from.
        held_out: scenes looked at on the way.
        config: steps and rates; its objective means nothing here.
        folder: where checkpoints and `metrics.jsonl` are kept.
        truth: the stage by which held-out scenes are scored.

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
    """Score a network as AIR is scored, whatever it knows itself of what looks the same."""
    found = infer.find(model, channels_first(scenes.images))
    return {"count_accuracy_mode": count_accuracy(found.count, scenes.counts), **pose_scores(truth, found, scenes)}
