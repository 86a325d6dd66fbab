"""MuJoCo's renderer for tests: in CI it has to draw; elsewhere they are skipped where it can't."""

import os

import pytest

from airjax.render3d.mujoco_renderer import MuJoCoRenderer


def by_mujoco(stage, shape):
    """Make a renderer, or say why there is none."""
    try:
        return MuJoCoRenderer(stage, shape)
    except ValueError as error:
        reason = str(error)
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
