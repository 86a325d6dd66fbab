"""Read the bytes features of TensorFlow's TFRecord files, without TensorFlow."""

import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

MAX_RECORD = 2**28
"""Most bytes of a record. A longer one is refused before it is read."""

_GZIP = b"\x1f\x8b\x08"
_MASK = 0xA282EAD8
_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5  # wire types of protocol buffers
_ONE_BYTE = (0x0A, 0x01)  # a value of field 1 that is one byte long


def read_examples(path: Path) -> Iterator[dict[str, UInt8[np.ndarray, " size"]]]:
    """Read the bytes features of the records of a TFRecord file, one record at a time.

    A record is a `tf.train.Example`. The values of a feature are joined. Features of other types are left out. Both
    checksums of every record are verified. The file may be compressed by gzip.

    Args:
        path: Path of the file.

    Yields:
        The bytes of each feature, by name.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is no TFRecord file, is damaged or cut short, or google-crc32c is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file")
    for index, record in enumerate(_records(path)):
        try:
            yield _bytes_features(memoryview(record))
        except (IndexError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} can't be read: record {index} is no tf.train.Example") from error


def _records(path: Path) -> Iterator[bytes]:
    """Read the records of a file."""
    with path.open("rb") as raw:
        compressed = raw.read(len(_GZIP)) == _GZIP
        raw.seek(0)
        file, index = gzip.GzipFile(fileobj=raw) if compressed else raw, 0
        while (record := _record(file, path, index)) is not None:
            yield record
            index += 1


def _record(file: io.BufferedIOBase, path: Path, index: int) -> bytes | None:
    """Read the next record: its length, data and their checksums; None at the end of the file."""
    try:
        if not (length := file.read(8)):
            return None
        head = length + file.read(4)
        if len(head) == 12 and _intact(head) and (size := struct.unpack("<Q", length)[0]) <= MAX_RECORD:
            body = file.read(size + 4)
            if len(body) == size + 4 and _intact(body):
                return body[:-4]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, index) from error
    raise _damaged(path, index)


def _damaged(path: Path, index: int) -> ValueError:
    if index == 0:
        return ValueError(f"{path} is no TFRecord file, or its first record is damaged")
    return ValueError(f"{path} is damaged or cut short after {index} records")


def _intact(data: bytes) -> bool:
    """Return whether data agrees with the masked CRC-32C in its last four bytes."""
    try:
        import google_crc32c
    except ModuleNotFoundError:
        raise ValueError("TFRecord files need google-crc32c: pip install 'airjax[tfrecords]'") from None
    crc = google_crc32c.value(data[:-4])
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) % 2**32) == data[-4:]


def _bytes_features(example: memoryview) -> dict[str, UInt8[np.ndarray, " size"]]:
    """Return the bytes features of a serialised `tf.train.Example`.

    It holds one message of features, which holds a message for each of them: its name (field 1) and its values (field
    2), of which field 1 is a list of bytes.
    """
    entries = (dict(_fields(entry)) for features in _chosen(example, 1) for entry in _chosen(features, 1))
    values = {str(entry[1], "utf-8"): list(_chosen(entry[2], 1)) for entry in entries if entry.keys() >= {1, 2}}
    return {name: _joined(lists[-1]) for name, lists in values.items() if lists}


def _joined(values: memoryview) -> UInt8[np.ndarray, " size"]:
    """Join the values of a list of bytes, which are often one byte long each."""
    array = np.frombuffer(values, np.uint8)
    if len(array) % 3 == 0 and (array.reshape(-1, 3)[:, :2] == _ONE_BYTE).all():
        return array.reshape(-1, 3)[:, 2]
    return np.concatenate([np.frombuffer(value, np.uint8) for value in _chosen(values, 1)] or [array[:0]])


def _chosen(message: memoryview, number: int) -> Iterator[memoryview]:
    return (value for field, value in _fields(message) if field == number)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """List the fields of a message that hold bytes: their numbers and contents.

    Raises:
        IndexError: The message is cut short, or has a field of an unknown type.
    """
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        size = {_VARINT: 0, _EIGHT_BYTES: 8, _DELIMITED: 0, _FOUR_BYTES: 4}.get(key & 7, len(message))
        if key & 7 in (_VARINT, _DELIMITED):
            number, place = _varint(message, place)
            size = number if key & 7 == _DELIMITED else 0
        if place + size > len(message):
            raise IndexError("the message is cut short")
        if key & 7 == _DELIMITED:
            yield key >> 3, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Read a whole number of seven bits a byte, the lowest first; return it and the place after it."""
    number = shift = 0
    while (byte := message[place]) & 0x80:
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
    return number | byte << shift, place + 1
