"""A trained model, and what it finds."""

import pytest

from airjax.inference import infer


@pytest.fixture(scope="module")
def model(trained):
    return trained[0].model


@pytest.fixture(scope="module")
def found(model, tiny_images):
    return infer.find(model, tiny_images, batch=4)
