import hashlib
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from airjax.data import load_omniglot, omniglot

STROKE = "{},{},0\n{},{},40\n"
ALPHABETS = {"Runes": 11, "Signs_(old)": 5}
"""Alphabets of the synthetic data set, with their numbers of characters."""


def drawing(seed=0, side=105, mode="1"):
    """A PNG file, black on white as published, and the same drawing as an array, where ink is 1."""
    ink = np.random.default_rng(seed).random((side, side)) < 0.1
    file = io.BytesIO()
    Image.fromarray(~ink).convert(mode).save(file, "PNG")
    return file.getvalue(), ink


def strokes(n):
    return ("START\n" + "BREAK\n".join(STROKE.format(i, i, i + 1, i) for i in range(n)) + "BREAK\n").encode()


def names(alphabets=ALPHABETS, drawers=2):
    """The name of each drawing below its set's folder, without suffix."""
    for alphabet, characters in alphabets.items():
        for character in range(1, characters + 1):
            for drawer in range(1, drawers + 1):
                yield f"{alphabet}/character{character:02}/{character + 700:04}_{drawer:02}"


def pack(path, files):
    """Write an archive that also has the extra entries of macOS Finder."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("set/", "set/.DS_Store", "__MACOSX/set/Runes/character01/._0701_01.png"):
            archive.writestr(name, b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def images(seed=0, **options):
    return {f"set/{name}.png": drawing(seed + i)[0] for i, name in enumerate(names(**options))}


@pytest.fixture
def folder(tmp_path):
    pack(tmp_path / "images_background.zip", images())
    return tmp_path


def assert_same(one, other):
    for field in ("images", "characters", "drawers"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert one.alphabets == other.alphabets


def test_every_fifth_character_of_each_alphabet_is_held_out(folder):
    train, held_out = (load_omniglot(split, folder) for split in ("train", "held-out"))
    assert set(zip(held_out.alphabets, held_out.characters)) == {("Runes", 5), ("Runes", 10), ("Signs_(old)", 5)}
    keys = [set(zip(part.alphabets, part.characters, part.drawers)) for part in (train, held_out)]
    assert keys[0] & keys[1] == set()
    assert len(keys[0] | keys[1]) == len(train) + len(held_out) == 32
    assert list(zip(train.alphabets, train.characters, train.drawers)) == sorted(keys[0])


def test_drawings_are_white_on_black_and_belong_to_their_character(folder):
    train = load_omniglot("train", folder, canvas=105)
    expected = {
        (name.split("/")[0], int(name.split("/")[1][-2:]), int(name[-2:])): drawing(i)[1]
        for i, name in enumerate(names())
    }
    for image, key in zip(train.images, zip(train.alphabets, train.characters, train.drawers)):
        np.testing.assert_array_equal(image, 255 * expected[key])


@pytest.mark.parametrize("canvas", [1, 28, 35, 50, 104])
def test_pixels_are_averages_over_their_area(folder, canvas):
    full, small = (load_omniglot("train", folder, canvas=side).images / 255 for side in (105, canvas))
    assert small.shape == (len(full), canvas, canvas)
    # Split the pixels of both into parts so small that each part lies in one pixel of either.
    fine = np.lcm(canvas, 105)
    if fine <= 1050:
        blocks = full[:4].repeat(fine // 105, 1).repeat(fine // 105, 2).reshape(4, canvas, fine // canvas, canvas, -1)
        np.testing.assert_allclose(small[:4], blocks.mean((2, 4)), atol=0.51 / 255)
    np.testing.assert_allclose(small.mean((1, 2)), full.mean((1, 2)), atol=0.51 / 255)


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_other_kinds_of_png_hold_the_same_drawing(tmp_path, mode):
    files = {f"set/{name}.png": drawing(i, mode=mode)[0] for i, name in enumerate(names())}
    pack(tmp_path / "images_background.zip", files)
    ink = {drawing(i)[1].tobytes() for i in range(32)}
    assert {(image > 0).tobytes() for image in load_omniglot("train", tmp_path, canvas=105).images} <= ink


@pytest.mark.parametrize("above", ["", "images_background/"])
def test_unpacked_folders_hold_the_same_as_archives(folder, tmp_path_factory, above):
    unpacked = tmp_path_factory.mktemp("unpacked")
    for name, content in images().items():
        path = unpacked / (above + name.removeprefix("set/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert_same(load_omniglot("train", unpacked), load_omniglot("train", folder))


def test_a_drawing_found_twice_counts_once(folder):
    once = load_omniglot("train", folder)
    pack(folder / "images_background_small1.zip", images(alphabets={"Runes": 11}))
    assert_same(load_omniglot("train", folder), once)


def test_archives_are_merged(folder):
    pack(folder / "images_evaluation.zip", images(alphabets={"Signs_(new)": 6}))
    assert set(load_omniglot("train", folder).alphabets) == {*ALPHABETS, "Signs_(new)"}


def test_strokes_are_counted_where_all_are_known(folder):
    assert load_omniglot("train", folder).strokes is None
    files = {f"set/{name}.txt": strokes(1 + i % 4) for i, name in enumerate(names())}
    pack(folder / "strokes_background.zip", files)
    train = load_omniglot("train", folder)
    expected = {name: 1 + i % 4 for i, name in enumerate(names())}
    spelled = [
        f"{a}/character{c:02}/{c + 700:04}_{d:02}" for a, c, d in zip(train.alphabets, train.characters, train.drawers)
    ]
    assert train.strokes.tolist() == [expected[name] for name in spelled]
    del files["set/Runes/character01/0701_02.txt"]
    pack(folder / "strokes_background.zip", files)
    assert load_omniglot("train", folder).strokes is None
    assert load_omniglot("held-out", folder).strokes is not None


def test_strokes_may_end_without_a_break(folder):
    pack(folder / "strokes_background.zip", {f"set/{name}.txt": b"START\n1,2,3\nBREAK\n3,4,5\n" for name in names()})
    assert set(load_omniglot("train", folder).strokes.tolist()) == {2}


def test_the_small_published_archives(omniglot_dir):
    parts = [load_omniglot(split, omniglot_dir) for split in ("train", "held-out")]
    assert [len(part) for part in parts] == [3_940, 900]  # of 5,840, 1,000 are in both archives
    for part in parts:
        assert len(set(part.alphabets)) == 8
        assert set(part.drawers.tolist()) == set(range(1, 21))
        assert 10 < part.images.mean() < 30
        assert (part.images.max((1, 2)) > 150).all()


# Download


def test_what_is_downloaded_is_verified_and_kept(folder, serve, monkeypatch):
    pack(folder / "images_evaluation.zip", images(alphabets={"Signs_(new)": 6}))
    address, cache = serve(folder)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.zip")}
    monkeypatch.setattr(omniglot, "_SHA256", digests)
    monkeypatch.setattr(omniglot, "MIRRORS", ("http://127.0.0.1:9/", address))
    first = load_omniglot("train")
    assert_same(first, load_omniglot("train", folder))
    (cache / "images_background.zip").write_bytes(b"broken")
    assert_same(load_omniglot("train"), first)
    monkeypatch.setattr(omniglot, "MIRRORS", ())
    assert_same(load_omniglot("train"), first)
    monkeypatch.setattr(omniglot, "MIRRORS", (address,))
    monkeypatch.setattr(omniglot, "_SHA256", digests | {"images_evaluation.zip": 64 * "0"})
    with pytest.raises(ConnectionError, match=r"images_evaluation.zip .* pass data_dir .* SHA-256"):
        load_omniglot("train")


# Unreadable input


def damaged(content):
    return content[: len(content) // 2]


def flipped(content):
    return content[:400] + bytes([content[400] ^ 255]) + content[401:]


@pytest.mark.parametrize("damage", [damaged, flipped, lambda _: b"", lambda _: b"<html>"])
def test_damaged_archives_are_refused(folder, damage):
    path = folder / "images_background.zip"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"images_background\.zip can't be read"):
        load_omniglot("train", folder)


@pytest.mark.parametrize(
    "name", ["../Runes/character01/0701_01.png", "/set/Runes/character01/0701_01.png", "a\\..\\b.png"]
)
def test_unsafe_names_are_refused(folder, name):
    pack(folder / "images_background.zip", images() | {name: drawing()[0]})
    with pytest.raises(ValueError, match="unsafe name"):
        load_omniglot("train", folder)


def test_large_files_are_refused(folder, monkeypatch):
    pack(folder / "images_background.zip", images() | {"set/Runes/character01/0701_01.png": bytes(2**18 + 1)})
    with pytest.raises(ValueError, match=r"images_background\.zip can't be read: .*more than 262144 bytes"):
        load_omniglot("train", folder)
    monkeypatch.setattr("airjax.data._archives.MAX_ARCHIVE", 1000)
    with pytest.raises(ValueError, match="more than 1000"):
        load_omniglot("train", folder)


@pytest.mark.parametrize("content", [b"", b"hello", drawing()[0][:100], drawing(side=104)[0]])
def test_invalid_drawings_are_refused_by_name(folder, content):
    pack(folder / "images_background.zip", images() | {"set/Runes/character01/0701_02.png": content})
    with pytest.raises(ValueError, match=r"drawing of Runes/character01 by drawer 2 can't be read"):
        load_omniglot("train", folder)


@pytest.mark.parametrize("content", [b"", b"START\nBREAK\n", b"\xff\xfe"])
def test_invalid_strokes_are_refused(folder, content):
    pack(folder / "strokes_background.zip", {"set/Runes/character01/0701_02.txt": content})
    with pytest.raises(ValueError, match=r"strokes_background\.zip can't be read"):
        load_omniglot("train", folder)


def test_an_unpacked_file_that_is_too_large_is_refused(tmp_path):
    path = tmp_path / "Runes" / "character01" / "0701_01.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(2**18 + 1))
    with pytest.raises(ValueError, match=r"0701_01\.png can't be read"):
        load_omniglot("train", tmp_path)


@pytest.mark.parametrize("name", ["none", "."])
def test_folders_without_drawings_are_refused(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"no Omniglot drawing in .* \(looked for images_background"):
        load_omniglot("train", tmp_path / name)


def test_alphabets_too_small_to_hold_anything_out_are_refused(tmp_path):
    pack(tmp_path / "images_background.zip", images(alphabets={"Runes": 4}))
    with pytest.raises(ValueError, match="too few characters"):
        load_omniglot("held-out", tmp_path)


@pytest.mark.parametrize("canvas", [0, 106])
def test_canvases_out_of_range_are_refused(folder, canvas):
    with pytest.raises(ValueError, match=f"canvas must be a whole number from 1 to 105, got {canvas}"):
        load_omniglot("train", folder, canvas=canvas)


def test_an_unknown_split_is_refused(folder):
    with pytest.raises((ValueError, TypeError), match="split"):
        load_omniglot("test", folder)
