"""TFRecord files of tf.train.Example, written and read without TensorFlow.

A record is framed as  length (uint64), checksum of the length, data, checksum of the data,  all little-endian. Checksums are
CRC-32C, "masked": rotated by 15 bits and shifted by a constant, so that a checksum of checksums is a good one. An Example is
a protocol buffer that maps names to lists of bytes or of integers; the few bytes of its framing are written here by hand.
Source: the format as TensorFlow documents it (tensorflow/core/lib/io/record_writer.h, tensorflow/core/example/feature.proto).
The package `tfrecord` does not check what it reads, and tensorboard's writer takes a second for a few megabytes.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

MASK = 0xA282EAD8
WHOLE, DELIMITED = 0, 2  # the wire types that occur: a varint, and bytes behind their length
BYTES, INTEGERS = 1, 3  # fields of a Feature: bytes_list, int64_list
Example = Mapping[str, bytes | int]


def masked_crc(data: bytes) -> int:
    """The checksum of a record."""
    from crc32c import crc32c

    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF


def write_record(file: BinaryIO, data: bytes) -> None:
    """Append one record."""
    length = struct.pack("<Q", len(data))
    file.write(length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data)))


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a file, one after another. Raises ValueError where it is cut short or a checksum does not agree."""
    with open(path, "rb") as file:
        while header := file.read(12):
            length = _checked(path, header, 8)
            (size,) = struct.unpack("<Q", length)
            yield _checked(path, file.read(size + 4), size)


def _checked(path: Path, block: bytes, size: int) -> bytes:
    if len(block) != size + 4:
        raise ValueError(f"{path} is cut short in the middle of a record; export it again")
    if struct.unpack("<I", block[size:])[0] != masked_crc(block[:size]):
        raise ValueError(f"{path} is damaged: a record's checksum does not agree; export it again")
    return block[:size]


def encode(example: Example) -> bytes:
    """A serialized tf.train.Example: names to one string of bytes, or one integer, each. Names in the order given."""
    entries = []
    for name, value in example.items():
        if isinstance(value, bytes):
            feature = _delimited(BYTES, _delimited(1, value))
        else:
            feature = _delimited(INTEGERS, _delimited(1, _varint(value & 0xFFFFFFFFFFFFFFFF)))
        entries.append(_delimited(1, _delimited(1, name.encode()) + _delimited(2, feature)))
    return _delimited(1, b"".join(entries))


def decode(data: bytes) -> dict[str, bytes | int]:
    """The inverse of `encode`. Raises ValueError where a feature holds several values, or numbers that are no integers."""
    found: dict[str, bytes | int] = {}
    for _, features in _fields(data):
        for _, entry in _fields(features):
            parts = dict(_fields(entry))
            name = parts[1].decode()
            ((kind, values),) = _fields(parts[2])
            if kind == BYTES and len(listed := list(_fields(values))) == 1:
                found[name] = listed[0][1]
            elif kind == INTEGERS:
                found[name] = _integer(name, values)
            else:
                raise ValueError(
                    f"the feature {name!r} is not one string of bytes or one integer, as these files have them"
                )
    return found


def _integer(name: str, values: bytes) -> int:
    """A list of one integer: packed, as TensorFlow writes it, or behind a tag of its own."""
    kind = values[0] & 7
    number, end = _read_varint(*((dict(_fields(values))[1], 0) if kind == DELIMITED else (values, 1)))
    if end != (values[1] if kind == DELIMITED else len(values)):
        raise ValueError(f"the feature {name!r} holds several integers, and one is expected")
    return number - (1 << 64) if number >> 63 else number


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _delimited(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | DELIMITED]) + _varint(len(payload)) + payload


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(the number that begins at `at`, where it ends)."""
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, payload) of each field of a message whose fields are all behind their lengths."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        if tag & 7 != DELIMITED:
            raise ValueError(f"field {tag >> 3} has wire type {tag & 7}: this is no tf.train.Example")
        size, at = _read_varint(data, at)
        yield tag >> 3, data[at : at + size]
        at += size
