"""Scores of objects inferred on tables: identity, position, rotation, camera; in numpy."""

import numpy as np
import scipy  # which imports its parts when they are first used
from jaxtyping import Float, Integer

from airjax.data.scenes import Scenes
from airjax.inference.infer import Found
from airjax.render3d.smooth import TURN
from airjax.render3d.stage import Stage

NEAR = 0.3
"""Largest distance between matched objects, in table coordinates: about an object's radius."""


def pose_scores(stage: Stage, found: Found, scenes: Scenes) -> dict[str, float | None]:
    """Compare the objects found, up to q's most likely count, with the true ones of scenes with labels and poses.

    Objects are matched one to one with the smallest total distance. Scores without data are None.

    Returns:
        `matched`, the share of true objects with a match; of those, `identity_accuracy`, the share of the right kind;
        `position_error`, the mean distance, as a share of the table's width; `rotation_error_deg`, the median, in
        degrees, modulo the kind's symmetry, of those of the right kind whose rotation can be seen, and the same of each
        such kind (`rotation_error_deg_cup`); and `azimuth_error_deg`, the median of the camera's.
    """
    names = "matched", "identity_accuracy", "position_error", "azimuth_error_deg"
    nothing = np.zeros(0)
    scores = dict.fromkeys(names) | _rotation_scores(stage, nothing, nothing, nothing.astype(int))
    if scenes.azimuths is not None and found.scene.shape[1] == 1:
        scores["azimuth_error_deg"] = float(np.median(np.degrees(np.abs(found.scene[:, 0] - scenes.azimuths))))
    if scenes.counts is None or scenes.poses is None or scenes.labels is None or not scenes.counts.sum():
        return scores
    true, guess = _matches(found, scenes)
    scores["matched"] = len(true) / float(scenes.counts.sum())
    if not len(true):
        return scores
    labels, poses, what = scenes.labels[*true.T], scenes.poses[*true.T], found.what[*guess.T]
    right = what[:, 3] == labels
    scores["identity_accuracy"] = float(np.mean(right))
    scores["position_error"] = float(np.mean(np.linalg.norm(what[:, :2] - poses[:, :2], axis=1)) / (2 * stage.reach))
    return scores | _rotation_scores(stage, what[right, 2], poses[right, 2], labels[right])


def _rotation_scores(stage, found, true, labels) -> dict[str, float | None]:
    """Compute the median error, in degrees, over all objects with a visible rotation, and for each kind."""
    symmetry = np.array([kind.symmetry for kind in stage.kinds])[labels]
    seen = symmetry > 0
    away = np.degrees(rotation_error(found[seen], true[seen], symmetry[seen]))
    of_kinds = {f"_{k.name}": away[labels[seen] == i] for i, k in enumerate(stage.kinds) if k.symmetry}
    errors = {"": away, **of_kinds}
    return {f"rotation_error_deg{of}": float(np.median(x)) if x.size else None for of, x in errors.items()}


def rotation_error(
    found: Float[np.ndarray, " n"], true: Float[np.ndarray, " n"], symmetry: Integer[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Compute the difference of rotations, in radians, modulo 1/`symmetry` of a turn."""
    part = TURN / symmetry
    return np.abs((found - true + 0.5 * part) % part - 0.5 * part)


def _matches(found, scenes) -> tuple[Integer[np.ndarray, "m 2"], Integer[np.ndarray, "m 2"]]:
    """Pair true with found objects: rows are (scene, slot)."""
    true, guess = [], []
    for i, (count, guessed) in enumerate(zip(scenes.counts, found.count)):
        gaps = scenes.poses[i, :count, None, :2] - found.what[i, None, :guessed, :2]
        distances = np.linalg.norm(gaps, axis=-1)
        for a, b in zip(*scipy.optimize.linear_sum_assignment(distances)):
            if distances[a, b] < NEAR:
                true.append((i, a))
                guess.append((i, b))
    return np.array(true, int).reshape(-1, 2), np.array(guess, int).reshape(-1, 2)
