import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airjax.data import Scenes, load_npz, save_npz


def make(n=3, channels=(), known=True) -> Scenes:
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(n, 5, 6, *channels), dtype=np.uint8)
    if not known:
        return Scenes(images)
    counts = (np.arange(n) % 3).astype(np.int32)
    filled = np.arange(2) < counts[:, None]
    boxes = np.where(filled[..., None], rng.random((n, 2, 4)), np.nan).astype(np.float32)
    segmentation = np.minimum(images.reshape(n, 5, 6, -1)[..., 0] % 3, counts[:, None, None]).astype(np.uint8)
    return Scenes(images, counts, boxes, np.where(filled, 7, -1).astype(np.int32), segmentation=segmentation)


def parts(scenes: Scenes) -> dict:
    return {name: getattr(scenes, name) for name in ("images", "counts", "boxes", "labels", "segmentation")}


def assert_equal(a: Scenes, b: Scenes) -> None:
    for left, right in zip(parts(a).values(), parts(b).values()):
        np.testing.assert_array_equal(left, right)
        assert getattr(left, "dtype", None) == getattr(right, "dtype", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((3, 5, 6), np.float32)}, r"images must be uint8 .* got float32"),
        ({"images": np.zeros((3, 5), np.uint8)}, r"images .* got uint8 of shape \[3, 5\]"),
        ({"images": np.zeros((3, 5, 6, 4), np.uint8)}, "images"),
        ({"images": [[1]]}, "images must be .* got list"),
        ({"counts": np.zeros(2, np.int32)}, r"counts must be int32 of shape \[3\], got int32 of shape \[2\]"),
        ({"counts": np.zeros(3, np.int64)}, "counts must be int32"),
        ({"counts": np.array([0, -1, 2], np.int32)}, "counts must be at least 0, got -1"),
        ({"counts": np.array([0, 1, 3], np.int32)}, "boxes must have room for 3 objects"),
        ({"counts": np.array([0, 2, 2], np.int32)}, "boxes must be filled .* scene 1"),
        ({"boxes": np.zeros((3, 2, 5), np.float32)}, "boxes"),
        ({"boxes": np.zeros((3, 2, 4), np.float32)}, "boxes must be filled .* NaN beyond"),
        ({"labels": np.full((3, 2), -1, np.int32)}, "labels must be filled .* -1 beyond"),
        ({"labels": np.zeros((3, 2, 1), np.int32)}, "labels"),
        ({"segmentation": np.zeros((3, 5, 6), np.int32)}, "segmentation must be uint8 .* got int32"),
        ({"segmentation": np.zeros((3, 6, 5), np.uint8)}, r"segmentation must be uint8 of shape \[3, 5, 6\]"),
        ({"segmentation": np.full((3, 5, 6), 2, np.uint8)}, r"numbers up to counts\[i\], got a larger one in scene 0"),
    ],
)
def test_invalid_scenes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Scenes(**(parts(make()) | change))


def test_selecting_scenes():
    scenes = make(6)
    for index in (slice(1, 4), np.array([5, 0, 0]), np.arange(6) % 2 == 0):
        chosen = scenes[index]
        np.testing.assert_array_equal(chosen.images, scenes.images[index])
        np.testing.assert_array_equal(chosen.boxes, scenes.boxes[index])
        assert len(chosen) == len(scenes.images[index])
    assert len(scenes[:0]) == 0
    assert make(known=False)[1:].counts is None


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("known", [True, False])
def test_npz_roundtrip(tmp_path, channels, known):
    scenes = make(5, channels, known)
    save_npz(tmp_path / "scenes.npz", scenes)
    assert_equal(load_npz(tmp_path / "scenes.npz"), scenes)
    assert [p.name for p in tmp_path.iterdir()] == ["scenes.npz"]


def test_other_integer_and_float_widths_are_converted(tmp_path):
    scenes = make()
    wide = {"counts": scenes.counts.astype(np.uint8), "boxes": scenes.boxes.astype(np.float64)}
    wide["segmentation"] = scenes.segmentation.astype(np.int64)
    np.savez(tmp_path / "wide.npz", **(parts(scenes) | wide), other=np.zeros(1))
    assert_equal(load_npz(tmp_path / "wide.npz"), scenes)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros((1, 2, 2), np.uint8)}, "no array called images"),
        ({"images": np.zeros((1, 2, 2))}, "images must be uint8"),
        ({"images": np.array([{}, None])}, "allow_pickle"),
        ({"images": np.zeros((1, 2, 2), np.uint8), "counts": np.array([{}])}, "allow_pickle"),
        ({"images": np.zeros((1, 2, 2), np.uint8), "counts": np.zeros(2, np.int32)}, "counts must be"),
        ({"images": np.zeros((1, 2, 2), np.uint8), "counts": np.array([-1])}, "counts must be at least 0"),
        ({"images": np.zeros((1, 2, 2), np.uint8), "counts": np.array([2**40])}, "counts must be int32"),
        ({"images": np.zeros((1, 2, 2), np.uint8), "counts": np.array([1.0])}, "counts must be int32"),
        ({"images": np.zeros((1, 2, 2), np.uint8), "boxes": np.zeros((1, 4))}, "boxes must be"),
    ],
)
def test_wrong_arrays_are_refused_naming_the_file(tmp_path, arrays, message):
    np.savez(tmp_path / "hostile.npz", **arrays)
    with pytest.raises(ValueError, match=rf"hostile\.npz.*{message}"):
        load_npz(tmp_path / "hostile.npz")


def test_other_files_are_refused_naming_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        load_npz(tmp_path / "absent")
    np.save(tmp_path / "array.npy", np.zeros((1, 2, 2), np.uint8))
    (tmp_path / "text").write_text("images")
    (tmp_path / "empty").touch()
    save_npz(tmp_path / "whole", make())
    (tmp_path / "half").write_bytes((tmp_path / "whole").read_bytes()[:-50])
    for name in ("array.npy", "text", "empty", "half"):
        with pytest.raises(ValueError, match=f"{name} can't be read as an npz file"):
            load_npz(tmp_path / name)


@given(where=st.integers(0, 127), byte=st.integers(0, 255))
def test_a_damaged_header_raises_value_error_or_loads(tmp_path_factory, where, byte):
    array = io.BytesIO()
    np.save(array, np.zeros((1, 2, 2), np.uint8))
    content = bytearray(array.getvalue())
    content[where] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", bytes(content))
    try:
        load_npz(path)
    except ValueError as error:
        assert "damaged.npz" in str(error)  # noqa: PT017  (any outcome but another exception is fine)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    save_npz(tmp_path / "scenes.npz", make(2))

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        save_npz(tmp_path / "scenes.npz", make(3))
    assert len(load_npz(tmp_path / "scenes.npz")) == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_saving_into_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        save_npz(tmp_path / "absent" / "scenes.npz", make())
