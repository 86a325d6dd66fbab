import dataclasses

import numpy as np
import pytest
import small3d

from airjax.data.tables import tables
from airjax.inference import boxes, infer
from airjax.inference.masks import label_images, whole_masks
from airjax.models.backgrounds.linear import LinearBackground
from airjax.render3d import LAID_TABLE

H, W = 12, 12


def drawn(found, *changes):
    """Results for one image in which each object changes the picture as given, the others nothing."""
    canvases = np.zeros((1, 4, 1, H, W), np.float32)
    for step, change in enumerate(changes, start=1):
        canvases[:, step:] += change
    first = {f.name: getattr(found, f.name)[:1] for f in dataclasses.fields(found)}
    return with_fields(infer.Found(**first), canvases=canvases, count=np.array([len(changes)], np.int32))


def with_fields(found, **fields):
    known = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
    return infer.Found(**known | fields)


def patch(y, x, strength, side=4):
    change = np.zeros((H, W), np.float32)
    change[y : y + side, x : x + side] = strength
    return change


def box_of(mask):
    y, x = np.nonzero(mask)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def check(model, found):
    """Check the laws of masks, whatever the count; return how many objects are seen."""
    n, steps = found.presence.shape
    found = with_fields(found, count=(steps - np.arange(n) % (steps + 1)).astype(np.int32))
    whole, labels = whole_masks(model, found), label_images(model, found)
    assert (whole.dtype, labels.dtype) == (bool, np.uint16)
    assert not whole[~found.present].any()
    for i, t in np.argwhere(found.present):
        if whole[i, t].any():
            np.testing.assert_array_equal(found.boxes[i, t], box_of(whole[i, t]))
        else:
            np.testing.assert_allclose(found.boxes[i, t], found.windows[i, t].clip(0, whole.shape[-1]), atol=1e-4)
        assert whole[i, t][labels[i] == t + 1].all()
    np.testing.assert_array_equal(labels > 0, whole.any(1))
    alone = whole.sum(1) == 1
    np.testing.assert_array_equal(labels[alone], 1 + whole.argmax(1)[alone])
    return int(whole.any((2, 3)).sum())


def test_the_box_of_a_mask_is_the_objects_box_and_labels_are_within_masks(model, found):
    assert check(model, found) > 5


@pytest.mark.slow
def test_the_same_holds_of_objects_that_cover_a_background(tiny_model, tiny_images):
    model = tiny_model(background=LinearBackground((1, 12, 12), components=2), over=True, rough=0.5, seed=2)
    assert model.covers
    assert check(model, infer.find(model, tiny_images, batch=10)) > 2


@pytest.mark.slow
def test_the_same_holds_of_solids_in_3d_on_and_off_the_table():
    images = tables(LAID_TABLE, 6, seed=0, counts=(1, 2), canvas=24).images.transpose(0, 3, 1, 2)
    on, off = (small3d.make(rough=rough) for rough in (0.02, 0.3))
    assert on.covers
    assert check(on, infer.find(on, images)) > 2
    assert check(off, infer.find(off, images)) == 0


def test_a_pixel_of_two_objects_that_add_is_of_the_one_that_changes_it_more(model, found):
    assert not model.covers
    one, other = patch(1, 1, 0.9), patch(3, 3, 0.4)
    for number, changes in ((1, (one, other)), (2, (other, one))):
        [labels] = label_images(model, drawn(found, *changes))
        assert labels[3, 3] == labels[1, 1] == number
        assert labels[6, 6] == 3 - number
        assert (labels > 0).sum() == 16 + 16 - 4


def test_a_pixel_of_two_objects_that_cover_is_of_the_later_where_it_shows(tiny_model, found):
    model = tiny_model(over=True)
    behind, before = patch(1, 1, 0.9), patch(3, 3, 0.4)
    [labels] = label_images(model, drawn(found, behind, before))
    assert labels[3, 3] == labels[6, 6] == 2
    assert labels[1, 1] == 1
    hidden = before * (behind == 0)  # the first one stands in front: the second changes nothing there
    assert label_images(model, drawn(found, behind, hidden))[0, 3, 3] == 1


def test_an_object_that_draws_nothing_keeps_its_number_without_a_pixel(model, found):
    faint = patch(1, 1, boxes.FAINT / 2)
    results = drawn(found, faint, patch(5, 5, -0.3))
    whole, [labels] = whole_masks(model, results), label_images(model, results)
    assert set(np.unique(labels)) == {0, 2}
    assert whole.sum((2, 3)).tolist() == [[0, 16, 0]]


def test_pixels_below_the_models_share_are_left_out_unless_asked(model, found):
    change = patch(1, 1, 1.0) + patch(6, 6, model.edge - 0.05)
    results = drawn(found, change)
    assert (label_images(model, results) > 0).sum() == 16
    assert (label_images(model, results, everywhere=True) > 0).sum() == 32


def test_everywhere_the_faintest_change_counts_where_no_object_shows(tiny_model, found):
    faint, shown = patch(1, 1, boxes.FAINT / 2), patch(5, 5, -0.3)
    for model in (tiny_model(), tiny_model(over=True)):
        [labels] = label_images(model, drawn(found, faint, shown), everywhere=True)
        assert (labels[1, 1], labels[5, 5]) == (1, 2)
        assert (labels > 0).sum() == 32


def test_images_are_segmented_in_batches_alike(model, found, monkeypatch):
    at_once = label_images(model, found)
    monkeypatch.setattr("airjax.inference.masks.BATCH", 3)
    np.testing.assert_array_equal(label_images(model, found), at_once)
