"""A captured event is the one that the trigger gives."""

from datetime import UTC, datetime
from typing import Any

import pytest

from dev.event_listener import _enqueued_time, _system_properties
from dev.hub import StoredEvent
from medtech.backfill.captured_event import RecordInvalid, device_event
from medtech.dotnet import ticks
from medtech.model import DeviceEvent

TIME = datetime(2021, 11, 5, 13, 25, 22, 484_000, tzinfo=UTC)
RECORD = {
    "SequenceNumber": 7,
    "Offset": "4295015048",
    "EnqueuedTimeUtc": "11/5/2021 1:25:22 PM",
    "SystemProperties": {"x-opt-enqueued-time": 1636118722484, "x-opt-partition-key": "d1"},
    "Properties": {"unit": "icu", "bytes": b"\x00\xff"},
    "Body": b"{}",
}


def made(**changes: Any) -> DeviceEvent:
    return device_event(RECORD | changes, "0a1b2c3d", "3")


def test_it_is_the_event_of_the_trigger() -> None:
    stored = StoredEvent(b"{}", {}, {}, "d1", 7, "4295015048", TIME)
    system = _system_properties(stored, _enqueued_time(stored))
    expected = DeviceEvent(
        b"{}", {"unit": "icu", "bytes": "AP8="}, system, ticks.from_datetime(TIME), "0a1b2c3d", "3", 7
    )
    assert made() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("11/5/2021 1:25:22 PM", "2021-11-05T13:25:22"),
        ("2/29/2024 12:00:00 AM", "2024-02-29T00:00:00"),
        ("2/29/2024 12:59:59 PM", "2024-02-29T12:59:59"),
        ("2021-11-05T13:25:22.4840000Z", "2021-11-05T13:25:22.484"),
    ],
)
def test_files_of_earlier_years_have_the_time_as_text_alone(text: str, expected: str) -> None:
    event = made(EnqueuedTimeUtc=text, SystemProperties={})
    assert event.system_properties["EnqueuedTimeUtc"] == expected
    assert event.enqueued_time == ticks.from_datetime(datetime.fromisoformat(expected))


def test_milliseconds_of_another_second_are_not_believed() -> None:
    event = made(SystemProperties={"x-opt-enqueued-time": 1})
    assert event.system_properties["EnqueuedTimeUtc"] == "2021-11-05T13:25:22"


def test_times_of_iot_hub_are_as_the_trigger_writes_them() -> None:
    system = {"iothub-enqueuedtime": "11/5/2021 1:25:20 PM", "iothub-connection-device-id": "d1"}
    found = made(SystemProperties=system).system_properties
    assert (found["iothub-enqueuedtime"], found["iothub-connection-device-id"]) == ("2021-11-05T13:25:20Z", "d1")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SequenceNumber": -1}, "SequenceNumber"),
        ({"EnqueuedTimeUtc": "29.02.2024 10:00:00"}, "EnqueuedTimeUtc"),
        ({"EnqueuedTimeUtc": "13/1/2024 10:00:00 AM"}, "EnqueuedTimeUtc"),
        ({"EnqueuedTimeUtc": "1/1/2024 13:00:00 PM"}, "EnqueuedTimeUtc"),
        ({"EnqueuedTimeUtc": ""}, "EnqueuedTimeUtc"),
        ({"EnqueuedTimeUtc": "0001-01-01T00:00:00+10:00"}, "EnqueuedTimeUtc"),
    ],
)
def test_what_is_no_event_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordInvalid, match=said):
        made(**changes)


def test_a_message_without_a_body_has_an_empty_one() -> None:
    assert made(Body=None).body == b""
