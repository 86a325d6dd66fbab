"""Pieces of pictures, and scenes pasted together from them."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from airjax.learning.cuts import ENOUGH
from airjax.learning.pasting import COVERED, paste
from airjax.learning.pieces import MARGIN, find_pieces, sides_of

SIDE, CANVAS = 7, (30, 44)


def squares(scenes, *, most=3, side=SIDE, seed=0, across=False):
    """Draw grey scenes with squares that don't touch, brighter on the left; and the boxes of the squares."""
    rng = np.random.default_rng(seed)
    height, width = CANVAS
    shade = np.linspace(90, 60, width)
    images, boxes = np.empty((scenes, 1, *CANVAS), np.uint8), []
    for image in images:
        scene, placed = np.tile(shade, (height, 1)) + rng.normal(0, 2, CANVAS), []
        for _ in range(rng.integers(most + 1)):
            y, x = (int(rng.integers(-2 if across else 3, n - side + (2 if across else -3))) for n in CANVAS)
            if all(abs(y - b) > side + 4 or abs(x - a) > side + 4 for a, b, *_ in placed):
                scene[max(y, 0) : y + side, max(x, 0) : x + side] += 120
                placed.append((x, y, x + side, y + side))
        image[0] = np.clip(np.rint(scene), 0, 255)
        boxes.append(np.array(placed, float).reshape(-1, 4))
    return images, boxes


@pytest.fixture(scope="module")
def drawn():
    return squares(80)


@pytest.fixture(scope="module")
def pasted(drawn):
    return paste(drawn[0], 4, 60, seed=0).scenes


def windows_of(pasted, scene):
    """Return the boxes of the objects of a scene, from their windows."""
    log_scale, *centre = pasted.where[scene, : pasted.counts[scene]].T
    middle = (np.stack(centre, axis=1) + 1) / 2 * CANVAS[::-1]
    half = np.exp(log_scale)[:, None] * max(CANVAS) / MARGIN / 2
    return np.concatenate([middle - half, middle + half], axis=1)


def test_objects_alone_are_pieces_of_their_own_in_uneven_light(drawn):
    images, boxes = drawn
    found = find_pieces(np.moveaxis(images, 1, -1) / np.float32(255))
    assert found.background == "mean"  # the light is uneven, but the same in every picture
    assert [len(one) for one in found.boxes] == [len(one) for one in boxes]
    for one, true in zip(found.boxes, boxes):
        order = lambda x: x[np.lexsort(x.T)]
        np.testing.assert_allclose(order(one), order(true), atol=1)


def test_the_energy_of_a_piece_is_that_of_its_pixels(drawn):
    found = find_pieces(np.moveaxis(drawn[0], 1, -1) / np.float32(255))
    assert found.energies.shape == (sum(map(len, found.boxes)), 1)
    np.testing.assert_allclose(found.energies.sum(), (found.away[found.mask] ** 2).sum(), rtol=1e-5)
    assert np.median(found.energies) == pytest.approx(SIDE**2 * (120 / 255) ** 2, rel=0.2)


def test_pasted_objects_are_where_they_are_said_to_be(pasted):
    assert pasted.images.shape == (60, 1, *CANVAS)
    assert set(pasted.counts) == {0, 1, 2, 3, 4}
    for scene, image in enumerate(pasted.images[:, 0].astype(float)):
        boxes = windows_of(pasted, scene)
        np.testing.assert_allclose(sides_of(boxes), SIDE, atol=1.1)
        inside = np.zeros(CANVAS, bool)
        for x0, y0, x1, y1 in np.maximum(np.rint(boxes), 0).astype(int):
            inside[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = True
        assert not inside.any() or np.quantile(image[inside], 0.02) > 100
        assert image[~ndimage.binary_dilation(inside, np.ones((3, 3)), iterations=3)].max() < 120
    assert not pasted.where[np.arange(4) >= pasted.counts[:, None]].any()


def test_some_objects_touch_and_none_covers_much_of_another(pasted):
    shared = []
    for scene in range(len(pasted.counts)):
        boxes = windows_of(pasted, scene)
        for one in range(len(boxes)):
            for other in boxes[:one]:
                low, high = np.maximum(boxes[one][:2], other[:2]), np.minimum(boxes[one][2:], other[2:])
                shared.append(np.prod(np.maximum(high - low, 0)) / SIDE**2)
    assert 0 < max(shared) < COVERED + 0.1


def test_opaque_objects_hide_a_pattern_and_bring_none_with_them():
    images = np.repeat(np.where(np.indices(CANVAS).sum(axis=0) % 6 < 3, 60, 90)[None, None], 60, axis=0)
    for image, x in zip(images, np.random.default_rng(0).integers(4, CANVAS[1] - SIDE - 4, 60)):
        image[0, 12 : 12 + SIDE, x : x + SIDE] = 200
    scenes = paste(images.astype(np.uint8), 1, 60, seed=0).scenes
    objects = [scene for scene in range(60) if scenes.counts[scene]]
    for scene in objects:
        x0, y0, x1, y1 = np.rint(windows_of(scenes, scene)[0]).astype(int)
        inside = scenes.images[scene, 0, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2]
        assert np.ptp(inside.astype(int)) < 8
    assert len(objects) > 10


def test_no_dark_line_separates_objects_that_touch():
    rng = np.random.default_rng(0)
    rows, columns = np.indices(CANVAS)
    images = rng.normal(40, 1, (60, 1, *CANVAS))
    for image, (y, x) in zip(images, rng.integers(8, [22, 36], (60, 2))):
        image[0] += 140 / (1 + np.exp(np.hypot(rows - y, columns - x) - 4.5))  # a blurred disc
    scenes = paste(np.rint(images).astype(np.uint8), 2, 400, seed=0).scenes
    darkest = []
    for scene in np.flatnonzero(scenes.counts == 2):
        boxes = windows_of(scenes, scene)
        one, other = (boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5
        if np.hypot(*(other - one)) < 10.5:  # the discs have a diameter of 9
            along = np.rint(np.linspace(one, other, 20)).astype(int)
            darkest.append(scenes.images[scene, 0, along[:, 1], along[:, 0]].min())
    assert len(darkest) > 5
    assert min(darkest) > 105


def test_a_seed_fixes_pasted_scenes(drawn, pasted):
    again, other = (paste(drawn[0], 4, 60, seed=seed).scenes for seed in (0, 1))
    assert jax.tree.all(jax.tree.map(np.array_equal, again, pasted))
    assert not np.array_equal(other.images, pasted.images)


def test_objects_cross_the_border_where_they_do_in_the_pictures():
    scenes = paste(squares(80, across=True)[0], 3, 60, seed=0).scenes
    boxes = np.concatenate([windows_of(scenes, scene) for scene in range(60)])
    assert ((boxes[:, :2] < -0.6) | (boxes[:, 2:] > np.array(CANVAS[::-1]) + 0.6)).any()


def test_images_in_which_objects_touch_are_told_from_others(drawn):
    images, touching = drawn[0].copy(), np.arange(80) % 4 == 0
    for x, y in ((6, 10), (6 + SIDE, 14)):
        images[touching, 0, y : y + SIDE, x : x + SIDE] = 210
    apart = paste(images, 4, 1, seed=0).apart
    assert len(apart) > 40
    assert not touching[apart].any()


@pytest.mark.slow
def test_too_few_pieces_make_no_scenes(drawn):
    few, _ = squares(ENOUGH // 2, most=1)
    assert paste(few, 4, 10, seed=0) is None
    assert paste(np.full((30, 3, *CANVAS), 7, np.uint8), 4, 10, seed=0) is None
