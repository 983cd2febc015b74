"""A record of a Capture file becomes the device event that the trigger makes of the same event."""

import base64
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from medtech.dotnet import ticks
from medtech.model import DeviceEvent

_ENQUEUED = "x-opt-enqueued-time"
_TIME = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d{2}):(\d{2}) (AM|PM)", re.ASCII)
"""`2/29/2024 10:00:00 AM`: a .NET DateTime as text, of the invariant culture."""
_TIMES_OF_IOT_HUB = ("iothub-enqueuedtime", "iothub-creation-time-utc")
_OFFSET = re.compile("[0-9]{1,19}")
_MAX_NUMBER = (1 << 63) - 1


class RecordInvalid(Exception):
    """A record is no event; the text names the field, and quotes nothing of it."""


def device_event(record: Mapping[str, Any], hub: str, partition: str) -> DeviceEvent:
    """`hub` is that of `hub_name`. Raises RecordInvalid.

    Capture writes the enqueued time to the second as text and, since 2021, to the millisecond among the system
    properties, as the hub has it. The trigger gives the second one, and names besides the properties of AMQP those of
    its own; both are made here, so that a mapping finds what it finds in an event of the hub.
    """
    number: int = record["SequenceNumber"]
    if not 0 <= number <= _MAX_NUMBER:
        raise RecordInvalid("its SequenceNumber is negative")
    system = {name: _value(value) for name, value in record["SystemProperties"].items()}
    enqueued = _enqueued_time(record["EnqueuedTimeUtc"], system.get(_ENQUEUED))
    moment = datetime.min + timedelta(microseconds=enqueued // ticks.TICKS_PER_MICROSECOND)
    milliseconds = f".{moment.microsecond // 1000:03d}".rstrip("0") if moment.microsecond >= 1000 else ""
    text = f"{moment:%Y-%m-%dT%H:%M:%S}{milliseconds}"
    for name in _TIMES_OF_IOT_HUB:
        if isinstance(system.get(name), str) and (written := _read_time(system[name])) is not None:
            system[name] = f"{written:%Y-%m-%dT%H:%M:%S}Z"
    text_of_offset = record.get("Offset")
    is_number = isinstance(text_of_offset, str) and _OFFSET.fullmatch(text_of_offset) is not None
    offset = int(str(text_of_offset)) if is_number else text_of_offset
    system = {"x-opt-sequence-number-epoch": -1} | system
    system |= {
        _ENQUEUED: f"{text}+00:00",
        "x-opt-sequence-number": number,
        "x-opt-offset": offset,
        "SequenceNumber": number,
        "Offset": offset,
        "OffsetString": text_of_offset,
        "PartitionKey": system.get("x-opt-partition-key"),
        "EnqueuedTimeUtc": text,
    }
    properties = {name: _value(value) for name, value in record["Properties"].items()}
    return DeviceEvent(record["Body"] or b"", properties, system, enqueued, hub, partition, number)


def _enqueued_time(text: str, milliseconds: Any) -> int:
    """In ticks."""
    try:
        time = ticks.from_datetime(_read_time(text) or datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise RecordInvalid(
            "its EnqueuedTimeUtc is no time as Capture writes it (2/29/2024 10:00:00 AM, UTC)"
        ) from None
    if type(milliseconds) is int:
        exact = ticks.UNIX_EPOCH + milliseconds * ticks.TICKS_PER_MILLISECOND
        # Of any other second it is not the time that the text is of.
        if time == ticks.floor(exact, ticks.TICKS_PER_SECOND):
            return exact
    return time


def _read_time(text: str) -> datetime | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    month, day, year, hour, minute, second = map(int, found.groups()[:6])
    try:
        if not 1 <= hour <= 12:
            raise ValueError
        return datetime(year, month, day, hour % 12 + (12 if found[7] == "PM" else 0), minute, second)
    except ValueError:
        return None


def _value(value: Any) -> Any:
    """As the trigger's JSON has it: bytes are base64."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
