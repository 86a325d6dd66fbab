"""Pictures kept from an earlier reading that are damaged: they are read again, with a warning that names the file."""

import json

import numpy as np
import pytest
from PIL import Image

from airjax.data import folder
from airjax.files import hashed_as

SHAPE = (1, 8, 8)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A function that reads a folder, and the path of what it keeps."""
    root = tmp_path / "pictures"
    root.mkdir()
    for index in range(5):
        Image.fromarray(np.full((8, 8), 40 + index, np.uint8)).save(root / f"{index}.png")
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    read = lambda: np.array(folder.load_folder(root, SHAPE))
    images = read()
    (path,) = (tmp_path / "cache").rglob("*.npy")
    return read, images, path


def zeroed(path):
    content = path.read_bytes()
    path.write_bytes(content[:-64] + b"\0" * 64)


def header(path):
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "zeroed": zeroed,
    "header": header,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "no hash": lambda path: path.with_suffix(".json").write_text('{"problems": []}'),
    "half a list": lambda path: path.with_suffix(".json").write_text('{"prob'),
    "another list": lambda path: path.with_suffix(".json").write_text("[]"),
    "empty list": lambda path: path.with_suffix(".json").write_text(""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_and_mended(cached, caplog, damage):
    read, images, path = cached
    hashed_as.cache_clear()
    DAMAGES[damage](path)
    np.testing.assert_array_equal(read(), images)
    assert f"{path}, which holds pictures that were read before, is damaged; they are read again" in caplog.text
    caplog.clear()
    np.testing.assert_array_equal(read(), images)
    assert caplog.text == ""


def test_what_is_sound_is_not_read_again(cached, caplog, monkeypatch):
    read, images, path = cached
    monkeypatch.setattr(folder, "read_pictures", lambda *_: pytest.fail("they were read again"))
    np.testing.assert_array_equal(read(), images)
    assert len(json.loads(path.with_suffix(".json").read_text())["sha256"]) == 64
