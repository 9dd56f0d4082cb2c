"""FLAC: whether a file's header fits its frames, which are found by theirs (RFC 9639)."""

import functools
import re
from collections.abc import Iterator
from typing import BinaryIO

# A stream begins so, with a block of 34 bytes.
SIGNATURE = b"fLaC"
STREAM = re.compile(rb"fLaC[\0\x80]\0\0\x22.{34}", re.DOTALL)
SYNC = re.compile(rb"\xff[\xf8\xf9]")
# Where a stream's header tells the size of its blocks and, in 36 bits, its length.
BLOCK_SIZE, TOTAL = 10, 21

# Blocks of a large file are looked for at so many places, in so many bytes each.
PLACES, WINDOW = 8, 2**16
LARGE = 2 * PLACES * WINDOW


def total(header: bytes) -> int:
    """How many frames (samples of each channel) a stream's header says there are; 0: unknown."""
    return (header[TOTAL] & 15) << 32 | int.from_bytes(header[TOTAL + 1 : TOTAL + 5], "big")


def with_total(header: bytes, count: int) -> bytes:
    """A stream's header with another length."""
    changed = bytearray(header)
    changed[TOTAL] = changed[TOTAL] & 0xF0 | count >> 32
    changed[TOTAL + 1 : TOTAL + 5] = (count & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(changed)


def fits(file: BinaryIO, begin: int, size: int, header: bytes) -> bool:
    """Whether blocks of samples follow each other through the file and end where its header says.

    They do not where another file was joined to it, or where its end is missing. A few places are
    looked at, not all of the file, which is of many times `WINDOW`.

    Args:
        file: The file.
        begin: Where its stream begins.
        size: Of the file, in bytes.
        header: Of the stream, 42 bytes.
    """
    latest = 0
    for part in range(1, PLACES):
        file.seek(begin + (size - begin) * part // PLACES)
        found = next(blocks(file.read(WINDOW), header), None)
        if found is None or found[0] < latest:
            return False
        latest = found[0]
    file.seek(max(begin, size - WINDOW))
    return total(header) in [end for _, end in blocks(file.read(), header)][-2:]


def blocks(data: bytes, header: bytes) -> Iterator[tuple[int, int]]:
    """The samples of each block that begins in some bytes: its first, and the one behind its last.

    One in a hundred thousand is none, but looks like it.
    """
    usual = int.from_bytes(header[BLOCK_SIZE : BLOCK_SIZE + 2], "big")
    for found in SYNC.finditer(data):
        if block := _block(data[found.start() : found.start() + 16].ljust(16, b"\0"), usual):
            yield block


def _block(data: bytes, usual: int) -> tuple[int, int] | None:
    """The samples of a block, by the header that it begins with; None if that is none."""
    if data[3] & 1 or data[3] >> 4 > 10:
        return None
    size_code, rate_code = data[2] >> 4, data[2] & 15
    length = max(1, 8 - (data[4] ^ 255).bit_length())  # of the number, coded as in UTF-8
    if not size_code or rate_code == 15 or length == 8 or data[4] >> 6 == 2:
        return None
    number = data[4] & (127 if length == 1 else 127 >> length)
    for byte in data[5 : 4 + length]:
        number = number << 6 | byte & 63
    at = 4 + length
    if size_code in (6, 7):
        size = int.from_bytes(data[at : at + size_code - 5], "big") + 1
        at += size_code - 5
    else:
        size = 192 if size_code == 1 else 576 << size_code - 2 if size_code < 6 else 1 << size_code
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if functools.reduce(lambda crc, byte: _CRC[crc ^ byte], data[:at], 0) != data[at]:
        return None
    first = number if data[1] & 1 else number * usual
    return first, first + size


def _crc(byte: int) -> int:
    for _ in range(8):
        byte = byte << 1 ^ (0x107 if byte & 128 else 0)
    return byte


_CRC = tuple(map(_crc, range(256)))
