import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from airjax.data.images import Placement, find_levels, is_on_light, letterbox
from airjax.data.reading import FORMATS, open_picture

GREY = np.random.default_rng(0).integers(0, 256, (5, 7), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)


def _write(path, pixels, mode=None):
    picture = Image.fromarray(pixels)
    (picture if mode is None else picture.convert(mode)).save(path)
    return path


def read_image(path, image_shape):
    return letterbox(open_picture(path), image_shape).pixels


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


@pytest.mark.parametrize(
    ("kind", "suffix"), [(np.uint16, "png"), (np.uint16, "tif"), (np.int32, "tif"), (np.float32, "tif")]
)
def test_levels_turn_any_range_into_8_bits(tmp_path, kind, suffix):
    values = np.linspace(100, 1124, 12).reshape(3, 4).astype(kind)
    Image.fromarray(values).save(path := tmp_path / f"a.{suffix}")
    shown = np.asarray(open_picture(path, levels=(100.0, 1124.0, 1.0)), float)
    np.testing.assert_allclose(shown, 255 * (values - 100.0) / 1024, atol=1)
    lifted = np.asarray(open_picture(path, levels=(100.0, 612.0, 2.0)), float)
    np.testing.assert_allclose(lifted, 255 * np.sqrt(np.clip((values - 100.0) / 512, 0, 1)), atol=1)


def test_levels_apply_to_pictures_of_8_bits_too(tmp_path):
    path = _write(tmp_path / "a.png", np.array([[10, 30], [50, 70]], np.uint8))
    assert np.asarray(open_picture(path, levels=(10.0, 50.0, 1.0))).tolist() == [[0, 128], [255, 255]]


def test_levels_are_found_where_they_are_needed():
    rng = np.random.default_rng(0)
    as_pictures = lambda values: [Image.fromarray(one) for one in values]
    full = rng.integers(256, size=(4, 40, 40)).astype(np.uint8)
    assert find_levels(as_pictures(full)) is None
    black, white, gamma = find_levels(as_pictures(100 + full // 8)) or pytest.fail("dim pictures need levels")
    assert (black < 101 and 130 < white < 140, gamma) == (True, 1)
    camera = (4_000 + rng.integers(1_000, size=(4, 40, 40))).astype(np.uint16)
    black, white, gamma = find_levels(as_pictures(camera)) or pytest.fail("pictures of 16 bits need levels")
    assert (3_900 < black < 4_002 and 4_998 < white < 5_100, gamma) == (True, 1)
    cells = rng.normal(20, 2, (4, 40, 40))
    cells[:, :10, :20], cells[:, 30:32, 30:32] = 60, 240  # many faint things and a few much lighter ones
    assert find_levels(as_pictures(np.rint(cells).astype(np.uint8)))[2] == 2


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (1, 7, 5)), np.rot90(GREY, -1)[None])


def test_a_picture_is_fitted_whole_undistorted_and_into_the_middle():
    wide = np.full((10, 40), 90, np.uint8)
    wide[2:8, 10:30] = 255
    fitted = letterbox(Image.fromarray(wide), (1, 20, 20))
    assert fitted.placement == Placement((40, 10), 0.5, 0.0, 7.0)
    assert (fitted.pixels[0, :7] == 90).all()
    assert (fitted.pixels[0, 12:] == 90).all()
    ys, xs = np.nonzero(fitted.pixels[0] > 172)
    assert [ys.min(), ys.max(), xs.min(), xs.max()] == [8, 10, 5, 14]


def test_margins_have_the_colour_of_the_pictures_border():
    tall = np.full((8, 4, 3), (200, 100, 50), np.uint8)
    tall[2:6, 1:3] = 0
    pixels = letterbox(Image.fromarray(tall), (3, 8, 8)).pixels
    np.testing.assert_array_equal(pixels[:, :, 0], np.repeat([[200], [100], [50]], 8, axis=1))


def test_inverted_pictures_turn_dark_into_light():
    fitted = letterbox(Image.fromarray(GREY), (1, 5, 7), invert=True)
    np.testing.assert_array_equal(fitted.pixels[0], 255 - GREY)


@pytest.mark.parametrize("size", [(40, 10), (10, 40), (64, 64), (7, 3), (200, 113)])
def test_boxes_are_converted_back_to_pixels_of_the_picture(size):
    pixels = np.zeros(size[::-1], np.uint8)
    x0, y0, x1, y1 = (round(share * side) for share, side in zip((0.2, 0.3, 0.6, 0.9), size * 2))
    pixels[y0:y1, x0:x1] = 255
    fitted = letterbox(Image.fromarray(pixels), (1, 50, 50))
    ys, xs = np.nonzero(fitted.pixels[0] > 127)
    box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], float)
    np.testing.assert_allclose(fitted.placement.to_picture(box), [x0, y0, x1, y1], atol=1.5 / fitted.placement.factor)


def test_boxes_end_at_the_pictures_edges():
    boxes = Placement((40, 10), 0.5, 0.0, 7.0).to_picture(np.array([[-3.0, 0.0, 30.0, 20.0], [np.nan] * 4]))
    np.testing.assert_array_equal(boxes[0], [0, 0, 40, 10])
    assert np.isnan(boxes[1]).all()


def test_transparent_parts_lie_on_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (1, 4, 4))[0, :, 0], [0, 0, 255, 255])


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pictures_of_32_bits_are_refused(tmp_path, dtype):
    Image.fromarray(np.ones((4, 4), dtype)).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match=r"a\.tiff has 32 bits"):
        open_picture(tmp_path / "a.tiff")


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = _write(tmp_path / "a.png", GREY)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="too many"):
        open_picture(path, max_pixels=34)


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


def test_folders_and_missing_files_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.png"):
        with pytest.raises(FileNotFoundError, match="not a file"):
            read_image(path, (1, 5, 7))


# Pictures from buffers


def _encode(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


def test_a_picture_of_another_kind_or_too_large_is_refused():
    open_it = lambda content, **limits: open_picture(io.BytesIO(content), "it", formats=FORMATS, **limits)
    assert open_it(_encode(GREY), max_pixels=35).size == (7, 5)
    with pytest.raises(ValueError, match="it is damaged, or none of PNG, JPEG"):
        open_it(_encode(GREY, "TIFF"))
    with pytest.raises(ValueError, match="it has 7 x 5 pixels, too many"):
        open_it(_encode(GREY), max_pixels=34)


@given(st.sampled_from(FORMATS), st.integers(0, 400), st.binary(max_size=8), st.integers(0, 400))
def test_pictures_with_any_damage_are_read_or_refused(kind, place, patch, end):
    content = _encode(COLOUR, kind)
    damaged = (content[:place] + patch + content[place + len(patch) :])[: max(end, len(content) - end)]
    with contextlib.suppress(ValueError):
        picture = open_picture(io.BytesIO(damaged), "it", formats=FORMATS, max_pixels=10_000)
        assert letterbox(picture, (1, 5, 7)).pixels.shape == (1, 5, 7)


def test_light_paper_is_told_from_a_dark_background():
    picture = np.zeros((6, 6), np.uint8)
    picture[1:5, 1:5] = 255
    assert not is_on_light(Image.fromarray(picture))
    assert is_on_light(Image.fromarray(255 - picture))
