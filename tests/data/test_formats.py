"""Every kind of file is read right, or refused in one sentence."""

import struct

import numpy as np
import pytest
from handmade import page, png, tiff
from kinds import BYTES, COLOUR, DEEP, FIVE, FLOATS, OME, OPACITY, READ, SHORTS, STACK, by_pillow, moving, pnm

from airjax.data.images import Raw, find_levels, plain
from airjax.data.reading import decode, opening, split


def read(path, channels=None):
    """Return the values of a picture, its white, and its opacity."""
    file, number = split(path.name)
    with opening(path.with_name(file), file) as opened:
        picture = decode(opened, path.name, number, channels)
    if isinstance(picture, Raw):
        return picture
    if picture.mode == "RGBA":
        pixels = np.asarray(picture)
        return Raw(pixels[..., :3], 255.0, None if pixels[..., 3].all() else pixels[..., 3] / 255)
    return Raw(np.asarray(picture.convert("L" if picture.mode in "1L" else "RGB")), 255.0)


@pytest.mark.parametrize("kind", READ)
def test_a_kind_is_read_right(tmp_path, kind):
    name, content, values, white = READ[kind]
    (tmp_path / split(name)[0]).write_bytes(content)
    found = read(tmp_path / name, (1, 2) if values.shape[2:] == (2,) else None)
    shown = np.asarray(found.values)
    if shown.ndim == 3 and values.ndim == 2:  # moving pictures of grey may come in colour
        assert (shown == shown[..., :1]).all()
        shown = shown[..., 0]
    np.testing.assert_array_equal(shown, values)
    assert (found.most, found.alpha) == (white, None)
    assert (shown.dtype == np.uint8) == (white == 255)


def test_what_a_jpeg_loses_is_the_same_in_a_tiff(tmp_path):
    smooth = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    (tmp_path / "a.tif").write_bytes(by_pillow(smooth, compression="jpeg"))
    np.testing.assert_allclose(read(tmp_path / "a.tif").values, smooth.astype(int), atol=12)


@pytest.mark.parametrize(
    ("name", "content", "top"),
    [
        ("a.tif", tiff(page(np.dstack([COLOUR, OPACITY]), 2, t338=[2])), 255),
        ("a.tif", tiff(page(np.dstack([DEEP, OPACITY * np.uint16(257)]), 2, t338=[2])), 65_535),
        ("a.tif", tiff(page(np.dstack([SHORTS, OPACITY * np.uint16(257)]), t338=[2])), 65_535),
        ("a.tif", tiff(page(np.dstack([255 - BYTES, OPACITY]), 0, t338=[2])), 255),
        ("a.png", png(np.dstack([SHORTS, OPACITY * np.uint16(257)]), 4), 65_535),
        ("a.png", png(np.dstack([DEEP, OPACITY * np.uint16(257)]), 6), 65_535),
    ],
)
def test_opacity_is_told_from_colours(tmp_path, name, content, top):
    (tmp_path / name).write_bytes(content)
    found, grey = read(tmp_path / name), {255: BYTES, 65_535: SHORTS}[top]
    colour = {255: COLOUR, 65_535: DEEP}[top]
    np.testing.assert_array_equal(found.values, colour if found.values.ndim == 3 else grey)
    np.testing.assert_allclose(found.alpha, OPACITY / 255, atol=1e-6)


def test_colours_that_were_multiplied_by_opacity_are_divided(tmp_path):
    opacity = OPACITY / 255
    multiplied = np.rint(DEEP * opacity[..., None]).astype(np.uint16)
    stored = np.dstack([multiplied, OPACITY * np.uint16(257)])
    (tmp_path / "a.tif").write_bytes(tiff(page(stored, 2, t338=[1])))
    np.testing.assert_allclose(read(tmp_path / "a.tif").values, DEEP.astype(int), atol=3)


def test_transparent_parts_are_white_whatever_the_levels(tmp_path):
    half = np.array([[0, 0, 65_535, 65_535, 32_768]], np.uint16)
    values = np.array([[0, 900, 0, 500, 1_000]], np.uint16)
    (tmp_path / "a.png").write_bytes(png(np.dstack([values, half]), 4))
    raw = read(tmp_path / "a.png")
    assert np.asarray(plain(raw, "a", (0.0, 1_000.0, 1.0))).tolist() == [[255, 255, 0, 128, 255]]
    opaque = Raw(SHORTS // 64, 65_535.0, None)
    faint = raw._replace(values=np.full((6, 8), 60_000, np.uint16), alpha=np.zeros((6, 8), np.float32))
    assert find_levels([opaque, faint]) == find_levels([opaque])


def test_one_colour_of_a_png_can_be_transparent(tmp_path):
    (tmp_path / "a.png").write_bytes(png(SHORTS, 0, tRNS=struct.pack(">H", SHORTS[2, 3])))
    np.testing.assert_array_equal(read(tmp_path / "a.png").alpha, SHORTS[2, 3] != SHORTS)


@pytest.mark.parametrize("planar", [False, True])
def test_channels_are_picked_or_refused(tmp_path, planar):
    (tmp_path / "a.tif").write_bytes(tiff(page(FIVE, planar=planar, t338=[0] * 4)))
    with pytest.raises(ValueError, match="has 5 channels; choose one, two or three of them with --pick-channels"):
        read(tmp_path / "a.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif", (4,)).values, FIVE[..., 3])
    np.testing.assert_array_equal(read(tmp_path / "a.tif", (5, 1, 2)).values, FIVE[..., [4, 0, 1]])
    with pytest.raises(ValueError, match=r"a\.tif has 5 channel\(s\), and pick_channels asks for number 6"):
        read(tmp_path / "a.tif", (1, 6))


REFUSED = {
    "CMYK": ("a.tif", tiff(page(np.dstack([COLOUR, BYTES]), 5)), "colours of kind SEPARATED"),
    "Lab": ("a.tif", tiff(page(COLOUR, 8)), "colours of kind CIELAB"),
    "YCbCr": ("a.tif", tiff(page(COLOUR, 6, t530=[1, 1])), "colours of kind YCBCR"),
    "a fourth sample of no known kind": ("a.tif", tiff(page(np.dstack([COLOUR, BYTES]), 2, t338=[0])), "4 channels"),
    "floats, 0 is white": ("a.tif", tiff(page(FLOATS, 0)), "values of a kind"),
    "several in a PGM": ("a.pgm", 3 * pnm("P5", BYTES, 255), "more than one picture"),
    "an APNG named .png": ("a.png", moving("PNG"), "holds 6 pictures, where one is expected; name it .apng"),
    "no such page": ("a.tif#7", moving("TIFF"), r"missing: the file holds 6 picture\(s\)"),
    "no DICOM": ("a.dcm", b"nothing", "DICOM"),
    "no video": ("a.mp4", b"nothing", "video"),
    "no CZI": ("a.czi", b"nothing", "CZI"),
    "a PDF": ("a.png", b"%PDF-1.4", "not a picture"),
    **{
        f"an empty {end}": (f"a.{end}", b"", r"^a\.")
        for end in ("tif", "png", "gif", "pgm", "dcm", "czi", "avi", "mp4")
    },
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_kind_is_refused_in_one_sentence(tmp_path, kind):
    name, content, reason = REFUSED[kind]
    (tmp_path / split(name)[0]).write_bytes(content)
    with pytest.raises(ValueError, match=reason) as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value)


CUT = {
    name: (READ[kind][0], READ[kind][1])
    for name, kind in zip(
        ("pages", "ImageJ", "OME", "LZW", "zstd", "PGM", "PNG", "GIF", "APNG", "WebP", "DICOM"),
        (
            *("third page", "fourth of an ImageJ stack", "third time of an OME stack", "LZW", "zstd", "PGM of 12 bits"),
            *(
                "PNG in colour of 16 bits",
                "fifth of a GIF",
                "fifth of an APNG",
                "fifth of a WebP",
                "third frame of a DICOM",
            ),
        ),
    )
}


@pytest.mark.parametrize("kind", CUT)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_file_that_was_cut_is_refused_or_read_right(tmp_path, kind, share):
    name, content = CUT[kind]
    path = tmp_path / split(name)[0]
    path.write_bytes(content)
    channels = (1, 2) if kind == "OME" else None
    whole = read(tmp_path / name, channels)
    path.write_bytes(content[: int(share * len(content))])
    try:
        found, problem = read(tmp_path / name, channels), "a. is read"
    except ValueError as error:
        found, problem = whole, str(error)
    np.testing.assert_array_equal(found.values, whole.values)
    assert problem.startswith("a.")
    assert "\n" not in problem


@pytest.mark.parametrize("kind", ["pages", "ImageJ", "OME"])
def test_a_file_that_lost_pages_is_refused_as_a_whole(tmp_path, kind):
    content = tiff(*map(page, STACK)) if kind == "pages" else CUT[kind][1]
    (tmp_path / "a.tif").write_bytes(content[: len(content) * 2 // 3])
    with (
        pytest.raises(ValueError, match=r"is not a picture|holds no picture"),
        opening(tmp_path / "a.tif", "a") as opened,
    ):
        opened.read(len(opened) - 1, "a")


def test_planes_in_another_file_are_not_counted_again(tmp_path):
    parts = "".join(
        f'<TiffData FirstT="{k}" IFD="0" PlaneCount="1"><UUID FileName="{k}.ome.tif">urn:uuid:{k}</UUID></TiffData>'
        for k in range(2)
    )
    for k in range(2):
        text = OME.decode().replace("<TiffData/>", parts).replace('SizeC="2"', 'SizeC="1"').replace('T="3"', 'T="2"')
        text = text.replace("<OME ", f'<OME UUID="urn:uuid:{k}" ')
        (tmp_path / f"{k}.ome.tif").write_bytes(tiff(page(STACK[k], t270=text.encode())))
    for k in range(2):
        np.testing.assert_array_equal(read(tmp_path / f"{k}.ome.tif").values, STACK[k])
    pages = tiff(page(STACK[0], t270=text.encode()), page(STACK[1]))
    (tmp_path / "1.ome.tif").write_bytes(pages)
    with pytest.raises(ValueError, match="OME data set in several files"):
        read(tmp_path / "1.ome.tif")
