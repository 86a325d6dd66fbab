"""Files with several pictures: their names, their order, and how many of them are read."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pooch
import pytest
import tifffile
from handmade import page, tiff
from PIL import Image

from airjax.config import DataConfig
from airjax.data import ahead, folder, load_scenes, reading
from airjax.data.ahead import folder_levels, read_pictures
from airjax.data.folder import fingerprint, list_pictures, load_folder
from airjax.data.images import Raw, levels_of_16_bits, plain
from airjax.data.reading import decode, opening, split
from airjax.data.sources import pin

SHADES = np.arange(10, 250, 20, dtype=np.uint8)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """An empty cache folder."""
    monkeypatch.setattr(pooch, "os_cache", lambda _: str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    """Stacks of twelve shades in a TIFF, five in a GIF, and two single pictures."""
    root = tmp_path / "root"
    root.mkdir()
    pages = [np.full((4, 6), shade, np.uint8) for shade in SHADES]
    (root / "b.tif").write_bytes(tiff(*map(page, pages)))
    Image.fromarray(pages[0]).save(root / "c.gif", save_all=True, append_images=list(map(Image.fromarray, pages[1:5])))
    Image.fromarray(pages[0]).save(root / "a.png")
    (root / "d.TIF").write_bytes(tiff(page(pages[1])))
    return root


def shades(pictures):
    return [int(np.asarray(one.picture.convert("L"))[2, 2]) for one in pictures]


def test_each_picture_of_a_file_has_a_number(root):
    names = [*(f"b.tif#{k}" for k in range(1, 13)), *(f"c.gif#{k}" for k in range(1, 6))]
    assert list_pictures(root) == ["a.png", *names, "d.TIF"]
    assert list_pictures(root, 5) == ["a.png", "b.tif#1", "b.tif#6", "b.tif#11", "c.gif#1", "d.TIF"]
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        list_pictures(root, 0)


def test_names_are_told_from_numbers():
    assert split("a/b.tif#12") == ("a/b.tif", 12)
    assert split("a#3.tif") == ("a#3.tif", None)
    assert split("a.tif#0") == ("a.tif#0", None)
    assert split("a.png#2") == ("a.png#2", None)


@pytest.mark.parametrize("size", [1, 3, 64])
def test_pictures_of_stacks_are_read_in_order_whatever_is_read_ahead(root, monkeypatch, size):
    monkeypatch.setattr(ahead, "AHEAD", size)
    names = list_pictures(root)
    read = list(read_pictures(root, names))
    assert [one.name for one in read] == names
    assert shades(read) == [SHADES[0], *SHADES, *SHADES[:5], SHADES[1]]
    again = ["b.tif#9", "c.gif#4", "b.tif#2", "c.gif#1", "b.tif#3"]
    assert shades(read_pictures(root, again)) == SHADES[[8, 3, 1, 0, 2]].tolist()


def test_a_stack_is_opened_once(root, monkeypatch):
    opened = []
    open_file = lambda path, name: opened.append(name) or reading.open_file(path, name)
    monkeypatch.setattr(ahead, "AHEAD", 3)
    monkeypatch.setattr(ahead, "open_file", open_file)
    assert len(list(read_pictures(root, list_pictures(root)))) == 19
    assert sorted(opened) == ["a.png", "b.tif", "c.gif", "d.TIF"]


def test_only_files_that_may_hold_several_pictures_are_opened_to_list_them(root, monkeypatch):
    opened = []
    monkeypatch.setattr(folder, "count", lambda path: opened.append(path.name) or 1)
    list_pictures(root)
    list_pictures(root)
    assert sorted(opened) == ["b.tif", "c.gif", "d.TIF"]


def test_a_folder_of_stacks_is_loaded_in_a_random_order_without_what_is_damaged(root, caplog):
    whole = load_folder(root, (1, 4, 6), seed=1)
    names = list_pictures(root)
    expected = [SHADES[0], *SHADES, *SHADES[:5], SHADES[1]]
    order = np.random.default_rng(1).permutation(len(names))
    assert whole[:, 2, 2].tolist() == [expected[i] for i in order]
    (root / "bad.png").write_bytes(b"bad")
    (root / "bad.tif").write_bytes(b"II*\0bad")
    found = load_folder(root, (1, 4, 6), seed=1)
    assert sorted(found[:, 2, 2].tolist()) == sorted(expected)
    assert "left out 2 of 21 pictures" in caplog.text
    assert len(load_folder(root, (1, 4, 6), every=4)) == 2 + 3 + 2


@pytest.mark.parametrize("seed", range(4))
def test_whatever_can_be_read_is_loaded_once(root, seed):
    for index in range(12):
        (root / f"bad{index}.png").write_bytes(b"bad")
    found = load_folder(root, (1, 4, 6), seed=seed)[:, 2, 2]
    assert sorted(found.tolist()) == sorted([SHADES[0], *SHADES, *SHADES[:5], SHADES[1]])


def test_a_damaged_page_is_named_and_the_others_are_read(root):
    content = tiff(*(page(np.full((4, 6), shade, np.uint8)) for shade in SHADES[:2]))
    where = content.index(bytes([SHADES[1]] * 24)).to_bytes(4, "little")
    (root / "b.tif").write_bytes(content.replace(where, (10**6).to_bytes(4, "little")))
    first, other = read_pictures(root, ["b.tif#1", "b.tif#2"])
    assert shades([first]) == [SHADES[0]]
    assert other.problem.startswith("b.tif#2 is not a picture that can be read: ")


def test_settings_reach_the_scenes_and_the_fingerprint(root, tmp_path):
    assert fingerprint(root) != fingerprint(root, 2)
    five = np.arange(20, 120, dtype=np.uint8).reshape(4, 5, 5)
    for index in range(4):
        tifffile.imwrite(root / f"{index}.tif", five + index, photometric="minisblack", planarconfig="contig")
    for file in ("a.png", "b.tif", "c.gif", "d.TIF"):
        (root / file).unlink()
    read = lambda **given: (
        load_scenes(pin(DataConfig(name=str(root), canvas=5, height=4, held_out_fraction=0.5, **given)), "train").images
    )
    assert sorted(read(pick_channels=(2,))[:, 0, 0].tolist())[0] in (21, 22)
    assert {int(one[0, 0, 2]) for one in read(pick_channels=(1, 4), channels=3)} == {0}
    with pytest.raises(ValueError, match=r"can be read: \d.tif has 5 channels; choose .* with --pick-channels"):
        read()
    with pytest.raises(ValueError, match="pick_channels must be one to three different numbers from 1 on"):
        DataConfig(pick_channels=(1, 1))
    with pytest.raises(ValueError, match="pick_channels is a setting of folders"):
        load_scenes(DataConfig(name="sprites", pick_channels=(1,)), "train")


def test_levels_of_signed_and_float_pictures_come_from_the_folder(tmp_path):
    values = np.random.default_rng(0).normal(-300, 20, (3, 30, 30))
    for index, kind in enumerate((np.int16, np.float32, np.float64)):
        (tmp_path / f"{index}.tif").write_bytes(tiff(page(values[index].astype(kind))))
    names = list_pictures(tmp_path)
    assert "signed" not in next(read_pictures(tmp_path, names)).problem
    assert "whose range is unknown; give --levels" in next(read_pictures(tmp_path, names)).problem
    black, white, gamma = levels = folder_levels(tmp_path, names)
    assert (-400 < black < -350, -250 < white < -200, gamma) == (True, True, 1)
    assert all(90 < np.asarray(one.picture).mean() < 165 for one in read_pictures(tmp_path, names, levels))


def test_bits_that_a_camera_fills_are_found():
    deep = lambda most: Raw(np.array([[0, most]], np.uint16), 65_535.0)
    assert levels_of_16_bits([deep(700), deep(3_000)]) == (0, 4_095, 1)
    assert levels_of_16_bits([deep(900)]) == (0, 1_023, 1)
    assert levels_of_16_bits([deep(9_000)]) == (0, 16_383, 1)
    assert levels_of_16_bits([deep(20_000)]) is None
    assert levels_of_16_bits([deep(900), Image.new("L", (2, 2))]) is None
    assert levels_of_16_bits([]) is None


# Kinds that are written here with the library that reads them: none else writes them


def test_frames_of_videos_are_read(tmp_path):
    import av

    for name, codec, kind in (
        ("a.mkv", "ffv1", "gray16le"),
        ("b.mp4", "libx264", "yuv420p"),
        ("c.mov", "png", "rgb24"),
    ):
        with av.open(str(tmp_path / name), "w") as file:
            stream = file.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 16, kind
            for shade in SHADES:
                values = np.full((16, 32), 257 * shade.astype(np.uint16))
                frame = av.VideoFrame.from_ndarray(values, format="gray16le").reformat(format=kind)
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
    names = list_pictures(tmp_path, every=3)
    assert names == [f"{file}#{k}" for file in ("a.mkv", "b.mp4", "c.mov") for k in (1, 4, 7, 10)]
    np.testing.assert_allclose(shades(read_pictures(tmp_path, names)), 3 * SHADES[::3].tolist(), atol=2)
    with opening(tmp_path / "a.mkv", "a") as opened:
        backwards = [decode(opened, "a", number) for number in (9, 2)]
    assert [int(one.values[0, 0]) for one in backwards] == [257 * int(SHADES[8]), 257 * int(SHADES[1])]


def test_a_video_is_turned_as_it_says(tmp_path):
    import av

    left = np.zeros((16, 32), np.uint8)
    left[:, :16] = 200
    with av.open(str(tmp_path / "a.mov"), "w") as file:
        stream = file.add_stream("png", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 32, 16, "gray"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(left, format="gray")))
        file.mux(stream.encode())
    content = (tmp_path / "a.mov").read_bytes()
    upright = np.array([1, 0, 0, 0, 1, 0, 0, 0, 0x4000], ">i4")
    upright[[0, 4]] = 0x10000
    upright[8] = 0x40000000
    turned = upright.copy()
    turned[[0, 1, 3, 4]] = 0, 0x10000, -0x10000, 0  # a quarter, clockwise
    at = content.rindex(upright.tobytes())
    (tmp_path / "a.mov").write_bytes(content[:at] + turned.tobytes() + content[at + 36 :])
    with opening(tmp_path / "a.mov", "a") as opened:
        picture = plain(decode(opened, "a"), "a")
    assert picture.size == (16, 32)
    assert np.asarray(picture)[[0, 31], 8].tolist() == [200, 0]


def test_times_and_depths_of_a_czi_are_read(tmp_path):
    from pylibCZIrw import czi

    values = np.random.default_rng(0).integers(0, 65_536, (3, 2, 2, 6, 8)).astype(np.uint16)
    with czi.create_czi(str(tmp_path / "a.czi")) as file:
        for time, depth, channel in np.ndindex(3, 2, 2):
            where = {"T": time, "Z": depth, "C": channel}
            file.write(values[time, depth, channel][..., None], plane=where)
    assert len(list_pictures(tmp_path)) == 6
    with opening(tmp_path / "a.czi", "a.czi") as opened:
        assert decode(opened, "a.czi", 4, (2,)).values.tolist() == values[1, 1, 1].tolist()


@pytest.mark.parametrize(
    ("file", "package", "extra"),
    [("a.mp4", "av", "video"), ("a.dcm", "pydicom", "dicom"), ("a.czi", "pylibCZIrw", "czi")],
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, file, package, extra):
    (tmp_path / file).write_bytes(b"nothing")
    monkeypatch.setitem(sys.modules, package, None)
    assert list_pictures(tmp_path) == [file]
    (read,) = read_pictures(tmp_path, [file])
    assert read.problem.endswith(f"pip install 'airjax[{extra}]'")


def test_no_library_of_pictures_is_loaded_before_it_is_needed():
    code = "import airjax, sys; print({'tifffile', 'imagecodecs', 'netpbmfile', 'av', 'pydicom'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
