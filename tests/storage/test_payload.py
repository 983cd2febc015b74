"""Payloads: what is packed comes back, within bounds, and rows of earlier versions stay readable."""

import random
import tracemalloc
import zlib

import pytest

from medtech.storage.connection import Storage
from medtech.storage.payload import PROPERTY_BYTES, ROW_BYTES, Codec, PayloadDamaged, PayloadTooNew, join, split

_CODEC = Codec(version=1, max_bytes=1_000_000)
_CONTENT = b"some content " * 1000


@pytest.mark.parametrize("version", [None, 1, 7])
@pytest.mark.parametrize("content", [b"", b"\x00", _CONTENT])
def test_what_is_packed_comes_back(version: int | None, content: bytes) -> None:
    codec = Codec(version=version, max_bytes=len(_CONTENT))
    assert codec.unpack(codec.pack(content)) == content


def test_the_formats_are_pinned() -> None:
    # Rows outlive the version of the app that wrote them.
    assert _CODEC.unpack(b"\x01" + zlib.compress(_CONTENT, 1)) == _CONTENT
    assert Codec(max_bytes=1_000_000).unpack(zlib.compress(_CONTENT)) == _CONTENT
    # zlib.compress(b"content") as Python 3.13 writes it
    assert _CODEC.unpack(bytes.fromhex("01789c4bcecf2b49cd2b01000bcb02fc")) == b"content"
    assert _CODEC.pack(_CONTENT)[0] == 1
    assert zlib.decompress(Codec(max_bytes=1_000_000).pack(_CONTENT)) == _CONTENT


def test_content_up_to_the_bound_is_unpacked_and_no_more() -> None:
    at_bound = _CODEC.pack(bytes(1_000_000))
    assert len(_CODEC.unpack(at_bound)) == 1_000_000
    with pytest.raises(PayloadDamaged, match="more than 1000000 bytes"):
        _CODEC.unpack(_CODEC.pack(bytes(1_000_001)))


def test_a_row_cannot_fill_the_memory() -> None:
    packer = zlib.compressobj()
    bomb = b"\x01" + b"".join(packer.compress(bytes(1_000_000)) for _ in range(600)) + packer.flush()
    assert len(bomb) < ROW_BYTES
    tracemalloc.start()
    try:
        with pytest.raises(PayloadDamaged, match="more than"):
            _CODEC.unpack(bomb)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10_000_000


@pytest.mark.parametrize("end", range(len(_CODEC.pack(b"content"))))
def test_a_payload_that_is_cut_off_is_damaged(end: int) -> None:
    with pytest.raises(PayloadDamaged):
        _CODEC.unpack(_CODEC.pack(b"content")[:end])


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x01", b"\x01no zlib", b"\x00" + zlib.compress(b"content")])
def test_what_is_not_a_payload_is_damaged(payload: bytes) -> None:
    with pytest.raises(PayloadDamaged):
        _CODEC.unpack(payload)


def test_a_payload_with_one_byte_changed_is_damaged() -> None:
    payload = _CODEC.pack(random.Random(1).randbytes(100))
    for place in range(1, len(payload)):
        changed = bytearray(payload)
        changed[place] ^= 0xFF
        with pytest.raises(PayloadDamaged):
            _CODEC.unpack(bytes(changed))


def test_a_newer_version_is_named() -> None:
    with pytest.raises(PayloadTooNew) as newer:
        _CODEC.unpack(b"\x02anything")
    assert newer.value.version == 2


@pytest.mark.parametrize("size", [0, 1, PROPERTY_BYTES, PROPERTY_BYTES + 1, ROW_BYTES])
def test_a_payload_is_split_and_joined(storage: Storage, size: int) -> None:
    payload = bytes(n % 251 for n in range(size))
    storage.table("made").upsert({"PartitionKey": "p", "RowKey": "a", **split(payload)})
    stored = storage.table("made").get("p", "a")
    assert stored is not None and join(stored) == payload


def test_a_shorter_payload_merged_over_a_longer_one_has_no_tail(storage: Storage) -> None:
    for payload in (b"x" * 200_000, b"short"):
        storage.table("made").upsert({"PartitionKey": "p", "RowKey": "a", **split(payload)}, merge=True)
    stored = storage.table("made").get("p", "a")
    assert stored is not None and join(stored) == b"short"


@pytest.mark.parametrize(
    "entity",
    [{}, {"parts": "1", "p00": b"a"}, {"parts": 2, "p00": b"a"}, {"parts": 1, "p00": "text"}, {"parts": 10**12}],
)
def test_a_payload_with_a_part_missing_is_damaged(entity: dict[str, object]) -> None:
    with pytest.raises(PayloadDamaged, match="missing"):
        join(entity)
