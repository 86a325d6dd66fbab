"""Single objects that are cut out of pictures."""

import numpy as np
import pytest
from scipy import ndimage

from airjax.learning.cuts import cut_singles
from airjax.learning.pieces import find_pieces

CANVAS, RADIUS = (40, 60), 5.0


def disc(scene, x, y, brightness, radius=RADIUS):
    """Draw a disc with an edge that is a pixel wide; what is drawn brighter stays."""
    rows, columns = np.indices(scene.shape)
    inside = np.clip(radius + 0.5 - np.hypot(columns - x, rows - y), 0, 1)
    np.maximum(scene, 0.1 + brightness * inside, out=scene)


def cuts_of(draw, radius=lambda index: RADIUS + (index % 3 - 1) / 2):
    """Cut the singles out of 30 scenes: each has a disc alone, and what `draw` draws right of it."""
    rng = np.random.default_rng(0)
    images = np.full((30, *CANVAS, 1), 0.1)
    for index, image in enumerate(images[..., 0]):
        disc(image, rng.uniform(8, 14), rng.uniform(8, 31), 0.5, radius(index))
        draw(image, index, rng.uniform(14, 26))
    return cut_singles(find_pieces((images + rng.normal(0, 0.005, images.shape)).astype(np.float32)))


def sides(cuts):
    return np.array([one.box[2:] - one.box[:2] for one in cuts])


def test_objects_that_lie_alone_are_cut_out_opaque_and_with_all_their_light():
    cuts = cuts_of(lambda *_: None)
    assert len(cuts) == 30
    np.testing.assert_allclose(sides(cuts), 2 * RADIUS + 1, atol=2)
    for one in cuts:
        x0, y0, x1, y1 = one.box.astype(int)
        assert one.alpha[(y0 + y1) // 2, (x0 + x1) // 2] == 1
        assert not one.alpha[0].any()
        assert not one.alpha[:, -1].any()
        assert one.away.sum() == pytest.approx(0.5 * np.pi * RADIUS**2, rel=0.35)


def test_light_around_objects_is_cut_out_and_hides_nothing():
    def glowing(image, *_):
        image += 0.5 * np.asarray(ndimage.gaussian_filter((image > 0.3).astype(float), 2))

    cuts = cuts_of(glowing)
    assert len(cuts) > 15
    for one in cuts:
        x0, y0, x1, y1 = one.box.astype(int)
        row = (y0 + y1) // 2
        assert one.alpha[row, (x0 + x1) // 2] == 1
        assert one.away[row, x1 + 1 : x1 + 3].mean() > 0.02
        assert one.alpha[row, x1 + 2] < 0.2


def test_two_that_touch_are_not_taken_for_one():
    def two(image, index, y):
        if index % 4 == 0:
            disc(image, 40, y, 0.5, 3.6)
            disc(image, 46.5, y + 2, 0.5, 3.6)

    assert len(cuts_of(two)) == 30


def test_of_a_cluster_those_are_cut_out_that_only_faint_light_joins():
    def bright_and_faint(image, index, y):
        if index % 4 == 0:
            disc(image, 34, y, 0.8)
            disc(image, 49, y, 0.8)
            disc(image, 41.5, y, 0.12)

    cuts = cuts_of(bright_and_faint)
    assert len(cuts) == 30 + 2 * 8
    np.testing.assert_allclose(sides(cuts), 2 * RADIUS + 1, atol=2)


def test_no_part_of_one_object_is_an_object():
    def large(image, index, y):
        if index % 4 == 0:
            disc(image, 42, y, 0.2, 2 * RADIUS)
            disc(image, 38, y, 0.9, 2)  # spots within it
            disc(image, 46, y, 0.9, 2)

    assert len(cuts_of(large)) == 30


def test_no_object_at_the_border_is_cut_out():
    assert len(cuts_of(lambda image, index, y: disc(image, 59, y, 0.5))) == 30


def test_where_sizes_vary_all_are_cut_out_and_where_they_do_not_a_large_one_is_none():
    def larger(image, index, y):
        if index % 6 == 0:
            disc(image, 42, y, 0.5, 9)

    varied = cuts_of(lambda image, index, y: disc(image, 42, y, 0.5, 4 + 5 * (index % 5) / 4), lambda i: 3 + i % 4)
    assert len(varied) == 60
    assert np.ptp(sides(varied)) > 10
    assert len(cuts_of(larger)) == 30


def test_a_ragged_part_of_a_cluster_is_no_object():
    def whole_and_crescent(image, index, y):
        if index % 4 == 0:
            before = image.copy()
            disc(image, 49, y, 0.8)
            rows, columns = np.indices(CANVAS)
            image[:] = np.where(np.hypot(columns - 52, rows - y - 2) < RADIUS, before, image)
            disc(image, 34, y, 0.8)
            disc(image, 41.5, y, 0.12)

    assert len(cuts_of(whole_and_crescent)) == 30 + 8
