"""A Capture file: an Avro object container of events, read block by block.

    magic `Obj` 1 · map of metadata (`avro.schema`, `avro.codec`) · 16 bytes of sync marker
    then blocks: count of records · bytes · the records, packed by the codec · the sync marker

The framing is read here and the records by fastavro: its own reader unpacks a block to whatever it becomes, of which a
block of 1 MB can make 1 GB, and finds no place in a file again. Here no block takes more than MAX_BLOCK_BYTES, and
reading begins at any block.

https://avro.apache.org/docs/1.11.1/specification/#object-container-files
"""

import json
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, NamedTuple

MAX_BLOCK_BYTES = 64 * 1024 * 1024
"""Packed and unpacked. The largest event that a hub takes has 20 MiB; Capture's writer ends a block long before."""

_PIECE_BYTES = 4 * 1024 * 1024
"""Asked of storage at once."""
_MAX_HEADER_BYTES = 1024 * 1024
_MAGIC = b"Obj\x01"
_SYNC_BYTES = 16
_VARINT_BYTES = 10
_CODECS = ("null", "deflate")
"""What Capture's writer knows."""

_UNION = frozenset({"null", "boolean", "int", "long", "float", "double", "string", "bytes"})
_FIELDS = {
    "SequenceNumber": {"long", "int"},
    "EnqueuedTimeUtc": {"string"},
    "SystemProperties": {"map"},
    "Properties": {"map"},
    "Body": {"null", "bytes"},
}
"""Those that an event is made of, and what they may be. https://learn.microsoft.com/azure/event-hubs/explore-captured-avro-files"""


class CaptureDamaged(Exception):
    """A file is no Capture file, or not from some place on; the text says how, and quotes nothing of it."""


class Position(NamedTuple):
    """The record to go on with: the offset of its block (0: the first one, wherever that is), and its place in it."""

    block: int
    record: int


START = Position(0, 0)


class CapturedRecord(NamedTuple):
    """A record, as fastavro reads it, and the position after it."""

    fields: dict[str, Any]
    after: Position


class CaptureFile:
    """`read` gives bytes of the file from an offset on, as many as asked for unless it ends."""

    def __init__(self, read: Callable[[int, int], bytes], size_bytes: int) -> None:
        self._read = read
        self._size = size_bytes
        self._piece = b""
        self._piece_offset = 0

    def records(self, start: Position = START) -> Iterator[CapturedRecord]:
        """From `start` on, which is a position that this iterator gave. Raises CaptureDamaged where the file cannot be
        read on, and what `read` raises."""
        from fastavro import schemaless_reader

        schema, codec, sync, first_block = self._header()
        offset, skipped = start.block or first_block, start.record
        while offset < self._size:
            count, content, end = self._block(offset, codec, sync)
            stream = BytesIO(content)
            for number in range(count):
                try:
                    fields: Any = schemaless_reader(stream, schema, None)
                except Exception as error:  # noqa: BLE001 - whatever fastavro meets in bytes that are no record
                    raise CaptureDamaged(
                        f"record {number + 1} of the block at byte {offset} cannot be read ({type(error).__name__})"
                    ) from None
                if number >= skipped:
                    is_last = number + 1 == count
                    yield CapturedRecord(fields, Position(end, 0) if is_last else Position(offset, number + 1))
            if stream.tell() != len(content):
                raise CaptureDamaged(f"the block at byte {offset} holds more than its records")
            offset, skipped = end, 0

    def _header(self) -> tuple[Any, str, bytes, int]:
        """The schema, the codec, the sync marker, and the offset of the first block."""
        from fastavro import parse_schema

        header = _Fields(self._bytes(0, min(self._size, _MAX_HEADER_BYTES)))
        if header.take(len(_MAGIC)) != _MAGIC:
            raise CaptureDamaged("it is no Avro file")
        metadata: dict[bytes, bytes] = {}
        while count := header.long():
            if count < 0:
                # A block of a map may say how many bytes it has.
                count, _ = -count, header.long()
            for _ in range(count):
                name = header.take(header.long())
                metadata[name] = header.take(header.long())
        sync = header.take(_SYNC_BYTES)
        codec = metadata.get(b"avro.codec", b"null").decode(errors="replace")
        if codec not in _CODECS:
            raise CaptureDamaged(f"its codec is {codec!a:.40}, and Capture writes {' or '.join(_CODECS)}")
        schema = _checked_schema(metadata.get(b"avro.schema", b""))
        try:
            return parse_schema(schema), codec, sync, header.offset
        except Exception:  # noqa: BLE001 - whatever fastavro meets in a schema that is none
            raise CaptureDamaged("its schema is not Event Hubs Capture's") from None

    def _block(self, offset: int, codec: str, sync: bytes) -> tuple[int, bytes, int]:
        """How many records the block at an offset has, their bytes, and the offset of the next block."""
        head = _Fields(self._bytes(offset, 2 * _VARINT_BYTES), offset)
        count, length = head.long(), head.long()
        if count < 0 or not 0 <= length <= MAX_BLOCK_BYTES:
            raise CaptureDamaged(f"at byte {offset} is no block, or one of more than {MAX_BLOCK_BYTES >> 20} MiB")
        packed = self._bytes(head.offset, length + _SYNC_BYTES)
        if len(packed) < length + _SYNC_BYTES:
            raise CaptureDamaged(f"it is cut off at byte {self._size}, in the block at byte {offset}")
        if packed[length:] != sync:
            raise CaptureDamaged(f"the block at byte {offset} does not end with the file's sync marker")
        content = packed[:length]
        if codec == "deflate":
            content = _inflated(content, offset)
        return count, content, head.offset + length + _SYNC_BYTES

    def _bytes(self, offset: int, length: int) -> bytes:
        start = offset - self._piece_offset
        if start < 0 or start + length > len(self._piece):
            wanted = min(max(length, _PIECE_BYTES), self._size - offset)
            self._piece = self._read(offset, wanted) if wanted > 0 else b""
            self._piece_offset, start = offset, 0
        return self._piece[start : start + length]


class _Fields:
    """Avro's primitive values, one after the other; `offset` is where in the file the next one begins."""

    def __init__(self, content: bytes, offset: int = 0) -> None:
        self._content = content
        self._start = offset
        self._place = 0

    @property
    def offset(self) -> int:
        return self._start + self._place

    def take(self, length: int) -> bytes:
        taken = self._content[self._place : self._place + length] if length >= 0 else b""
        if len(taken) != length:
            raise CaptureDamaged(f"it ends, or is damaged, at byte {self.offset}")
        self._place += length
        return taken

    def long(self) -> int:
        """A number of variable length, in zigzag."""
        value = 0
        for shift in range(0, 7 * _VARINT_BYTES, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return (value >> 1) ^ -(value & 1)
        raise CaptureDamaged(f"at byte {self.offset} is no number")


def _inflated(packed: bytes, offset: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(packed, MAX_BLOCK_BYTES)
    except zlib.error:
        raise CaptureDamaged(f"the block at byte {offset} cannot be unpacked") from None
    if inflater.unconsumed_tail or not inflater.eof:
        raise CaptureDamaged(
            f"the block at byte {offset} is cut off, or becomes more than {MAX_BLOCK_BYTES >> 20} MiB when unpacked"
        )
    return content


def _checked_schema(text: bytes) -> dict[str, Any]:
    """The schema of a record that has what an event is made of, and no field of a type that holds others, but for maps
    of plain values: one that refers to itself could nest without end."""
    try:
        schema: dict[str, Any] = json.loads(text)
        types = {field["name"]: _types(field["type"]) for field in schema["fields"]}
        if schema["type"] != "record":
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CaptureDamaged("its schema is not Event Hubs Capture's") from None
    for name, allowed in _FIELDS.items():
        if name not in types or not types[name] <= allowed:
            raise CaptureDamaged(f"its schema is not Event Hubs Capture's: {name} is missing or of another type")
    return schema


def _types(declared: Any) -> set[str]:
    """The names of plain types, or `map` for a map of them. Raises ValueError for any other type."""
    if isinstance(declared, dict) and declared.get("type") == "map":
        _plain(declared["values"])
        return {"map"}
    return _plain(declared)


def _plain(declared: Any) -> set[str]:
    types = declared if isinstance(declared, list) else [declared]
    # A logical type would make something else of a number, or fail.
    if any(isinstance(each, dict) and "logicalType" in each for each in types):
        raise ValueError
    names = {each["type"] if isinstance(each, dict) else each for each in types}
    if not names <= _UNION:
        raise ValueError
    return names
