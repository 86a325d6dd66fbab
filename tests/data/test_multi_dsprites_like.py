import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airjax.config import DataConfig
from airjax.data import FORMS, load_scenes, multi_dsprites_like
from airjax.data.multi_dsprites_like import CONTRAST, LEAST_SEEN


def same(a, b, *names):
    for name in names or ("images", "counts", "boxes", "labels"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_same_seed_same_scenes_other_seed_other_scenes():
    same(multi_dsprites_like(40, seed=3), multi_dsprites_like(40, seed=3))
    assert (multi_dsprites_like(40, seed=3).images != multi_dsprites_like(40, seed=4).images).any()


def test_first_scenes_do_not_depend_on_size_and_a_segmentation_changes_nothing():
    long = multi_dsprites_like(2200, seed=0, canvas=40, segmentation=True)
    for size in (30, 2100):
        same(multi_dsprites_like(size, seed=0, canvas=40), long[:size])


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**64),
    canvas=st.integers(40, 80),
    counts=st.lists(st.integers(0, 5), min_size=1, unique=True),
    radii=st.tuples(st.integers(3, 12), st.integers(3, 12)),
)
def test_the_segmentation_agrees_with_counts_boxes_and_colours(seed, canvas, counts, radii):
    scenes = multi_dsprites_like(
        8, seed=seed, counts=counts, canvas=canvas, min_radius=min(radii), max_radius=max(radii), segmentation=True
    )
    assert set(scenes.counts.tolist()) <= set(counts)
    for image, count, boxes, owner in zip(scenes.images, scenes.counts, scenes.boxes, scenes.segmentation):
        assert set(np.unique(owner)) == set(range(count + 1))  # every object is seen, and so is the background
        colours = np.stack([image[owner == number][0] for number in range(count + 1)]).astype(int)
        np.testing.assert_array_equal(image, colours[owner])
        apart = np.abs(colours[:, None] - colours).max(-1)[~np.eye(count + 1, dtype=bool)]
        assert (apart >= CONTRAST).all()
        for number, box in enumerate(boxes[:count], start=1):
            y, x = np.nonzero(owner == number)
            assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_objects_cover_each_other_but_none_is_hidden():
    """The smallest object there can be is a flat ellipse, the largest a square."""
    radius = 10
    scenes = multi_dsprites_like(300, seed=1, counts=(5,), min_radius=radius, max_radius=radius, segmentation=True)
    seen = (scenes.segmentation[..., None] == np.arange(1, 6)).sum((1, 2))
    areas = np.array([2, 0.6 * np.pi, 0.57 * np.pi])[scenes.labels] * radius**2
    shares = seen / areas
    assert (shares < 0.9).mean() > 0.2
    assert shares.min() > LEAST_SEEN - 0.05
    assert shares[:, -1].min() > 0.9  # nothing lies on the last one


def test_forms_have_their_area_and_are_turned():
    scenes = multi_dsprites_like(900, seed=0, counts=(1,), min_radius=12, max_radius=12, segmentation=True)
    area = (scenes.segmentation > 0).sum((1, 2)) / 12**2
    for label, expected in enumerate((2, 0.6 * np.pi, 0.57 * np.pi)):
        np.testing.assert_allclose(area[scenes.labels[:, 0] == label].mean(), expected, rtol=0.03)
    np.testing.assert_allclose(np.bincount(scenes.labels[:, 0]) / 900, 1 / len(FORMS), atol=0.05)
    sides = scenes.boxes[:, 0, 2:] - scenes.boxes[:, 0, :2]
    assert all(np.ptp(sides[scenes.labels[:, 0] == label]) >= 2 for label in range(3))


def test_half_of_the_backgrounds_are_grey_and_no_two_are_alike():
    scenes = multi_dsprites_like(600, seed=0, counts=(0,))
    colours = scenes.images[:, 0, 0]
    np.testing.assert_allclose((np.ptp(colours, axis=1) == 0).mean(), 0.5, atol=0.07)
    assert len(np.unique(colours, axis=0)) > 350
    assert (scenes.images == colours[:, None, None]).all()


def test_held_out_scenes_have_a_segmentation_and_are_others():
    config = DataConfig(name="multi-dsprites-like", scenes=5, held_out_scenes=5, canvas=32, counts=(1, 2))
    learnt, held_out = load_scenes(config, "train"), load_scenes(config, "held-out")
    assert learnt.segmentation is None
    assert held_out.segmentation is not None
    assert (learnt.images != held_out.images).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": -1}, "size must be"),
        ({"counts": ()}, "counts must be"),
        ({"canvas": 20}, "max_radius must be a whole number from 2 to 10, got 12"),
        ({"min_radius": 13}, "min_radius must be a whole number from 2 to 12, got 13"),
        ({"canvas": 24, "counts": (20,)}, "counts must be placeable on the canvas, got 20 objects"),
    ],
)
def test_invalid_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        multi_dsprites_like(**({"size": 3, "seed": 0} | change))
