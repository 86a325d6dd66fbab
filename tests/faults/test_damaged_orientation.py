"""Pictures whose EXIF data are damaged: they are read as they lie, with a warning, and the rest goes on."""

import io
import random

import numpy as np
import pytest
from PIL import Image

from airjax.data import rasters
from airjax.data.ahead import read_pictures
from airjax.data.reading import open_picture

UPRIGHT = np.arange(48, dtype=np.uint8).reshape(6, 8)


def encoded(kind, orientation=6):
    """Encode a picture that is turned when it is shown, with some more EXIF data; return also where those begin."""
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[rasters.ORIENTATION], exif[315], exif[33434] = orientation, "someone", 1.5
    Image.fromarray(UPRIGHT).convert("RGB").save(buffer, kind, exif=exif)
    content = buffer.getvalue()
    return content, max(content.find(b"II*\0"), content.find(b"MM\0*"))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_whatever_is_damaged_in_exif_data_the_picture_is_read(kind):
    content, start = encoded(kind)
    rng, sizes = random.Random(0), set()
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            damaged[start + rng.randrange(60)] = rng.randrange(256)
        sizes.add(open_picture(io.BytesIO(bytes(damaged))).size)
    assert sizes == {(8, 6), (6, 8)}


def test_a_folder_with_such_a_picture_is_read_and_it_is_named(tmp_path, caplog, monkeypatch):
    for name in ("a.webp", "b.webp"):
        (tmp_path / name).write_bytes(encoded("WEBP")[0])
    whole = [one.picture.size for one in read_pictures(tmp_path, ["a.webp", "b.webp"])]
    assert whole == [(6, 8), (6, 8)]
    content, start = encoded("WEBP")
    (tmp_path / "a.webp").write_bytes(content[:start] + b"XX" + content[start + 2 :])
    read = list(read_pictures(tmp_path, ["a.webp", "b.webp"]))
    assert [one.problem for one in read] == [None, None]
    assert [one.picture.size for one in read] == [(8, 6), (6, 8)]
    assert caplog.text.count("a.webp has damaged EXIF data") == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_pillow_turns_them(orientation):
    from PIL import ImageOps

    content, _ = encoded("WEBP", orientation)
    wanted = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(np.asarray(open_picture(io.BytesIO(content))), np.asarray(wanted))
