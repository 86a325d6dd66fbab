"""Joining what overlapping tiles show, with a stand-in for a model that knows every disc it sees whole."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from airjax.config import ModelConfig
from airjax.data.tiles import grid
from airjax.inference import tiled
from airjax.inference.infer import Found
from airjax.models.build import build_model

SIDE, DISC, MOST = 40, 9, 12


@pytest.fixture(scope="module")
def model():
    """An untrained model, of which only sizes matter here."""
    small = {"window": 8, "hidden": 8, "embed_channels": 0, "embed_hidden": 8, "code_size": 2, "patch_hidden": 8}
    config = ModelConfig(max_objects=MOST, scale=1.3 * DISC / SIDE, edge=0.5, **small)
    return build_model(config, (1, SIDE, SIDE), key=jax.random.PRNGKey(0))


def discs(images, *, blind=0.0):
    """Find connected pieces in tiles; those with a centre within `blind` pixels of the border are missed."""
    n = len(images)
    count, presence = np.zeros(n, np.int32), np.zeros((n, MOST), np.float32)
    boxes, canvases = np.zeros((n, MOST, 4), np.float32), np.zeros((n, MOST + 1, 1, SIDE, SIDE), np.float32)
    for i, image in enumerate(images[:, 0]):
        labels, _number = ndimage.label(image > 127)
        for j, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
            box = np.array([columns.start, rows.start, columns.stop, rows.stop])
            centre = (box[:2] + box[2:]) / 2
            if count[i] == MOST or min(*centre, *(SIDE - centre)) < blind:
                continue
            boxes[i, count[i]], presence[i, count[i]] = box, 0.9
            canvases[i, count[i] + 1 :, 0] += labels == j
            count[i] += 1
    where, what, probs = (np.zeros((n, *shape), np.float32) for shape in ((MOST, 3), (MOST, 2), (MOST + 1,)))
    return Found(count, probs, boxes, boxes, presence, where, what, np.zeros((n, 0), np.float32), canvases)


@pytest.fixture
def see(monkeypatch):
    """A function that sets how tiles are seen."""

    def set_to(finder):
        monkeypatch.setattr(tiled, "find", lambda model, images, batch: finder(images))

    set_to(discs)
    return set_to


def scene(seed, size=(150, 110), number=40):
    """Draw discs that don't touch, some cut by the border; return the picture and the boxes, as a set."""
    rng, (width, height) = np.random.default_rng(seed), size
    y, x = np.mgrid[:height, :width]
    picture, centres = np.zeros((height, width), bool), []
    while len(centres) < number:
        centre = rng.uniform(0, size)
        if all(np.hypot(*(centre - other)) > DISC + 3 for other in centres):
            centres.append(centre)
            picture |= np.hypot(x + 0.5 - centre[0], y + 0.5 - centre[1]) < DISC / 2
    labels, _ = ndimage.label(picture)
    boxes = {(c.start, r.start, c.stop, r.stop) for r, c in ndimage.find_objects(labels)}
    return (255 * picture).astype(np.uint8)[None], boxes


def found_boxes(found):
    return {tuple(map(round, one.described["box"])) for one in found.objects}


@pytest.mark.parametrize("offset", [0, 1, 5, 11])
@pytest.mark.parametrize("seed", range(3))
def test_every_object_is_found_once_wherever_tiles_lie(model, see, seed, offset):
    pixels, boxes = scene(seed)
    found = tiled.find_in_tiles(model, pixels, offset=offset)
    assert found_boxes(found) == boxes
    assert len(found.objects) == len(boxes)


def test_objects_near_a_border_of_tiles_may_be_missed_there(model, see):
    see(lambda images: discs(images, blind=0.6 * DISC))
    pixels, boxes = scene(0)
    inner = {box for box in boxes if box[0] > DISC and box[1] > DISC and box[2] < 150 - DISC and box[3] < 110 - DISC}
    assert inner <= found_boxes(tiled.find_in_tiles(model, pixels))


def test_a_further_tile_decides_where_neighbours_differ(model, see):
    calls = []

    def unsure(images):
        """Miss a random half of the objects, but not those in the middle of a tile."""
        calls.append(len(images))
        found = discs(images)
        rng = np.random.default_rng(len(calls))
        for i, count in enumerate(found.count):
            centres = (found.boxes[i, :count, :2] + found.boxes[i, :count, 2:]) / 2
            keep = (np.abs(centres - SIDE / 2).max(axis=1) < 10) | (rng.random(count) < 0.5)
            found.count[i] = keep.sum()
            found.boxes[i, : keep.sum()] = found.boxes[i, :count][keep]
        return found

    see(unsure)
    pixels, boxes = scene(1)
    plain = tiled.find_in_tiles(model, pixels)
    assert plain.settled > 0
    assert len(calls) == 2
    assert found_boxes(plain) <= boxes
    assert len(plain.objects) == len(found_boxes(plain))


def test_masks_become_one_label_image(model, see):
    pixels, _boxes = scene(2)
    found = tiled.find_in_tiles(model, pixels)
    labels = found.labels((150, 110))
    assert np.array_equal(labels > 0, pixels[0] > 127)
    corners = [(c.start, r.start, c.stop, r.stop) for r, c in ndimage.find_objects(labels)]
    assert corners == [tuple(map(round, one.described["box"])) for one in found.objects]
    assert [one.centre[1] for one in found.objects] == sorted(one.centre[1] for one in found.objects)


def test_more_objects_than_a_label_image_can_number_are_refused(model, see, monkeypatch):
    monkeypatch.setattr(tiled, "MOST_LABELS", 3)
    with pytest.raises(ValueError, match="label images number at most 3 objects, got"):
        tiled.find_in_tiles(model, scene(0)[0]).labels((150, 110))


def test_the_posterior_is_that_of_independent_objects(model, see):
    pixels, boxes = scene(0)
    posterior = tiled.find_in_tiles(model, pixels).posterior
    assert len(posterior) == len(boxes) + 1
    assert posterior.sum() == pytest.approx(1)
    assert posterior @ np.arange(len(posterior)) == pytest.approx(0.9 * len(boxes))


def test_results_that_are_not_finite_are_refused(model, see):
    def broken(images):
        found = discs(images)
        found.presence[-1, 0] = np.nan
        return found

    see(broken)
    with pytest.raises(ValueError, match="the model's results are not finite numbers"):
        tiled.find_in_tiles(model, scene(0)[0])


def test_the_distribution_of_a_count_is_the_sum_over_all_outcomes():
    chances, expected = [0.3, 1.0, 0.8, 0.05], np.zeros(5)
    for outcome in np.ndindex(2, 2, 2, 2):
        expected[sum(outcome)] += np.prod([c if one else 1 - c for c, one in zip(chances, outcome)])
    np.testing.assert_allclose(tiled.count_distribution(chances), expected)


def test_a_picture_of_one_tile_is_inferred_as_it_is(model, see):
    pixels = scene(4, (SIDE, SIDE), 5)[0]
    found = discs(pixels[None])
    assert [one.described["box"] for one in tiled.find_in_tiles(model, pixels).objects] == sorted(
        found.boxes[0, : found.count[0]].tolist(), key=lambda box: (box[1] + box[3], box[0] + box[2])
    )


@pytest.mark.parametrize("offset", [0, 3, 17])
@pytest.mark.parametrize("size", [(40, 40), (41, 77), (200, 130)])
def test_every_place_lies_well_inside_some_tile(size, offset):
    margin = 8.0
    corners = grid(size, (SIDE, SIDE), margin, offset)
    assert (corners >= 0).all()
    assert (corners + SIDE <= size).all()
    assert len(corners) == len(np.unique(corners, axis=0))
    low = np.where(corners == 0, -np.inf, corners + margin)
    high = np.where(corners + SIDE == size, np.inf, corners + SIDE - margin)
    places = np.stack(np.meshgrid(*map(np.arange, size)), axis=-1).reshape(-1, 1, 2) + 0.5
    assert ((places >= low) & (places <= high)).all(axis=2).any(axis=1).all()
