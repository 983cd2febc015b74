"""What the trigger hands over, read from events that Microsoft's converter made."""

from collections.abc import Callable
from typing import Any

import azure.functions as func
import pytest

from medtech.dotnet import ticks
from medtech.errors import Unavailable
from medtech.ingest.events import hub_name, read_events
from tests.ingest.delivery import Sent, deferring, deliver, untouched


@pytest.mark.parametrize("decode", [deferring, untouched])
def test_an_event_has_its_body_metadata_and_place(decode: Callable[..., Any]) -> None:
    sent = Sent(
        b'\xff{"a": 1}',
        17,
        "2022-03-12T12:00:00.123",
        {"application": "property", "number": 5},
        {"iothub-connection-device-id": "device-1"},
    )
    [event] = read_events(deliver([sent], partition="12", decode=decode))
    assert event.body == b'\xff{"a": 1}'
    assert event.properties == {"application": "property", "number": 5}
    assert event.system_properties["iothub-connection-device-id"] == "device-1"
    assert ticks.format_iso(event.enqueued_time) == "2022-03-12T12:00:00.1230000Z"
    assert (event.partition, event.sequence_number) == ("12", 17)


def test_events_keep_their_order_and_their_own_metadata() -> None:
    events = read_events(deliver([Sent(b"", n, properties={"n": n}) for n in (5, 6, 9)]))
    assert [(event.sequence_number, event.properties["n"]) for event in events] == [(5, 5), (6, 6), (9, 9)]


def test_the_metadata_of_decoded_events_is_read_once_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    events = deliver([Sent(b"", n) for n in range(50)], decode=untouched)
    read: list[func.EventHubEvent] = []
    metadata = func.EventHubEvent.metadata.fget
    assert metadata is not None

    def counted(event: func.EventHubEvent) -> object:
        read.append(event)
        return metadata(event)

    monkeypatch.setattr(func.EventHubEvent, "metadata", property(counted))
    assert len(read_events(events)) == 50
    assert len(read) == 1


def test_a_time_without_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    [naive, aware] = read_events(deliver([Sent(b"", 1, "2022-03-12T12:00:00"), Sent(b"", 2, "2022-03-12T12:00:00Z")]))
    assert naive.enqueued_time == aware.enqueued_time


def test_properties_that_are_null_are_none() -> None:
    [event] = read_events(deliver([Sent(b"", 1)], PropertiesArray=[None]))
    assert event.properties == {}


def test_the_hub_tells_namespace_hub_and_consumer_group_apart() -> None:
    names = [
        hub_name("n", "h", "$Default"),
        hub_name("n", "h", "other"),
        hub_name("n", "i", "$Default"),
        hub_name("m", "h", "$Default"),
    ]
    assert len(set(names)) == 4
    assert hub_name("n", "h", "$Default") == hub_name("N", "H", "$default")
    assert all(len(name) == 8 and int(name, 16) >= 0 for name in names)


def test_the_hub_of_a_batch_is_pinned() -> None:
    # It is part of the keys of rows and letters, which outlive the version that wrote them.
    [event] = read_events(deliver([Sent(b"", 1)]))
    assert event.hub == hub_name("namespace.servicebus.windows.net", "devicedata", "$Default") == "2026ad72"


def test_no_events_are_none() -> None:
    assert read_events([]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"PartitionContext": None},
        {"PartitionContext": {}},
        {"PartitionContext": "3"},
        {"PartitionContext": [{"PartitionId": "3"}]},
        {"PropertiesArray": None},
        {"PropertiesArray": [{}, {}]},
        {"PropertiesArray": "{}"},
        {"PropertiesArray": ["text"]},
        {"PropertiesArray": [[1]]},
        {"PropertiesArray": [True]},
    ],
)
def test_metadata_that_does_not_fit_makes_the_events_wait(changes: dict[str, object]) -> None:
    with pytest.raises(Unavailable, match=r"host\.json"):
        read_events(deliver([Sent(b"", 1)], **changes))


def test_an_event_without_enqueued_time_waits() -> None:
    with pytest.raises(Unavailable):
        read_events(deliver([Sent(b"", 1)], SystemPropertiesArray=[{"SequenceNumber": 1}]))
