"""Record batches of version 2, as they lie in a log and travel in a Fetch response.

The layout, all numbers big-endian: base offset 8, length 4 (of what follows it), partition leader
epoch 4, magic 1, CRC-32C 4 (of all that follows it), attributes 2, last offset delta 4, base and
maximum timestamp 8 each, producer id 8, producer epoch 2, base sequence 4, count of records 4.
"""

import ctypes
import struct
from dataclasses import dataclass

HEADER = struct.Struct(">qiibIhiqqqhii")
CRC_FROM = 21
LENGTH_FROM = 12


class Malformed(Exception):
    """Bytes that are no record batch."""


def load_crc32c():
    try:
        isal = ctypes.CDLL("libisal.so.2")
    except OSError:
        from kafka.record._crc32c import crc as slow

        return slow

    def crc(data):
        data = bytes(data)
        return isal.crc32_iscsi(data, len(data), 0xFFFF_FFFF) ^ 0xFFFF_FFFF

    isal.crc32_iscsi.restype = ctypes.c_uint
    isal.crc32_iscsi.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_uint]
    return crc


crc32c = load_crc32c()


@dataclass(frozen=True)
class Batch:
    """A batch, byte for byte, with what the checker asks of it."""

    base: int
    last: int
    epoch: int
    producer_id: int
    producer_epoch: int
    sequence: int
    is_control: bool
    raw: bytes

    def records(self):
        """Offset, key and value of every record."""
        return list(read_records(self))


def split(data):
    """The whole batches of `data`.

    Left out is a cut one at the end, as Fetch sends it, and zeros, as segments end.
    """
    batches = []
    position = 0
    while len(data) - position >= LENGTH_FROM:
        (length,) = struct.unpack_from(">i", data, position + 8)
        if length == 0 and not any(data[position:]):
            break
        if length < HEADER.size - LENGTH_FROM:
            raise Malformed(f"a batch of length {length}")
        if len(data) - position < LENGTH_FROM + length:
            break
        batches.append(parse(data[position : position + LENGTH_FROM + length]))
        position += LENGTH_FROM + length
    return batches


def parse(raw):
    raw = bytes(raw)
    if len(raw) < HEADER.size:
        raise Malformed(f"{len(raw)} bytes are no batch")
    (base, length, epoch, magic, crc, attributes, delta, _, _, producer, producer_epoch, sequence,
     count) = HEADER.unpack_from(raw)
    if length != len(raw) - LENGTH_FROM:
        raise Malformed(f"a batch at {base} of length {length} in {len(raw)} bytes")
    if magic != 2:
        raise Malformed(f"a batch at {base} of version {magic}")
    if crc32c(raw[CRC_FROM:]) != crc:
        raise Malformed(f"the checksum of the batch at {base} is not that of its bytes")
    if delta < 0 or count != delta + 1:
        raise Malformed(f"the batch at {base} has {count} records and a last delta of {delta}")
    return Batch(
        base, base + delta, epoch, producer, producer_epoch, sequence, bool(attributes & 0x20), raw
    )


def decompressed(raw):
    codec = struct.unpack_from(">h", raw, CRC_FROM)[0] & 7
    payload = raw[HEADER.size :]
    if codec == 0:
        return payload
    from kafka import codec as codecs

    return {
        1: codecs.gzip_decode,
        2: codecs.snappy_decode,
        3: codecs.lz4_decode,
        4: codecs.zstd_decode,
    }[codec](payload)


def read_records(batch):
    data = decompressed(batch.raw)
    position = 0
    for expected in range(batch.last - batch.base + 1):
        length, position = varint(data, position)
        end = position + length
        if length < 0 or end > len(data):
            raise Malformed(f"a record of {length} bytes in the batch at {batch.base}")
        position += 1
        _, position = varint(data, position)
        delta, position = varint(data, position)
        if delta != expected:
            raise Malformed(f"record {expected} of the batch at {batch.base} has delta {delta}")
        key, position = field(data, position)
        value, position = field(data, position)
        yield batch.base + delta, key, value
        position = end


def field(data, position):
    length, position = varint(data, position)
    if length < 0:
        return None, position
    return bytes(data[position : position + length]), position + length


def varint(data, position):
    """A zigzag number and where what follows it begins."""
    shift = number = 0
    while True:
        if position >= len(data) or shift > 63:
            raise Malformed("a number that does not end")
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), position
        shift += 7


def zigzag(number):
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode(base, values, epoch=1, producer_id=-1, producer_epoch=-1, sequence=-1, key=None):
    """A batch of these values; `None` is a value that is null."""
    body = bytearray()
    for delta, value in enumerate(values):
        record = bytearray(b"\0") + zigzag(0) + zigzag(delta)
        for part in (key, value):
            record += zigzag(-1) if part is None else zigzag(len(part)) + part
        record += zigzag(0)
        body += zigzag(len(record)) + record
    tail = struct.pack(
        ">hiqqqhii", 0, len(values) - 1, 0, 0, producer_id, producer_epoch, sequence, len(values)
    ) + bytes(body)
    head = struct.pack(">qiibI", base, 9 + len(tail), epoch, 2, crc32c(tail))
    return head + tail
