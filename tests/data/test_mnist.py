import gzip
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airjax.data import load_mnist, mnist

NAMES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture
def copy(mnist_dir, tmp_path):
    """A folder with the held-out files, to be damaged."""
    for name in NAMES:
        shutil.copyfile(mnist_dir / f"{name}.gz", tmp_path / f"{name}.gz")
    return tmp_path


def test_load_both_splits(mnist_dir):
    for split, size in (("train", 60_000), ("held-out", 10_000)):
        bank = load_mnist(split, mnist_dir)
        assert bank.images.shape == (size, 28, 28)
        assert bank.labels.shape == (size,)
        assert set(bank.labels.tolist()) == set(range(10))
    assert bank.labels[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.parametrize("spelling", ["t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte"])
def test_uncompressed_files_and_dotted_names(copy, spelling):
    packed = copy / f"{NAMES[0]}.gz"
    (copy / spelling).write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert len(load_mnist("held-out", copy)) == 10_000


def test_missing_file(copy):
    (copy / f"{NAMES[1]}.gz").unlink()
    with pytest.raises(FileNotFoundError, match="no MNIST file t10k-labels"):
        load_mnist("held-out", copy)


def test_one_flipped_byte(copy):
    path = copy / f"{NAMES[1]}.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[5000] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(ValueError, match=r"t10k-labels.* is corrupt: .* SHA-256"):
        load_mnist("held-out", copy)


def test_truncated_gz(copy):
    path = copy / f"{NAMES[0]}.gz"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"t10k-images.* is truncated or corrupt"):
        load_mnist("held-out", copy)


@pytest.mark.parametrize(("size", "got"), [(100, "got 100"), (100_000_000, "got more")])
def test_wrong_length_and_bombs(copy, size, got):
    (copy / f"{NAMES[1]}.gz").write_bytes(gzip.compress(bytes(size), 1))
    with pytest.raises(ValueError, match=f"must hold 10008 bytes uncompressed, {got}"):
        load_mnist("held-out", copy)


def test_not_gzip(copy):
    (copy / f"{NAMES[1]}.gz").write_text("<html>")
    with pytest.raises(ValueError, match="truncated or corrupt"):
        load_mnist("held-out", copy)


DEAD = "http://127.0.0.1:9/"


def test_download_once_and_replace_a_corrupt_cache(mnist_dir, serve, monkeypatch):
    address, cache = serve(mnist_dir)
    monkeypatch.setattr(mnist, "MIRRORS", (DEAD, address))
    assert len(load_mnist("held-out")) == 10_000
    (cache / f"{NAMES[1]}.gz").write_bytes(b"broken")
    assert len(load_mnist("held-out")) == 10_000
    monkeypatch.setattr(mnist, "MIRRORS", ())
    assert len(load_mnist("held-out")) == 10_000


def test_no_mirror_delivers(serve, monkeypatch):
    monkeypatch.setattr(mnist, "MIRRORS", (DEAD,))
    with pytest.raises(ConnectionError, match="pass data_dir"):
        load_mnist("held-out")


@given(st.lists(st.integers(0, 6), max_size=4), st.integers(0, 2**32 - 1))
def test_parse_reads_what_was_written(shape, seed):
    array = np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)
    content = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes() + array.tobytes()
    np.testing.assert_array_equal(mnist.parse_idx(content), array)
    with pytest.raises(ValueError, match="IDX file"):
        mnist.parse_idx(content + b"x")
    with pytest.raises(ValueError, match="IDX file"):
        mnist.parse_idx(content[:-1])
    with pytest.raises(ValueError, match="must begin with"):
        mnist.parse_idx(b"\0\0\x0d" + content[3:])
