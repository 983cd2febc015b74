"""A dead letter: what could not be processed, with its reason and origin, complete enough to be replayed.

Its keys are made of the origin, the error and, for a measurement, what it says; the order of the mapping's templates
does not matter. A repeated flush, or a delivery with other borders, therefore writes the same letter again, and no two
letters share a key.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from medtech.dotnet import ticks
from medtech.errors import BufferCorrupt, MedTechError
from medtech.model import DeviceEvent, Measurement, NormalizationFailure
from medtech.storage.payload import Codec, PayloadDamaged, PayloadTooNew

# A measurement in the buffer has up to 32 MiB, which json.dumps can make three times longer; what a server said comes
# on top.
_CODEC = Codec(version=1, max_bytes=128 * 1024 * 1024)

# A message can quote an id from the device, an outcome whatever a server says. Neither has a bound of its own.
_MESSAGE_CHARACTERS = 2_000
_OUTCOME_CHARACTERS = 64_000

# A key takes 1 KiB. That of a row that somebody else wrote can alone be as long.
_ROW_KEY_CHARACTERS = 200
_DIGEST_DIGITS = 32

_THEN = "It cannot be replayed: find out what else writes to table `deadletters`, then delete the letter."

# What these number changes with the order of the mapping's templates.
_PLACE = ("template", "match")


class Kind(StrEnum):
    """What a letter holds: the raw event, one measurement, or the payload of a damaged row of the buffer.

    A row cannot be replayed: nobody knows what it held.
    """

    EVENT = "event"
    MEASUREMENT = "measurement"
    ROW = "row"


class Keys(NamedTuple):
    """The keys of a letter's entity."""

    partition_key: str
    row_key: str


class FailedType(NamedTuple):
    """A type of which a message gave no measurement, and why; None is the message as a whole."""

    type: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. `message` may go to a log; `outcome` (what a server said) and `content` may not.

    `failures` are what failed of an event with this error, each type and message once; other letters have none.
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
    failures: tuple[FailedType, ...]
    hub: str
    content: DeviceEvent | Measurement | bytes

    @property
    def keys(self) -> Keys:
        return Keys(self.partition_key, self.row_key)


def of_failures(event: DeviceEvent, failures: Iterable[NormalizationFailure]) -> list[Letter]:
    """One letter for each different error of a message."""
    by_error: defaultdict[tuple[str, str], list[NormalizationFailure]] = defaultdict(list)
    for failure in failures:
        by_error[failure.error.name, failure.error.stage].append(failure)
    return [of_event(event, same) for same in by_error.values()]


def of_event(event: DeviceEvent, failures: Sequence[NormalizationFailure]) -> Letter:
    """The letter of a message; `failures` have one stage and error name. They share the letter: a message with a
    thousand bad readings is kept once, not a thousand times."""
    error = failures[0].error
    partition_key, row_key = _keys(event.hub, event.partition, event.sequence_number, event.enqueued_time, error)
    failed = dict.fromkeys(FailedType(each.type, shortened(each.error.message)) for each in failures)
    return _letter(Kind.EVENT, partition_key, row_key, error, tuple(failed), event.hub, event)


def of_measurement(measurement: Measurement, hub: str, error: MedTechError) -> Letter:
    """The letter of a measurement that failed after the buffer; `hub` is its row's.

    What two templates or matches of a message give alike is one letter.
    """
    partition_key, row_key = _keys(
        hub, measurement.partition, measurement.sequence_number, measurement.ingestion_time, error
    )
    said = [value for name, value in zip(measurement._fields, measurement, strict=True) if name not in _PLACE]
    return _letter(
        Kind.MEASUREMENT, partition_key, f"{row_key}|{_digest(json.dumps(said))}", error, (), hub, measurement
    )


def of_row(partition_key: str, row_key: str, hub: str, window: int, payload: bytes, error: MedTechError) -> Letter:
    """The letter of a row of the buffer that cannot be unpacked, by its keys; `window` is its start in ticks."""
    name = row_key if len(row_key) <= _ROW_KEY_CHARACTERS else _digest(row_key)
    key = f"row|{partition_key}|{name}|{error.stage}|{error.name}"
    day = ticks.format_compact(window)[:8]
    return _letter(Kind.ROW, f"{day}|{hub}|row", key, error, (), hub, payload)


def pack(letter: Letter) -> bytes:
    """The payload: one line of JSON, then the raw bytes of a body or row.

    By the standard library's JSON, since properties of a message may hold what orjson refuses (lone surrogates).
    """
    header: dict[str, Any] = {"outcome": letter.outcome, "failures": letter.failures}
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
            failures=_failures(entity, header),
            hub=entity["hub"],
            content=_content(entity["hub"], header, raw),
        )
    except PayloadTooNew as newer:
        raise BufferCorrupt(
            f"A dead letter has version {newer.version}; this app reads up to version {_CODEC.version}. "
            "A newer version of the app wrote it: read it with that one."
        ) from None
    except PayloadDamaged as damaged:
        raise BufferCorrupt(f"A dead letter cannot be unpacked: {damaged}. {_THEN}") from None
    except (ValueError, KeyError, TypeError):
        raise BufferCorrupt(f"A dead letter cannot be unpacked: its content is damaged. {_THEN}") from None


def _failures(entity: dict[str, Any], header: dict[str, Any]) -> tuple[FailedType, ...]:
    if "event" not in header:
        return ()
    # Letters of earlier versions have template numbers instead, which today's mapping may have given to other types.
    stored = header.get("failures", [(None, entity["message"])])
    return tuple(FailedType(type_name, message) for type_name, message in stored)


def _content(hub: str, header: dict[str, Any], raw: bytes) -> DeviceEvent | Measurement | bytes:
    if "event" in header:
        return DeviceEvent(body=raw, hub=hub, **header["event"])
    if "measurement" in header:
        measurement = Measurement(*header["measurement"])
        return measurement._replace(properties=tuple((name, text) for name, text in measurement.properties))
    return raw


def shortened(text: str, characters: int = _MESSAGE_CHARACTERS) -> str:
    """The beginning of a text that is longer than `characters`."""
    return text if len(text) <= characters else f"{text[:characters]}…"


def _keys(hub: str, partition: str, sequence_number: int, enqueued_time: int, error: MedTechError) -> tuple[str, str]:
    day = ticks.format_compact(enqueued_time)[:8]
    row_key = f"{sequence_number:019d}|{enqueued_time:019d}|{error.stage}|{error.name}"
    return f"{day}|{hub}|{partition:0>4}", row_key


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_DIGITS]


def _letter(
    kind: Kind,
    partition_key: str,
    row_key: str,
    error: MedTechError,
    failures: tuple[FailedType, ...],
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
        message=shortened(error.message),
        outcome=None if error.outcome is None else shortened(error.outcome, _OUTCOME_CHARACTERS),
        failures=failures,
        hub=hub,
        content=content,
    )
