"""Label images, masks and measurements, and the one count of all outputs."""

import json
from dataclasses import replace

import commands
import jax
import numpy as np
import pandas as pd
import pytest
import small3d
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import ndimage

from airjax.data.images import Placement, letterbox
from airjax.data.tables import tables
from airjax.interfaces import formats, infer_files, output_files, regions, tabular
from airjax.interfaces.console import print_images
from airjax.render3d import LAID_TABLE

pytestmark = pytest.mark.usefixtures("small_batches")
KEY = jax.random.PRNGKey(0)


@pytest.fixture(scope="module")
def model(tiny_model):
    """A model that finds none or three objects, most of which show."""
    return tiny_model(rough=0.5, seed=4)


@pytest.fixture
def outputs(tmp_path):
    names = "found.json", "found.parquet", "shown", "labels", "table.csv", "rois", "counts.csv"
    return output_files.Outputs(*(tmp_path / name for name in names))


def all_of(inference):
    return [one for batch in inference.batches() for one in batch if "problem" not in one]


def label_image(outputs, one):
    return np.asarray(Image.open(outputs.labels / one["image"]))


def masks_of(outputs):
    """Read the masks of COCO results, by picture."""
    coco = COCO(formats.images_path(outputs.coco))
    results = coco.loadRes(str(outputs.coco))
    found = {image["file_name"]: results.loadAnns(results.getAnnIds(imgIds=[i])) for i, image in coco.imgs.items()}
    return {name: [results.annToMask(one).astype(bool) for one in ones] for name, ones in found.items()}


# One count


def pictures(folder):
    for index, image in enumerate(tables(LAID_TABLE, 5, seed=0, counts=(1, 2), canvas=24).images):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


def case(kind, inference, tiny_model, folder):
    """Make a job: objects in 2D; those of which none changes a pixel enough to be seen; and 3D, where some don't."""
    if kind == "2D":
        return inference
    if kind == "nothing drawn":
        return replace(inference, model=tiny_model(rough=0.5, seed=4, edge=2.0))
    return replace(inference, model=small3d.make(rough=0.1, seed=2), pictures=infer_files.gather([pictures(folder)]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["2D", "nothing drawn", "3D"])
def test_every_output_has_the_same_count_and_as_many_objects(kind, inference, tiny_model, outputs, tmp_path, capsys):
    (tmp_path / "pictures").mkdir()
    job = case(kind, inference, tiny_model, tmp_path / "pictures")
    output_files.to_files(job, outputs, progress=False)
    entries = all_of(job)
    counts = {one["image"]: one["count"] for one in entries}
    assert max(counts.values()) > 0
    assert {one["image"]: len(one["objects"]) for one in entries} == counts

    print_images(entries, as_json=True)
    assert {one["image"]: one["count"] for one in json.loads(capsys.readouterr().out)["images"]} == counts
    print_images(entries, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0] for line in lines if "p(n|x)" in line] == [f"{n}: {c}" for n, c in counts.items()]
    assert sum(line.startswith("  ") for line in lines) == sum(counts.values())

    images = json.loads(formats.images_path(outputs.coco).read_text())["images"]
    assert {image["file_name"]: image["count"] for image in images} == counts
    assert {name: len(masks) for name, masks in masks_of(outputs).items()} == counts
    for table in (pd.read_parquet(outputs.parquet), pd.read_csv(outputs.table)):
        assert dict(zip(table.image, table["count"])) == counts
        assert table.groupby("image").object.count().to_dict() == counts
    of_pictures = pd.read_csv(outputs.counts)
    assert dict(zip(of_pictures.image, of_pictures["count"])) == counts
    np.testing.assert_allclose(of_pictures.probability, [one["count_posterior"][one["count"]] for one in entries])
    for one in entries:
        seen = set(np.unique(label_image(outputs, one)).tolist()) - {0}
        assert seen <= set(range(1, one["count"] + 1))
        assert not seen or kind != "nothing drawn"


# Masks


@pytest.fixture
def done(inference, outputs):
    output_files.to_files(inference, outputs, progress=False)
    return all_of(inference)


def test_label_images_have_the_pictures_pixels_and_are_the_masks_of_coco(done, outputs):
    masks, seen = masks_of(outputs), 0
    for one in done:
        file = Image.open(outputs.labels / one["image"])
        assert (file.mode, file.size) == ("I;16", (one["width"], one["height"]))
        labels = label_image(outputs, one)
        for number, mask in enumerate(masks[one["image"]], start=1):
            np.testing.assert_array_equal(labels == number, mask)
            seen += mask.any()
    assert seen > 5


def test_napari_opens_label_images(done, outputs):
    """Where it is installed; it brings a hundred packages."""
    builtins = pytest.importorskip("napari_builtins.io")
    from napari.layers import Labels

    for one in done:
        path = str(outputs.labels / one["image"])
        [(data, *_)] = builtins.napari_get_reader(path)(path)
        layer = Labels(data, name=one["image"])
        np.testing.assert_array_equal(layer.data, label_image(outputs, one))


def test_masks_lie_within_boxes_and_reach_their_edges(done, outputs):
    whole = 0
    for one in done:
        labels, numbers = label_image(outputs, one), range(1, one["count"] + 1)
        boxes = np.array([found["box"] for found in one["objects"]])
        for number in set(numbers) & set(np.unique(labels).tolist()):
            assert ((corners(labels == number) - boxes[number - 1]) * [1, 1, -1, -1] > -1).all()
        if numbers and {*numbers} <= {*np.unique(labels)}:
            whole += 1
            around = [*boxes[:, :2].min(0), *boxes[:, 2:].max(0)]
            np.testing.assert_allclose(corners(labels > 0), around, atol=1)
    assert whole > 2


def corners(mask):
    y, x = np.nonzero(mask)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])


def test_the_image_of_a_picture_of_its_own_size_stays_and_pixels_are_repeated_in_larger_ones():
    labels = np.random.default_rng(0).integers(0, 999, (6, 8)).astype(np.uint16)
    np.testing.assert_array_equal(regions.in_picture(labels, Placement((8, 6), 1.0, 0.0, 0.0)), labels)
    twice = regions.in_picture(labels, Placement((16, 12), 0.5, 0.0, 0.0))
    np.testing.assert_array_equal(twice, labels.repeat(2, 0).repeat(2, 1))
    thrice = regions.in_picture(labels, Placement((2, 2), 3.0, 1.0, 0.0))
    np.testing.assert_array_equal(thrice, labels[1::3, 2::3])  # the middle of three by three
    margins = regions.in_picture(labels, Placement((4, 6), 1.0, 2.0, 0.0))
    np.testing.assert_array_equal(margins, labels[:, 2:6])


@pytest.mark.parametrize("size", [(8, 6), (31, 17), (5, 40), (3, 2)])
def test_what_is_marked_in_a_picture_is_marked_where_the_letterbox_puts_it(size):
    """Draw a rectangle into a picture, letterbox it, take its pixels for labels: they come back where they were."""
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[size[1] // 4 : size[1] // 2 + 1, size[0] // 3 :] = 200
    fitted = letterbox(Image.fromarray(pixels), (1, 24, 24))
    back = regions.in_picture((fitted.pixels[0] > 100).astype(np.uint16), fitted.placement)
    assert back.shape == pixels.shape
    wrong = (back > 0) != (pixels > 0)
    assert not wrong[ndimage.minimum_filter(pixels, 3) == ndimage.maximum_filter(pixels, 3)].any()


def test_label_images_hold_more_numbers_than_a_byte(tmp_path):
    labels = np.array([[0, 255, 256], [65_535, 1, 2]], np.uint16)
    regions.write_labels(labels, tmp_path / "new" / "a.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / "a.png")), labels)


# Measurements


def test_measurements_are_those_of_label_image_and_picture(done, outputs, root):
    table = pd.read_csv(outputs.table)
    assert list(table) == [
        *("image", "id", "count", "object", "area", "centroid_x", "centroid_y", "x0", "y0", "x1", "y1"),
        *("mean_intensity", "presence"),
    ]
    measured = 0
    for one in done:
        labels, pixels = label_image(outputs, one), np.asarray(Image.open(root / one["image"]).convert("L"), float)
        for number, found in enumerate(one["objects"], start=1):
            [row] = table[(table.image == one["image"]) & (table.object == number)].to_dict("records")
            assert [row["x0"], row["y0"], row["x1"], row["y1"]] == found["box"]
            assert row["presence"] == found["presence"]
            assert row["area"] == (labels == number).sum()
            if row["area"]:
                measured += 1
                y, x = ndimage.center_of_mass(labels == number)
                mean = ndimage.mean(pixels, labels, number)
                given = [row["centroid_x"], row["centroid_y"], row["mean_intensity"]]
                np.testing.assert_allclose(given, [x + 0.5, y + 0.5, mean], atol=1e-4)
    assert measured > 5


def test_colours_are_measured_one_by_one_and_an_object_without_a_pixel_is_not():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    labels = np.zeros((5, 6), np.uint16)
    labels[1:3, 2:5] = 2
    object_ = {"box": [0.0, 0.0, 1.0, 1.0], "presence": 1.0}
    one = {"image": "a.png", "id": 1, "count": 2, "objects": [dict(object_), dict(object_)]}
    regions.add_measurements(one, labels, Image.fromarray(pixels), 3)
    without, row = regions.rows(one)
    assert without["area"] == 0
    assert not without.keys() & {"centroid_x", "mean_intensity", "mean_intensity_red"}
    assert (row["area"], row["centroid_x"], row["centroid_y"]) == (6, 3.5, 2.0)
    means = [row[f"mean_intensity_{name}"] for name in ("red", "green", "blue")]
    np.testing.assert_allclose(means, pixels[1:3, 2:5].mean((0, 1)), atol=1e-4)


def test_tables_are_the_same_in_both_formats(inference, outputs, done, tmp_path):
    other = output_files.Outputs(table=tmp_path / "table.parquet", counts=tmp_path / "counts.parquet")
    output_files.to_files(inference, other, progress=False)
    for one, two in ((outputs.table, other.table), (outputs.counts, other.counts)):
        pd.testing.assert_frame_equal(pd.read_csv(one), pd.read_parquet(two), check_dtype=False)


@pytest.mark.parametrize(
    ("posterior", "expected"),
    [
        ([0.02, 0.0, 0.9, 0.06, 0.02], [0.9, 2, 3]),
        ([0.03, 0.0, 0.9, 0.06, 0.01], [0.9, 0, 3]),
        ([1.0, 0.0, 0.0], [0.0, 0, 0]),
        ([0.0, 0.0, 0.999999], [0.999999, 2, 2]),
    ],
)
def test_a_picture_has_a_row_with_its_count_and_how_sure_that_is(tmp_path, posterior, expected):
    boxes = [[0.4, 3.0, 9.0, 9.0], [1.0, 1.0, 39.0, 29.0], [5.0, 5.0, 9.0, 29.5], [5.0, 5.0, 41.0, 9.0]]
    one = {"image": "a.png", "id": 1, "width": 40, "height": 30, "count": 2, "count_posterior": posterior}
    tabular.write_counts([one | {"objects": [{"box": box} for box in boxes]}], tmp_path / "counts.csv")
    [row] = pd.read_csv(tmp_path / "counts.csv").to_dict("records")
    assert [row[name] for name in ("probability", "least", "most")] == expected
    assert (row["image"], row["width"], row["height"], row["count"], row["at_border"]) == ("a.png", 40, 30, 2, 3)


# Stops


@pytest.mark.parametrize("batches", [1, 2])
def test_after_a_stop_all_outputs_are_those_of_one_go(inference, outputs, tmp_path, monkeypatch, batches):
    with monkeypatch.context() as patch:
        commands.stop_after(patch, batches)
        with pytest.raises(KeyboardInterrupt):
            output_files.to_files(inference, outputs, progress=False)
    written = {path: path.stat().st_mtime_ns for path in outputs.labels.rglob("*.png")}
    assert len(written) in (3 + 4 * (batches - 1), 4 * batches)  # all but the damaged picture
    output_files.to_files(inference, outputs, progress=False)
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    (tmp_path / "whole").mkdir()
    whole = output_files.Outputs(*(tmp_path / "whole" / path.name for path in outputs))
    output_files.to_files(inference, whole, progress=False)
    for path in whole.paths:
        twin = tmp_path / path.name
        for file in path.rglob("*.*") if path.is_dir() else [path]:
            assert file.read_bytes() == (twin / file.relative_to(path) if path.is_dir() else twin).read_bytes()
    assert len(list(outputs.labels.rglob("*"))) == len(list(whole.labels.rglob("*")))


# Mistakes


def test_outputs_must_differ_and_replace_no_picture(inference, model, root, tmp_path):
    folder = tmp_path / "a"
    refuse = lambda words, job, force=False, **paths: refused(job, words, output_files.Outputs(**paths), force)
    refuse("different files and folders", inference, labels=folder, overlay=folder)
    refuse("would replace", inference, labels=root, force=True)
    refuse("must lie outside of", inference, labels=root / "deep" / "labels")
    refuse("must lie outside of", inference, overlay=root / "shown")
    before = {path: path.read_bytes() for path in root.rglob("*.png")}
    named = replace(inference, pictures=infer_files.gather([root / "a" / "00.png"]))
    refuse("would replace", named, overlay=root / "a", force=True)
    (tmp_path / "b").mkdir()
    Image.new("L", (24, 24)).save(tmp_path / "b" / "00.png")
    twins = replace(inference, pictures=infer_files.gather([root / "a" / "00.png", tmp_path / "b" / "00.png"]))
    refuse("different names", twins, labels=folder)
    refuse("a .csv or .parquet file, got .*table.txt", inference, table=tmp_path / "table.txt")
    assert {path: path.read_bytes() for path in root.rglob("*.png")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def refused(job, words, outputs, force):
    with pytest.raises(ValueError, match=words):
        output_files.to_files(job, outputs, force=force, progress=False)


def test_without_pycocotools_there_are_boxes_only_and_it_is_said(inference, outputs, monkeypatch, caplog):
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.mask", None)
    output_files.to_files(inference, output_files.Outputs(coco=outputs.coco), progress=False)
    assert caplog.text.count("pip install 'airjax[coco]'") == 1
    results = json.loads(outputs.coco.read_text())
    assert results
    assert all("bbox" in one and "segmentation" not in one for one in results)


def test_results_without_any_object_are_scored_as_the_documentation_says(tmp_path):
    empty = {"image": "a.png", "id": 1, "width": 9, "height": 9, "count": 0, "count_posterior": [1.0], "objects": []}
    formats.write_coco([empty], tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == []
    truth = COCO()
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 4, 4], "area": 16, "iscrowd": 0}
    truth.dataset = {"images": [{"id": 1}], "annotations": [box], "categories": [formats.CATEGORY]}
    truth.createIndex()
    with pytest.raises(IndexError):
        truth.loadRes(str(tmp_path / "found.json"))
    scores = COCOeval(truth, COCO(formats.images_path(tmp_path / "found.json")), "bbox")
    scores.evaluate()
    scores.accumulate()
    scores.summarize()
    assert scores.stats[0] == 0


# supervision


def test_objects_become_detections_of_supervision():
    found = {"box": [1.0, 2.0, 3.0, 5.0], "presence": 0.9, "code": [0.5, -1.0]}
    detections = formats.to_supervision({"objects": [found, found | {"presence": 0.8}]})
    assert detections.xyxy.tolist() == [[1, 2, 3, 5]] * 2
    assert detections.confidence.tolist() == pytest.approx([0.9, 0.8])
    assert detections.data["code"].tolist() == [[0.5, -1.0]] * 2
    assert detections.mask is None
    solid = {"box": [1.0, 2.0, 3.0, 5.0], "presence": 0.9, "identity": "cup"}
    assert formats.to_supervision({"objects": [solid]}).data["identity"].tolist() == ["cup"]
    assert len(formats.to_supervision({"objects": []})) == 0


def test_detections_have_the_masks_of_a_label_image_or_of_the_entry():
    labels = np.zeros((6, 7), np.uint16)
    labels[1:3, 2:5], labels[4, 4] = 1, 3
    one = {"objects": [{"box": [0.0, 0.0, 7.0, 6.0], "presence": 0.9, "code": [0.5]} for _ in range(3)]}
    by_labels = formats.to_supervision(one, labels)
    regions.add_masks(one, labels)
    for detections in (by_labels, formats.to_supervision(one)):
        mask = np.asarray(detections.mask)
        assert (mask.dtype, mask.shape) == (bool, (3, 6, 7))
        np.testing.assert_array_equal(mask, labels == np.array([1, 2, 3])[:, None, None])
    assert len(by_labels[by_labels.confidence > 0.5]) == 3
