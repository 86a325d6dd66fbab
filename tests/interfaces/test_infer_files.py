import json
import os
from dataclasses import replace

import commands
import jax
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pycocotools.coco import COCO

from airjax.interfaces import formats, infer_files, output_files, tabular
from airjax.models.backgrounds.linear import LinearBackground
from airjax.runs.plots import STEP_COLOURS

KEY = jax.random.PRNGKey(0)
PICTURES = 11
pytestmark = pytest.mark.usefixtures("small_batches")


@pytest.fixture
def outputs(tmp_path):
    return output_files.Outputs(tmp_path / "found.json", tmp_path / "found.parquet", tmp_path / "shown")


def all_of(inference):
    return [one for batch in inference.batches() for one in batch]


def test_pictures_are_described_in_their_own_pixels(inference):
    found = {one["image"]: one for one in all_of(inference)}
    assert len(found) == PICTURES + 1
    assert len({one["count"] for one in found.values() if "count" in one}) > 1
    for name, one in found.items():
        if "problem" in one:
            continue
        assert (one["width"], one["height"]) == ((24, 24), (30, 24))[name.startswith("b")]
        for described in one["objects"]:
            for x0, y0, x1, y1 in (described["box"], described["window"]):
                assert 0 <= x0 <= x1 <= one["width"]
                assert 0 <= y0 <= y1 <= one["height"]


def test_places_are_those_in_the_list_and_damaged_pictures_are_told(inference):
    found = all_of(inference)
    assert [one["image"] for one in found] == inference.pictures.names
    assert [one["id"] for one in found] == list(range(1, PICTURES + 2))
    assert [one["image"] for one in found if "problem" in one] == ["a/bad.png"]


def test_going_on_from_a_batch_finds_the_same(inference):
    assert list(inference.batches(first=2)) == list(inference.batches())[2:]


@pytest.mark.slow
def test_pictures_of_the_other_polarity_are_doubted(inference, tiny_model, root, tmp_path, caplog):
    next(inference.batches())
    assert "--polarity" not in caplog.text
    next(replace(inference, invert=True).batches())
    assert "--polarity light" in caplog.text
    Image.new("L", (24, 24), 255).save(tmp_path / "paper.png")
    paper = infer_files.gather([tmp_path])
    caplog.clear()
    next(replace(inference, pictures=paper).batches())
    assert "light background" in caplog.text
    assert "--polarity dark" in caplog.text
    caplog.clear()
    next(replace(inference, pictures=paper, invert=True).batches())
    grounded = tiny_model(background=LinearBackground((1, 12, 12), components=2))
    next(replace(inference, pictures=paper, model=grounded).batches())
    assert "--polarity" not in caplog.text


def test_a_damaged_file_that_was_named_is_an_error(model, root):
    pictures = infer_files.gather([root / "a" / "00.png", root / "a" / "bad.png"])
    with pytest.raises(ValueError, match=r"bad\.png is not a picture"):
        all_of(infer_files.Inference(model, pictures, invert=False, samples=2, key=KEY))


def test_what_is_to_be_inferred_must_be_there_and_once(root, tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        infer_files.gather([])
    with pytest.raises(ValueError, match="a folder among 2"):
        infer_files.gather([root, root / "a" / "00.png"])
    with pytest.raises(ValueError, match="twice"):
        infer_files.gather([root / "a" / "00.png"] * 2)
    with pytest.raises(FileNotFoundError):
        infer_files.gather([tmp_path / "none.png"])


def check(outputs, inference):
    """Check all files against the inference itself."""
    found = [one for one in all_of(inference) if "problem" not in one]
    coco = COCO(formats.images_path(outputs.coco))
    results = coco.loadRes(str(outputs.coco))
    assert [image["file_name"] for image in coco.dataset["images"]] == [one["image"] for one in found]
    table = pd.read_parquet(outputs.parquet)
    assert list(dict.fromkeys(table.image)) == [one["image"] for one in found]
    for one in found:
        boxes = [described["box"] for described in one["objects"]]
        annotations = results.loadAnns(results.getAnnIds(imgIds=one["id"]))
        corners = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in annotations)]
        np.testing.assert_allclose(np.reshape(corners, (-1, 4)), np.reshape(boxes, (-1, 4)), atol=2e-3)
        rows = table[table.image == one["image"]]
        assert len(rows) == max(1, one["count"])
        assert (rows["count"] == one["count"]).all()
        if one["count"]:
            np.testing.assert_allclose(np.stack(rows.code), [o["code"] for o in one["objects"]], rtol=1e-5)
            assert list(rows.object) == list(range(1, one["count"] + 1))
        else:
            assert rows.object.isna().all()
        shown = Image.open(outputs.overlay / one["image"])
        assert shown.size == (one["width"], one["height"])
    assert sorted(path.name for path in outputs.coco.parent.iterdir()) == [
        *("found.images.json", "found.json", "found.parquet", "shown")
    ]


def test_every_format_holds_every_picture_once(inference, outputs, caplog):
    output_files.to_files(inference, outputs, progress=False)
    check(outputs, inference)
    assert "left out 1 of 12 pictures: a/bad.png" in caplog.text


@pytest.mark.parametrize("cut", [0, 1, 300])
@pytest.mark.parametrize("batches", [0, 1, 2])
def test_killed_half_way_and_restarted_every_picture_is_there_once(inference, outputs, monkeypatch, batches, cut):
    with monkeypatch.context() as patch:
        commands.stop_after(patch, batches)
        with pytest.raises(KeyboardInterrupt):
            output_files.to_files(inference, outputs, progress=False)
    assert not outputs.coco.exists()
    half = b'{"image": "a/00.png", "id"' * cut  # of the next batch
    outputs.journal.write_bytes(outputs.journal.read_bytes() + half)
    output_files.to_files(inference, outputs, progress=False)
    check(outputs, inference)


def test_only_what_was_not_done_is_inferred_again(inference, outputs, monkeypatch):
    with monkeypatch.context() as patch:
        commands.stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            output_files.to_files(inference, outputs, progress=False)
    seen = []
    original = infer_files.Inference._describe
    monkeypatch.setattr(infer_files.Inference, "_describe", lambda s, b, i: (seen.append(i), original(s, b, i))[1])
    output_files.to_files(inference, outputs, progress=False)
    assert seen == [2]


def test_a_journal_of_another_inference_is_refused(inference, outputs, model, root, monkeypatch):
    with monkeypatch.context() as patch:
        commands.stop_after(patch, 0)
        with pytest.raises(KeyboardInterrupt):
            output_files.to_files(inference, outputs, progress=False)
    other = infer_files.Inference(model, infer_files.gather([root]), invert=True, samples=3, key=KEY)
    with pytest.raises(ValueError, match="another inference"):
        output_files.to_files(other, outputs, progress=False)
    with pytest.raises(ValueError, match="another inference"):
        output_files.to_files(inference, outputs._replace(overlay=None), progress=False)


def test_outputs_that_exist_are_kept_unless_asked(inference, outputs):
    outputs.coco.write_text("mine")
    with pytest.raises(ValueError, match=r"found\.json exists"):
        output_files.to_files(inference, outputs, progress=False)
    assert outputs.coco.read_text() == "mine"
    output_files.to_files(inference, outputs, force=True, progress=False)
    check(outputs, inference)


def test_an_empty_folder_for_pictures_is_no_hindrance(inference, outputs):
    outputs.overlay.mkdir()
    output_files.to_files(inference, outputs, progress=False)
    check(outputs, inference)
    assert any(outputs.overlay.rglob("*.png"))


def test_boxes_are_drawn_at_their_edges_in_the_colours_of_their_steps(tmp_path):
    boxes = [[2.0, 3.0, 10.0, 12.0], [20.0, 5.0, 25.0, 9.0], [0.0, 0.0, 30.0, 20.0]]
    one = {"objects": [{"box": box} for box in boxes]}
    formats.write_overlay(Image.new("L", (30, 20)), one, tmp_path / "new" / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "new" / "a.png"))
    colour = lambda step: [int(STEP_COLOURS[step][i : i + 2], 16) for i in (1, 3, 5)]
    for y, x in ((3, 2), (11, 9), (3, 9), (11, 2)):
        assert pixels[y, x].tolist() == colour(0)
    assert pixels[0, 0].tolist() == pixels[19, 29].tolist() == colour(2)
    assert pixels[12, 10].tolist() == [0, 0, 0]


def test_large_boxes_hold_the_objects_number(tmp_path):
    boxes = [[2.0, 2.0, 60.0, 50.0], [70.0, 2.0, 85.0, 50.0]]
    formats.write_overlay(Image.new("L", (100, 60)), {"objects": [{"box": box} for box in boxes]}, tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png")).max(axis=2) > 0
    assert pixels[4:20, 4:20].any()
    assert not pixels[4:48, 25:58].any()
    assert not pixels[4:48, 72:83].any()


def test_without_pyarrow_nothing_is_begun(inference, outputs, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r"airjax\[parquet\]"):
        output_files.to_files(inference, outputs, progress=False)
    assert os.listdir(outputs.coco.parent) == []


def test_a_file_that_was_half_written_is_not_there(tmp_path):
    def broken():
        yield {"image": "a", "id": 1, "width": 2, "height": 2, "count": 0, "count_posterior": [1.0], "objects": []}
        raise RuntimeError

    for write, path in ((formats.write_coco, tmp_path / "a.json"), (tabular.write_parquet, tmp_path / "a.parquet")):
        with pytest.raises(RuntimeError):
            write(broken(), path)
    assert list(tmp_path.iterdir()) == []


def test_results_are_plain_json(inference, outputs):
    output_files.to_files(inference, outputs, progress=False)
    results = json.loads(outputs.coco.read_text())
    assert {"image_id", "category_id", "bbox", "score", "segmentation"} == results[0].keys()
