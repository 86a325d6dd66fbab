"""The scikit-learn face: its contract, laws, and what it shares with the rest."""

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from airjax.sklearn import AIR

SMALL = {
    "window": 2,
    "hidden": 2,
    "embed_channels": 0,
    "embed_hidden": 0,
    "head_hidden": 2,
    "patch_hidden": 2,
    "attention": 0,
    "compose": "add",
    "scale_sd": 0.1,
    "count_ratio": 0.1,
    "learn_count": False,
    "batch": 2,
    "chunk": 2,
}


def tiny(**changes):
    """Make an estimator that hardly learns, and by which nothing is left to the look of the images."""
    settings = {
        "max_objects": 1,
        "ground": "none",
        "polarity": "light",
        "scale": 0.5,
        "sd": 0.3,
        "code_size": 2,
        "steps": 2,
        "posterior_samples": 1,
        "settings": SMALL,
    }
    return AIR(**settings | changes)


@parametrize_with_checks([tiny()])
def test_scikit_learns_contract_holds(estimator, check):
    check(estimator)
