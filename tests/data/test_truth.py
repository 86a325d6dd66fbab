import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from airjax.data import Scenes, save_npz, sprites
from airjax.data.annotated import Reading
from airjax.data.truth import load_truth

SIDE = 40
GREY = Reading((1, SIDE, SIDE))


@pytest.fixture(scope="module")
def scenes():
    """Nine scenes, of none, one or two squares, which polygons describe exactly."""
    every = sprites(200, seed=0, counts=(0, 1, 2), canvas=SIDE, segmentation=True)
    squares = ((every.labels == 1) | (every.labels == -1)).all(1)
    return every[np.concatenate([np.flatnonzero(squares & (every.counts == count))[:3] for count in (1, 0, 2)])]


def run_lengths(mask):
    told = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return told | {"counts": told["counts"].decode()}


def plain_run_lengths(mask):
    values = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], values, [1 - values[-1]]])))
    return {"size": list(mask.shape), "counts": np.diff([0, *edges]).tolist()}


def polygons(mask):
    y, x = np.nonzero(mask)
    x0, y0, x1, y1 = x.min(), y.min(), x.max() + 1, y.max() + 1
    return [[int(value) for value in (x0, y0, x1, y0, x1, y1, x0, y1)]]


def pictures_of(scenes, folder):
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{index:03d}.png" for index in range(len(scenes))]
    for name, image in zip(names, scenes.images):
        Image.fromarray(image).save(folder / name)
    return names


def coco_of(scenes, folder, spell=run_lengths):
    """Write scenes in COCO's format, the pictures beside the annotations."""
    height, width = scenes.images.shape[1:3]
    names = pictures_of(scenes, folder)
    images = [{"id": 7 + i, "file_name": n, "width": width, "height": height} for i, n in enumerate(names)]
    annotations = []
    for index, count in enumerate(scenes.counts):
        for slot, (x0, y0, x1, y1) in enumerate(scenes.boxes[index, :count].tolist()):
            one = {"image_id": 7 + index, "category_id": 5, "bbox": [x0, y0, x1 - x0, y1 - y0]}
            mask = {"segmentation": spell(scenes.segmentation[index] == slot + 1)} if spell else {}
            annotations.append(one | mask)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 5, "name": "square"}]}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"


def yolo_of(scenes, folder):
    """Write scenes in YOLO's format; an empty one has no file of labels."""
    height, width = scenes.images.shape[1:3]
    (folder / "labels").mkdir(parents=True)
    for name, boxes, count in zip(pictures_of(scenes, folder / "images"), scenes.boxes, scenes.counts):
        x0, y0, x1, y1 = boxes[:count].T / np.array([width, height, width, height])[:, None]
        lines = [
            f"0 {' '.join(map(repr, map(float, row)))}" for row in zip((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
        ]
        if lines:
            (folder / "labels" / name).with_suffix(".txt").write_text("\n".join(lines) + "\n\n")
    return folder


def assert_same(found, expected, *names):
    for name in names:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-4, err_msg=name)


@pytest.mark.parametrize("spell", [run_lengths, plain_run_lengths, polygons])
def test_coco_equals_npz(tmp_path, scenes, spell):
    save_npz(tmp_path / "a.npz", scenes)
    found, expected = load_truth(coco_of(scenes, tmp_path / "a", spell), GREY), load_truth(tmp_path / "a.npz", GREY)
    assert_same(found, expected, "images", "counts", "boxes", "segmentation")
    assert set(found.labels.ravel().tolist()) == {-1, 0}


def test_yolo_equals_npz_without_masks(tmp_path, scenes):
    found = load_truth(yolo_of(scenes, tmp_path / "a"), GREY)
    assert_same(found, scenes, "images", "counts", "boxes")
    assert found.segmentation is None


def test_coco_without_masks_or_without_pycocotools_has_boxes_alone(tmp_path, scenes, monkeypatch, caplog):
    found = load_truth(coco_of(scenes, tmp_path / "a", None), GREY)
    assert found.segmentation is None
    assert_same(found, scenes, "boxes")
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    assert load_truth(coco_of(scenes, tmp_path / "b"), GREY).segmentation is None
    assert "pip install 'airjax[coco]'" in caplog.text


@pytest.mark.parametrize("write", [coco_of, yolo_of])
def test_pictures_may_lie_elsewhere(tmp_path, scenes, write):
    source = write(scenes, tmp_path / "a")
    pictures_of(scenes, tmp_path / "b")
    for picture in (tmp_path / "a").rglob("*.png"):
        picture.unlink()
    assert_same(load_truth(source, GREY, tmp_path / "b"), scenes, "images", "boxes")


@pytest.mark.parametrize("write", [coco_of, yolo_of])
def test_boxes_and_masks_move_with_pictures_of_other_sizes(tmp_path, scenes, write):
    """Twice as large, and wider than high, so that images get margins above and below."""
    grow = lambda images: np.kron(images, np.ones((1, 2, 2), np.uint8))[:, 20:60]
    boxes = 2 * scenes.boxes - [0, 20, 0, 20]
    inside = (np.isnan(boxes) | ((boxes[..., 1::2] >= 0) & (boxes[..., 1::2] <= 40)).repeat(2, -1)).all((1, 2))
    assert inside.sum() >= 2
    large = Scenes(grow(scenes.images), scenes.counts, boxes.astype(np.float32), segmentation=grow(scenes.segmentation))
    found = load_truth(write(large[inside], tmp_path / "a"), Reading((3, SIDE, SIDE)))
    assert_same(found, scenes[inside], "boxes", "counts")
    assert found.images.shape == (inside.sum(), SIDE, SIDE, 3)
    if write is coco_of:
        np.testing.assert_array_equal(found.segmentation, scenes.segmentation[inside])


def test_labels_may_begin_with_a_mark_of_order_and_lie_beside_a_list_of_classes(tmp_path, scenes):
    folder = yolo_of(scenes, tmp_path / "a")
    expected = load_truth(folder, GREY)
    for path in (folder / "labels").iterdir():
        path.write_text(path.read_text(), encoding="utf-8-sig")
    (folder / "labels" / "classes.txt").write_text("square\n")
    assert_same(load_truth(folder, GREY), expected, "counts", "boxes")


def test_two_pictures_of_the_same_labels_are_refused(tmp_path, scenes):
    folder = yolo_of(scenes, tmp_path / "a")
    Image.new("L", (SIDE, SIDE)).save(folder / "images" / "000.bmp")
    with pytest.raises(ValueError, match=r"has two pictures, 000.bmp and 000.png, for the labels 000.txt"):
        load_truth(folder, GREY)


def test_pictures_are_read_as_in_training(tmp_path, scenes):
    found = load_truth(yolo_of(scenes, tmp_path / "a"), Reading((1, SIDE, SIDE), levels=(0.0, 128.0, 1.0), invert=True))
    np.testing.assert_array_equal(found.images == 0, scenes.images >= 128)
    assert found.images.max() == 255


def test_channels_are_picked_as_in_training(tmp_path, scenes):
    folder = yolo_of(scenes, tmp_path / "a")
    for path in (folder / "images").iterdir():
        grey = np.asarray(Image.open(path))
        Image.fromarray(np.stack([255 - grey, grey, 0 * grey], axis=-1)).save(path)
    found = load_truth(folder, Reading((1, SIDE, SIDE), channels=(2,)))
    np.testing.assert_array_equal(found.images, scenes.images)


def test_where_masks_overlap_the_smaller_shows_and_crowds_are_left_out(tmp_path, caplog):
    path = coco_of(sprites(1, seed=0, counts=(0,), canvas=SIDE, segmentation=True), tmp_path / "a")
    box = lambda x, y, side: {
        "bbox": [x, y, side, side],
        "segmentation": [[x, y, x + side, y, x + side, y + side, x, y + side]],
    }
    one = {"image_id": 7, "category_id": 1}
    crowd = {"iscrowd": 1, "bbox": [0, 0, 40, 40], "segmentation": {"size": [SIDE, SIDE], "counts": [0, SIDE * SIDE]}}
    content = json.loads(path.read_text())
    content["annotations"] = [one | box(4, 4, 4), one | box(0, 0, 20), one | crowd]
    path.write_text(json.dumps(content))
    found = load_truth(path, GREY)
    assert found.counts.tolist() == [2]
    assert (found.segmentation[0, 4:8, 4:8] == 1).all()
    assert np.bincount(found.segmentation.ravel()).tolist() == [SIDE * SIDE - 400, 16, 384]
    assert "1 crowds are left out" in caplog.text


# Mistakes


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].update(bbox=[30, 0, 12, 5]), r"a box of 00\d.png is outside of its 40 x 40"),
        (lambda c: c["annotations"][0].update(bbox=[3, 3, 0, 5]), "or empty: corners 3, 3, 3, 8"),
        (lambda c: c["annotations"][0].update(bbox=[float("nan"), 3, 1, 5]), "outside of its"),
        (lambda c: c["annotations"][0].update(bbox=[3, 3, 5]), r"bbox must be four numbers .* got \[3, 3, 5\]"),
        (lambda c: c["annotations"][0].update(bbox="many"), r"instances.json: bbox must be four numbers"),
        (lambda c: c["annotations"][0].update(image_id=99), "of the picture 99, which is not in its list"),
        (lambda c: c["annotations"][0].pop("bbox"), "no COCO annotation file: something lacks 'bbox'"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2]]), r"a mask of 000\.png can't be decoded"),
        (
            lambda c: c["annotations"][0].update(segmentation={"size": [3, 3], "counts": [9]}),
            r"a mask of 000\.png has the size",
        ),
        (lambda c: c["annotations"][0].update(segmentation={"size": [SIDE, SIDE], "counts": [9]}), "don't add up to"),
        (
            lambda c: c["annotations"][0].update(segmentation={"size": [SIDE, SIDE]}),
            r"a mask of 000\.png can't be decoded",
        ),
        (lambda c: c["annotations"][0].update(segmentation={"counts": "a"}), r"a mask of 000\.png has the size None"),
        (lambda c: c["images"][0].update(width=39), "says that 000.png has 39 x 40 pixels, but it has 40 x 40"),
        (lambda c: c["images"][0].update(id=[3]), "no COCO annotation file: something has the wrong type"),
        (lambda c: c["images"].clear() or c["annotations"].clear(), "holds no pictures"),
        (lambda c: c["images"][1].update(id=7), "has two pictures with the id 7"),
        (lambda c: c["images"][1].update(file_name="000.png"), "has two pictures with the file_name '000.png'"),
        (lambda c: c["images"][0].update(file_name="../000.png"), "file_name must be a path below the folder"),
        (lambda c: c["images"][0].update(file_name="/000.png"), "file_name must be a path below the folder"),
        (lambda c: c.pop("images"), "no COCO annotation file: something lacks 'images'"),
    ],
)
def test_mistakes_in_coco_files_are_told_in_one_sentence(tmp_path, scenes, change, message):
    path = changed(coco_of(scenes, tmp_path), change)
    with pytest.raises(ValueError, match=message):
        load_truth(path, GREY)


@pytest.mark.parametrize("content", [b"[1, 2]", b"no json", b"\xff\xfe", b"[" * 100_000])
def test_other_json_files_are_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.json is (no COCO annotation|not a JSON) file"):
        load_truth(tmp_path / "a.json", GREY)


@pytest.mark.parametrize(
    "line", ["0 0.5 0.5 0.2", "0 0.5 0.5 0.2 x", "a 1 1 1 1", "0.5 0.5 0.5 0.2 0.2", "0 nan 0 1 1"]
)
def test_lines_that_are_no_boxes_are_refused(tmp_path, scenes, line):
    folder = yolo_of(scenes, tmp_path / "a")
    (folder / "labels" / "000.txt").write_text(f"0 0.5 0.5 0.2 0.2\n{line}\n")
    with pytest.raises(ValueError, match=r"000.txt, line 2, must be a class and centre"):
        load_truth(folder, GREY)


def test_a_box_outside_of_its_picture_is_refused_but_rounding_is_clipped(tmp_path, scenes):
    folder = yolo_of(scenes, tmp_path / "a")
    (folder / "labels" / "000.txt").write_text("0 0.9 0.5 0.21 0.2\n")
    assert load_truth(folder, GREY).boxes[0, 0, 2] == SIDE
    (folder / "labels" / "000.txt").write_text("0 0.9 0.5 0.3 0.2\n")
    with pytest.raises(ValueError, match=r"000.txt: a box of 000.png is outside of its 40 x 40 pixels"):
        load_truth(folder, GREY)


def test_missing_pictures_are_named(tmp_path, scenes):
    path, folder = coco_of(scenes, tmp_path / "a"), yolo_of(scenes, tmp_path / "b")
    (tmp_path / "a" / "003.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"tells of the picture 003.png, which is missing in"):
        load_truth(path, GREY)
    (folder / "labels" / "far.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=r"far.txt has no picture in"):
        load_truth(folder, GREY)


def test_pictures_that_cannot_be_read_are_named(tmp_path, scenes):
    path = coco_of(scenes, tmp_path / "a")
    (tmp_path / "a" / "003.png").write_text("bad")
    with pytest.raises(ValueError, match=r"003.png is not a picture"):
        load_truth(path, GREY)


def test_other_files_and_folders_are_refused(tmp_path, scenes):
    (tmp_path / "a.txt").write_text("")
    for path in (tmp_path / "a.txt", tmp_path):
        with pytest.raises(ValueError, match=r"is none of these: an .npz file, a COCO file"):
            load_truth(path, GREY)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        load_truth(tmp_path / "b.json", GREY)
    save_npz(tmp_path / "a.npz", scenes)
    with pytest.raises(ValueError, match=r"pictures must be left out for an .npz file"):
        load_truth(tmp_path / "a.npz", GREY, Path())
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match="holds no picture"):
        load_truth(tmp_path, GREY)
