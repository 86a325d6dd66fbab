import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from airjax.runs.plots import (
    STEP_COLOURS,
    attention_figure,
    confusion_figure,
    curves_figure,
    sample_figure,
    save_figure,
)

SCENES, STEPS = 4, 3


def _attention(counts, *rgb, steps=STEPS):
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 20, (len(counts), steps, 2))
    boxes = np.concatenate([low, low + 8], axis=-1)
    images = rng.uniform(size=(len(counts), 30, 40, *rgb))
    canvases = rng.uniform(size=(len(counts), steps + 1, 30, 40, *rgb))
    return attention_figure(images, boxes, np.array(counts), canvases), boxes


def _drawn(axes):
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


@pytest.mark.parametrize("rgb", [(), (3,)])
def test_attention_shows_each_scene_and_each_step(rgb):
    counts = [0, 1, 2, 3]
    figure, _ = _attention(counts, *rgb)
    grid = np.array(figure.axes).reshape(STEPS + 1, SCENES)
    for column, count in enumerate(counts):
        assert [len(_drawn(axes)) for axes in grid[:, column]] == [
            count,
            *(n if n <= count else 0 for n in (1, 2, 3)),
        ]
        assert [len(axes.images) for axes in grid[:, column]] == [1, *(int(n <= count) for n in (1, 2, 3))]
    assert [axes.get_ylabel() for axes in grid[:, 0]] == ["scene", "after 1", "after 2", "after 3"]
    assert not any(len(axes.get_xticks()) or len(axes.get_yticks()) for axes in figure.axes)


def test_boxes_have_the_colours_of_their_steps_and_lie_where_they_should():
    figure, boxes = _attention([3])
    drawn = _drawn(figure.axes[0])
    assert [to_hex(patch.get_edgecolor()) for patch in drawn] == list(STEP_COLOURS[:3])
    for patch, box in zip(drawn, boxes[0]):
        np.testing.assert_allclose([*patch.get_xy(), patch.get_width(), patch.get_height()], [*box[:2], 8, 8])
    assert figure.axes[0].get_xlim() == (0, 40)
    assert figure.axes[0].get_ylim() == (30, 0)
    red, green, blue = (np.argmax([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in STEP_COLOURS[:3])
    assert (red, green, blue) == (0, 1, 2)
    assert len(set(STEP_COLOURS)) == len(STEP_COLOURS)


def test_each_row_shows_the_canvas_of_its_step():
    canvases = np.arange(4.0).reshape(1, 4, 1, 1) * np.ones((1, 4, 5, 5)) / 10
    figure = attention_figure(np.ones((1, 5, 5)), np.ones((1, 3, 4)), np.array([3]), canvases)
    assert [axes.images[0].get_array()[0, 0] for axes in figure.axes] == [1.0, 0.1, 0.2, pytest.approx(0.3)]


def test_more_steps_than_colours_and_absent_boxes_are_drawn():
    figure, _ = _attention([10], steps=10)
    assert len(_drawn(figure.axes[0])) == 10
    blank = np.zeros((1, 4, 4))
    figure = attention_figure(blank, np.full((1, 1, 4), np.nan), np.array([1]), blank[:, None].repeat(2, axis=1))
    assert not _drawn(figure.axes[0])


@pytest.mark.parametrize("counts", [[4], [-1], []])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match=r"lie in 0\.\.3"):
        _attention(np.array(counts, dtype=int))


@pytest.mark.parametrize("rgb", [(), (3,)])
def test_a_contact_sheet_holds_every_image_in_reading_order(rgb):
    images = np.broadcast_to(np.linspace(0, 1, 7).reshape(7, *([1] * (2 + len(rgb)))), (7, 4, 5, *rgb))
    (axes,) = sample_figure(images, columns=3).axes
    sheet = np.asarray(axes.images[0].get_array())
    assert sheet.shape == (3 * 5 + 1, 3 * 6 + 1, *rgb)
    for place, image in enumerate(images):
        top, left = place // 3 * 5 + 1, place % 3 * 6 + 1
        np.testing.assert_array_equal(sheet[top : top + 4, left : left + 5], image)


def test_a_contact_sheet_frames_boxes_where_their_images_are():
    boxes = np.full((5, 2, 4), np.nan)
    boxes[1, 0], boxes[4, 1] = (0, 1, 2, 3), (1, 0, 5, 4)
    (axes,) = sample_figure(np.zeros((5, 4, 5)), boxes, columns=3).axes
    drawn = [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in _drawn(axes)]
    assert drawn == [(6 + 1 + 0, 1 + 1, 2, 2), (6 + 1 + 1, 5 + 1 + 0, 4, 4)]
    assert [to_hex(patch.get_edgecolor()) for patch in _drawn(axes)] == list(STEP_COLOURS[:2])


def test_an_empty_contact_sheet_is_refused():
    with pytest.raises(ValueError, match="at least 1 image"):
        sample_figure(np.zeros((0, 4, 4)))


def test_curves_have_a_panel_for_each_field_and_a_line_for_each_run():
    records = [{"step": s, "elbo": s * 2.0, "accuracy": None if s == 1 else 0.5} for s in range(4)]
    figure = curves_figure({"a": records, "b": records[:2]}, ["elbo", "accuracy"])
    assert [axes.get_title() for axes in figure.axes] == ["elbo", "accuracy"]
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_xdata(), [0, 2, 3])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["a", "b"]


@pytest.mark.parametrize("fields", [[], ["ebol"]])
def test_fields_that_were_not_logged_are_refused(fields):
    with pytest.raises(ValueError, match="fields must name"):
        curves_figure({"a": [{"step": 0, "elbo": 1.0}]}, fields)


def test_the_confusion_shows_every_number():
    (axes,) = confusion_figure(np.array([[1200, 3, 0, 0], [0, 0, 0, 0], [1, 2, 3, 4]])).axes
    assert [text.get_text() for text in axes.texts] == [*("1,200", "3", "0", "0"), *"0000", *"1234"]
    np.testing.assert_allclose(axes.images[0].get_array().sum(axis=1), [1, 0, 1])


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_figures_are_saved_by_suffix(tmp_path, suffix, start):
    path = tmp_path / "deep" / "er" / f"figure.{suffix}"
    save_figure(_attention([1, 2])[0], path)
    assert path.read_bytes().startswith(start)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_png_has_150_dots_an_inch(tmp_path):
    save_figure(Figure(figsize=(2, 1)), tmp_path / "a.PNG")
    assert Image.open(tmp_path / "a.PNG").size == (300, 150)


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.txt"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in \.png, \.pdf or \.svg"):
        save_figure(Figure(), tmp_path / "new" / name)
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_figure(Figure(), path)
    before = path.read_bytes()

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(Figure(figsize=(1, 1)), path)
    assert path.read_bytes() == before
