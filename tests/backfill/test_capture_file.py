"""Capture files, good and hostile: read from any record on, and never by more memory than a block may take."""

import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.backfill import capture_file
from medtech.backfill.capture_file import START, CaptureDamaged, CaptureFile, Position
from medtech.model import DeviceEvent
from tests.backfill.samples import SCHEMA, capture_bytes, record
from tests.persist.samples import HOUR

RECORDS = [record(DeviceEvent(b"%d" % n, {"n": n}, {}, HOUR, "", "0", n)) for n in range(20)]


def opened(content: bytes) -> CaptureFile:
    return CaptureFile(lambda offset, length: content[offset : offset + length], len(content))


def bodies(content: bytes, start: Position = START) -> list[bytes]:
    return [each.fields["Body"] for each in opened(content).records(start)]


ALL = [each["Body"] for each in RECORDS]


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_records_are_read_from_any_position_on(codec: str) -> None:
    content = capture_bytes(RECORDS, codec)
    positions = [each.after for each in opened(content).records()]
    assert len({position.block for position in positions}) > 2
    for number, position in enumerate(positions, 1):
        assert bodies(content, position) == ALL[number:]


def test_a_file_is_asked_for_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_file, "_PIECE_BYTES", 1000)
    monkeypatch.setattr(capture_file, "_MAX_HEADER_BYTES", 1000)
    content = capture_bytes(RECORDS, "null")
    asked = []

    def read(offset: int, length: int) -> bytes:
        asked.append(length)
        return content[offset : offset + length]

    assert len(list(CaptureFile(read, len(content)).records())) == len(RECORDS)
    assert len(asked) > 1
    assert max(asked) == 1000


def test_a_file_without_events_has_none() -> None:
    assert bodies(capture_bytes([])) == []


def long(value: int) -> bytes:
    value = value * 2 if value >= 0 else -value * 2 - 1
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def text(content: bytes) -> bytes:
    return long(len(content)) + content


def made(*blocks: bytes, schema: Any = SCHEMA, codec: bytes = b"null") -> bytes:
    written = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    metadata = long(2) + text(b"avro.schema") + text(written) + text(b"avro.codec") + text(codec) + long(0)
    return b"Obj\x01" + metadata + b"s" * 16 + b"".join(blocks)


def block(count: int, content: bytes, sync: bytes = b"s" * 16) -> bytes:
    return long(count) + text(content) + sync


def without(name: str) -> dict[str, Any]:
    return {**SCHEMA, "fields": [field for field in SCHEMA["fields"] if field["name"] != name]}  # type: ignore[index]


def with_type(name: str, declared: Any) -> dict[str, Any]:
    others = without(name)
    return {**others, "fields": [*others["fields"], {"name": name, "type": declared}]}


def bomb() -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(65)) + packer.flush()


NESTED = {"type": "record", "name": "Nest", "fields": [{"name": "in", "type": ["null", "Nest"]}]}
HOSTILE = {
    "nothing": (b"", "at byte 0"),
    "text": (b"time,value\n1,2\n" * 9, "no Avro file"),
    "header cut": (capture_bytes(RECORDS)[:100], "ends, or is damaged"),
    "no schema": (made(schema=b""), "its schema"),
    "schema of something else": (made(schema={"type": "record", "name": "A", "fields": []}), "SequenceNumber"),
    "schema without a body": (made(schema=without("Body")), "Body"),
    "body of another type": (made(schema=with_type("Body", "string")), "Body"),
    "field that nests": (made(schema=with_type("More", NESTED)), "its schema"),
    "logical type": (made(schema=with_type("M", {"type": "long", "logicalType": "timestamp-millis"})), "its schema"),
    "schema deeper than a stack": (made(schema=b"[" * 100_000), "its schema"),
    "schema without a name": (made(schema={**SCHEMA, "name": 5}), "its schema"),
    "codec that Capture does not write": (made(codec=b"xz"), "codec is 'xz'"),
    "snappy": (made(codec=b"snappy"), "codec is 'snappy', and Capture writes null or deflate"),
    "other sync marker": (made(block(0, b"", b"t" * 16)), "sync marker"),
    "negative count": (made(block(-1, b"")), "no block"),
    "negative length": (made(long(1) + long(-5)), "no block"),
    "block larger than any": (made(long(1) + long(1 << 40)), "more than 64 MiB"),
    "number without end": (made(b"\xff" * 40), "no number"),
    "count larger than the block": (made(block(1 << 50, b"")), "record 1 of the block"),
    "records that are none": (made(block(3, b"\xff" * 50)), "record 1 of the block"),
    "text longer than the block": (made(block(1, long(5) + long(1 << 40) + b"x")), "record 1 of the block"),
    "more than its records": (made(block(0, b"more")), "more than its records"),
    "deflate that is none": (made(block(1, b"\xff\xff\xff"), codec=b"deflate"), "cannot be unpacked"),
    "deflate that ends early": (made(block(1, b""), codec=b"deflate"), "cut off"),
    "bomb": (made(block(1, bomb()), codec=b"deflate"), "more than 64 MiB"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_an_error_that_says_how(name: str) -> None:
    content, said = HOSTILE[name]
    with pytest.raises(CaptureDamaged) as damaged:
        bodies(content)
    assert said in str(damaged.value)


def test_what_is_before_the_damage_is_read() -> None:
    content = capture_bytes(RECORDS)
    read: list[bytes] = []
    with pytest.raises(CaptureDamaged, match="cut off"):
        read.extend(each.fields["Body"] for each in opened(content[:-20]).records())
    assert read == ALL[: len(read)]
    assert len(read) > 10


def flipped() -> Iterator[bytes]:
    content = capture_bytes(RECORDS, "null")
    for place, byte in enumerate(content):
        yield content[:place] + bytes([byte ^ 0x41]) + content[place + 1 :]


def test_one_wrong_byte_anywhere_is_an_error_or_a_record() -> None:
    for content in flipped():
        try:
            assert len(bodies(content)) <= len(RECORDS) + 1
        except CaptureDamaged:
            continue


@given(st.binary(max_size=200))
def test_whatever_a_block_holds_is_an_error_or_records(content: bytes) -> None:
    try:
        bodies(made(block(2, content)))
    except CaptureDamaged as damaged:
        assert str(damaged)
