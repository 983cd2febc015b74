"""A dead letter: what could not be processed, with its reason and origin, complete enough to be replayed.

Its keys are made of the origin and the error alone. A repeated flush, or a delivery with other borders, therefore
writes the same letter again, and no two letters share a key.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from medtech.dotnet import ticks
from medtech.errors import BufferCorrupt, MedTechError
from medtech.model import DeviceEvent, Measurement
from medtech.storage.payload import Codec, PayloadDamaged, PayloadTooNew

# A measurement in the buffer has up to 32 MiB, which json.dumps can make three times longer; what a server said comes
# on top.
_CODEC = Codec(version=1, max_bytes=128 * 1024 * 1024)


class Kind(StrEnum):
    """What a letter holds: the raw event, one measurement, or the payload of a damaged row of the buffer."""

    EVENT = "event"
    MEASUREMENT = "measurement"
    ROW = "row"


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. `message` may go to a log; `outcome` (what a server said) and `content` may not.

    `places` are the (template, match) pairs that failed with this error; -1 where there is none.
    """

    kind: Kind
    partition_key: str
    row_key: str
    error: str
    stage: str
    type: str
    severity: str
    message: str
    outcome: str | None
    places: tuple[tuple[int, int], ...]
    hub: str
    content: DeviceEvent | Measurement | bytes


def of_event(event: DeviceEvent, error: MedTechError, places: tuple[tuple[int, int], ...] = ((-1, -1),)) -> Letter:
    """The letter of a message. All places of one error share it, under the key of the first: a message with a
    thousand bad readings is kept once, not a thousand times."""
    partition_key, row_key = _keys(
        event.hub, event.partition, event.sequence_number, event.enqueued_time, places[0], error
    )
    return _letter(Kind.EVENT, partition_key, row_key, error, places, event.hub, event)


def of_measurement(measurement: Measurement, hub: str, error: MedTechError) -> Letter:
    """The letter of a measurement that failed after the buffer; `hub` is its row's."""
    place = (measurement.template, measurement.match)
    partition_key, row_key = _keys(
        hub, measurement.partition, measurement.sequence_number, measurement.ingestion_time, place, error
    )
    return _letter(Kind.MEASUREMENT, partition_key, row_key, error, (place,), hub, measurement)


def of_row(partition_key: str, row_key: str, hub: str, window: int, payload: bytes, error: MedTechError) -> Letter:
    """The letter of a row of the buffer that cannot be unpacked, by its keys; `window` is its start in ticks."""
    key = f"row|{partition_key}|{row_key}|{error.stage}|{error.name}"
    day = ticks.format_compact(window)[:8]
    return _letter(Kind.ROW, f"{day}|{hub}|row", key, error, (), hub, payload)


def pack(letter: Letter) -> bytes:
    """The payload: one line of JSON, then the raw bytes of a body or row.

    By the standard library's JSON, since properties of a message may hold what orjson refuses (lone surrogates).
    """
    header: dict[str, Any] = {"outcome": letter.outcome, "places": letter.places}
    content, raw = letter.content, b""
    if isinstance(content, DeviceEvent):
        raw = content.body
        header["event"] = {
            "properties": dict(content.properties),
            "system_properties": dict(content.system_properties),
            "enqueued_time": content.enqueued_time,
            "partition": content.partition,
            "sequence_number": content.sequence_number,
        }
    elif isinstance(content, Measurement):
        header["measurement"] = content
    else:
        raw = content
    return _CODEC.pack(json.dumps(header).encode() + b"\n" + raw)


def unpack(entity: dict[str, Any], payload: bytes) -> Letter:
    """The letter of a stored entity. Raises BufferCorrupt if the payload is damaged or of a newer version."""
    try:
        line, _, raw = _CODEC.unpack(payload).partition(b"\n")
        header = json.loads(line)
        return Letter(
            kind=Kind(entity["kind"]),
            partition_key=entity["PartitionKey"],
            row_key=entity["RowKey"],
            error=entity["error"],
            stage=entity["stage"],
            type=entity["type"],
            severity=entity["severity"],
            message=entity["message"],
            outcome=header["outcome"],
            places=tuple((template, match) for template, match in header["places"]),
            hub=entity["hub"],
            content=_content(entity["hub"], header, raw),
        )
    except PayloadTooNew as newer:
        raise BufferCorrupt(
            f"A dead letter has version {newer.version}; this app reads up to version {_CODEC.version}. "
            "A newer version of the app wrote it: read it with that one."
        ) from None
    except PayloadDamaged as damaged:
        raise BufferCorrupt(f"A dead letter cannot be unpacked: {damaged}.") from None
    except (ValueError, KeyError, TypeError):
        raise BufferCorrupt("A dead letter cannot be unpacked: its content is damaged.") from None


def _content(hub: str, header: dict[str, Any], raw: bytes) -> DeviceEvent | Measurement | bytes:
    if "event" in header:
        return DeviceEvent(body=raw, hub=hub, **header["event"])
    if "measurement" in header:
        measurement = Measurement(*header["measurement"])
        return measurement._replace(properties=tuple((name, text) for name, text in measurement.properties))
    return raw


def _keys(
    hub: str, partition: str, sequence_number: int, enqueued_time: int, place: tuple[int, int], error: MedTechError
) -> tuple[str, str]:
    template, match = place
    day = ticks.format_compact(enqueued_time)[:8]
    row_key = f"{sequence_number:019d}|{enqueued_time:019d}|{template:04d}|{match:06d}|{error.stage}|{error.name}"
    return f"{day}|{hub}|{partition:0>4}", row_key


def _letter(
    kind: Kind,
    partition_key: str,
    row_key: str,
    error: MedTechError,
    places: tuple[tuple[int, int], ...],
    hub: str,
    content: DeviceEvent | Measurement | bytes,
) -> Letter:
    return Letter(
        kind=kind,
        partition_key=partition_key,
        row_key=row_key,
        error=error.name,
        stage=str(error.stage),
        type=str(error.type),
        severity=str(error.severity),
        message=error.message,
        outcome=error.outcome,
        places=places,
        hub=hub,
        content=content,
    )
