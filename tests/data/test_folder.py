import os

import numpy as np
import pooch
import pytest
from PIL import Image

from airjax.data import ahead, folder
from airjax.data.ahead import read_pictures
from airjax.data.folder import fingerprint, list_pictures, load_folder


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache folder."""
    monkeypatch.setattr(pooch, "os_cache", lambda _: str(tmp_path / "cache"))
    return tmp_path / "cache" / "pictures"


@pytest.fixture
def root(tmp_path):
    """A folder of nine grey pictures, 6 x 4 pixels, each with its own shade; some are in subfolders."""
    for index in range(9):
        path = tmp_path / "root" / ("a", "b/c", ".")[index % 3] / f"{index}.{('png', 'BMP')[index % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6), 20 * index, np.uint8)).save(path)
    (tmp_path / "root" / "notes.txt").write_text("no picture")
    return tmp_path / "root"


def shades(images):
    return sorted(int(image[2, 2].max()) for image in images)


def test_pictures_are_listed_recursively_in_order(root):
    assert list_pictures(root) == [
        *("2.png", "5.BMP", "8.png"),
        *("a/0.png", "a/3.BMP", "a/6.png"),
        *("b/c/1.BMP", "b/c/4.png", "b/c/7.BMP"),
    ]


def test_hidden_files_and_linked_folders_are_left_out(root, tmp_path):
    names = list_pictures(root)
    (root / "linked").symlink_to(tmp_path)
    (root / ".hidden").mkdir()
    Image.new("L", (6, 4)).save(root / ".hidden" / "a.png")
    Image.new("L", (6, 4)).save(root / ".a.png")
    assert list_pictures(root) == names


def test_links_to_pictures_are_followed(tmp_path):
    store, root = tmp_path / "store", tmp_path / "links"
    store.mkdir()
    root.mkdir()
    (root / "b.png").symlink_to(store / "b")
    with pytest.raises(ValueError, match=r"holds no picture .*, but 1 links that lead nowhere"):
        list_pictures(root)
    Image.new("L", (6, 4)).save(store / "a", format="PNG")
    (root / "a.png").symlink_to(store / "a")
    assert list_pictures(root) == ["a.png"]
    assert [one.picture.size for one in read_pictures(root, ["a.png"])] == [(6, 4)]
    assert load_folder(root, (1, 4, 6)).shape == (1, 4, 6)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a folder"):
        list_pictures(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no picture"):
        list_pictures(tmp_path)


def test_pictures_are_read_in_order_and_damaged_ones_reported(root, monkeypatch):
    monkeypatch.setattr(ahead, "AHEAD", 2)
    (root / "b" / "bad.png").write_text("bad")
    names = list_pictures(root)
    read = list(read_pictures(root, names))
    assert [one.name for one in read] == names
    assert [one.name for one in read if one.picture is None] == ["b/bad.png"]
    assert next(one.problem for one in read if one.problem).startswith("b/bad.png is not a picture")


def test_a_folder_is_read_fitted_and_mapped(root):
    images = load_folder(root, (1, 6, 6))
    assert isinstance(images, np.memmap)
    assert images.shape == (9, 6, 6)
    assert shades(images) == [20 * i for i in range(9)]
    assert load_folder(root, (3, 6, 6)).shape == (9, 6, 6, 3)
    assert shades(load_folder(root, (1, 6, 6), invert=True)) == sorted(255 - 20 * i for i in range(9))


def test_another_seed_is_another_order_of_the_same_pictures(root):
    one, two = load_folder(root, (1, 6, 6), seed=0), load_folder(root, (1, 6, 6), seed=1)
    assert shades(one) == shades(two)
    assert (one != two).any()


def test_pictures_are_decoded_once(root, cache, monkeypatch):
    first = np.array(load_folder(root, (1, 6, 6)))
    with monkeypatch.context() as patch:
        patch.setattr(folder, "read_pictures", lambda *_: pytest.fail("they were decoded again"))
        np.testing.assert_array_equal(load_folder(root, (1, 6, 6)), first)
    Image.fromarray(np.full((4, 6), 250, np.uint8)).save(root / "2.png")
    os.utime(root / "2.png", ns=(1, 1))
    assert shades(load_folder(root, (1, 6, 6)))[-1] == 250
    assert not list(cache.glob("*.tmp"))


def test_a_cache_left_incomplete_by_a_kill_is_not_used(root, monkeypatch):
    def stop(root, names, *settings):
        yield next(read_pictures(root, names, *settings))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folder, "read_pictures", stop)
        with pytest.raises(KeyboardInterrupt):
            load_folder(root, (1, 6, 6))
    assert shades(load_folder(root, (1, 6, 6))) == [20 * i for i in range(9)]


def test_damaged_pictures_are_left_out_with_a_warning_or_refused(root, caplog):
    for index in range(7):
        (root / f"bad{index}.png").write_text("bad")
    for _ in range(2):  # read, and from the cache
        assert len(load_folder(root, (1, 6, 6))) == 9
        assert "left out 7 of 16 pictures: bad" in caplog.text
        caplog.clear()
    with pytest.raises(ValueError, match=r"bad\d\.png is not a picture"):
        load_folder(root, (1, 6, 6), strict=True)


def test_a_folder_of_nothing_but_damaged_pictures_is_refused(tmp_path):
    (tmp_path / "bad.png").write_text("bad")
    with pytest.raises(ValueError, match="no picture that can be read"):
        load_folder(tmp_path, (1, 6, 6))


def test_a_fingerprint_tells_pictures_apart(root):
    before = fingerprint(root)
    assert before.startswith("9 pictures, ")
    (root / "notes.txt").write_text("other notes")
    assert fingerprint(root) == before
    (root / "2.png").rename(root / "new.png")
    assert fingerprint(root) != before
