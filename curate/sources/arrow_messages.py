"""
What the messages of an Arrow stream unpack to, read before any of them is.

A compressed buffer says its unpacked length in its first eight bytes, and Arrow unpacks all buffers of a message at
once. The messages are FlatBuffers; pyarrow does not show their fields.
"""

import struct

import pyarrow as pa

from curate import limits
from curate.errors import InputError
from curate.sources.raw_block import megabytes

# Positions of fields in the tables of Arrow's Message.fbs.
HEADER = 2  # of Message
DATA = 1  # of DictionaryBatch
BUFFERS, COMPRESSION = 2, 3  # of RecordBatch


def check_messages(stream: pa.Buffer) -> None:
    """Raise InputError if a batch of a stream, or all of its dictionaries, unpack to more than is held at once."""
    dictionaries = 0
    for message in pa.ipc.MessageReader.open_stream(stream):
        if message.type not in ("record batch", "dictionary"):
            continue
        size = _unpacked(message)
        if message.type == "dictionary":
            dictionaries = size = dictionaries + size
        if size > limits.PAGE_BYTES:
            raise InputError(
                f"a batch unpacks to {megabytes(size)}; expected at most {megabytes(limits.PAGE_BYTES)}. "
                "Write the file again with smaller batches, or without compression"
            )


def _unpacked(message: pa.ipc.Message) -> int:
    """Return how many bytes the compressed buffers of a message unpack to."""
    data, body = bytes(message.metadata), message.body
    try:
        batch = _child(data, _int("<I", data, 0), HEADER)
        if message.type == "dictionary":
            batch = _child(data, batch, DATA)
        if not _field(data, batch, COMPRESSION):
            return 0
        vector = _child(data, batch, BUFFERS)
        found = 0
        for number in range(_int("<I", data, vector)):
            start, length = struct.unpack_from("<qq", data, vector + 4 + 16 * number)
            if length >= 8:
                found += max(_int("<q", body, start), 0)  # -1 = this buffer is not compressed
        return found
    except (struct.error, ValueError) as error:
        raise InputError("an Arrow message is damaged; download the file again") from error


def _field(data: bytes, table: int, number: int) -> int:
    """Return where a field of a table is, or 0 if the table does not have it."""
    offsets = table - _int("<i", data, table)
    place = 4 + 2 * number
    offset = _int("<H", data, offsets + place) if place < _int("<H", data, offsets) else 0
    return offset and table + offset


def _child(data: bytes, table: int, number: int) -> int:
    """Return where the table or vector is that a field refers to."""
    place = _field(data, table, number)
    if not place:
        raise ValueError("a required field is missing")
    return place + _int("<I", data, place)


def _int(form: str, data: bytes | pa.Buffer, place: int) -> int:
    if place < 0:
        raise ValueError("a position before the start")
    (number,) = struct.unpack_from(form, data, place)
    return int(number)
