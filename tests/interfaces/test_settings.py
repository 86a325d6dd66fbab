"""Settings of one's own and those by the look of the pictures."""

import dataclasses
import logging

import numpy as np
import pytest

from airjax.interfaces import doctor
from airjax.interfaces.settings import merge


@pytest.fixture(scope="module")
def look():
    pixels = np.full((8, 30, 30), 255, np.uint8)
    pixels[:, 4:11, 4:11] = 20
    return doctor.propose_for(pixels)


def test_without_settings_of_ones_own_all_are_proposed_ones(look):
    assert merge({}, look) == look.settings


def test_ones_own_settings_win_however_they_are_spelled(look):
    assert look.settings["max_objects"] != 7
    merged = merge({"max-objects": 7, "attention": 0, "hidden": 16}, look)
    expected = look.settings | {"max_objects": 7, "attention": 0, "hidden": 16}
    del expected["inhibition"], expected["trajectories"]  # which depend on attention
    assert merged == expected


def test_none_is_a_setting(look):
    assert merge({"sd": None}, look)["sd"] is None


def test_neither_source_is_changed(look):
    own, before = {"max-objects": 7}, dict(look.settings)
    merge(own, look)
    assert (own, look.settings) == ({"max-objects": 7}, before)


def test_doubts_are_logged(look, caplog):
    with caplog.at_level(logging.WARNING, logger="airjax"):
        merge({}, dataclasses.replace(look, doubts=("one", "two")))
    assert [record.getMessage() for record in caplog.records] == [
        "AIR may be the wrong tool: one",
        "AIR may be the wrong tool: two",
    ]


def test_proposals_that_mean_nothing_beside_ones_own_settings_go(look):
    assert look.settings["paste"] > 0
    look = dataclasses.replace(look, settings=look.settings | {"apart": True})
    merged = merge({"objective": "nvil", "likelihood": "bernoulli"}, look)
    assert look.settings.keys() - merged.keys() == {"apart", "paste", "sd", "sd_gain"}
    with_own = merge({"objective": "nvil", "paste": 3.0}, look)
    assert with_own["paste"] == 3.0  # which is refused where it is used
