"""What becomes of a batch, against a real Azurite; the mapping is a double where only its answers matter."""

import builtins
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from bench.ingest_memory import MIB, measure
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.errors import (
    CorrelationIdNotDefined,
    DeviceIdentityNotDefined,
    IncompatibleData,
    NotSupported,
    StorageUnavailable,
)
from medtech.group.buffer import TABLE, Buffer
from medtech.ingest.batch import BatchCounts, ErrorKind, process
from medtech.mapping.device import load_device_mapping
from medtech.model import DeviceEvent, Measurement, NormalizationFailure, Normalized
from medtech.normalize.batch import Normalizer
from medtech.settings import Settings
from medtech.storage.connection import Storage
from tests.azurite import Wire, nobody
from tests.faults import ProxiedRequest

_NOON = 637_826_832_000_000_000  # 2022-03-12T12:00:00Z
_NOW = _NOON + ticks.TICKS_PER_MINUTE

# An entity is merged by PATCH, replaced by PUT.
_WRITING = ("PATCH", "PUT", "MERGE")


@dataclass
class Mapping:
    """Bodies say what they become: {"values": [text …], "errors": [[name, template, match] …], "raise": text}; "fault"
    is the name of what is raised, if not LookupError."""

    def normalize(self, event: DeviceEvent) -> Normalized:
        body = json.loads(event.body)
        if "raise" in body:
            raise getattr(builtins, body.get("fault", "LookupError"))(body["raise"])
        return Normalized(
            [
                Measurement(
                    "hr",
                    _NOON,
                    body.get("device", "d"),
                    "patient-of-ours",
                    None,
                    None,
                    (("hr", text),),
                    event.enqueued_time,
                    event.partition,
                    event.sequence_number,
                    0,
                    match,
                )
                for match, text in enumerate(body.get("values", []))
            ],
            [
                NormalizationFailure(_ERRORS[name](f"{name}."), template, match, f"type-{template}")
                for name, template, match in body.get("errors", [])
            ],
        )


_ERRORS: dict[str, type[IncompatibleData]] = {
    kind.__name__: kind for kind in (NotSupported, DeviceIdentityNotDefined, CorrelationIdNotDefined)
}


def _event(number: int, minutes: float = 0, **body: Any) -> DeviceEvent:
    enqueued = _NOON + int(minutes * ticks.TICKS_PER_MINUTE)
    return DeviceEvent(json.dumps(body).encode(), {"p": "q"}, {}, enqueued, "0a1b2c3d", "3", number)


@dataclass
class Room:
    """The stores behind a batch."""

    storage: Storage

    def __post_init__(self) -> None:
        self.buffer = Buffer(self.storage)
        self.dead_letters = DeadLetters(self.storage)

    def process(self, events: Sequence[DeviceEvent], mapping: Normalizer | None = None, **settings: Any) -> BatchCounts:
        return process(events, mapping, self.buffer, self.dead_letters, Settings(**settings), lambda: _NOW)

    def buffered(self) -> list[str]:
        return sorted(
            measurement.properties[0][1]
            for shard in self.buffer.shards()
            for window in self.buffer.due_windows(shard, _NOW + ticks.TICKS_PER_DAY, 300, 0)
            for portion in self.buffer.read(shard, window, 10**9)
            for measurement in portion.measurements()
        )

    def borders(self) -> list[tuple[int, int]]:
        """First and last sequence number in the keys of the rows."""
        rows = self.storage.table(TABLE).query("PartitionKey ne ''", select=["RowKey"])
        return sorted({(int(first), int(last)) for first, last in (row["RowKey"].split("|")[3:5] for row in rows)})

    def letters(self) -> list[tuple[str, int]]:
        return [(summary.error, summary.count) for summary in self.dead_letters.select()]


@pytest.fixture
def room(storage: Storage) -> Room:
    return Room(storage)


def test_measurements_are_stored_when_it_returns(room: Room) -> None:
    counts = room.process([_event(1, values=["61"]), _event(2, values=["62", "63"])], Mapping())
    assert room.buffered() == ["61", "62", "63"]
    assert room.letters() == []
    assert (counts.events, counts.normalized_events, counts.measurements, counts.letters) == (2, 2, 3, 0)
    assert (counts.dropped, counts.rows, counts.errors) == (0, 1, {})


def test_one_table_write_per_window_and_shard(wire: Wire) -> None:
    events = [_event(n, minutes=n % 2 * 5, device=f"device-{n % 50}", values=["61"]) for n in range(500)]
    assert Room(wire.storage).process(events, Mapping(), buffer_shards=4, window_seconds=300).rows == 8
    written = [request.path for request in wire.tables.requests if request.method in _WRITING]
    assert len(written) == len(set(written)) == 8


def test_a_redelivery_changes_nothing(room: Room) -> None:
    events = [_event(1, values=["61"]), _event(2, errors=[["NotSupported", -1, -1]])]
    for _ in range(2):
        room.process(events, Mapping())
    assert room.buffered() == ["61"]
    assert room.letters() == [("NotSupported", 2)]


def test_a_large_batch_is_stored_in_slices(room: Room) -> None:
    """Messages that fill a slice each, then small ones; a redelivery makes the same rows."""
    large = [_event(n, values=[f"{n}{value:012d}" for value in range(5_000)]) for n in range(3)]
    events = [*large, *(_event(n, values=[str(n)]) for n in range(3, 60))]
    for _ in range(2):
        counts = room.process(events, Mapping())
        assert (counts.events, counts.measurements, counts.normalized_events) == (60, 15_057, 60)
        assert room.borders() == [(0, 0), (1, 1), (2, 2), (3, 59)]
        assert len(room.buffered()) == counts.measurements


def test_each_slice_has_its_letters_after_its_rows(wire: Wire) -> None:
    """A letter of a batch that comes again has been written twice: only those of slices that were stored are."""
    values = [f"{value:016d}" for value in range(5_000)]
    events = [_event(n, values=values, errors=[["NotSupported", -1, -1]]) for n in range(2)]
    room = Room(wire.storage)
    wire.tables.answer(503, when=lambda r: r.method in _WRITING and f"%7C{1:019d}%7C{1:019d}" in r.path, times=None)
    with pytest.raises(StorageUnavailable):
        room.process(events, Mapping())
    assert (room.borders(), room.letters()) == ([(0, 0)], [("NotSupported", 1)])


def test_what_ingest_adds_to_the_memory_follows_the_slice(azurite: str, storage: Storage) -> None:
    """10 MiB of bodies; as a whole they would take 75 MiB."""
    measured = measure("500 messages of 20 KB, readings", azurite)
    assert measured.bodies > 9 * MIB
    assert measured.added < 24 * MIB


def test_a_message_whose_measurements_repeat_a_long_text_is_kept(room: Room) -> None:
    counts = room.process([_event(1, device="d" * 500_000, values=["61"] * 9_000), _event(2, values=["62"])], Mapping())
    assert room.letters() == [("MeasurementTooLarge", 1)]
    assert room.buffered() == ["62"]
    assert (counts.letters, counts.measurements) == (1, 1)


def test_a_message_that_fails_does_not_stop_its_neighbours(room: Room) -> None:
    events = [
        _event(1, values=["61"]),
        _event(2, errors=[["NotSupported", -1, -1]]),
        _event(3, values=["63"], errors=[["DeviceIdentityNotDefined", 2, 0]]),
        _event(4, values=["64"]),
    ]
    counts = room.process(events, Mapping())
    assert room.buffered() == ["61", "63", "64"]
    assert room.letters() == [("NotSupported", 1), ("DeviceIdentityNotDefined", 1)]
    assert (counts.normalized_events, counts.letters) == (3, 2)
    assert counts.errors == {
        ErrorKind("NotSupported", "Normalization", "DeviceMessageError", "Error"): 1,
        ErrorKind("DeviceIdentityNotDefined", "Normalization", "DeviceTemplateError", "Critical"): 1,
    }


def test_failures_of_one_event_and_error_share_a_letter(room: Room) -> None:
    failures = [["DeviceIdentityNotDefined", 0, match] for match in range(1000)] + [["CorrelationIdNotDefined", 1, 0]]
    counts = room.process([_event(1, errors=failures)], Mapping())
    assert sorted(room.letters()) == [("CorrelationIdNotDefined", 1), ("DeviceIdentityNotDefined", 1)]
    assert sum(counts.errors.values()) == 1001
    letters = [room.dead_letters.read(s.partition_key, s.row_key) for s in room.dead_letters.select()]
    assert {letter.failures for letter in letters if letter} == {
        (("type-0", "DeviceIdentityNotDefined."),),
        (("type-1", "CorrelationIdNotDefined."),),
    }


def test_the_letter_of_a_message_holds_it_whole(room: Room) -> None:
    event = _event(1, errors=[["NotSupported", -1, -1]])
    room.process([event], Mapping())
    [summary] = room.dead_letters.select()
    letter = room.dead_letters.read(summary.partition_key, summary.row_key)
    assert letter is not None and letter.content == event


def test_without_a_mapping_every_message_is_kept(room: Room) -> None:
    counts = room.process([_event(number, values=["61"]) for number in range(250)], None)
    assert room.letters() == [("TemplateNotFound", 1)] * 250
    assert (counts.letters, counts.measurements, counts.dropped) == (250, 0, 0)


def test_a_message_that_no_template_takes_is_counted(room: Room) -> None:
    counts = room.process([_event(1), _event(2, values=["61"])], Mapping())
    assert (counts.dropped, counts.letters) == (1, 0)
    assert room.letters() == []


def test_a_message_that_no_template_takes_is_kept_if_asked(room: Room) -> None:
    counts = room.process([_event(1), _event(2, values=["61"])], Mapping(), keep_unmatched=True)
    assert (counts.dropped, counts.letters) == (1, 1)
    assert room.letters() == [("NoTemplateMatched", 1)]


def test_a_fault_of_the_app_is_kept_without_what_it_says(room: Room) -> None:
    room.process([_event(1, **{"raise": "a-reading-of-a-patient"}), _event(2, values=["62"])], Mapping())
    [summary] = room.dead_letters.select()
    assert summary.error == "UnexpectedFault"
    assert "LookupError at test_batch.py" in summary.message
    assert "a-reading-of-a-patient" not in summary.message
    assert room.buffered() == ["62"]


@pytest.mark.parametrize(
    ("fault", "letter"),
    [
        ("RecursionError", "UnexpectedFault"),
        ("AssertionError", "UnexpectedFault"),
        ("MemoryError", "PoisonMessage"),
    ],
)
def test_whatever_python_raises_concerns_one_message(room: Room, fault: str, letter: str) -> None:
    events = [_event(n, values=[str(n)]) for n in range(100, 140)]
    events[17] = _event(117, **{"raise": "a-reading-of-a-patient", "fault": fault})
    counts = room.process(events, Mapping())
    assert room.letters() == [(letter, 1)]
    assert room.buffered() == [str(n) for n in range(100, 140) if n != 117]
    assert (counts.events, counts.measurements, counts.letters) == (40, 39, 1)


def test_a_fault_in_packing_concerns_one_message(room: Room) -> None:
    events = [_event(n, values=[str(n)]) for n in range(100, 140)]
    events[39] = _event(139, values=["\ud800"])  # no UTF-8 can carry it
    room.process(events, Mapping())
    assert room.letters() == [("UnexpectedFault", 1)]
    assert room.buffered() == [str(n) for n in range(100, 139)]


def test_a_measurement_that_no_row_holds_is_kept_as_its_message(room: Room) -> None:
    noise = [random.Random(seed).randbytes(800_000).hex() for seed in range(2)]
    event = _event(2, values=[noise[0], "62", noise[1]])
    counts = room.process([_event(1, values=["61"]), event], Mapping())
    assert room.buffered() == ["61", "62"]
    [summary] = room.dead_letters.select()
    assert summary.error == "MeasurementTooLarge"
    letter = room.dead_letters.read(summary.partition_key, summary.row_key)
    assert letter is not None and letter.content == event
    assert [failed.type for failed in letter.failures] == ["hr"]
    assert (counts.measurements, counts.letters) == (2, 1)


def test_what_storage_takes_only_in_small_rows_is_stored_and_the_rest_is_kept(wire: Wire) -> None:
    """A gateway before it has a bound of its own."""
    wire.tables.refuse_over(20_000, 413)
    noise = random.Random(1)
    small = [noise.randbytes(500).hex() for _ in range(60)]
    large = _event(61, values=[noise.randbytes(20_000).hex()])
    events = [_event(n, device=f"device-{n}", values=[text]) for n, text in enumerate(small)] + [large]
    room = Room(wire.storage)
    for deliveries in (1, 2):
        counts = room.process(events, Mapping())
        assert room.buffered() == sorted(small)
        assert room.letters() == [("MeasurementTooLarge", deliveries)]
        assert (counts.measurements, counts.letters) == (60, 1)


def test_a_refusal_that_is_not_about_size_leaves_the_batch_in_the_hub(wire: Wire) -> None:
    room = Room(wire.storage)
    wire.tables.answer(400, b"{}", when=lambda request: request.method in _WRITING, times=None)
    with pytest.raises(StorageUnavailable, match="refuses"):
        room.process([_event(1, values=["61"])], Mapping())
    assert room.letters() == []


_TEMPLATES = [
    {
        "templateType": "CalculatedContent",
        "template": {
            "typeName": name,
            "typeMatchExpression": f"$..[?(@{name})]",
            "deviceIdExpression": "$.matchedToken.device",
            "timestampExpression": "$.matchedToken.time",
            "values": [
                {"valueName": name, "valueExpression": f"$.matchedToken.{name}", "required": True},
                {"valueName": "unit", "valueExpression": f"$.matchedToken.{name}Unit", "required": True},
            ],
        },
    }
    for name in ("pulse", "glucose", "weight")
]


def test_the_order_of_the_templates_doubles_no_letter(room: Room) -> None:
    """An event's letters; those of measurements are told apart by what they say."""
    reading = {"device": "d", "time": "2022-03-12T12:00:00Z", "pulse": 61, "glucose": 5, "weight": 70}
    events = [_event(1, **reading, weightUnit="kg"), _event(2, **reading)]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        templates = [_TEMPLATES[index] for index in order]
        mapping = load_device_mapping(json.dumps({"templateType": "CollectionContent", "template": templates}))
        room.process(events, mapping)
    assert room.letters() == [("IncompatibleData", 3)] * 2
    read = [room.dead_letters.read(s.partition_key, s.row_key) for s in room.dead_letters.select()]
    assert [sorted(failed.type or "" for failed in letter.failures) for letter in read if letter] == [
        ["glucose", "pulse"],
        ["glucose", "pulse", "weight"],
    ]
    for letter in read:
        assert letter is not None
        assert all(f"('{failed.type}'), 'unit': no value" in failed.message for failed in letter.failures)


def test_storage_that_is_away_raises_so_that_the_hub_delivers_again(room: Room) -> None:
    away = Room(nobody())
    events = [_event(n, device=f"device-{n}", values=[str(n)], errors=[["NotSupported", -1, -1]]) for n in range(9)]
    with pytest.raises(StorageUnavailable):
        away.process(events, Mapping())
    room.process(events, Mapping())
    assert room.buffered() == [str(n) for n in range(9)]
    assert len(room.letters()) == 9


def test_a_failure_half_way_is_made_whole_by_the_redelivery(wire: Wire) -> None:
    room = Room(wire.storage)
    events = [_event(n, device=f"device-{n % 8}", values=[str(n)], errors=[["NotSupported", -1, -1]]) for n in range(9)]

    def goes_to_shard_two(request: ProxiedRequest) -> bool:
        return request.method in _WRITING and "002%7C" in request.path

    wire.tables.answer(503, when=goes_to_shard_two, times=None)
    with pytest.raises(StorageUnavailable):
        room.process(events, Mapping())
    assert any(map(goes_to_shard_two, wire.tables.requests))
    assert room.letters() == []
    wire.tables.clear()
    room.process(events, Mapping())
    assert room.buffered() == [str(n) for n in range(9)]
    assert room.letters() == [("NotSupported", 1)] * 9


def test_nothing_of_a_message_is_logged(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        room.process([_event(1, values=["61.4242"]), _event(2, errors=[["NotSupported", -1, -1]])], Mapping())
    assert "patient-of-ours" not in caplog.text
    assert "61.4242" not in caplog.text
