"""Files of many kinds with the values that they hold, and their white: the table that `test_formats` goes through."""

import io

import numpy as np
from handmade import avi, dicom, packed, page, png, tiff
from PIL import Image

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
    "second page after a reduced copy": (
        "a.tif#2",
        tiff(page(STACK[0]), page(STACK[0, ::2, ::2], t254=[1]), page(STACK[1])),
        *(STACK[1], 255),
    ),
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
