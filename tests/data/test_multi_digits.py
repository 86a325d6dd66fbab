import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airjax.data import DigitBank, load_mnist, multi_digits
from airjax.data.multi_digits import INK_THRESHOLD


def square_bank(value=255, side=20) -> DigitBank:
    images = np.zeros((1, 28, 28), np.uint8)
    low = (28 - side) // 2
    images[:, low : low + side, low : low + side] = value
    return DigitBank(images, np.zeros(1, np.int32))


def assert_equal(a, b):
    for name in ("images", "counts", "boxes", "labels"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_same_seed_same_scenes_other_seed_other_scenes(bank):
    assert_equal(multi_digits(bank, 50, seed=3), multi_digits(bank, 50, seed=3))
    assert (multi_digits(bank, 50, seed=3).images != multi_digits(bank, 50, seed=4).images).any()


@pytest.mark.parametrize("counts", [(0, 1, 2, 3), (2, 6)])
def test_first_scenes_do_not_depend_on_size(bank, counts):
    long = multi_digits(bank, 3000, seed=0, counts=counts, canvas=70)
    assert_equal(multi_digits(bank, 2500, seed=0, counts=counts, canvas=70), long[:2500])
    assert_equal(multi_digits(bank, 7, seed=0, counts=counts, canvas=70), long[:7])


def test_protocol_on_mnist(mnist_dir):
    bank = load_mnist("held-out", mnist_dir)
    scenes = multi_digits(bank, 6000, seed=0)
    assert scenes.images.shape == (6000, 50, 50)
    np.testing.assert_allclose(np.bincount(scenes.counts) / 6000, 1 / 3, atol=0.03)
    used = np.bincount(scenes.labels[scenes.labels >= 0], minlength=10) / (scenes.labels >= 0).sum()
    np.testing.assert_allclose(used, np.bincount(bank.labels) / 10_000, atol=0.025)


def test_counts_other_than_a_range(bank):
    scenes = multi_digits(bank, 3000, seed=0, counts=(0, 1, 3))
    np.testing.assert_allclose(np.bincount(scenes.counts) / 3000, [1 / 3, 1 / 3, 0, 1 / 3], atol=0.04)
    assert not scenes.images[scenes.counts == 0].any()
    assert not multi_digits(bank, 5, seed=0, counts=(0,)).images.any()


def test_boxes_are_tight_around_the_ink_of_single_digits(bank):
    scenes = multi_digits(bank, 400, seed=1, counts=(1,))
    for image, (box,) in zip(scenes.images, scenes.boxes):
        y, x = np.nonzero(image > INK_THRESHOLD)
        assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]


@pytest.mark.parametrize(("counts", "canvas"), [((2, 3), 50), ((12,), 128)])
def test_boxes_hold_all_ink_and_no_pixel_is_saturated(bank, counts, canvas):
    scenes = multi_digits(bank, 100, seed=2, counts=counts, canvas=canvas)
    grid = np.arange(canvas) + 0.5
    x0, y0, x1, y1 = np.moveaxis(np.nan_to_num(scenes.boxes), -1, 0)[..., None]
    inside_y, inside_x = (y0 < grid) & (grid < y1), (x0 < grid) & (grid < x1)
    covered = (inside_y[..., :, None] & inside_x[..., None, :]).any(1)
    # Fringes of up to the threshold may lie outside of each box, and two of them may meet.
    assert scenes.images[~covered].max() <= 2 * INK_THRESHOLD
    blocks = multi_digits(square_bank(200), 100, seed=2, counts=counts[:1], canvas=canvas)
    assert blocks.images.max() <= 255
    core = (blocks.images > 150).sum((1, 2))
    area = np.prod(blocks.boxes[..., 2:] - blocks.boxes[..., :2], -1).sum(1)
    assert (core > 0.7 * area).all()  # solid squares that may not share pixels


def test_overlap_rule(bank):
    squares = square_bank(120)
    free = multi_digits(squares, 200, seed=0, counts=(2,), max_ink=None, canvas=40)
    apart = multi_digits(squares, 200, seed=0, counts=(2,), max_ink=125, canvas=60)
    assert free.images.max() == 240
    assert apart.images.max() <= 125
    assert multi_digits(square_bank(), 200, seed=0, counts=(3,), max_ink=None, canvas=40).images.max() == 255


def test_few_digits_are_redrawn_together():
    # If only the second digit were redrawn, the first would stay uniform and the second would be pushed to the border.
    scenes = multi_digits(square_bank(200), 3000, seed=0, counts=(2,), canvas=42)
    centre = (scenes.boxes[..., :2] + scenes.boxes[..., 2:]) / 2
    first, second = np.abs(centre - 21).mean((0, 2))
    assert first == pytest.approx(second, rel=0.03)


def test_a_tile_keeps_its_ink():
    # A tile of mass m scaled by s has mass s^2 m, wherever it lies.
    scenes = multi_digits(square_bank(), 300, seed=0, counts=(1,), scale_sd=0.0)
    np.testing.assert_allclose(scenes.images.sum((1, 2), dtype=float), 255 * (20 / 1.3) ** 2, rtol=0.005)


def test_a_tile_at_scale_one_stays_where_it_is():
    tile = np.zeros((1, 28, 28), np.uint8)
    tile[0, 5:9, 7:20] = 255
    scenes = multi_digits(
        DigitBank(tile, np.zeros(1, np.int32)),
        3,
        seed=0,
        counts=(1,),
        canvas=28,
        scale_mean=1.0,
        scale_sd=0.0,
    )
    np.testing.assert_array_equal(scenes.images > 127, np.repeat(tile > 0, 3, axis=0))


def test_scale_and_place_follow_the_protocol():
    scenes = multi_digits(square_bank(side=28), 4000, seed=0, counts=(1,))
    shrink = 28 / np.sqrt(scenes.images.sum((1, 2), dtype=float) / 255)
    # The ink is cut off a little where a full tile touches the border of the canvas.
    assert shrink.mean() == pytest.approx(1.3, abs=0.01)
    assert shrink.std() == pytest.approx(0.1, abs=0.01)
    box = scenes.boxes[:, 0]
    centre = (box[:, :2] + box[:, 2:]) / 2
    room = 50 - (box[:, 2:] - box[:, :2])
    place = (centre - 25) / room
    np.testing.assert_allclose(place.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(place.std(0), 1 / np.sqrt(12), atol=0.03)
    assert abs(np.corrcoef(place.T)[0, 1]) < 0.05


def test_sides_are_uniform_between_the_two_given():
    scenes = multi_digits(square_bank(side=28), 4000, seed=0, counts=(1,), canvas=64, digit_side=(9.0, 18.0))
    side = np.sqrt(scenes.images.sum((1, 2), dtype=float) / 255)
    assert side.min() > 8.5  # a full tile is cut off a little where it touches the border
    assert side.max() < 18.1
    np.testing.assert_allclose(np.histogram(side, 3, (9, 18))[0] / 4000, 1 / 3, atol=0.03)


@pytest.mark.parametrize("side", [1, 20, 49, 50])
def test_tiles_as_small_as_a_pixel_and_as_large_as_the_canvas(side):
    scenes = multi_digits(square_bank(side=28), 50, seed=0, counts=(1,), digit_side=(float(side), float(side)))
    np.testing.assert_allclose(scenes.boxes[..., 2:] - scenes.boxes[..., :2], side, atol=1)


@pytest.mark.parametrize("options", [{}, {"digit_side": (9.0, 18.0)}])
def test_digits_are_the_same_on_any_background(bank, options):
    plain, grid = (multi_digits(bank, 300, seed=0, background=kind, **options) for kind in ("none", "grid"))
    np.testing.assert_array_equal(plain.boxes, grid.boxes)
    np.testing.assert_array_equal(plain.labels, grid.labels)
    assert (grid.images >= plain.images).all()
    assert set(np.unique(grid.images[plain.images < grid.images])) == {102}


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**64),
    canvas=st.integers(30, 90),
    counts=st.lists(st.integers(0, 2), min_size=1, unique=True),
    scale=st.floats(1.2, 4),
)
def test_scenes_are_well_formed(bank, seed, canvas, counts, scale):
    scenes = multi_digits(
        bank, 10, seed=seed, counts=counts, canvas=canvas, scale_mean=scale, scale_sd=0.05, max_ink=None
    )
    assert set(scenes.counts.tolist()) <= set(counts)
    boxes = scenes.boxes[scenes.labels >= 0]
    assert (boxes >= 0).all()
    assert (boxes <= canvas).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": -1}, "size must be a whole number at least 0, got -1"),
        ({"seed": -1}, "seed must be .* got -1"),
        ({"counts": ()}, r"counts must be a sequence of at least one .* got \(\)"),
        ({"counts": (1, 1)}, "counts must not repeat"),
        ({"counts": (-1,)}, "counts must be a whole number at least 0, got -1"),
        ({"canvas": 0}, "canvas must be .* at least 1, got 0"),
        ({"canvas": 20}, "scale_mean must be from 28 / canvas = 1.4 .* got 1.3"),
        ({"scale_mean": -1.0}, "scale_mean .* got -1.0"),
        ({"scale_mean": float("nan")}, "scale_mean .* got nan"),
        ({"scale_mean": 29.0}, "scale_mean .* got 29.0"),
        ({"scale_sd": -0.1}, "scale_sd must be finite and at least 0, got -0.1"),
        ({"max_ink": 0}, "max_ink must be a whole number from 1 to 255, got 0"),
        ({"max_ink": 256}, "max_ink .* got 256"),
        ({"counts": (30,)}, "counts must be placeable .* got 30 objects .* 1000 redraws"),
        ({"max_ink": 20}, "counts must be placeable"),
        ({"bank": DigitBank(np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.int32))}, "bank must be"),
        (
            {"digit_side": (18.0, 9.0)},
            r"digit_side must be two numbers from 1 to 50, the smaller first, got \(18.0, 9.0\)",
        ),
        ({"digit_side": (0.5, 9.0)}, "digit_side .* got"),
        ({"digit_side": (9.0, 51.0)}, "digit_side .* got"),
        ({"digit_side": (float("nan"), 9.0)}, "digit_side .* got"),
    ],
)
def test_invalid_arguments_are_refused(bank, change, message):
    with pytest.raises(ValueError, match=message):
        multi_digits(**({"bank": bank, "size": 5, "seed": 0} | change))


@pytest.mark.parametrize("options", [{"counts": (0, 1, 2, 3)}, {"counts": (2, 5), "max_ink": None, "canvas": 60}])
def test_a_segmentation_tells_the_digit_of_each_pixel_and_changes_nothing_else(bank, options):
    plain, told = (multi_digits(bank, 150, seed=1, segmentation=on, **options) for on in (False, True))
    assert_equal(plain, told)
    assert plain.segmentation is None
    assert (told.images[told.segmentation > 0] > INK_THRESHOLD).all()
    assert (told.segmentation[told.images > told.counts.max() * (INK_THRESHOLD + 0.5)] > 0).all()
    for i, k in np.argwhere(told.labels >= 0):
        y, x = np.nonzero(told.segmentation[i] == k + 1)
        x0, y0, x1, y1 = told.boxes[i, k]
        assert (x0 <= x).all()
        assert (x < x1).all()
        assert (y0 <= y).all()
        assert (y < y1).all()
        if told.counts[i] == 1:
            assert [x0, y0, x1, y1] == [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_where_digits_overlap_the_brighter_one_is_told():
    dark, bright = square_bank(100).images, square_bank(250).images
    bank = DigitBank(np.concatenate([dark, bright]), np.array([0, 1], np.int32))
    scenes = multi_digits(bank, 200, seed=0, counts=(2,), canvas=40, max_ink=None, segmentation=True)
    overlaps = 0
    for boxes, labels, segmentation in zip(scenes.boxes, scenes.labels, scenes.segmentation):
        (x0, y0), (x1, y1) = boxes[:, :2].max(0).astype(int) + 2, boxes[:, 2:].min(0).astype(int) - 2
        if labels[0] != labels[1] and x0 < x1 and y0 < y1:
            overlaps += 1
            assert (segmentation[y0:y1, x0:x1] == 1 + labels.argmax()).all()
    assert overlaps > 20


def test_more_digits_than_bytes_can_number_have_no_segmentation(bank):
    with pytest.raises(ValueError, match="at most 255 for a segmentation, got 300"):
        multi_digits(bank, 1, seed=0, counts=(300,), segmentation=True)
