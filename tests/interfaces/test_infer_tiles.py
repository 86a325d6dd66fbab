"""Inference in tiles: pictures of any size, through the command line and into every output."""

import csv
import json
import shutil

import jax
import numpy as np
import pytest
from commands import call, refused, train_command
from PIL import Image

from airjax.data import load_scenes
from airjax.data.batches import channels_first
from airjax.data.tiles import scaled
from airjax.inference import evaluate
from airjax.inference.tiled import Seen, Tiled
from airjax.interfaces import cli, console, formats, infer_files, infer_tiles, output_files
from airjax.interfaces.check import check_model
from airjax.interfaces.doubts import doubt_tile
from airjax.interfaces.infer_tiles import TiledInference
from airjax.interfaces.sklearn import AIR
from airjax.runs.pretrained import PretrainedError, from_pretrained, save_pretrained
from airjax.runs.record import STILL, RunError, load_model, read_record

pytestmark = pytest.mark.slow
NOTHING = Tiled([], np.ones(1), 0)


@pytest.fixture(scope="module")
def large(tmp_path_factory, tiny_images):
    """Three pictures, pasted together from images of the model's size, and a damaged one."""
    root = tmp_path_factory.mktemp("large")
    whole = np.concatenate([np.concatenate(list(tiny_images[i : i + 3, 0]), axis=1) for i in (0, 3)])
    for name in "abc":
        Image.fromarray(whole).save(root / f"{name}.png")
        whole = whole[:, ::-1]
    (root / "b2.png").write_text("bad")
    return root


@pytest.fixture
def job(model, large):
    return lambda **changes: TiledInference(
        model, infer_files.gather([large]), **{"invert": False, "samples": 3, "key": jax.random.PRNGKey(0)} | changes
    )


def test_results_labels_and_tables_agree(job, tmp_path):
    outputs = output_files.Outputs(
        coco=tmp_path / "a.json", labels=tmp_path / "labels", table=tmp_path / "a.csv", overlay=tmp_path / "shown"
    )
    output_files.to_files(job(tile=12), outputs, progress=False)
    results = json.loads(outputs.coco.read_text())
    images = json.loads(formats.images_path(outputs.coco).read_text())["images"]
    rows = list(csv.DictReader(outputs.table.open()))
    assert [one["file_name"] for one in images] == ["a.png", "b.png", "c.png"]
    assert any(one["count"] for one in images)
    for one in images:
        own = [row for row in rows if row["image"] == one["file_name"] and row["object"]]
        labels = np.asarray(Image.open(outputs.labels / one["file_name"]))
        assert labels.shape == (one["height"], one["width"]) == (24, 36)
        assert one["count"] == len(own) == sum(result["image_id"] == one["id"] for result in results)
        assert [np.sum(labels == int(row["object"])) for row in own] == [int(row["area"]) for row in own]
        assert len(one["count_posterior"]) > one["count"]
        assert Image.open(outputs.overlay / one["file_name"]).size == (36, 24)


def test_a_stopped_job_goes_on_after_the_last_picture(job, tmp_path, monkeypatch):
    whole, again = (output_files.Outputs(coco=tmp_path / name) for name in ("whole.json", "again.json"))
    output_files.to_files(job(tile=12), whole, progress=False)
    stop = formats.write_coco
    monkeypatch.setattr(formats, "write_coco", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        output_files.to_files(job(tile=12), again, progress=False)
    with pytest.raises(ValueError, match="holds part of another inference"):
        output_files.to_files(job(tile=11), again, progress=False)
    monkeypatch.setattr(formats, "write_coco", stop)
    monkeypatch.setattr("airjax.interfaces.infer_tiles.find_in_tiles", lambda *_: 1 / 0)  # all is done
    output_files.to_files(job(tile=12), again, progress=False)
    assert again.coco.read_text() == whole.coco.read_text()


def test_tiles_of_other_sizes_change_the_scale(job):
    (one, *_), (half, *_) = (list(infer_files.readable(job(tile=tile))) for tile in (12, 24))
    assert (one["width"], one["height"]) == (half["width"], half["height"]) == (36, 24)
    side = lambda found: np.median([row["window"][2] - row["window"][0] for row in found["objects"]])
    assert not half["objects"] or side(half) > 1.3 * side(one)


def test_a_named_picture_that_cannot_be_read_is_an_error(model, large):
    pictures = infer_files.gather([large / "b2.png"])
    with pytest.raises(ValueError, match=r"b2\.png is not a picture"):
        list(infer_files.readable(TiledInference(model, pictures, False, 3, jax.random.PRNGKey(0), tile=12)))


def test_a_tile_has_at_least_one_pixel(job):
    with pytest.raises(ValueError, match="tile must be at least 1, got 0"):
        job(tile=0)


@pytest.fixture(scope="module")
def tiled_run(tmp_path_factory):
    """A run on tiles of one large picture, of 30 pixels at its own scale."""
    root = tmp_path_factory.mktemp("run")
    pixels = np.zeros((90, 120), np.uint8)
    for y, x in np.random.default_rng(0).integers(0, 80, (20, 2)):
        pixels[y : y + 8, x : x + 8] = 200
    (root / "pictures").mkdir()
    Image.fromarray(pixels).save(root / "pictures" / "one.png")
    drawn = {"scenes": None, "held-out-scenes": None, "counts": None, "canvas": 20, "tile": 30}
    command = [str(word) for word in train_command(root / "run", root / "pictures", **drawn)]
    assert cli.main(command) == 0
    return root / "run"


def test_the_command_cuts_tiles_as_in_training_or_as_told(capsys, tiled_run, monkeypatch):
    sides, picture = [], tiled_run.parent / "pictures" / "one.png"

    def spied(picture, shape, side, **options):
        sides.append(side)
        return scaled(picture, shape, side, **options)

    monkeypatch.setattr(infer_tiles, "scaled", spied)
    for words in ((), ("--tile", 60)):
        assert call(capsys, "infer", tiled_run, picture, "--json", *words).code == 0
    assert sides == [30, 60]
    assert refused(call(capsys, "infer", tiled_run, picture, "--tile", 0), "tile must be at least 1, got 0")


def test_a_run_on_tiles_is_scored_on_tiles_or_on_whole_pictures(capsys, tiled_run, tmp_path, monkeypatch):
    said = call(capsys, "evaluate", tiled_run, "--json", "--samples", 2)
    assert json.loads(said.out)["scenes"] == 400  # a tenth of the tiles
    boxes = [[12, 15, 30, 24], [60, 45, 21, 33]]
    truth = {"images": [{"id": 1, "file_name": "one.png", "width": 120, "height": 90}], "categories": [{"id": 1}]}
    truth["annotations"] = [{"id": i, "image_id": 1, "category_id": 1, "bbox": box} for i, box in enumerate(boxes, 1)]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    seen = lambda x, y, w, h: Seen(0, {"box": [x, y, x + w, y + h], "presence": 0.9}, np.ones((1, 1), bool), (0, 0))
    right = [seen(*(2 / 3 * np.array(box))) for box in boxes]  # tiles of 30 pixels become images of 20
    command = ("evaluate", tiled_run, "--on", tmp_path / "truth.json", "--pictures", tiled_run.parent / "pictures")
    for objects, expected in ((right, (1, 0, 1)), (right[:1], (0, 1, 0.5)), ([], (0, 2, 0))):
        found = Tiled(objects, np.ones(1), 0)
        monkeypatch.setattr(evaluate, "find_in_tiles", lambda model, pixels, found=found: found)
        said = call(capsys, *command, "--json")
        assert said.code == 0, said.err
        scores = json.loads(said.out)
        assert scores["pictures"] == 1
        assert (scores["count_accuracy"], scores["count_error"]) == expected[:2]
        assert scores["ap50"] == pytest.approx(expected[2], abs=0.01)
        assert scores["count_error_relative"] == scores["count_error"] / 2


def test_tiles_unlike_those_learned_from_are_doubted(caplog):
    for tile, learned in ((30, 30), (50, 30), (None, 30), (90, None)):
        doubt_tile(tile, learned)
        assert not caplog.text
    doubt_tile(10, 30)
    doubt_tile(90, 30)
    assert caplog.text.count("has learned from tiles of 30 pixels") == 2
    assert "about 3 times as large" in caplog.text


def test_a_check_of_tiles_speaks_of_tiles(tiled_run):
    images = channels_first(load_scenes(read_record(tiled_run).config.data, "held-out").images[:40])
    model = load_model(tiled_run)
    plain, tiled = (check_model(model, images, tiled=tiled) for tiled in (False, True))
    assert tiled.stacked <= plain.stacked
    assert "of the pictures" not in tiled.sentence


def test_many_counts_are_printed_as_those_that_are_likely():
    assert console._posterior([0.25, 0.75]) == "[0.25, 0.75]"
    assert console._posterior([0.0] * 20 + [0.0004, 0.2, 0.7996]) == "21: 0.200, 22: 0.800"


def test_an_exported_model_keeps_its_tile(tmp_path, tiled_run):
    assert from_pretrained(tiled_run).tile == 30
    save_pretrained(tiled_run, tmp_path / "model")
    assert from_pretrained(tmp_path / "model").tile == 30


@pytest.fixture(scope="module")
def still_run(tmp_path_factory):
    """A run on tiles of a fixed camera: a stage, and on it a square that moves."""
    root = tmp_path_factory.mktemp("still")
    (root / "pictures").mkdir()
    for index in range(12):
        pixels = np.full((40, 50), 60, np.uint8)
        pixels[25:], pixels[5 * (index % 3) : 5 * (index % 3) + 6, 3 * index : 3 * index + 6] = 170, 250
        Image.fromarray(pixels).save(root / "pictures" / f"{index:02}.png")
    drawn = {"scenes": None, "held-out-scenes": None, "counts": None, "canvas": 20, "tile": 20, "still": True}
    assert cli.main([str(word) for word in train_command(root / "run", root / "pictures", **drawn)]) == 0
    return root / "run"


def test_a_still_background_stays_with_the_model(still_run, tmp_path):
    of_run = from_pretrained(still_run).still
    stage = np.full((40, 50), 60, np.uint8)
    stage[25:] = 170
    np.testing.assert_array_equal(np.asarray(of_run), stage)
    save_pretrained(still_run, tmp_path / "model")
    np.testing.assert_array_equal(np.asarray(from_pretrained(tmp_path / "model").still), stage)
    save_pretrained(tmp_path / "model", tmp_path / "again")
    assert (tmp_path / "again" / STILL).read_bytes() == (still_run / STILL).read_bytes()
    assert from_pretrained(tmp_path / "again").tile == 20


def test_the_estimator_refuses_a_model_with_a_still_background(still_run):
    with pytest.raises(ValueError, match="compares pictures with a still background"):
        AIR.from_pretrained(still_run)


def test_a_missing_or_damaged_still_background_is_told(still_run, tmp_path):
    save_pretrained(still_run, tmp_path / "model")
    shutil.copytree(still_run, tmp_path / "run")
    for folder, error in ((tmp_path / "model", PretrainedError), (tmp_path / "run", RunError)):
        (folder / STILL).write_bytes((folder / STILL).read_bytes()[:-30])
        with pytest.raises(error, match=r"still\.png"):
            from_pretrained(folder)
        (folder / STILL).unlink()
        with pytest.raises(error, match=r"still\.png"):
            from_pretrained(folder)


def test_new_pictures_are_compared_and_shown_as_they_are(capsys, caplog, still_run, tmp_path, monkeypatch):
    seen, pictures = [], tmp_path / "new"
    shutil.copytree(still_run.parent / "pictures", pictures)
    Image.new("L", (30, 30)).save(pictures / "odd.png")
    monkeypatch.setattr(infer_tiles, "find_in_tiles", lambda model, pixels, **_: seen.append(pixels) or NOTHING)
    said = call(capsys, "infer", still_run, pictures, "--overlay", tmp_path / "shown", "--quiet")
    assert said.code == 0
    assert "left out 1 of 13 pictures: odd.png has 30 x 30 pixels" in caplog.text
    assert len(seen) == 12
    for pixels, index in zip(seen, range(12)):
        assert np.sum(pixels != 128) == 36, "the square alone"
        name = f"{index:02}.png"
        shown = np.asarray(Image.open(tmp_path / "shown" / name).convert("L"))
        np.testing.assert_array_equal(shown, np.asarray(Image.open(pictures / name)))
    assert refused(call(capsys, "infer", still_run, pictures / "odd.png"), "odd.png has 30 x 30 pixels")


@pytest.mark.parametrize("flags", [("--levels", 0, 200, 1), ("--pick-channels", 1)])
def test_a_still_background_has_its_own_levels_and_channels(capsys, still_run, flags):
    said = call(capsys, "infer", still_run, still_run.parent / "pictures", *flags)
    assert refused(said, "levels and channels must stay those of the still background")


def test_annotated_pictures_are_compared(capsys, still_run, tmp_path, monkeypatch):
    seen, pictures = [], still_run.parent / "pictures"
    monkeypatch.setattr(evaluate, "find_in_tiles", lambda model, pixels: seen.append(pixels) or NOTHING)
    image = {"id": 1, "file_name": "05.png", "width": 50, "height": 40}
    truth: dict = {"images": [image], "categories": [{"id": 1}]}
    truth["annotations"] = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [15, 10, 6, 6]}]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    command = ("evaluate", still_run, "--on", tmp_path / "truth.json", "--json", "--pictures")
    assert call(capsys, *command, pictures).code == 0
    assert np.sum(seen[0] != 128) == 36
    Image.new("L", (30, 30)).save(tmp_path / "05.png")
    assert refused(call(capsys, *command, tmp_path), "05.png has 30 x 30 pixels")


def test_a_run_with_a_still_background_goes_on_and_is_checked(capsys, still_run):
    before = (still_run / STILL).stat().st_mtime_ns
    drawn = {"scenes": None, "held-out-scenes": None, "counts": None, "canvas": 20, "tile": 20, "still": True}
    assert call(capsys, *train_command(still_run, still_run.parent / "pictures", **drawn)).code == 0
    assert (still_run / STILL).stat().st_mtime_ns == before
    held_out = load_scenes(read_record(still_run).config.data, "held-out").images
    assert np.mean(held_out == 128) > 0.9
    assert call(capsys, "check", still_run, "--json").code == 0


def test_the_estimator_takes_tiles_but_no_pictures_to_cut_up(tiled_run):
    estimator = AIR.from_pretrained(tiled_run)
    assert estimator.predict(np.zeros((2, 20, 20), np.uint8)).shape == (2,)
    with pytest.raises(ValueError, match="X must hold tiles of shape"):
        estimator.predict([Image.new("L", (90, 60))])
