"""The check of a trained run, without labels."""

import json

import numpy as np
import pytest
from commands import call, refused, train_command
from PIL import Image

from airjax.inference import infer
from airjax.inference.infer import Found
from airjax.inference.unexplained import unexplained
from airjax.interfaces import check as checks
from airjax.learning.pasting import Pasted, Pasting

SIDE = 16


def found_with(boxes, canvases=None):
    """Make results of inference with these boxes in each image."""
    count, nothing = np.array([len(one) for one in boxes], np.int32), np.zeros
    padded = np.full((len(boxes), 3, 4), np.nan, np.float32)
    windows = np.tile(np.array([3, 3, 9.5, 9.5], np.float32), (len(boxes), 3, 1))
    for row, one in zip(padded, boxes):
        row[: len(one)] = np.array(one).reshape(-1, 4)
    return Found(
        count=count,
        count_probs=nothing((len(boxes), 4), np.float32),
        boxes=padded,
        windows=windows,
        presence=nothing((len(boxes), 3), np.float32),
        where=nothing((len(boxes), 3, 3), np.float32),
        what=nothing((len(boxes), 3, 2), np.float32),
        scene=nothing((len(boxes), 0), np.float32),
        canvases=nothing((len(boxes), 4, 1, SIDE, SIDE), np.float32) if canvases is None else canvases,
    )


def test_two_objects_in_one_place_are_seen():
    apart, beside = [[0, 0, 5, 5], [8, 8, 13, 13]], [[0, 0, 5, 5], [4, 0, 9, 5]]
    inside, same = [[0, 0, 9, 9], [2, 2, 5, 5]], [[0, 0, 5, 5], [8, 8, 13, 13], [8, 8, 13, 13]]
    marks = checks._stacked(checks._boxes(found_with([[], apart, beside, inside, same])))
    np.testing.assert_array_equal(marks, [False, False, False, True, True])


def test_what_no_object_explains_is_seen(tiny_model):
    model = tiny_model((1, SIDE, SIDE), counts=(1.0, 1e-2, 1e-4, 1e-6))
    box = [[2, 2, 7, 7]]
    images = np.zeros((3, 1, SIDE, SIDE), np.uint8)
    images[:, :, 2:7, 2:7] = 200
    images[1, :, 9:14, 9:14] = 255  # another one, that was not found
    images[2, :, ::3, ::3] += 20  # only noise
    canvases = np.zeros((3, 4, 1, SIDE, SIDE), np.float32)
    canvases[:, 1:, :, 2:7, 2:7] = 200 / 255
    marks = unexplained(model, images, found_with([box, box, box], canvases))
    np.testing.assert_array_equal(marks, [False, True, False])
    marks = unexplained(model, images, found_with([[], [], []], canvases))
    np.testing.assert_array_equal(marks, [True, True, True])


def test_objects_are_the_same_where_their_centres_are_near():
    size = np.array([40, 30])
    boxes = lambda *corners: np.array(corners, float).reshape(-1, 4)
    one, moved, other = [10, 10, 16, 18], [11, 12, 17, 19], [20, 10, 26, 16]
    cut = [0, 3, 5, 9]
    same = lambda ours, theirs: checks._same([boxes(*ours)], [boxes(*theirs)], size).item()
    assert same([], [])
    assert same([one], [moved])
    assert same([other, one], [moved, other])
    assert not same([one], [])
    assert not same([], [one])
    assert not same([one], [other])
    assert not same([one], [one, moved])  # one of them is a second one in the same place
    assert same([one, cut], [moved])
    assert same([one], [moved, cut])
    assert same([[0, 3, 6, 9]], [[2, 3, 8, 9]])  # whole in one of the two alone
    assert not same([[33, 20, 38, 28]], [])
    assert same([[33, 20, 38.5, 28]], [])


def test_objects_move_before_a_background_that_stands_still():
    bricks = np.where(np.indices((SIDE, SIDE)).sum(axis=0) % 4 < 2, 0.2, 0.6).astype(np.float32)[None, None]
    images = np.rint(255 * np.repeat(bricks, 2, axis=0)).astype(np.uint8)
    expected = images.copy()
    images[1, :, 3:7, 3:7] += 80
    expected[1, :, 4:8, 4:8] += 80
    np.testing.assert_array_equal(checks._moved(images, np.repeat(bricks, 2, axis=0)), expected)


def test_scenes_of_known_objects_weigh_as_their_numbers_do_in_the_pictures(monkeypatch, tiny_model, tiny_images):
    where = np.zeros((5, 3, 3), np.float32)
    where[:, 0], where[:, 1] = (np.log(0.42), -0.5, -0.5), (np.log(0.42), 0.5, 0.5)  # 5 pixels, at (3, 3) and (9, 9)
    pasted = Pasted(np.zeros((5, 1, 12, 12), np.uint8), where, np.array([0, 1, 1, 2, 2], np.int32))
    monkeypatch.setattr(checks, "paste", lambda *_, **__: Pasting(pasted, np.zeros(0, int)))
    monkeypatch.setattr(checks, "BORDER", 0)
    first, second = [1, 1, 5, 5], [7, 7, 11, 11]
    told = found_with([[], [first], [second], [first, second], [first]])  # right: 1 of 1, 1 of 2, 1 of 2
    monkeypatch.setattr(infer, "find", lambda *_: told)
    model = tiny_model()
    known = lambda *pictures: checks._known(model, tiny_images, found_with(pictures))
    assert known([], []) == 1.0
    assert known([first]) == 0.5
    assert known([], [], [], [first, second]) == pytest.approx(0.875)
    monkeypatch.setattr(checks, "paste", lambda *_, **__: None)
    assert known([]) is None


@pytest.mark.parametrize(
    ("changed", "trusted", "said"),
    [
        ({}, True, "in 97% of scenes pasted"),
        ({"agreeing": 0.99}, True, "in 99% of the pictures, all runs find the same"),
        ({"known": None}, True, "in 95% of the pictures, the objects found stay the same"),
        ({"known": 0.4}, False, "doubtful: in only 40% of scenes pasted"),
        ({"steady": 0.8, "full": 0.2}, False, "in only 80% of the pictures, the objects found stay"),
        ({"full": 0.2}, False, "20% of the pictures hold as many objects as the model can find"),
        ({"stacked": 0.2}, False, "20% of the pictures have two objects in one place"),
        ({"unexplained": 0.4}, False, "40% of the pictures show something that no object explains"),
    ],
)
def test_the_verdict_names_its_reasons(changed, trusted, said):
    shares = {"known": 0.97, "steady": 0.95, "agreeing": None, "stacked": 0.0, "unexplained": 0.02, "full": 0.01}
    verdict, sentence = checks._verdict(shares | changed, "pictures")
    assert verdict is trusted
    assert said in sentence
    assert sentence.startswith("counts can be trusted" if trusted else "counts are doubtful")


@pytest.fixture
def folder(tmp_path):
    """A hundred and twenty pictures of up to two squares."""
    rng = np.random.default_rng(0)
    (tmp_path / "own").mkdir()
    for index in range(120):
        pixels = np.zeros((20, 20), np.uint8)
        for place in rng.permutation(4)[: index % 3]:
            y, x = np.divmod(place, 2) * np.array(10) + rng.integers(1, 4, 2)
            pixels[y : y + 5, x : x + 5] = 220
        Image.fromarray(pixels).save(tmp_path / "own" / f"{index:03d}.png")
    return tmp_path / "own"


@pytest.mark.slow
def test_runs_on_pictures_of_ones_own_are_checked(capsys, caplog, tmp_path, folder):
    sizes = {"scenes": None, "held_out_scenes": None, "counts": None, "canvas": None, "held_out_fraction": 0.5}
    runs = [tmp_path / "a", tmp_path / "b"]
    for seed, run in enumerate(runs):
        assert call(capsys, *train_command(run, folder, seed=seed, **sizes)).code == 0
    assert "counts are doubtful: " in caplog.text
    said = call(capsys, "check", *runs, "--json", "--out", tmp_path / "seen.png")
    told = json.loads(said.out)
    assert told["pictures"] == 60
    assert told["trusted"] is False
    assert 0 <= told["agreeing"] <= 1
    assert told["known"] is not None
    assert Image.open(tmp_path / "seen.png").size[0] > 100
    shown = call(capsys, "check", runs[0]).out
    assert shown.splitlines()[-1].startswith("counts are doubtful: ")
    assert "agreeing" not in shown
    assert refused(call(capsys, "check", runs[0], "--out", tmp_path / "seen.png"), "exists")
    call(capsys, *train_command(tmp_path / "few", folder, **sizes | {"held_out_fraction": 0.1}))
    assert "counts can't be judged by 12 held-out pictures" in caplog.text
    (tmp_path / "c").mkdir()
    assert refused(call(capsys, "check", runs[0], tmp_path / "c"), "holds no run")


@pytest.mark.slow
def test_runs_that_cannot_be_compared_are_refused(capsys, tmp_path):
    runs = [tmp_path / "a", tmp_path / "b"]
    for seed, run in enumerate(runs):
        assert call(capsys, *train_command(run, data_seed=seed)).code == 0
    assert refused(call(capsys, "check", *runs), "is not of the same pictures")
