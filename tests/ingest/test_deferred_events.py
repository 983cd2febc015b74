"""The trigger's converter with its events deferred, against the same converter as the library has it."""

import copy
import json
import logging
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import azure.functions as func
import pytest
from azure.functions.meta import Datum
from hypothesis import given
from hypothesis import strategies as st

from medtech.errors import Unavailable
from medtech.ingest.deferred_events import DeferredEvents, defer_decoding
from medtech.ingest.events import read_events
from tests.ingest.delivery import Sent, datums, deferred, deferring, deliver, untouched

USUAL_TIMES = [
    "2022-03-12T12:00:00",
    "2022-03-12T12:00:00.1",
    "2022-03-12T12:00:00.123",
    "2022-03-12T23:59:59.9999999",
    "2022-03-12T12:00:00.123456789012",
    "2022-03-12T12:00:00Z",
    "2022-03-12T12:00:00.1234567Z",
    "2022-03-12T12:00:00+00:00",
    "2022-03-12T12:00:00.12-00:00",
    "0001-01-01T00:00:00",
    "9999-12-31T23:59:59.9999999",
    "2024-02-29T00:00:00",
]

UNUSUAL_TIMES: list[Any] = [
    None,
    "",
    " ",
    "2022-03-12",
    "2022-03-12T12:00",
    "2022-03-12 12:00:00",
    "2022-03-12t12:00:00",
    "2022-03-12T12:00:00z",
    "2022-03-12T12:00:00 ",
    "2022-03-12T12:00:00\n",
    "2022-03-12T12:00:00\n2022-03-12T12:00:00",
    "2022-03-12T12:00:00.",
    "2022-03-12T12:00:00,5",
    "2022-03-12T12:00:00+01:00",
    "2022-03-12T12:00:00.1234567+01:00",
    "2022-03-12T12:00:00.1234567+0:0",
    "2022-03-12T12:00:00+0000",
    "2022-03-12T24:00:00",
    "2022-03-12T12:00:60",
    "2022-03-12T12:00:61",
    "2022-02-29T12:00:00",
    "2022-13-12T12:00:00",
    "0000-01-01T00:00:00",
    "2022-3-12T1:00:00",
    "20220312T120000",
    "2022-W10-6T12:00:00",
    "03/12/2022 12:00:00Z",
    "03/12/2022T12:00:00",
    "２０２２-03-12T12:00:00",
    "2022-03-12T12:00:00.１２３",
    1_647_086_400,
    {"time": "2022-03-12T12:00:00"},
    ["2022-03-12T12:00:00"],
    True,
]

PLACES = "SystemPropertiesArray"

PLACE = {"SequenceNumber": 5, "Offset": 320, "PartitionKey": None, "EnqueuedTimeUtc": "2022-03-12T12:00:00.123"}


class WorkerDatum(Datum):
    """As the worker's own: metadata is read by the standard library."""

    @property
    def python_value(self) -> Any:
        return json.loads(self.value)


def public(event: func.EventHubEvent) -> tuple[Any, ...]:
    return (
        event.get_body(),
        event.enqueued_time,
        event.sequence_number,
        event.offset,
        event.partition_key,
        event.iothub_metadata,
        event.metadata,
        type(event),
    )


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or what it raises and says."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - whatever one converter raises, the other must
        return type(error), str(error)


def batch(decode: Callable[..., Any], *places: Any, **changes: Any) -> list[func.EventHubEvent]:
    messages = [Sent(b"body %d" % number, number) for number in range(len(places))]
    return deliver(messages, decode=decode, **{PLACES: list(places), **changes})


def same(*places: Any, **changes: Any) -> None:
    """Both ways give the same events or the same error, and ingest reads the same from them."""
    assert outcome(lambda: [public(each) for each in batch(deferring, *places, **changes)]) == outcome(
        lambda: [public(each) for each in batch(untouched, *places, **changes)]
    )
    assert repr(outcome(lambda: read_events(batch(deferring, *places, **changes)))) == repr(
        outcome(lambda: read_events(batch(untouched, *places, **changes)))
    )


@pytest.mark.parametrize("time", USUAL_TIMES)
def test_a_usual_time_is_read_as_the_converter_reads_it(time: str) -> None:
    assert isinstance(batch(deferring, PLACE | {"EnqueuedTimeUtc": time}), DeferredEvents)
    same(PLACE, PLACE | {"EnqueuedTimeUtc": time}, PLACE)


@pytest.mark.parametrize("time", UNUSUAL_TIMES, ids=repr)
def test_an_unusual_time_is_left_to_the_converter(time: Any) -> None:
    assert not isinstance(outcome(lambda: batch(deferring, PLACE, PLACE | {"EnqueuedTimeUtc": time})), DeferredEvents)
    same(PLACE, PLACE | {"EnqueuedTimeUtc": time})
    same(PLACE | {"EnqueuedTimeUtc": time})


@pytest.mark.parametrize(
    "changes",
    [
        {"SequenceNumber": None},
        {"SequenceNumber": "17"},
        {"SequenceNumber": "x"},
        {"SequenceNumber": 1.5},
        {"SequenceNumber": True},
        {"SequenceNumber": 2**63 - 1},
        {"SequenceNumber": 2**70},
        {"Offset": None},
        {"Offset": "8589934592"},
        {"Offset": "3:8589934592"},
        {"Offset": ""},
        {"Offset": " 5"},
        {"Offset": "9" * 5000},
        {"Offset": [1]},
        {"Offset": 2**70},
        {"PartitionKey": "key"},
        {"PartitionKey": 5},
        {"PartitionKey": ["a"]},
        {"PartitionKey": {"a": 1}},
        {"iothub-connection-device-id": "device-1", "iothub-enqueuedtime": None},
        {"x-opt-custom": {"a": [1, 2.5, None]}},
    ],
    ids=repr,
)
def test_whatever_a_place_holds_both_ways_are_the_same(changes: dict[str, Any]) -> None:
    same(PLACE | changes)
    same(PLACE, PLACE | changes)


_anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())
_times = (
    st.sampled_from(USUAL_TIMES + UNUSUAL_TIMES)
    | st.datetimes().map(lambda time: time.isoformat())
    | st.from_regex(
        r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,9})?(Z|[+-]0[01]:00)?",
        fullmatch=True,
    )
)
_places = st.fixed_dictionaries(
    {"EnqueuedTimeUtc": _times, "SequenceNumber": st.integers(0, 2**63) | _anything},
    optional={"Offset": _anything, "PartitionKey": _anything, "iothub-x": _anything},
)


@given(st.lists(_places | _anything, max_size=3))
def test_both_ways_are_the_same(places: list[Any]) -> None:
    same(*places)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "5",
        "{}",
        "[]",
        '["EnqueuedTimeUtc"]',
        "[{}]",
        '[{"SequenceNumber": 1, "EnqueuedTimeUtc": "2022-03-12T12:00:00", "x": NaN}]',
        '[{"SequenceNumber": 1, "EnqueuedTimeUtc": "2022-03-12T12:00:00", "x": "\\ud800"}]',
        '[{"SequenceNumber": 1, "EnqueuedTimeUtc": "2022-03-12T12:00:00", "x": 99999999999999999999}]',
        '[{"SequenceNumber": 99999999999999999999, "EnqueuedTimeUtc": "2022-03-12T12:00:00"}]',
        '[{"SequenceNumber": 1, "EnqueuedTimeUtc": "2022-03-12T12:00:00"}, {}]',
    ],
)
def test_whatever_the_metadata_is_both_ways_are_the_same(text: str) -> None:
    def events(decode: Callable[..., Any]) -> list[func.EventHubEvent]:
        data, metadata = datums([Sent(b"", 1)])
        made: list[func.EventHubEvent] = decode(data, trigger_metadata=metadata | {PLACES: WorkerDatum(text, "json")})
        return made

    def seen(decode: Callable[..., Any]) -> list[Any]:
        return [public(event) for event in events(decode)]

    assert repr(outcome(lambda: seen(deferring))) == repr(outcome(lambda: seen(untouched)))
    assert repr(outcome(lambda: read_events(events(deferring)))) == repr(
        outcome(lambda: read_events(events(untouched)))
    )


@pytest.mark.parametrize(
    "text",
    [
        '[{"count": 99999999999999999999, "id": "1234567890123456789"}]',
        '[{"half": "\\ud800", "none": NaN}]',
        '[{"count": -9223372036854775809}]',
        '[{"ratio": 0.1234567890123456789, "small": 1e-7, "text": "\\u00e9"}]',
    ],
)
def test_properties_are_what_the_workers_json_reads(text: str) -> None:
    data, metadata = datums([Sent(b"", 1)])
    changed = metadata | {"PropertiesArray": WorkerDatum(text, "json")}
    [event] = read_events(deferring(data, trigger_metadata=changed))
    assert repr(event.properties) == repr(json.loads(text)[0])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("collection_string", SimpleNamespace(string=["body"])),
        ("json", '["body"]'),
        ("string", "b"),
        ("bytes", b"b"),
        ("model_binding_data", b"b"),
    ],
)
def test_other_kinds_of_data_are_left_to_the_converter(kind: str, value: Any) -> None:
    _, metadata = datums([Sent(b"body", 1)])
    datum = Datum(value, kind)

    def seen(decode: Callable[..., Any]) -> Any:
        events = decode(datum, trigger_metadata=metadata)
        assert not isinstance(events, DeferredEvents)
        return [public(each) for each in events]

    assert outcome(lambda: seen(deferring)) == outcome(lambda: seen(untouched))


def test_a_single_event_is_left_to_the_converter() -> None:
    metadata = {
        "SystemProperties": Datum("{}", "json"),
        "EnqueuedTimeUtc": Datum('"2022-03-12T12:00:00"', "json"),
        "SequenceNumber": Datum("5", "json"),
    }
    event = deferring(Datum(b"body", "bytes"), trigger_metadata=metadata)
    assert type(event) is func.EventHubEvent
    assert public(event) == public(untouched(Datum(b"body", "bytes"), trigger_metadata=metadata))


@pytest.mark.parametrize(
    "look",
    [
        lambda event: event.get_body(),
        lambda event: event.metadata,
        lambda event: event.partition_key,
        lambda event: event.enqueued_time,
        lambda event: copy.copy(event).sequence_number,
        lambda event: repr(event).partition(" at ")[0],
    ],
)
def test_an_event_is_the_converters_at_the_first_look(look: Callable[[Any], Any]) -> None:
    events, expected = batch(deferring, PLACE, PLACE), batch(untouched, PLACE, PLACE)
    assert isinstance(events, list) and isinstance(events[1], func.EventHubEvent)
    assert look(events[1]) == look(expected[1])
    assert public(events[1]) == public(expected[1])
    with pytest.raises(AttributeError):
        events[0].nothing_of_the_kind  # type: ignore[attr-defined]  # noqa: B018


def test_what_was_set_on_an_event_stays() -> None:
    events: list[Any] = batch(deferring, PLACE, PLACE)
    events[1].attempt = 2
    assert (events[1].sequence_number, events[1].attempt) == (5, 2)


def test_another_thread_may_look_meanwhile() -> None:
    seen: list[Any] = []

    class Watched(func.EventHubEvent):
        @property
        def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
            """Asked for while the event takes over what it has."""
            if not seen:
                seen.append(None)
                thread = threading.Thread(target=lambda: seen.append(event.sequence_number))
                thread.start()
                thread.join()
            return {"_EventHubEvent__sequence_number": 5, "_EventHubEvent__trigger_metadata": None}

    def watched(data: Datum, *, trigger_metadata: dict[str, Datum]) -> Any:
        made = untouched(data, trigger_metadata=trigger_metadata)
        return [Watched(body=b"") for _ in made] if started else made

    started: list[bool] = []
    decode = deferred(watched)
    started.append(True)
    event = batch(decode, PLACE)[0]
    assert event.sequence_number == 5
    assert seen == [None, 5]


def test_ingest_decodes_no_event() -> None:
    decoded: list[str] = []

    def counted(data: Datum, *, trigger_metadata: dict[str, Datum]) -> Any:
        decoded.append(data.value.bytes)
        return untouched(data, trigger_metadata=trigger_metadata)

    decode = deferred(counted)
    decoded.clear()
    events = batch(decode, *[PLACE] * 50)
    assert len(read_events(events)) == 50
    assert decoded == []
    assert [event.sequence_number for event in events] == [5] * 50
    assert len(decoded) == 1, "the whole batch at once"


def test_the_app_has_its_converter_deferred() -> None:
    import function_app  # noqa: F401

    converter = func.get_binding_registry().get("eventHubTrigger")  # type: ignore[no-untyped-call]
    data, metadata = datums([Sent(b"", 1)])
    assert isinstance(converter.decode(data, trigger_metadata=metadata), DeferredEvents)


class Slotted:
    """An event of a library that has changed."""

    __slots__ = ("enqueued_time", "metadata", "sequence_number")

    def get_body(self) -> bytes:
        return b"body"


@pytest.mark.parametrize(
    "converter",
    [
        None,
        SimpleNamespace(decode=None),
        SimpleNamespace(decode=lambda data, trigger_metadata: data.value.bytes),
        SimpleNamespace(decode=lambda data, trigger_metadata: [Slotted()]),
        SimpleNamespace(decode=lambda data, trigger_metadata: []),
        SimpleNamespace(decode=lambda data, trigger_metadata: [func.EventHubEvent(body=b"body", sequence_number=8)]),
        SimpleNamespace(decode=lambda data: []),
    ],
)
def test_a_changed_library_is_left_alone_and_told(
    converter: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = SimpleNamespace(get=lambda name: converter)
    monkeypatch.setattr(func, "get_binding_registry", lambda: registry)
    before = getattr(converter, "decode", None)
    with caplog.at_level(logging.WARNING):
        defer_decoding()
    assert getattr(converter, "decode", None) is before
    assert "requirements.txt" in caplog.text


def test_a_batch_without_a_time_waits_as_it_did() -> None:
    with pytest.raises(Unavailable):
        read_events(batch(deferring, PLACE | {"EnqueuedTimeUtc": None}))
