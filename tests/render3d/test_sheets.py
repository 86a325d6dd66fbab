import numpy as np
import pytest
from stage import NAMES

from airjax import render3d
from airjax.render3d.sheets import triangles

each_kind = pytest.mark.parametrize("kind", render3d.KINDS, ids=NAMES)


@each_kind
def test_triangles_and_normals_face_outwards(kind):
    for sheet in kind.sheets():
        np.testing.assert_allclose(np.linalg.norm(sheet.normals, axis=-1), 1.0, atol=1e-6)
        rows, columns, _ = sheet.points.shape
        corners = triangles((rows, columns))
        assert len(corners) == 2 * (rows - 1) * (columns - 1)
        a, b, c = np.moveaxis(sheet.points.reshape(-1, 3)[corners], 1, 0)
        across = np.cross(b - a, c - a)
        area = np.linalg.norm(across, axis=-1)
        projected = (across * sheet.normals.reshape(-1, 3)[corners].mean(1)).sum(-1)
        assert area.sum() > 0
        assert np.all(projected >= 0.9 * area - 1e-9)


@each_kind
def test_sheets_stand_on_the_table_and_reach_as_far_as_the_kind(kind):
    points = np.concatenate([sheet.points.reshape(-1, 3) for sheet in kind.sheets()])
    assert points[:, 2].min() == pytest.approx(0.0, abs=1e-9)
    assert np.linalg.norm(points[:, :2], axis=1).max() == pytest.approx(kind.radius, abs=0.02)


@pytest.mark.parametrize("kind", [render3d.CYLINDER, render3d.PLATE], ids=lambda kind: kind.name)
def test_paint_has_the_symmetry_of_the_kind(kind):
    for sheet in kind.sheets():
        around = sheet.paint[:, :-1]
        np.testing.assert_allclose(np.roll(around, around.shape[1] // kind.symmetry, axis=1), around, atol=1e-5)
    petals = max(np.ptp(sheet.paint[..., 0], axis=1).max() for sheet in kind.sheets())
    assert petals > 0.8


def test_the_depth_of_a_cup_is_dark():
    wall = render3d.CUP.sheets()[2]
    assert np.all(np.diff(wall.paint.sum(-1)[:, 0]) < 0)
