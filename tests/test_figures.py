import numpy as np
import pytest
import runs
from PIL import Image

from airjax.data import Scenes
from airjax.figures import draw_attention, draw_figures, sample_scenes
from airjax.run import RunError


@pytest.fixture
def run(tmp_path, tmp_path_factory):
    return runs.copied(runs.trained_run(tmp_path_factory), tmp_path / "run")


def _scenes(n, *colour):
    return Scenes(runs.pixels(n, 12, 12, *colour))


def test_figures_of_a_run_replace_those_before(run):
    paths = draw_figures(run)
    drawn = [path.read_bytes() for path in paths]
    for path in paths:
        path.write_bytes(b"old")
    assert draw_figures(run) == paths
    assert [path.read_bytes() for path in paths] == drawn


def test_figures_change_nothing_else(run):
    before = runs.contents(run)
    drawn = {str(path) for path in draw_figures(run)}
    after = runs.contents(run)
    assert {name: content for name, content in after.items() if name not in drawn} == before


def test_figures_of_what_is_no_run_are_refused(tmp_path):
    with pytest.raises(RunError, match="no run"):
        draw_figures(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("colour", [(), (3,)])
def test_attention_is_drawn_for_grey_and_colour(tmp_path, tiny_model, colour):
    model = tiny_model((3 if colour else 1, 12, 12))
    draw_attention(model, _scenes(2, *colour), tmp_path / "two.png")
    draw_attention(model, _scenes(1, *colour), tmp_path / "one.png")
    (w2, h2), (w1, h1) = (Image.open(tmp_path / name).size for name in ("two.png", "one.png"))
    assert w2 * h2 > w1 * h1


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_are_fixed_by_their_seed(tmp_path, tiny_model, channels):
    model = tiny_model((channels, 12, 12), rough=1.0)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        sample_scenes(model, tmp_path / f"{name}.png", n=6, seed=seed)
    a, b, c = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_no_samples_are_refused(tmp_path, tiny_model):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        sample_scenes(tiny_model(), tmp_path / "a.png", n=0)
