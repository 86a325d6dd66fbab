import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airjax.data import SHAPES, sprites


def assert_equal(a, b):
    for name in ("images", "counts", "boxes", "labels"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_same_seed_same_scenes_other_seed_other_scenes():
    assert_equal(sprites(50, seed=3), sprites(50, seed=3))
    assert (sprites(50, seed=3).images != sprites(50, seed=4).images).any()


def test_first_scenes_do_not_depend_on_size():
    long = sprites(3000, seed=0, counts=(1, 4))
    assert_equal(sprites(2500, seed=0, counts=(1, 4)), long[:2500])


def test_counts_shapes_and_sides_are_uniform():
    scenes = sprites(6000, seed=0)
    np.testing.assert_allclose(np.bincount(scenes.counts) / 6000, 1 / 3, atol=0.03)
    single = sprites(6000, seed=0, counts=(1,))
    np.testing.assert_allclose(np.bincount(single.labels[:, 0]) / 6000, 1 / 3, atol=0.03)
    sides = single.boxes[:, 0, 2] - single.boxes[:, 0, 0]
    np.testing.assert_allclose(np.bincount(sides.astype(int))[12:] / 6000, 1 / 5, atol=0.03)


@pytest.mark.parametrize("channels", [1, 3])
def test_boxes_are_tight_and_colours_bright(channels):
    scenes = sprites(300, seed=1, counts=(1,), channels=channels)
    strongest = scenes.images if channels == 1 else scenes.images.max(-1)
    for image, (box,) in zip(strongest, scenes.boxes):
        y, x = np.nonzero(image)
        assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        assert len(np.unique(image[image > 0])) == 1
        assert image.max() >= 127


def test_shapes_have_their_area():
    scenes = sprites(600, seed=0, counts=(1,), min_side=30, max_side=40)
    filled = (scenes.images > 0).sum((1, 2)) / np.prod(scenes.boxes[:, 0, 2:] - scenes.boxes[:, 0, :2], -1)
    for label, share in zip(range(len(SHAPES)), (np.pi / 4, 1, 1 / 2)):
        np.testing.assert_allclose(filled[scenes.labels[:, 0] == label], share, atol=0.04)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**64),
    canvas=st.integers(40, 90),
    counts=st.lists(st.integers(0, 4), min_size=1, unique=True),
    sides=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    channels=st.sampled_from([1, 3]),
)
def test_boxes_do_not_intersect_and_hold_all_ink(seed, canvas, counts, sides, channels):
    scenes = sprites(
        10,
        seed=seed,
        counts=counts,
        canvas=canvas,
        min_side=min(sides),
        max_side=max(sides),
        channels=channels,
    )
    assert set(scenes.counts.tolist()) <= set(counts)
    for image, boxes, count in zip(scenes.images, scenes.boxes, scenes.counts):
        cover = np.zeros((canvas, canvas), int)
        for x0, y0, x1, y1 in boxes[:count].astype(int):
            assert 0 <= x0 < x1 <= canvas
            assert 0 <= y0 < y1 <= canvas
            cover[y0:y1, x0:x1] += 1
        assert cover.max() <= 1
        assert not image[cover == 0].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": -1}, "size must be"),
        ({"seed": -1}, "seed must be"),
        ({"counts": ()}, "counts must be"),
        ({"canvas": 10}, "max_side must be a whole number from 1 to 10, got 16"),
        ({"min_side": 17}, "min_side must be a whole number from 1 to 16, got 17"),
        ({"min_side": 0}, "min_side .* got 0"),
        ({"counts": (20,)}, "counts must be placeable on the canvas, got 20 objects"),
    ],
)
def test_invalid_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        sprites(**({"size": 5, "seed": 0} | change))


def test_two_channels_are_refused():
    with pytest.raises((ValueError, TypeError), match="channels"):
        sprites(5, seed=0, channels=2)


@pytest.mark.parametrize("counts", [(0, 1, 2, 3), (5,)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_segmentation_tells_the_sprite_of_each_pixel_and_changes_nothing_else(counts, channels):
    settings = {"seed": 2, "counts": counts, "canvas": 60, "channels": channels}
    plain, told = sprites(200, **settings), sprites(200, **settings, segmentation=True)
    assert_equal(plain, told)
    assert plain.segmentation is None
    np.testing.assert_array_equal(told.segmentation > 0, told.images.reshape(*told.images.shape[:3], -1).any(-1))
    for i, k in np.argwhere(told.labels >= 0):
        y, x = np.nonzero(told.segmentation[i] == k + 1)
        assert told.boxes[i, k].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        assert len(np.unique(told.images[i, y, x], axis=0)) == 1


def test_a_background_is_no_object():
    settings = {"seed": 2, "canvas": 60, "segmentation": True}
    on_black, on_texture = sprites(50, **settings), sprites(50, **settings, background="texture")
    np.testing.assert_array_equal(on_black.segmentation, on_texture.segmentation)
