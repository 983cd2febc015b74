"""Packing and unpacking, without storage."""

import random
import tracemalloc
import zlib
from typing import Any

import orjson
import pytest

from medtech.errors import BufferCorrupt, Unavailable
from medtech.group import segment
from medtech.model import Measurement
from medtech.storage.payload import ROW_BYTES


def _measurement(number: int = 0, text: str = "61", **changes: Any) -> Measurement:
    return Measurement(
        type="heartRate",
        occurrence_time=637_826_832_000_000_001 + number,
        device_id=f"device-{number % 7}",
        patient_id=None if number % 2 else f"patient-{number}",
        encounter_id=None,
        correlation_id="",
        properties=(("hr", text), ("unit", "1/min")) if number % 3 else (),
        ingestion_time=637_826_833_000_000_000,
        partition="3",
        sequence_number=number,
        template=1,
        match=number % 5,
    )._replace(**changes)


def _noise(size: int, seed: int = 1) -> str:
    """Text that does not compress below three quarters of its size."""
    return random.Random(seed).randbytes(size // 2).hex()


def test_measurements_come_back_as_they_went() -> None:
    measurements = [_measurement(number) for number in range(100)]
    [packed] = segment.pack(measurements, "00-trace-01").segments
    assert segment.unpack(packed.payload) == ("00-trace-01", measurements)
    assert type(segment.unpack(packed.payload).measurements[1].properties[0]) is tuple


def test_the_format_is_pinned() -> None:
    # What an older version wrote has to be readable for as long as its rows may lie in the buffer.
    content = ["", [["hr"], [5], ["d"], [None], [None], [None], [[["v", "1"]]], [6], ["0"], [7], [0], [0]]]
    payload = b"\x01" + zlib.compress(orjson.dumps(content))
    assert segment.unpack(payload).measurements == [
        Measurement("hr", 5, "d", None, None, None, (("v", "1"),), 6, "0", 7, 0, 0)
    ]


def test_the_unpacked_size_is_told() -> None:
    [packed] = segment.pack([_measurement(1)]).segments
    assert packed.unpacked_bytes == len(zlib.decompress(packed.payload[1:]))


def test_the_digest_is_of_the_measurements_alone() -> None:
    measurements = [_measurement(number) for number in range(9)]
    [first], [again], [other] = (
        segment.pack(*arguments).segments
        for arguments in [(measurements, "00-trace-01"), (measurements, "00-trace-02"), (measurements[1:], "")]
    )
    assert first.payload != again.payload and first.digest == again.digest != other.digest


def test_the_digest_is_pinned() -> None:
    # Two instances of different versions store the same batch as one row only if they agree on it.
    [packed] = segment.pack([Measurement("hr", 5, "d", None, None, None, (("v", "1"),), 6, "0", 7, 0, 0)]).segments
    assert packed.digest == "d4b0332a0cdebd42705c6c08c67da225"


@pytest.mark.parametrize("change", [{"template": 9}, {"match": 9}, {"properties": (("hr", "62"),)}, {"device_id": "d"}])
def test_whatever_differs_has_another_digest(change: dict[str, Any]) -> None:
    [one], [other] = (segment.pack([each]).segments for each in (_measurement(1), _measurement(1, **change)))
    assert one.digest != other.digest


def test_nothing_makes_no_segment() -> None:
    assert segment.pack([]) == ([], [])


def test_what_one_row_cannot_hold_goes_over_several_in_order() -> None:
    measurements = [_measurement(number, properties=(("v", _noise(400_000, number)),)) for number in range(9)]
    packing = segment.pack(measurements)
    assert len(packing.segments) > 1 and not packing.too_large
    assert all(len(packed.payload) <= ROW_BYTES for packed in packing.segments)
    assert [m for packed in packing.segments for m in segment.unpack(packed.payload).measurements] == measurements


def test_what_compresses_well_is_still_bounded_unpacked() -> None:
    measurements = [_measurement(number, properties=(("v", "0" * 1_000_000),)) for number in range(1, 21)]
    packing = segment.pack(measurements)
    assert all(packed.unpacked_bytes <= segment.UNPACKED_BYTES for packed in packing.segments)
    assert sum(len(segment.unpack(packed.payload).measurements) for packed in packing.segments) == 20


def test_a_text_that_many_measurements_share_is_not_copied_for_all_at_once() -> None:
    device_id = "d" * 500_000
    measurements = [_measurement(number, device_id=device_id) for number in range(200)]
    tracemalloc.start()
    packing = segment.pack(measurements)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(packed.unpacked_bytes for packed in packing.segments) > 200 * 500_000
    assert peak < 40_000_000


def test_one_measurement_may_be_larger_than_a_segment_of_several() -> None:
    large = _measurement(1, properties=(("v", "0" * 2 * segment.UNPACKED_BYTES),))
    packing = segment.pack([_measurement(0), large])
    assert not packing.too_large
    assert [m for packed in packing.segments for m in segment.unpack(packed.payload).measurements] == [
        _measurement(0),
        large,
    ]


def test_a_measurement_that_unpacks_to_more_than_a_row_may_is_told() -> None:
    huge = _measurement(1, properties=(("v", "0" * segment.MAX_UNPACKED_BYTES),))
    packing = segment.pack([_measurement(0), huge])
    assert packing.too_large == [huge]
    assert [m for packed in packing.segments for m in segment.unpack(packed.payload).measurements] == [_measurement(0)]


def test_a_measurement_that_no_row_holds_is_told_and_its_neighbours_are_packed() -> None:
    large = _measurement(1, properties=(("v", _noise(2_500_000)),))
    packing = segment.pack([_measurement(0), large, _measurement(2)])
    assert packing.too_large == [large]
    assert [m.sequence_number for p in packing.segments for m in segment.unpack(p.payload).measurements] == [0, 2]


def _packed(content: Any) -> bytes:
    return b"\x01" + zlib.compress(orjson.dumps(content))


def _columns(**changes: Any) -> list[Any]:
    columns = {name: [value] for name, value in _measurement(1)._asdict().items()} | changes
    return ["", list(columns.values())]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        b"\x01",
        b"\x01not zlib",
        b"\x01" + zlib.compress(b"not json"),
        b"\x01" + zlib.compress(b"[1]"),
        _packed(None),
        _packed(["", None]),
        _packed(["", []]),
        _packed([None, _columns()[1]]),
        _packed(["", _columns()[1][:-1]]),
        _packed(["", [*_columns()[1][:-1], 5]]),
        _packed(_columns(match=[0, 1])),
        _packed(_columns(type=[1])),
        _packed(_columns(device_id=[None])),
        _packed(_columns(patient_id=[3])),
        _packed(_columns(occurrence_time=["now"])),
        _packed(_columns(occurrence_time=[True])),
        _packed(_columns(occurrence_time=[1.5])),
        _packed(_columns(properties=[None])),
        _packed(_columns(properties=[[1]])),
        _packed(_columns(properties=[["hr"]])),
        _packed(_columns(properties=[[["hr"]]])),
        _packed(_columns(properties=[[["hr", 61]]])),
        _packed(_columns(properties=[[["hr", "61", "x"]]])),
    ],
)
def test_a_damaged_payload_is_refused(payload: bytes) -> None:
    with pytest.raises(BufferCorrupt):
        segment.unpack(payload)


def test_a_truncated_payload_is_refused() -> None:
    [packed] = segment.pack([_measurement(1)]).segments
    for end in range(len(packed.payload)):
        with pytest.raises(BufferCorrupt):
            segment.unpack(packed.payload[:end])


def test_a_payload_of_a_newer_version_waits_for_that_version() -> None:
    with pytest.raises(Unavailable, match="newer version"):
        segment.unpack(b"\x02anything")


_TEXT = b'["",[["hr"],[5],["d"],[null],[null],[null],[[["v","1"]]],[6],["0"],[7],[0],[0]]]'

_OTHER_CONTENT = [
    *(
        _TEXT.replace(b"[5]", b"[%b]" % number)
        for number in (
            b"-0",
            b"00",
            b"+1",
            b"1.0",
            b"1e0",
            b"-0.0",
            b"1e400",
            b"true",
            b"null",
            b'"1"',
            b"NaN",
            b"Infinity",
            b"9223372036854775807",
            b"9223372036854775808",
            b"18446744073709551615",
            b"18446744073709551616",
            b"-9223372036854775808",
            b"-9223372036854775809",
            b"1" * 40,
            b"1" * 5000,
            b"5,",
            b" 5 ",
            b"",
        )
    ),
    *(
        _TEXT.replace(b'"d"', b'"%b"' % text)
        for text in (
            b"\\ud800",
            b"\\udc00",
            b"\\ud83d\\ude00",
            b"\\ud800x",
            b"\\u0000",
            b"\\ufffe",
            b"\\x41",
            b"\\/",
            b"\xff",
            b"\xed\xa0\x80",
            b"\xc0\x80",
            b"\xf4\x90\x80\x80",
            b"\xc3\xa9",
            b"\x00",
            b"\x1f",
            b"\x7f",
        )
    ),
    _TEXT.replace(b'["v","1"]', b'["v","1","x"]'),
    _TEXT.replace(b'["v","1"]', b'["v",{"a":1,"a":2}]'),
    _TEXT.replace(b'["v","1"]', b""),
    _TEXT.replace(b'[["v","1"]]', b"null"),
    _TEXT.replace(b"[null]", b"[true]"),
    _TEXT.replace(b'""', b"5"),
    _TEXT + b"x",
    _TEXT + b" ",
    b"\xef\xbb\xbf" + _TEXT,
    _TEXT[:-1] + b",3]",
    b"[" * 5000,
    b'["",' + b"[" * 100_000 + b"]" * 100_000 + b"]",
    b'["",[[],[],[],[],[],[],[],[],[],[],[],[]]]',
    b'["",[]]',
    b'{"a":1}',
]


def _outcome(content: bytes) -> object:
    try:
        trace_context, measurements = segment.unpack(b"\x01" + zlib.compress(content))
    except BufferCorrupt as refused:
        return refused.message
    # Equal numbers of two types are equal in Python.
    return repr((trace_context, measurements))


def _refuse(content: bytes) -> Any:
    raise ValueError


def _outcomes_of_both(content: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[object, object]:
    typed = _outcome(content)
    with monkeypatch.context() as patch:
        patch.setattr(segment, "_decode", _refuse)
        return typed, _outcome(content)


@pytest.mark.parametrize("content", _OTHER_CONTENT, ids=range(len(_OTHER_CONTENT)))
def test_the_typed_reader_takes_and_refuses_what_the_tolerant_one_does(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed, tolerant = _outcomes_of_both(content, monkeypatch)
    assert typed == tolerant


def test_both_readers_agree_on_damaged_content(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)
    pieces = [b"0", b"-", b".", b"e9", b'"', b"[", b"]", b",", b"null", b"true", b"{", b"}", b"\\", b"\x80", b"9" * 19]
    for _ in range(5000):
        at = chance.randrange(len(_TEXT))
        content = _TEXT[:at] + chance.choice(pieces) + _TEXT[at + chance.randrange(3) :]
        typed, tolerant = _outcomes_of_both(content, monkeypatch)
        assert typed == tolerant, content


def test_the_largest_number_of_64_bits_is_read() -> None:
    content = _TEXT.replace(b"[7]", b"[18446744073709551615]")
    [measurement] = segment.unpack(b"\x01" + zlib.compress(content)).measurements
    assert measurement.sequence_number == 2**64 - 1


def test_good_content_is_read_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[bytes] = []
    monkeypatch.setattr(segment, "_read_tolerantly", passes.append)
    measurements = [_measurement(number) for number in range(100)]
    [packed] = segment.pack(measurements).segments
    assert segment.unpack(packed.payload).measurements == measurements
    assert not passes


def test_a_text_that_repeats_is_one_object() -> None:
    [packed] = segment.pack([_measurement(number) for number in range(100)]).segments
    measurements = segment.unpack(packed.payload).measurements
    assert len({id(each.device_id) for each in measurements}) == 7
    assert len({id(each.type) for each in measurements}) == 1
    assert len({id(name) for each in measurements for name, _ in each.properties}) == 2
