"""Commands on standard data sets and on truth from label formats."""

import gzip
import json
from functools import partial

import commands
import numpy as np
import pytest
from commands import SIDE, pixels, refused
from PIL import Image
from tfrecord import TFRecordWriter

from airjax.data import Scenes, load_npz, save_npz


@pytest.fixture
def call(capsys):
    return partial(commands.call, capsys)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return commands.trained_run(tmp_path_factory)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same scenes as an .npz file, a COCO file and a YOLO folder, in the size of the tiny run."""
    folder = tmp_path_factory.mktemp("truth")
    counts, images = np.array([1, 2, 1, 2, 1, 1], np.int32), pixels(6, SIDE, SIDE)
    boxes = np.tile(np.float32([[2, 3, 8, 9], [10, 10, 18, 16]]), (6, 1, 1))
    boxes[counts == 1, 1] = np.nan
    save_npz(folder / "a.npz", Scenes(images, counts, boxes))
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    content = {"images": [], "annotations": []}
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
        content["images"].append({"id": index, "file_name": f"{index}.png", "width": SIDE, "height": SIDE})
        lines = []
        for x0, y0, x1, y1 in boxes[index, : counts[index]].tolist():
            box = [x0, y0, x1 - x0, y1 - y0]
            content["annotations"].append({"image_id": index, "category_id": 1, "bbox": box})
            lines.append(f"0 {(x0 + x1) / 2 / SIDE} {(y0 + y1) / 2 / SIDE} {box[2] / SIDE} {box[3] / SIDE}")
        (folder / "labels" / f"{index}.txt").write_text("\n".join(lines))
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


@pytest.mark.slow
def test_evaluate_gives_the_same_scores_on_npz_coco_and_yolo(call, run, sources):
    command = ("evaluate", run, "--samples=2", "--json", "--on")
    expected = call(*command, sources / "a.npz")
    assert json.loads(expected.out)["mean_iou"] is not None
    assert call(*command, sources / "instances.json", "--pictures", sources / "images") == expected
    assert call(*command, sources) == expected


def test_evaluate_refuses_what_is_no_truth(call, run, sources, tmp_path):
    assert refused(call("evaluate", run, "--on", tmp_path), tmp_path, ".npz", "COCO", "YOLO")
    assert refused(call("evaluate", run, "--on", sources / "instances.json"), "0.png", "missing")
    assert refused(call("evaluate", run, "--on", sources / "a.npz", "--pictures", sources), "pictures")
    assert refused(call("evaluate", run, "--pictures", sources), "--on")


@pytest.fixture
def records(tmp_path):
    """Five scenes of Tetrominoes, without objects."""
    path = tmp_path / "scenes.tfrecords"
    writer = TFRecordWriter(str(path))
    for seed in range(5):
        masks = np.zeros((4, 35, 35), np.uint8)
        masks[0] = 255
        writer.write({"image": (pixels(35, 35, 3, seed=seed).tobytes(), "byte"), "mask": (masks.tobytes(), "byte")})
    writer.close()
    path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def test_convert_writes_a_file_of_scenes_and_replaces_none(call, records, tmp_path):
    out = tmp_path / "scenes.npz"
    assert call("convert", records, f"--out={out}", "--n=3").code == 0
    np.testing.assert_array_equal(load_npz(out).images[2], pixels(35, 35, 3, seed=2))
    assert len(load_npz(out)) == 3
    before = commands.contents(out)
    assert refused(call("convert", records, f"--out={out}"), "exists", "--force")
    assert commands.contents(out) == before
    assert call("convert", records, f"--out={out}", "--force").code == 0
    assert len(load_npz(out)) == 5


def test_convert_refuses_other_files_in_one_sentence(call, records, tmp_path):
    out = tmp_path / "scenes.npz"
    assert refused(call("convert", tmp_path / "b", f"--out={out}"), "does not exist")
    assert refused(call("convert", records, f"--out={tmp_path / 'scenes'}"), "must be an .npz file")
    assert refused(call("convert", records, f"--out={out}", "--n=0"), "n must be a whole number at least 1")
    records.write_bytes(records.read_bytes()[:-9])
    assert refused(call("convert", records, f"--out={out}"), "cut short")
    assert not out.exists()


def test_multi_dsprites_like_has_settings_of_its_own(call, tmp_path):
    out = tmp_path / "scenes.png"
    assert call("scenes", "multi-dsprites-like", f"--out={out}", "--n=4", "--scenes=8").code == 0
    assert Image.open(out).size[0] > 4 * 64
    assert refused(call("scenes", "multi-dsprites-like", f"--out={tmp_path / 'b.png'}", "--channels=3"), "channels")
