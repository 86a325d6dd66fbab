import commands
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from airjax.config import DataConfig
from airjax.data import Scenes, load_scenes
from airjax.runs import figures
from airjax.runs.figures import draw_attention, draw_figures, draw_scenes, sample_scenes
from airjax.runs.record import RunError


@pytest.fixture
def run(tmp_path, tmp_path_factory):
    return commands.copied(commands.trained_run(tmp_path_factory), tmp_path / "run")


def _scenes(n, *colour):
    return Scenes(commands.pixels(n, 12, 12, *colour))


@pytest.mark.slow
def test_figures_of_a_run_replace_those_before(run):
    paths = draw_figures(run)
    drawn = [path.read_bytes() for path in paths]
    for path in paths:
        path.write_bytes(b"old")
    assert draw_figures(run) == paths
    assert [path.read_bytes() for path in paths] == drawn


def test_figures_change_nothing_else(run):
    before = commands.contents(run)
    drawn = {str(path) for path in draw_figures(run)}
    after = commands.contents(run)
    assert {name: content for name, content in after.items() if name not in drawn} == before


def test_figures_of_what_is_no_run_are_refused(tmp_path):
    with pytest.raises(RunError, match="no run"):
        draw_figures(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
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


@pytest.mark.parametrize("settings", [{}, {"channels": 3, "background": "texture"}])
def test_scenes_drawn_are_those_to_train_on(tmp_path, monkeypatch, settings):
    drawn = []
    monkeypatch.setattr(figures.plots, "sample_figure", lambda *x: drawn.append(x) or Figure())
    config = DataConfig("sprites", scenes=300, **settings)
    draw_scenes(config, tmp_path / "a.png", n=6)
    first = load_scenes(config, "train")[:6]
    np.testing.assert_array_equal(drawn[0][0], first.images / 255)
    np.testing.assert_array_equal(drawn[0][1], first.boxes)


@pytest.mark.parametrize(("n", "expected"), [(3, [0, 6, 12]), (18, range(18)), (40, range(18))])
def test_scenes_of_a_file_are_spread_over_it(tmp_path, monkeypatch, n, expected):
    path = tmp_path / "scenes.npz"
    np.savez(path, images=commands.pixels(20, 12, 12))
    drawn = []
    monkeypatch.setattr(figures.plots, "sample_figure", lambda *x: drawn.append(x) or Figure())
    draw_scenes(DataConfig(str(path)), tmp_path / "a.png", n=n)
    train = load_scenes(DataConfig(str(path)), "train").images
    np.testing.assert_array_equal(drawn[0][0], train[list(expected)] / 255)
    assert drawn[0][1] is None


def test_no_scenes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        draw_scenes(DataConfig("sprites"), tmp_path / "a.png", n=0)


def test_no_samples_are_refused(tmp_path, tiny_model):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        sample_scenes(tiny_model(), tmp_path / "a.png", n=0)
