import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from airjax import images
from airjax.images import FORMATS, fit_image, read_image

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


# Pictures of any size


def _encode(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_that_fits_stays_as_it_is(kind):
    fitted = fit_image(_encode(GREY, kind), (1, 5, 7), max_pixels=35)
    assert np.abs(fitted[0].astype(int) - GREY).max() <= (60 if kind == "JPEG" else 0)


def test_a_colour_picture_keeps_its_colours_or_turns_grey():
    np.testing.assert_array_equal(fit_image(_encode(COLOUR), (3, 5, 7), max_pixels=35), COLOUR.transpose(2, 0, 1))
    grey = np.asarray(Image.fromarray(COLOUR).convert("L"))
    np.testing.assert_array_equal(fit_image(_encode(COLOUR), (1, 5, 7), max_pixels=35), grey[None])


def test_a_smaller_picture_lies_in_the_middle_of_black():
    fitted = fit_image(_encode(GREY), (1, 9, 10), max_pixels=35)
    np.testing.assert_array_equal(fitted[0, 2:7, 1:8], GREY)
    assert fitted.sum() == GREY.sum()


def test_a_larger_picture_is_averaged_in_its_proportions():
    large = np.kron(GREY, np.ones((4, 4), np.uint8))
    fitted = fit_image(_encode(large), (1, 9, 7), max_pixels=large.size)
    np.testing.assert_array_equal(fitted[0, 2:7], GREY)
    assert fitted.sum() == GREY.sum()


def test_a_picture_is_fitted_the_way_its_camera_was_held():
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(buffer, "PNG", exif=exif)
    np.testing.assert_array_equal(fit_image(buffer.getvalue(), (1, 7, 5), max_pixels=35)[0], np.rot90(GREY, -1))


def test_a_picture_above_the_limit_is_refused_before_it_is_decoded(monkeypatch):
    content = _encode(GREY)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="7 x 5 pixels, too many"):
        fit_image(content, (1, 5, 7), max_pixels=34)


def test_a_picture_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="none of PNG, JPEG"):
        fit_image(_encode(GREY, "TIFF"), (1, 5, 7), max_pixels=35)


@given(st.sampled_from(FORMATS), st.integers(0, 400), st.binary(max_size=8), st.integers(0, 400))
def test_whatever_a_picture_has_become_is_read_or_refused(kind, place, patch, end):
    content = _encode(COLOUR, kind)
    damaged = (content[:place] + patch + content[place + len(patch) :])[: max(end, len(content) - end)]
    with contextlib.suppress(ValueError):
        assert fit_image(damaged, (1, 5, 7), max_pixels=10_000).shape == (1, 5, 7)
