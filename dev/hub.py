"""An event hub kept in files: partitions that only grow, and the checkpoints of their readers.

    FOLDER/<partition>.jsonl                       one line per event, in order of sequence number
    FOLDER/checkpoints/<consumer group>.json       {partition: sequence number of the last event that is done}

It keeps what Event Hubs promises and readers rely on: sequence numbers from 0 without gaps in each partition, one
partition per key, enqueued times in whole milliseconds that never run backwards within a partition, offsets that are
opaque texts. Nothing expires.
"""

import asyncio
import base64
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

MAX_EVENT_BYTES = 1024 * 1024

_SYSTEM_PREFIXES = ("iothub-", "dt-")
_SYSTEM_NAMES = frozenset(
    {
        "message-id",
        "user-id",
        "to",
        "subject",
        "reply-to",
        "correlation-id",
        "content-type",
        "content-encoding",
        "absolute-expiry-time",
        "creation-time",
        "group-id",
        "group-sequence",
        "reply-to-group-id",
    }
)


class EventRefused(ValueError):
    """A hub does not accept an event; the message says why without quoting the event."""


class NewEvent(NamedTuple):
    """An event to be stored. With neither `partition` nor `partition_key` the partitions take turns."""

    body: bytes
    properties: Mapping[str, Any]
    system_properties: Mapping[str, Any]
    partition_key: str | None
    partition: str | None
    enqueued_time: datetime | None


class StoredEvent(NamedTuple):
    """An event in a partition; `enqueued_time` is UTC."""

    body: bytes
    properties: Mapping[str, Any]
    system_properties: Mapping[str, Any]
    partition_key: str | None
    sequence_number: int
    offset: str
    enqueued_time: datetime


class Position(NamedTuple):
    """Where an event was stored."""

    partition: str
    sequence_number: int


def read_new_event(document: Any) -> NewEvent:
    """Reads an event in the form that `POST /dev/events` accepts. Raises EventRefused.

    `{"body": text or any JSON | "bodyBase64": base64, "properties": {...}, "systemProperties": {...},
    "partitionKey": text | "partition": text, "enqueuedTime": ISO 8601}`; all but the body are optional.
    """
    if not isinstance(document, dict):
        raise EventRefused("An event must be an object with body or bodyBase64.")
    system_properties = _mapping(document, "systemProperties")
    for name in system_properties:
        if not name.startswith(_SYSTEM_PREFIXES) and name not in _SYSTEM_NAMES:
            raise EventRefused(
                f"'{name}' is not a system property that a sender or IoT Hub sets; put it in properties."
            )
    event = NewEvent(
        body=_body(document),
        properties=_mapping(document, "properties"),
        system_properties=system_properties,
        partition_key=None if document.get("partitionKey") is None else str(document["partitionKey"]),
        partition=None if document.get("partition") is None else str(document["partition"]),
        enqueued_time=_time(document.get("enqueuedTime")),
    )
    if len(event.body) > MAX_EVENT_BYTES:
        raise EventRefused(f"An event body has at most {MAX_EVENT_BYTES} bytes; this one has {len(event.body)}.")
    return event


class Partition:
    """One file of events. Only the offsets of their lines are held in memory."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        self._starts = self._recover()
        newest = self.read(len(self._starts) - 1, 1) if self._starts else []
        self._newest = newest[0].enqueued_time if newest else datetime.min.replace(tzinfo=UTC)
        self._grown = asyncio.Event()

    @property
    def next_sequence_number(self) -> int:
        return len(self._starts)

    def append(self, event: NewEvent) -> int:
        """Stores an event and returns its sequence number.

        A time before that of the event before it becomes that time, as it does in Event Hubs when a broker with another
        clock takes the partition over.
        """
        start = self._file.seek(0, os.SEEK_END)
        self._newest = max(self._newest, event.enqueued_time or datetime.now(UTC))
        line = {
            "enqueued_time": self._newest.isoformat(timespec="milliseconds"),
            "partition_key": event.partition_key,
            "properties": event.properties,
            "system_properties": event.system_properties,
            "body": base64.b64encode(event.body).decode(),
        }
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        self._starts.append(start)
        self._grown.set()
        return len(self._starts) - 1

    def read(self, first: int, limit: int) -> list[StoredEvent]:
        """Up to `limit` events from a sequence number on."""
        starts = self._starts[first : first + limit]
        if not starts:
            return []
        self._file.seek(starts[0])
        return [_stored(first + n, start, self._file.readline()) for n, start in enumerate(starts)]

    async def wait_for(self, sequence_number: int) -> None:
        """Returns once the event with this number is there."""
        while self.next_sequence_number <= sequence_number:
            self._grown.clear()
            await self._grown.wait()

    def close(self) -> None:
        self._file.close()

    def _recover(self) -> list[int]:
        """The offsets of all whole lines; an incomplete last line, left by a host that was killed, is cut off."""
        starts, position = [], 0
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n"):
                self._file.truncate(position)
                break
            starts.append(position)
            position += len(line)
        return starts


class Checkpoints:
    """How far a consumer group is in each partition; kept in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._done: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, partition: str) -> int:
        """The sequence number of the last event that is done; -1 if there is none."""
        return self._done.get(partition, -1)

    def advance(self, partition: str, sequence_number: int) -> None:
        self._done[partition] = sequence_number
        self._path.parent.mkdir(parents=True, exist_ok=True)
        written = self._path.with_suffix(".tmp")
        written.write_text(json.dumps(self._done))
        written.replace(self._path)


class Hub:
    """A hub with `partition_count` partitions, or more if its folder already holds more."""

    def __init__(self, folder: Path, partition_count: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        partition_count = max(partition_count, len(list(folder.glob("*.jsonl"))))
        self.partitions = {str(n): Partition(folder / f"{n}.jsonl") for n in range(partition_count)}
        self._folder = folder
        self._checkpoints: dict[str, Checkpoints] = {}
        self._turn = count()

    def checkpoints(self, consumer_group: str) -> Checkpoints:
        """The checkpoints of a consumer group, one object for all its readers."""
        if consumer_group not in self._checkpoints:
            self._checkpoints[consumer_group] = Checkpoints(self._folder / "checkpoints" / f"{consumer_group}.json")
        return self._checkpoints[consumer_group]

    def append(self, events: Sequence[NewEvent]) -> list[Position]:
        """Stores all events, or none: raises EventRefused for a partition that does not exist."""
        names = [self._partition(event) for event in events]
        return [Position(name, self.partitions[name].append(event)) for name, event in zip(names, events, strict=True)]

    def close(self) -> None:
        for partition in self.partitions.values():
            partition.close()

    def _partition(self, event: NewEvent) -> str:
        if event.partition is not None:
            if event.partition not in self.partitions:
                raise EventRefused(f"This hub has partitions 0 to {len(self.partitions) - 1}.")
            return event.partition
        if event.partition_key is not None:
            return str(zlib.crc32(event.partition_key.encode()) % len(self.partitions))
        return str(next(self._turn) % len(self.partitions))


def _stored(sequence_number: int, start: int, line: bytes) -> StoredEvent:
    document = json.loads(line)
    return StoredEvent(
        body=base64.b64decode(document["body"]),
        properties=document["properties"],
        system_properties=document["system_properties"],
        partition_key=document["partition_key"],
        sequence_number=sequence_number,
        offset=str(start),
        enqueued_time=datetime.fromisoformat(document["enqueued_time"]),
    )


def _body(document: Mapping[str, Any]) -> bytes:
    if ("body" in document) == ("bodyBase64" in document):
        raise EventRefused("An event must have either body or bodyBase64, not both.")
    if "body" in document:
        body = document["body"]
        return (body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))).encode()
    try:
        return base64.b64decode(document["bodyBase64"], validate=True)
    except (TypeError, ValueError):
        raise EventRefused("bodyBase64 is not valid base64.") from None


def _mapping(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name) or {}
    if not isinstance(value, dict):
        raise EventRefused(f"{name} must be an object of names and values.")
    return value


def _time(text: Any) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise EventRefused("enqueuedTime must be an ISO 8601 time.") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
