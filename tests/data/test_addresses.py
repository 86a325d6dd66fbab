import functools
import http.server
import os
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from airjax.config import DataConfig, is_address
from airjax.data import addresses, copies
from airjax.data.addresses import Address, UnreachableError, place, state_of
from airjax.data.ahead import read_pictures
from airjax.data.folder import fingerprint, list_pictures, load_folder
from airjax.data.temporary import temporary_folder
from airjax.interfaces.infer_files import gather


@pytest.fixture
def store(tmp_path):
    """A folder, and its copy in a store in memory."""
    import fsspec

    files = fsspec.filesystem("memory")
    for name in ("a/1.png", "a/2.BMP", "3.png", ".hidden/4.png", "b/.5.png", "notes.txt"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("txt"):
            path.write_text("no picture")
        else:
            Image.fromarray(np.full((4, 6), 10 * len(name), np.uint8)).save(path)
    files.put(str(tmp_path / "root"), "/store", recursive=True)
    yield tmp_path / "root", "memory://store"
    files.rm("/store", recursive=True)


@pytest.fixture
def web(store):
    """The address of a web server that lists the folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(store[0]))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("text", "address"),
    [("s3://a/b", True), ("https://a", True), ("folder/a", False), ("C:/a", False), ("a//b", False), ("a.png", False)],
)
def test_addresses_are_told_from_paths(text, address):
    assert is_address(text) == address
    assert isinstance(place(text), Address) == address
    assert DataConfig(name=text).resolved().name == text


def test_the_address_of_a_local_file_is_its_path(tmp_path):
    assert place(f"file://{tmp_path}") == tmp_path


@pytest.mark.parametrize("kind", ["memory", "web"])
def test_pictures_are_listed_and_read_as_those_of_a_folder(store, web, kind):
    root, text = store[0], store[1] if kind == "memory" else web
    names = list_pictures(root)
    assert list_pictures(place(text)) == names == ["3.png", "a/1.png", "a/2.BMP"]
    assert fingerprint(place(text)) == fingerprint(root)
    for one, other in zip(read_pictures(place(text), names), read_pictures(root, names)):
        assert one.picture.tobytes() == other.picture.tobytes()


def test_a_pattern_lists_what_it_matches_but_nothing_hidden(store):
    root, text = store
    for where in (text, str(root)):
        assert gather([f"{where}/**/*.png"]).names in (["3.png", "a/1.png"], ["a/1.png", "3.png"])
        assert gather([f"{where}/a/*"]).names == ["1.png", "2.BMP"]
        with pytest.raises(ValueError, match="matches no picture"):
            gather([f"{where}/*.tif"])
        with pytest.raises(ValueError, match="a pattern among 2"):
            gather([f"{where}/a/*", where])


def test_a_command_sees_one_state_of_a_store_and_the_next_one_another(store, tmp_path, monkeypatch):
    import fsspec
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")
    root = place(store[1])
    names, state = list_pictures(root), state_of(root / "3.png")
    first = load_folder(root, (1, 4, 6))
    fsspec.filesystem("memory").pipe_file("/store/3.png", (store[0] / "a" / "1.png").read_bytes())
    assert (list_pictures(root), state_of(root / "3.png")) == (names, state)
    assert state_of(place(store[1]) / "3.png") != state
    assert not np.array_equal(load_folder(place(store[1]), (1, 4, 6)), first)
    assert len(list((tmp_path / "cache" / "pictures").glob("*.npy"))) == 2


def test_copies_last_while_they_are_read_and_no_longer_than_there_is_room(store, monkeypatch):
    kept = copies.Copies()
    monkeypatch.setattr(copies, "KEPT", 100)
    root = place(store[1])
    with kept.reading(root / "3.png") as one, kept.reading(root / "a/1.png") as other:
        with kept.reading(root / "3.png") as again:
            assert again == one
        assert one.exists()
        assert other.exists()
    assert [one.exists(), other.exists()] == [True, False], "the one read last stays"


def test_temporary_folders_of_processes_that_were_killed_are_removed(tmp_path):
    for name, age in (("old", 3600), ("new", 0)):
        (tmp_path / f"mine-{name}").mkdir()
        then = time.time() - age
        os.utime(tmp_path / f"mine-{name}", (then, then))
    with temporary_folder("mine-", tmp_path) as folder:
        os.utime(folder, (0, 0))
        with temporary_folder("mine-", tmp_path):
            assert folder.exists(), "its lock is held"
        assert not (tmp_path / "mine-old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["mine-new"]


def test_missing_packages_and_unknown_kinds_are_told(monkeypatch):
    with pytest.raises(ValueError, match="nonsense://a is an address of a kind that is not known"):
        list_pictures(place("nonsense://a"))
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ValueError, match=r"gs://a/b needs .*pip install 'airjax\[remote\]'"):
        list_pictures(place("gs://a/b"))
    monkeypatch.setattr(addresses.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"s3://a/b needs more packages: pip install 'airjax\[remote\]'"):
        list_pictures(place("s3://a/b"))


def test_a_server_that_is_not_there_is_told(web):
    nobody = "http://127.0.0.1:9/pictures"
    with pytest.raises(UnreachableError, match=rf"{nobody} can't be read: "):
        list_pictures(place(nobody))
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        list_pictures(place(f"{web}/none"))
