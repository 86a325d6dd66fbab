"""Every kind of file is read right, or refused in one sentence."""

import io
import struct

import numpy as np
import pytest
from handmade import avi, dicom, packed, page, png, tiff
from PIL import Image

from airjax.data.images import Raw
from airjax.data.reading import decode, opening, split

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (6, 8)).astype(np.uint8)
SHORTS = RNG.integers(0, 65_536, (6, 8)).astype(np.uint16)
TWELVE = (SHORTS >> 4).astype(np.uint16)
COLOUR = RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 65_536, (6, 8, 3)).astype(np.uint16)
FIVE = RNG.integers(0, 65_536, (6, 8, 5)).astype(np.uint16)
FLOATS = RNG.normal(0, 1e5, (6, 8))
STACK = RNG.integers(0, 256, (6, 6, 8)).astype(np.uint8)
OPACITY = np.where(np.arange(48).reshape(6, 8) % 3, 255, 51).astype(np.uint8)
MAP = RNG.integers(0, 65_536, (256, 3)).astype(np.uint16)
OME = (
    b'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
    b'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="8" SizeY="6" SizeC="2" SizeZ="1" SizeT="3">'
    b"<TiffData/></Pixels></Image></OME>\0"
)


def by_pillow(pixels, kind="TIFF", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def moving(kind, **options):
    pages, buffer = [Image.fromarray(one) for one in STACK], io.BytesIO()
    pages[0].save(buffer, kind, save_all=True, append_images=pages[1:], **options)
    return buffer.getvalue()


def pnm(magic, pixels, most):
    height, width = pixels.shape[:2]
    return f"{magic} {width} {height} {most}\n".encode() + pixels.astype(">u2" if most > 255 else np.uint8).tobytes()


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


READ = {
    # name, content, values, white
    "8 bits": ("a.tif", tiff(page(BYTES)), BYTES, 255),
    "16 bits": ("a.tif", tiff(page(SHORTS)), SHORTS, 65_535),
    "32 bits": ("a.tif", tiff(page(SHORTS.astype(np.uint32) << 8)), SHORTS.astype(np.uint32) << 8, None),
    "signed 8 bits": ("a.tif", tiff(page(BYTES.view(np.int8))), BYTES.view(np.int8), None),
    "signed 16 bits": ("a.tif", tiff(page(SHORTS.view(np.int16))), SHORTS.view(np.int16), None),
    "signed 32 bits": ("a.tif", tiff(page(FLOATS.astype(np.int32))), FLOATS.astype(np.int32), None),
    "floats of 16 bits": ("a.tif", tiff(page(BYTES.astype(np.float16))), BYTES.astype(np.float16), None),
    "floats of 32 bits": ("a.tif", tiff(page(FLOATS.astype(np.float32))), FLOATS.astype(np.float32), None),
    "floats of 64 bits": ("a.tif", tiff(page(FLOATS)), FLOATS, None),
    "1 bit, 0 is white": (
        "a.tif",
        tiff(page(BYTES, 0, 1, strips=[packed(BYTES & 1, 1)])),
        255 - 255 * (BYTES & 1),
        255,
    ),
    "4 bits": ("a.tif", tiff(page(BYTES, bits=4, strips=[packed(BYTES & 15, 4)])), 17 * (BYTES & 15), 255),
    "12 bits": ("a.tif", tiff(page(TWELVE, bits=12, strips=[packed(TWELVE, 12)])), TWELVE, 4_095),
    "0 is white": ("a.tif", tiff(page(BYTES, 0)), 255 - BYTES, 255),
    "16 bits, 0 is white": ("a.tif", tiff(page(SHORTS, 0)), 65_535 - SHORTS, 65_535),
    "signed, the least is white": ("a.tif", tiff(page(BYTES.view(np.int8), 0)), ~BYTES.view(np.int8), None),
    "colour": ("a.tif", tiff(page(COLOUR, 2)), COLOUR, 255),
    "colour of 16 bits": ("a.tif", tiff(page(DEEP, 2)), DEEP, 65_535),
    "colour of 16 bits in planes": ("a.tif", tiff(page(DEEP, 2, planar=True)), DEEP, 65_535),
    "big-endian": ("a.tif", tiff(page(SHORTS), order=">"), SHORTS, 65_535),
    "BigTIFF": ("a.tif", tiff(page(SHORTS), big=True), SHORTS, 65_535),
    "big-endian BigTIFF": ("a.tif", tiff(page(DEEP, 2), big=True, order=">"), DEEP, 65_535),
    "palette": ("a.tif", tiff(page(BYTES, 3, t320=MAP.T.ravel().tolist())), (MAP >> 8)[BYTES], 255),
    "tiles": (
        "a.tif",
        tiff(page(STACK[0], t322=[16], t323=[16], strips=[np.pad(STACK[0], ((0, 10), (0, 8)))]), tiled=True),
        *(STACK[0], 255),
    ),
    "turned by a quarter": ("a.tif", tiff(page(BYTES, t274=[6])), np.rot90(BYTES, -1), 255),
    "turned upside down": ("a.tif", tiff(page(DEEP, 2, t274=[3])), DEEP[::-1, ::-1], 65_535),
    "LZW": ("a.tif", by_pillow(COLOUR, compression="tiff_lzw"), COLOUR, 255),
    "deflate": ("a.tif", by_pillow(SHORTS, compression="tiff_adobe_deflate"), SHORTS, 65_535),
    "zstd": ("a.tif", by_pillow(COLOUR, compression="zstd"), COLOUR, 255),
    "PackBits": ("a.tif", by_pillow(BYTES, compression="packbits"), BYTES, 255),
    "fax": ("a.tif", by_pillow(BYTES > 127, compression="group4"), 255 * (BYTES > 127), 255),
    "third page": ("a.tif#3", moving("TIFF"), STACK[2], 255),
    "third page of another size": ("a.tif#3", tiff(*map(page, (BYTES, DEEP[..., 0], BYTES.T, BYTES))), BYTES.T, 255),
    "fourth of an ImageJ stack": (
        "a.tif#4",
        tiff(page(STACK[0], t270=b"ImageJ=1.54f\nimages=6\nslices=6\n\0", strips=[STACK], t278=[6])),
        *(STACK[3], 255),
    ),
    "third time of an OME stack": (
        "a.ome.tif#3",
        tiff(page(STACK[0], t270=OME), *map(page, STACK[1:])),
        *(np.stack([STACK[4], STACK[5]], axis=-1), 255),
    ),
    "PGM of 12 bits": ("a.pgm", pnm("P5", TWELVE, 4_095), TWELVE, 4_095),
    "PGM of 16 bits": ("a.pgm", pnm("P5", SHORTS, 65_535), SHORTS, 65_535),
    "PGM up to 200": ("a.pgm", pnm("P5", np.array([[0, 40, 200]]), 200), np.array([[0, 51, 255]]), 255),
    "PGM in letters": ("a.pgm", b"P2\n# a camera\n3 1\n1000\n0 7\n1000\n", np.array([[0, 7, 1_000]]), 1_000),
    "PPM of 12 bits": ("a.ppm", pnm("P6", DEEP >> 4, 4_095), DEEP >> 4, 4_095),
    "PBM": ("a.pgm", b"P4 8 2\n\xa0\x0f", 255 * np.array([[0, 1, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0, 0]]), 255),
    "PNG of 16 bits": ("a.png", png(SHORTS, 0), SHORTS, 65_535),
    "PNG in colour of 16 bits": ("a.png", png(DEEP, 2), DEEP, 65_535),
    "PNG of 8 bits": ("a.png", by_pillow(COLOUR, "PNG"), COLOUR, 255),
    "BMP": ("a.bmp", by_pillow(COLOUR, "BMP"), COLOUR, 255),
    "fifth of a GIF": ("a.gif#5", moving("GIF"), STACK[4], 255),
    "fifth of an APNG": ("a.apng#5", moving("PNG"), STACK[4], 255),
    "fifth of a WebP": ("a.webp#5", moving("WEBP", lossless=True), STACK[4], 255),
    "DICOM": ("a.dcm", dicom(TWELVE[None], "MONOCHROME2", 12), TWELVE, 4_095),
    "DICOM, 0 is white": ("a.dcm", dicom(TWELVE[None], "MONOCHROME1", 12), 4_095 - TWELVE, 4_095),
    "DICOM in its own units": (
        "a.dcm",
        dicom(TWELVE[None], "MONOCHROME2", 12, g0028e1052="-1024", g0028e1053="0.5"),
        *(TWELVE * 0.5 - 1_024, None),
    ),
    "DICOM, 0 is white in its own units": (
        "a.dcm",
        dicom(SHORTS.view(np.int16)[None], "MONOCHROME1", signed=True, g0028e1052="3", g0028e1053="2"),
        *((~SHORTS.view(np.int16)) * 2.0 + 3, None),
    ),
    "third frame of a DICOM": ("a.dcm#3", dicom(STACK, "MONOCHROME2", 8), STACK[2], 255),
    "DICOM in colour": ("a.dcm", dicom(COLOUR[None], "RGB", 8), COLOUR, 255),
    "third frame of a video": ("a.avi#3", avi(np.stack([COLOUR, 255 - COLOUR, COLOUR[::-1]])), COLOUR[::-1], 255),
}


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
