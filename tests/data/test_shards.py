import numpy as np
import pooch
import pytest
from PIL import Image

from airjax.config import DataConfig
from airjax.data.addresses import place
from airjax.data.shards import are_shards, load_shards
from airjax.data.sources import load_scenes, pin


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")
    return tmp_path / "cache" / "pictures"


@pytest.fixture(params=["grey", "colour"])
def scenes(request, tmp_path):
    """A folder of three files, of 5, 1 and 6 images; each image's first value is its count."""
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 6, 3)[: 4 if request.param == "colour" else 3], np.uint8)
    counts = np.arange(12, dtype=np.int64)
    images.reshape(12, -1)[:, 0] = counts
    (tmp_path / "shards").mkdir()
    for name, part in (("a", slice(0, 5)), ("b", slice(5, 6)), ("c", slice(6, 12))):
        np.savez_compressed(tmp_path / "shards" / f"{name}.npz", images=images[part], counts=counts[part])
    return tmp_path / "shards", images


def first_values(scenes):
    return scenes.images.reshape(len(scenes), -1)[:, 0]


def test_all_images_are_there_once_in_an_order_that_the_seed_chooses(scenes):
    folder, images = scenes
    loaded = load_shards(folder, seed=1)
    assert isinstance(loaded.images, np.memmap)
    assert sorted(first_values(loaded)) == list(range(12))
    assert list(first_values(loaded)) == list(loaded.counts) != list(range(12))
    np.testing.assert_array_equal(loaded.images, images[loaded.counts])
    assert not np.array_equal(load_shards(folder, seed=2).counts, loaded.counts)
    np.testing.assert_array_equal(load_shards(folder, seed=1, invert=True).images, 255 - loaded.images)


def test_the_cache_is_used_until_a_file_changes(scenes, cache):
    folder, images = scenes
    load_shards(folder)
    load_shards(folder)
    assert len(list(cache.glob("*.npy"))) == 1
    np.savez(folder / "b.npz", images=255 - images[5:6], counts=np.array([5]))
    loaded = load_shards(folder)
    np.testing.assert_array_equal(loaded.images[loaded.counts == 5][0], 255 - images[5])


def test_a_folder_of_files_is_a_data_set_whose_changes_are_noticed(scenes):
    folder, _ = scenes
    config = pin(DataConfig(name=str(folder)).resolved())
    assert config.pictures.startswith("3 .npz files, ")
    parts = [load_scenes(config, split) for split in ("train", "held-out")]
    assert [len(part) for part in parts] == [11, 1]
    with pytest.raises(ValueError, match="strict is a setting of folders"):
        load_scenes(DataConfig(name=str(folder), strict=True), "train")
    (folder / "b.npz").unlink()
    with pytest.raises(ValueError, match=r"have changed: there were 3 \.npz files"):
        load_scenes(config, "train")


def test_files_at_an_address_are_those_of_a_folder(scenes):
    import fsspec

    files = fsspec.filesystem("memory")
    files.put(str(scenes[0]), "/shards", recursive=True)
    try:
        remote = load_shards(place("memory://shards"), seed=3)
        np.testing.assert_array_equal(remote.images, load_shards(scenes[0], seed=3).images)
    finally:
        files.rm("/shards", recursive=True)


def test_pictures_go_before_arrays(scenes):
    folder, _ = scenes
    assert are_shards(folder)
    Image.new("L", (4, 4)).save(folder / "a.png")
    assert not are_shards(folder)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((2, 5, 5), np.uint8), "counts": np.zeros(2, np.int32)}, "images of one size"),
        ({"counts": np.zeros(2, np.int32)}, "d.npz can't be read as an npz file with images"),
        ({"images": np.zeros((2, 4), np.uint8)}, "d.npz must hold images of shape"),
    ],
)
def test_files_that_do_not_go_together_are_refused(scenes, cache, arrays, words):
    folder, _ = scenes
    np.savez(folder / "d.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        load_shards(folder)
    assert not cache.exists()


def test_counts_must_be_in_all_files_or_in_none(scenes):
    folder, images = scenes
    np.savez(folder / "b.npz", images=images[5:6])
    with pytest.raises(ValueError, match="counts in all of its files or in none"):
        load_shards(folder)
    for name, part in (("a", slice(0, 5)), ("c", slice(6, 12))):
        np.savez(folder / f"{name}.npz", images=images[part])
    assert load_shards(folder).counts is None
