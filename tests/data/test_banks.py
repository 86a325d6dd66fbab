import numpy as np
import pytest

from airjax.data import DigitBank, embedded_digits


def test_embedded_splits_are_disjoint_and_complete():
    train, held_out = embedded_digits("train"), embedded_digits("held-out")
    pixels = np.concatenate([train.images, held_out.images]).reshape(-1, 28 * 28)
    assert len(np.unique(pixels, axis=0)) == len(pixels) == 1797


def test_embedded_splits_are_stratified():
    train, held_out = embedded_digits("train"), embedded_digits("held-out")
    kept, left_out = (np.bincount(bank.labels, minlength=10) for bank in (train, held_out))
    np.testing.assert_allclose(left_out / (kept + left_out), 0.2, atol=0.01)


def test_embedded_digits_look_like_mnist(bank):
    ink = bank.images > 25
    rows, columns = (np.flatnonzero(ink.any((0, axis))) for axis in (2, 1))
    assert min(rows[0], columns[0]) >= 3
    assert max(rows[-1], columns[-1]) <= 24
    assert bank.images.max((1, 2)).min() > 200
    assert 28 < bank.images.mean() < 38  # MNIST: 33.3


def test_embedded_digits_never_change():
    first, second = embedded_digits("train"), embedded_digits("train")
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels[:5], [0, 1, 2, 3, 4])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 28, 28), np.float32), np.zeros(2, np.int32), "images must be uint8 .* got float32"),
        (np.zeros((2, 28, 27), np.uint8), np.zeros(2, np.int32), "images must be uint8"),
        (np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.int32), "n at least 1"),
        (np.zeros((2, 28, 28), np.uint8), np.zeros(3, np.int32), r"labels must be int32 of shape \[2\]"),
        (np.zeros((2, 28, 28), np.uint8), np.zeros(2), "labels must be int32"),
    ],
)
def test_invalid_banks_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        DigitBank(images, labels)
