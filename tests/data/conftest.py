import os
from pathlib import Path

import pytest

from airjax.data import DigitBank, embedded_digits


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder with MNIST's files beside the repository: without it, tests skip, but never in CI."""
    folder = Path(__file__).parents[2].parent / "shared" / "mnist"
    if not folder.is_dir():
        reason = f"MNIST's files are not at {folder}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def bank() -> DigitBank:
    return embedded_digits("train")
