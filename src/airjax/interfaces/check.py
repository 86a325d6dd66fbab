"""Check without labels whether a trained model's counts can be trusted, on pictures that it has not learned from.

Nothing here proves that a count is right. But most ways in which counts go wrong show: two objects in one place, things
that no object explains, objects that change when they move by a pixel before their background, or errors in scenes
pasted together from the pictures' own pieces, whose objects are known. Things that the border cuts may be found or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # which imports its parts when they are first used
from jaxtyping import Bool, Float, Int, UInt8

from airjax.data import load_scenes
from airjax.data.batches import channels_first
from airjax.inference import infer
from airjax.inference.boxes import window_box
from airjax.inference.metrics import box_iou
from airjax.inference.tiled import NEAR
from airjax.inference.unexplained import unexplained
from airjax.learning.pasting import paste
from airjax.learning.pieces import sides_of
from airjax.models.base import Family
from airjax.runs import plots
from airjax.runs.record import RunError, load_model, read_record

LOOKED_AT = 200
"""Number of pictures that are checked, and of scenes that are pasted together."""
FEW = 20
"""Number of pictures below which no verdict is given."""
SHOWN, COLUMNS = 24, 8
"""Number of pictures in the figure, and of those in a row."""
BORDER = 2
"""Distance from the border, in pixels, within which an object may be cut by it, so that it may be found or not."""
SAME_PLACE = 0.6
"""Two objects are in one place if more than this share of the smaller box lies in the other."""
LEAST = {"known": 0.6, "steady": 0.9, "agreeing": 0.95}
"""Least shares with which counts are trusted. Pasted scenes are more crowded than the pictures: fewer are right."""
LARGEST = {"stacked": 0.03, "unexplained": 0.1, "full": 0.05}
"""Largest shares with which counts are trusted."""


@dataclass(frozen=True)
class Check:
    """What a check has found; shares are of the pictures checked, from 0 to 1.

    Attributes:
        pictures: number of pictures.
        known: share of scenes, pasted together from pieces of these pictures, in which the objects found are the true
            ones, weighted so that counts are as frequent as in the pictures; None: there are too few pieces.
        steady: share of pictures in which the same objects are found if they move by a pixel, before their background.
        agreeing: share of pictures in which all other runs find the same objects; None: no other run was given.
        stacked: share of pictures with two objects in one place.
        unexplained: share of pictures in which something stands out that no object explains.
        full: share of pictures that hold as many objects as the model can find, so that there may be more.
        trusted: whether all shares are within their limits, and there are enough pictures to tell.
        sentence: the verdict, and the reason.
    """

    pictures: int
    known: float | None
    steady: float
    agreeing: float | None
    stacked: float
    unexplained: float
    full: float
    trusted: bool
    sentence: str


def check(run: Path, others: Sequence[Path] = (), *, figure: Path | None = None) -> Check:
    """Check a run on its held-out pictures.

    Args:
        run: the run's folder.
        others: folders of other runs on the same pictures, such as those of other seeds.
        figure: a picture to write, of the pictures with the boxes found, the most doubtful first.

    Raises:
        RunError: a run is missing, holds a 3D model, has no held-out pictures, or is of other pictures than the first.
    """
    record = read_record(run)
    models = [load_model(folder) for folder in (run, *others)]
    images = channels_first(load_scenes(record.config.data, "held-out").images)[:LOOKED_AT]
    if not len(images):
        raise RunError(f"{run} has no held-out pictures (--held-out-fraction)")
    for folder, model in zip(others, models[1:]):
        if model.image_shape != models[0].image_shape or read_record(folder).config.data != record.config.data:
            raise RunError(f"{folder} is not of the same pictures as {run}, or of another size")
    return check_model(models[0], images, models[1:], figure=figure, tiled=record.config.data.tile is not None)


def check_model(
    model: Family,
    images: UInt8[np.ndarray, "n c h w"],
    others: Sequence[Family] = (),
    *,
    figure: Path | None = None,
    tiled: bool = False,
) -> Check:
    """Check a model, and others, on images; see `check`.

    If they are tiles, things that their borders cut don't count: in whole pictures, other tiles show them.
    """
    if model.stage:
        raise RunError("a check is for models of patches, got one of solids or crockery")
    found = infer.find(model, images)
    moved = _moved(images, found.canvases[:, 0])
    size, own = np.array(images.shape[:1:-1]), _boxes(found)
    steady = _same(own, _boxes(infer.find(model, moved)), size)
    agreeing = [_same(own, _boxes(infer.find(other, images)), size) for other in others]
    judged = [boxes[_whole(boxes, size)] if tiled else boxes for boxes in own]
    stacked, left = _stacked(judged), unexplained(model, images, found)
    full = found.count == model.max_objects
    shares = {
        "known": _known(model, images, found),
        "steady": float(np.mean(steady)),
        "agreeing": float(np.mean(np.all(agreeing, axis=0))) if others else None,
        "stacked": float(np.mean(stacked)),
        "unexplained": float(np.mean(left)),
        "full": float(np.mean(full)),
    }
    if figure is not None:
        doubts = np.sum([stacked, left, full, ~steady, *(~same for same in agreeing)], axis=0)
        _draw(images, found, np.argsort(-doubts, kind="stable")[:SHOWN], figure)
    trusted, sentence = _verdict(shares, "tiles" if tiled else "pictures")
    if len(images) < FEW:
        trusted, sentence = False, f"counts can't be judged by {len(images)} held-out pictures"
    return Check(len(images), **shares, trusted=trusted, sentence=sentence)


def _moved(images: UInt8[np.ndarray, "n c h w"], empty: Float[np.ndarray, "n c h w"]) -> UInt8[np.ndarray, "n c h w"]:
    """Move what differs from the background by a pixel; a background of one picture stands still."""
    away = np.pad(images / 255.0 - empty, [(0, 0), (0, 0), (1, 0), (1, 0)], mode="edge")[:, :, :-1, :-1]
    return np.rint(255.0 * np.clip(empty + away, 0.0, 1.0)).astype(np.uint8)


def _known(model: Family, images, found: infer.Found) -> float | None:
    """Count in scenes of known objects; each number of objects weighs as much as it does in the pictures."""
    pasting = paste(images, model.max_objects, LOOKED_AT, seed=0)
    if pasting is None:
        return None
    pasted = pasting.scenes
    height, width = images.shape[2:]
    windows = jax.vmap(jax.vmap(lambda where: window_box(where, (height, width))))(jnp.asarray(pasted.where))
    true = [boxes[:count] for boxes, count in zip(np.asarray(windows), pasted.counts)]
    right = _same(true, _boxes(infer.find(model, pasted.images)), np.array([width, height]))
    numbers = np.unique(pasted.counts)
    weights = np.array([np.mean(found.count == n) for n in numbers])
    shares = np.array([np.mean(right[pasted.counts == n]) for n in numbers])
    return float(weights @ shares / weights.sum()) if weights.any() else None


def _boxes(found: infer.Found) -> list[np.ndarray]:
    """List the boxes of the objects found in each image."""
    return [boxes[:count] for boxes, count in zip(found.boxes, found.count)]


def _same(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], size: np.ndarray) -> Bool[np.ndarray, " n"]:
    """Mark the images, of `size` = (width, height), with the same objects, but for those that the border may cut."""
    return np.array([_are_same(*pair, size) for pair in zip(ours, theirs)])


def _are_same(ours, theirs, size):
    whole = [_whole(boxes, size) for boxes in (ours, theirs)]
    centres = [(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (ours, theirs)]
    distance = np.linalg.norm(centres[0][:, None] - centres[1], axis=-1)
    near = distance < NEAR * np.maximum(sides_of(ours)[:, None], sides_of(theirs))
    matched = scipy.optimize.linear_sum_assignment(np.where(near, distance, 1e6))
    alone = [side & ~np.isin(np.arange(len(side)), pair[near[matched]]) for side, pair in zip(whole, matched)]
    return not any(side.any() for side in alone)


def _whole(boxes: np.ndarray, size: np.ndarray) -> Bool[np.ndarray, " k"]:
    """Mark the boxes of objects that the border of an image, of `size` = (width, height), does not cut."""
    return np.all((boxes[:, :2] >= BORDER) & (boxes[:, 2:] <= size - BORDER), axis=1)


def _stacked(boxes: Sequence[np.ndarray]) -> Bool[np.ndarray, " n"]:
    """Mark the pictures with two objects in one place, given the boxes in each."""
    marks = []
    for own in boxes:
        area = np.prod(own[:, 2:] - own[:, :2], axis=1)
        overlap = box_iou(own, own)
        shared = overlap / (1 + overlap) * (area[:, None] + area)  # from intersection over union to intersection
        inside = shared / np.maximum(np.minimum(area[:, None], area), 1e-6)
        marks.append(bool((inside[np.triu_indices(len(own), 1)] > SAME_PLACE).any()))
    return np.array(marks)


def _verdict(shares: dict[str, float | None], kind: str) -> tuple[bool, str]:
    """Say whether counts can be trusted, and why; `kind` names what was checked."""
    told = {
        "known": "in {:.0%} of scenes pasted from these pictures, the right objects are found",
        "steady": "in {:.0%} of the pictures, the objects found stay the same if they move by a pixel",
        "agreeing": "in {:.0%} of the pictures, all runs find the same objects",
        "stacked": "{:.0%} of the pictures have two objects in one place",
        "unexplained": "{:.0%} of the pictures show something that no object explains",
        "full": "{:.0%} of the pictures hold as many objects as the model can find (--max-objects)",
    }
    known = {name: share for name, share in shares.items() if share is not None}
    say = lambda name: told[name].format(known[name]).replace("of the pictures", f"of the {kind}")
    reasons = [say(name) for name in LEAST if name in known]
    doubts = [say(name).replace("in ", "in only ", 1) for name in LEAST if known.get(name, 1.0) < LEAST[name]]
    doubts += [say(name) for name in LARGEST if known[name] > LARGEST[name]]
    if doubts:
        return False, f"counts are doubtful: {'; '.join(doubts)}"
    return True, f"counts can be trusted: {'; '.join(reasons)}"


def _draw(images, found: infer.Found, chosen: Int[np.ndarray, " k"], path: Path) -> None:
    """Draw pictures with the boxes found in them."""
    shown = np.moveaxis(images[chosen], 1, -1) / 255.0
    own = _boxes(found)
    boxes = [own[i] for i in chosen]
    plots.save_figure(plots.sample_figure(np.broadcast_to(shown, (*shown.shape[:-1], 3)), boxes, columns=COLUMNS), path)
