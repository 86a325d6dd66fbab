"""Small files of many kinds, made byte by byte, so that no library that reads them has written them."""

import struct
import zlib

import numpy as np

_SIZES = {1: "B", 2: "s", 3: "H", 4: "I", 12: "d", 16: "Q"}
_FORMATS = {"u": 1, "i": 2, "f": 3}


def page(pixels, photometric=1, bits=None, planar=False, strips=None, **more):
    """Describe a page of a TIFF: tags, and strips. `pixels` are [h, w] or [h, w, c]; `more` are tags `t123=[...]`."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    height, width, samples = pixels.shape
    bits = bits or 8 * pixels.dtype.itemsize
    tags = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * samples),
        259: (3, [1]),
        262: (3, [photometric]),
        277: (3, [samples]),
        278: (4, [height]),
        284: (3, [2 if planar else 1]),
        339: (3, [_FORMATS[pixels.dtype.kind]] * samples),
    }
    for name, value in more.items():
        tags[int(name[1:])] = (2, value) if isinstance(value, bytes) else (3, value)
    return tags, strips or (list(np.moveaxis(pixels, -1, 0)) if planar else [pixels])


def tiff(*pages, order="<", big=False, tiled=False):
    """Make a TIFF, or a BigTIFF, of pages."""
    count, place = ("Q", "Q") if big else ("H", "I")
    out = bytearray(b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    out += struct.pack(order + "HH", 8, 0) if big else b""
    pointer = len(out)
    out += struct.pack(order + place, 0)
    for tags, strips in pages:
        parts = [_stored(strip, order) for strip in strips]
        offsets = []
        for part in parts:
            offsets.append(len(out))
            out += part + b"\0" * (len(part) % 2)
        where, sizes = (324, 325) if tiled else (273, 279)
        tags = {**tags, where: (4, offsets), sizes: (4, [len(part) for part in parts])}
        entries = b""
        for tag, (kind, values) in sorted(tags.items()):
            number = len(values)
            packed = values if kind == 2 else struct.pack(f"{order}{number}{_SIZES[kind]}", *values)
            if len(packed) > struct.calcsize(place):
                packed, at = struct.pack(order + place, len(out)), packed
                out += at + b"\0" * (len(at) % 2)
            entries += struct.pack(f"{order}HH{place}", tag, kind, number)
            entries += packed.ljust(struct.calcsize(place), b"\0")
        struct.pack_into(order + place, out, pointer, len(out))
        out += struct.pack(order + count, len(tags)) + entries
        pointer = len(out)
        out += struct.pack(order + place, 0)
    return bytes(out)


def _stored(strip, order):
    return strip if isinstance(strip, bytes) else strip.astype(strip.dtype.newbyteorder(order)).tobytes()


def packed(pixels, bits):
    """Pack values of fewer than 16 bits without gaps; rows begin at whole bytes."""
    spread = pixels[..., None] >> np.arange(bits)[::-1] & 1
    return np.packbits(spread.reshape(len(pixels), -1).astype(np.uint8), axis=1).tobytes()


def png(pixels, colour, **chunks):
    """Make a PNG of 16 bits; `colour` is its colour type, and `chunks` come before the data."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = [("IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)), *chunks.items()]
    parts += [("IDAT", zlib.compress(rows)), ("IEND", b"")]
    out = b"\x89PNG\r\n\x1a\n"
    for name, data in parts:
        body = name.encode() + data
        out += struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    return out


def dicom(pixels, photometric, bits=16, signed=False, **more):
    """Make a DICOM file of frames [n, h, w] or [n, h, w, 3]; `more` are decimal strings, `g0028e1052="-1024"`."""
    frames, height, width = pixels.shape[:3]
    samples, allocated = (pixels.shape[3] if pixels.ndim == 4 else 1), 8 * pixels.dtype.itemsize
    short = lambda value: ("US", struct.pack("<H", value))
    elements = {
        (0x0028, 0x0002): short(samples),
        (0x0028, 0x0004): ("CS", photometric.encode()),
        (0x0028, 0x0006): short(0),
        (0x0028, 0x0008): ("IS", str(frames).encode()),
        (0x0028, 0x0010): short(height),
        (0x0028, 0x0011): short(width),
        (0x0028, 0x0100): short(allocated),
        (0x0028, 0x0101): short(bits),
        (0x0028, 0x0102): short(bits - 1),
        (0x0028, 0x0103): short(int(signed)),
        (0x7FE0, 0x0010): ("OW", pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()),
    }
    for name, value in more.items():
        elements[int(name[1:5], 16), int(name[6:], 16)] = ("DS", value.encode())
    meta = _element((0x0002, 0x0010), "UI", b"1.2.840.10008.1.2.1\0")
    meta = _element((0x0002, 0x0000), "UL", struct.pack("<I", len(meta))) + meta
    return bytes(128) + b"DICM" + meta + b"".join(_element(tag, *elements[tag]) for tag in sorted(elements))


def _element(tag, kind, value):
    value += (b"\0" if kind in ("OW", "UI") else b" ") * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if kind == "OW" else struct.pack("<H", len(value))
    return struct.pack("<HH", *tag) + kind.encode() + length + value


def avi(frames):
    """Make a video without compression of frames [n, h, w, 3], whose rows are stored from the bottom up."""
    number, height, width, _ = frames.shape
    row = -(-width * 3 // 4) * 4
    stored = np.zeros((number, height, row), np.uint8)
    stored[:, :, : width * 3] = frames[:, ::-1, :, ::-1].reshape(number, height, -1)
    size = height * row
    chunk = lambda name, data: name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    bunch = lambda name, data: chunk(b"LIST", name + data)
    main = struct.pack("<14I", 100_000, size * 10, 0, 0x10, number, 0, 1, size, width, height, 0, 0, 0, 0)
    stream = struct.pack("<4s4sIHHIIIIIIII4H", b"vids", b"DIB ", 0, 0, 0, 0, 1, 10, 0, number, size, 0, 0, 0, 0, 0, 0)
    form = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, size, 0, 0, 0, 0)
    header = bunch(b"hdrl", chunk(b"avih", main) + bunch(b"strl", chunk(b"strh", stream) + chunk(b"strf", form)))
    movie, index = b"", b""
    for frame in stored:
        index += struct.pack("<4sIII", b"00db", 0x10, 4 + len(movie), size)
        movie += chunk(b"00db", frame.tobytes())
    return chunk(b"RIFF", b"AVI " + header + bunch(b"movi", movie) + chunk(b"idx1", index))
