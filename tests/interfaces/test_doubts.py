"""Warnings about pictures in which a model can't know what there is."""

import logging

import equinox as eqx
import jax
import numpy as np
import pytest

import airjax
from airjax.data import sprites
from airjax.inference import infer
from airjax.inference.unexplained import sides
from airjax.interfaces.doubts import Doubts


@pytest.fixture(scope="module")
def model():
    return airjax.from_pretrained("sprites").model


@pytest.fixture(scope="module")
def images():
    return sprites(64, seed=3, counts=(0, 1, 2), canvas=50).images[:, None]


@pytest.fixture
def doubted(model, caplog):
    """Infer images, and return what is warned of."""

    def doubted(images, change=lambda found: found):
        doubts = Doubts(model)
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="airjax"):
            doubts.see(images, change(infer.find(model, images, batch=64)))
            doubts.report()
        return caplog.text

    return doubted


def enlarged(images, factor):
    """Cut the middle out of images and make its pixels larger."""
    side = images.shape[2]
    kept = -(-side // factor)
    start = (side - kept) // 2
    middle = images[:, :, start : start + kept, start : start + kept]
    return middle.repeat(factor, axis=2).repeat(factor, axis=3)[:, :, :side, :side]


def reduced(images, factor):
    """Make images smaller, and pad them with black."""
    small = images[:, :, ::factor, ::factor]
    (top, bottom), (left, right) = (
        ((side - part) // 2, -(-(side - part) // 2)) for side, part in zip(images.shape[2:], small.shape[2:])
    )
    return np.pad(small, [(0, 0), (0, 0), (top, bottom), (left, right)])


@pytest.mark.slow
def test_pictures_like_those_of_training_are_not_doubted(doubted, images):
    assert doubted(images) == ""


def test_things_of_another_size_than_learned_are_told(doubted, images):
    assert "may not find them; choose --tile" in doubted(reduced(images, 4))
    assert "may not find them; choose --tile" in doubted(enlarged(images, 3))


def test_sides_are_those_of_things_and_zero_where_there_are_none(model, images):
    found = infer.find(model, images, batch=64)
    common, learned = sides(model, images, found)
    assert common == pytest.approx(learned, rel=0.35)
    nothing = np.random.default_rng(0).integers(0, 4, images.shape, np.uint8)
    empty = jax.tree.map(np.zeros_like, found)
    assert sides(model, nothing, empty) == (0.0, learned)
    assert sides(model, np.zeros_like(images), empty) == (0.0, learned)


def test_counts_as_high_as_the_model_can_find_are_doubted(doubted, model, images):
    many = lambda share: lambda found: _with_counts(found, np.where(np.arange(64) < share * 64, model.max_objects, 0))
    assert f"5 of 64 pictures hold {model.max_objects} objects, the most that" in doubted(images, many(0.07))
    assert "the most that" not in doubted(images, many(0.04))


def test_what_no_object_explains_is_told(doubted, images):
    assert "of 64 pictures show something that no object explains" in doubted(
        images, lambda found: _with_counts(found, np.zeros(64))
    )


def _with_counts(found, counts):
    return eqx.tree_at(lambda one: one.count, found, counts.astype(np.int32))
