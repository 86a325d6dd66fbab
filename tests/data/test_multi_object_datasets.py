import gzip
import struct
import sys

import numpy as np
import pytest
from tfrecord import TFRecordWriter

from airjax.data.multi_object_datasets import LAYOUTS, load_multi_objects
from airjax.data.tfrecords import read_examples


def scene(layout, seed):
    """Draw an image, and masks of squares; every other entity has none."""
    rng = np.random.default_rng(seed)
    height, width, channels = layout.shape
    owner = np.zeros((height, width), int)
    for place, entity in enumerate(range(1, layout.entities, 2)):
        owner[2:6, 4 * place : 4 * place + 3] = entity
    masks = 255 * (owner == np.arange(layout.entities)[:, None, None]).astype(np.uint8)
    image = rng.integers(0, 256, (height, width, channels), np.uint8)
    return image, masks, owner


def features(layout, seed, split=True):
    """Spell a scene as an Example; the published files hold a list of single bytes (`split`)."""
    image, masks, _ = scene(layout, seed)
    masks = np.moveaxis(masks, 0, -1) if layout.last else masks
    spell = lambda array: [bytes([value]) for value in array.ravel()] if split else [array.tobytes()]
    known = {"image": (spell(image), "byte"), "mask": (spell(masks), "byte")}
    return known | {"visibility": ([1.0] * layout.entities, "float"), "shape": (list(range(300)), "int")}


@pytest.fixture
def written(tmp_path):
    """Write examples by another writer."""

    def write(*examples, compress=True):
        path = tmp_path / "scenes.tfrecords"
        writer = TFRecordWriter(str(path))
        for example in examples:
            writer.write(example)
        writer.close()
        if compress:
            path.write_bytes(gzip.compress(path.read_bytes()))
        return path

    return write


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_scenes_of_every_data_set_read_back(written, layout):
    path = written(*(features(layout, seed, split=seed != 1) for seed in range(2)))
    scenes = load_multi_objects(path, 9)
    assert len(scenes) == 2
    for seed, image in enumerate(scenes.images):
        np.testing.assert_array_equal(image, scene(layout, seed)[0].squeeze())
    owner = scene(layout, 0)[2]
    expected = [entity for entity in range(1, layout.entities, 2) if entity >= layout.background]
    assert scenes.counts.tolist() == [len(expected)] * 2
    for number, entity in enumerate(expected, start=1):
        np.testing.assert_array_equal(scenes.segmentation[0] == number, owner == entity)
        y, x = np.nonzero(owner == entity)
        assert scenes.boxes[0, number - 1].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
    np.testing.assert_array_equal(scenes.segmentation[0] > 0, np.isin(owner, expected))


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("values", [[], [b""], [b"abc"], [b"\x0a\x01\x0a"], [b"a", b"bc"], [b"x" * 300], [b"\x0a"] * 3])
def test_values_of_any_length_are_joined(written, values, compress):
    path = written({"some": (values, "byte"), "other": ([0.5], "float")}, compress=compress)
    (read,) = read_examples(path)
    assert read["some"].tobytes() == b"".join(values)


def test_no_more_scenes_are_read_than_asked_for(written):
    path = written(*(features(LAYOUTS[-1], seed) for seed in range(3)))
    first = load_multi_objects(path, 2)
    assert len(first) == 2
    np.testing.assert_array_equal(first.images, load_multi_objects(path, 3).images[:2])


@pytest.mark.parametrize("place", [0, 9, 40, 5_000, -2])
def test_a_flipped_bit_is_noticed(written, place):
    path = written(features(LAYOUTS[-1], 0), compress=False)
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no TFRecord file, or its first record is damaged"):
        load_multi_objects(path, 9)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("lost", [1, 5, 100])
def test_a_file_that_is_cut_short_is_refused(written, compress, lost):
    path = written(*(features(LAYOUTS[-1], seed) for seed in range(2)), compress=compress)
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(ValueError, match=r"damaged or cut short after [12] record"):
        load_multi_objects(path, 9)


@pytest.mark.parametrize("content", [b"no records", b"\x1f\x8b\x08 no gzip", b"PK\x03\x04" * 99])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.tfrecords").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.tfrecords is no TFRecord file"):
        load_multi_objects(tmp_path / "a.tfrecords", 9)


def test_files_without_records_and_missing_ones_are_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(ValueError, match="holds no records"):
        load_multi_objects(tmp_path / "a", 9)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_multi_objects(tmp_path / "b", 9)


def test_records_of_other_data_are_refused(written):
    with pytest.raises(ValueError, match="record 0 has 12 bytes of image and 0 of masks"):
        load_multi_objects(written({"image": ([b"a" * 12], "byte")}), 9)
    with pytest.raises(ValueError, match="record 1 has 12288 bytes of image"):
        load_multi_objects(written(features(LAYOUTS[-1], 0), features(LAYOUTS[1], 0)), 9)


def test_a_record_that_is_no_example_is_refused(tmp_path):
    body = b"\x0a\x7fshort"
    length = struct.pack("<Q", len(body))
    crc = TFRecordWriter.masked_crc
    (tmp_path / "a").write_bytes(length + crc(length) + body + crc(body))
    with pytest.raises(ValueError, match=r"record 0 is no tf.train.Example"):
        load_multi_objects(tmp_path / "a", 9)


def test_without_the_package_for_checksums_that_is_said(written, monkeypatch):
    path = written(features(LAYOUTS[-1], 0))
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with pytest.raises(ValueError, match=r"pip install 'airjax\[tfrecords\]'"):
        load_multi_objects(path, 9)
