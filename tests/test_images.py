import numpy as np
import pytest
from PIL import Image

from airjax import images
from airjax.images import read_image

GREY = np.random.default_rng(0).integers(0, 256, (5, 7), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)


def _write(path, pixels, mode=None):
    picture = Image.fromarray(pixels)
    (picture if mode is None else picture.convert(mode)).save(path)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "pgm"])
def test_a_grey_picture_is_read_as_it_was_written(tmp_path, suffix):
    path = _write(tmp_path / f"a.{suffix}", GREY)
    np.testing.assert_array_equal(read_image(path, (1, 5, 7)), GREY[None])
    np.testing.assert_array_equal(read_image(path, (3, 5, 7)), np.stack([GREY] * 3))


def test_a_colour_picture_is_read_as_it_was_written(tmp_path):
    path = _write(tmp_path / "a.png", COLOUR)
    np.testing.assert_array_equal(read_image(path, (3, 5, 7)), COLOUR.transpose(2, 0, 1))
    grey = np.asarray(Image.fromarray(COLOUR).convert("L"))
    np.testing.assert_array_equal(read_image(path, (1, 5, 7)), grey[None])


@pytest.mark.parametrize(("mode", "suffix"), [("1", "png"), ("P", "gif"), ("LA", "png"), ("RGBA", "png"), ("L", "jpg")])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_other_kinds_are_read(tmp_path, mode, suffix, channels):
    path = _write(tmp_path / f"a.{suffix}", GREY, mode)
    pixels = read_image(path, (channels, 5, 7))
    assert pixels.shape == (channels, 5, 7)
    assert pixels.dtype == np.uint8


def test_a_picture_of_16_bits_keeps_its_greys(tmp_path):
    path = _write(tmp_path / "a.png", GREY.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(path, (1, 5, 7)), GREY[None])


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (1, 7, 5)), np.rot90(GREY, -1)[None])


def test_another_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="7 x 5 pixels; the model was trained on 5 x 7"):
        read_image(_write(tmp_path / "a.png", GREY), (1, 7, 5))


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 34)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="too many"):
        read_image(_write(tmp_path / "a.png", GREY), (1, 5, 7))


def test_a_decompression_bomb_is_refused(tmp_path):
    header = b"P5 100000 100000 255\n"  # two of Pillow's own limits
    (tmp_path / "a.pgm").write_bytes(header)
    with pytest.raises(ValueError, match=r"a\.pgm"):
        read_image(tmp_path / "a.pgm", (1, 100_000, 100_000))


@pytest.mark.parametrize("cut", [0, 1, 20, 60, -1])
def test_damaged_pictures_are_refused(tmp_path, cut):
    path = _write(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8))
    path.write_bytes(path.read_bytes()[:60][:cut])
    with pytest.raises(ValueError, match=r"a\.png is not a picture"):
        read_image(path, (1, 40, 40))


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.png"):
        with pytest.raises(FileNotFoundError, match="not a file"):
            read_image(path, (1, 5, 7))
