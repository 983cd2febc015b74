"""Letters: their keys, and what is packed comes back."""

import json
import zlib
from typing import Any

import pytest

from medtech.dead_letter import letter as letters
from medtech.dead_letter.letter import Kind, Letter
from medtech.errors import BufferCorrupt, MedTechError, NotSupported, ReadingInvalid, ResourceRefused
from medtech.model import DeviceEvent, Measurement, NormalizationFailure
from medtech.normalize.batch import failure_of_event

_NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z
_EVENT = DeviceEvent(
    b'{"a":\n\xff\x00', {"p": "\ud800", "n": 2**70, "x": None}, {"iothub-a": "b"}, _NOON, "0a1b2c3d", "3", 17
)
_MEASUREMENT = Measurement(
    "hr", _NOON, "device", "patient", None, None, (("hr", "61"), ("u", "1/min")), _NOON + 1, "3", 17, 2, 5
)


def _entity(letter: Letter) -> dict[str, Any]:
    return {
        "PartitionKey": letter.partition_key,
        "RowKey": letter.row_key,
        **{name: getattr(letter, name) for name in ("kind", "error", "stage", "type", "severity", "message", "hub")},
    }


def _back(letter: Letter) -> Letter:
    return letters.unpack(_entity(letter), letters.pack(letter))


def _of_event(error: MedTechError) -> Letter:
    return letters.of_event(_EVENT, [failure_of_event(error)])


def test_the_keys_of_an_event() -> None:
    letter = _of_event(NotSupported("No JSON."))
    assert letter.partition_key == "20220312|0a1b2c3d|0003"
    assert letter.row_key == "0000000000000000017|0637826832000000000|Normalization|NotSupported"


def test_the_keys_of_a_measurement() -> None:
    letter = letters.of_measurement(_MEASUREMENT, "0a1b2c3d", ReadingInvalid("No number."))
    assert letter.partition_key == "20220312|0a1b2c3d|0003"
    assert letter.row_key == (
        "0000000000000000017|0637826832000000001|FHIRConversion|ReadingInvalid|275d44a7d92e31b20547dfcf032ca47d"
    )


@pytest.mark.parametrize("field", Measurement._fields)
def test_the_key_of_a_measurement_depends_on_all_but_its_place_in_mapping_and_message(field: str) -> None:
    changed = _MEASUREMENT._replace(**{field: 9 if isinstance(getattr(_MEASUREMENT, field), int) else "9"})
    one, other = (letters.of_measurement(each, "0a1b2c3d", ReadingInvalid("No.")) for each in (_MEASUREMENT, changed))
    assert (one.row_key == other.row_key) == (field in ("template", "match"))


def test_a_letter_names_each_failed_type_with_its_message_once() -> None:
    failures = [
        NormalizationFailure(NotSupported(f"No {name}."), template, match, name)
        for template, name in enumerate(("hr", "spo2"))
        for match in range(3)
    ]
    letter = letters.of_event(_EVENT, failures)
    assert letter.failures == (("hr", "No hr."), ("spo2", "No spo2."))
    assert _back(letter) == letter
    assert letters.of_event(_EVENT, failures[::-1]).row_key == letter.row_key


def test_what_a_message_quotes_is_bounded() -> None:
    error = ResourceRefused("é" * 8_000, outcome="é" * 1_000_000)
    for letter in (_of_event(error), letters.of_measurement(_MEASUREMENT, "0a1b2c3d", error)):
        assert letter.message == "é" * 2_000 + "…"
        assert letter.outcome == "é" * 64_000 + "…"
        assert {len(failed.message) for failed in letter.failures} <= {2_001}


@pytest.mark.parametrize(
    "letter",
    [
        _of_event(NotSupported("No JSON.")),
        letters.of_measurement(_MEASUREMENT, "0a1b2c3d", ResourceRefused("Refused.", outcome='{"issue": []}')),
        letters.of_row("001|20220312120000", "e|1", "0a1b2c3d", _NOON, b"\x01dam\naged", BufferCorrupt("Damaged.")),
    ],
    ids=lambda letter: letter.kind,
)
def test_what_is_packed_comes_back(letter: Letter) -> None:
    assert _back(letter) == letter


def test_a_row_has_a_letter_of_its_own() -> None:
    error = BufferCorrupt("Damaged.")
    first = letters.of_row("001|20220312120000", "e|1", "0a1b2c3d", _NOON, b"", error)
    second = letters.of_row("002|20220312120000", "e|1", "0a1b2c3d", _NOON, b"", error)
    assert first.kind is Kind.ROW and first.row_key != second.row_key


def test_the_format_is_pinned() -> None:
    # What an earlier version wrote has to be readable for as long as letters are kept.
    letter = _of_event(NotSupported("No JSON."))
    event = {
        "properties": {"p": "\ud800", "n": 2**70, "x": None},
        "system_properties": {"iothub-a": "b"},
        "enqueued_time": _NOON,
        "partition": "3",
        "sequence_number": 17,
    }
    failures = {"failures": [[None, "No JSON."]]}
    # Earlier versions had the numbers of templates and matches instead.
    for details in (failures, {"places": [[-1, -1]]}):
        header = {"outcome": None, **details, "event": event}
        payload = b"\x01" + zlib.compress(json.dumps(header).encode() + b"\n" + b'{"a":\n\xff\x00')
        assert letters.unpack(_entity(letter), payload) == letter


def test_the_key_of_a_foreign_row_is_bounded() -> None:
    first, second = (
        letters.of_row("001|20220312120000", "x" * 500 + end, "0a1b2c3d", _NOON, b"", BufferCorrupt("Damaged."))
        for end in "ab"
    )
    assert len(first.row_key) < 256 and first.row_key != second.row_key


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x01no zlib", b"\x01" + zlib.compress(b"no json")])
def test_a_damaged_letter_is_refused(payload: bytes) -> None:
    with pytest.raises(BufferCorrupt):
        letters.unpack({}, payload)


def test_a_letter_of_a_newer_version_says_so() -> None:
    with pytest.raises(BufferCorrupt, match="version 2; this app reads up to version 1"):
        letters.unpack({}, b"\x02anything")


@pytest.mark.parametrize(
    "error", [kind for kind in MedTechError.__subclasses__() if kind.__init__ is MedTechError.__init__]
)
def test_every_key_is_one_that_table_storage_takes(error: type[MedTechError]) -> None:
    letter = _of_event(error("Some reason."))
    assert not set(letter.partition_key + letter.row_key) & set("/\\#?")
