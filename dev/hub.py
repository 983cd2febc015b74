"""An event hub kept in files: partitions that only grow.

    FOLDER/<partition>.jsonl                       one line per event, in order of sequence number
    FOLDER/consumer-groups/<name>                  empty; locked while an app reads the hub in this consumer group

It keeps what Event Hubs promises and readers rely on: sequence numbers from 0 without gaps in each partition, one
partition per key, enqueued times in whole milliseconds that never run backwards within a partition, offsets that are
opaque texts. With a retention, events that were enqueued longer ago are gone for readers; their lines stay.

The files are the hub: any number of processes may have it open, and each sends and reads. That is how several apps read
one hub, and how a hub goes on while an app is stopped.

The partition of a key is a CRC-32. The service's own hash is another one, which no reader may rely on.
"""

import asyncio
import base64
import fcntl
import json
import os
import re
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

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


_BEFORE_THE_FIRST = "-1"
"""The offset that stands for the start of a partition."""
_OFFSET = re.compile(r"[0-9]{1,19}")
_AFTER_THE_LAST = "@latest"
"""The offset that stands for the end of a partition, as it is when a reader begins."""

_LOOK_SECONDS = 0.1
"""How often a reader that waits looks for events that another process has stored."""

_BLOCK_BYTES = 16 * 1024 * 1024
"""Read at once; more than any line has."""


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


class PositionInvalid(Exception):
    """A reader asks for a position that its partition has never had; the message is the service's."""


class Position(NamedTuple):
    """Where an event was stored."""

    partition: str
    sequence_number: int


def read_new_event(document: Any) -> NewEvent:
    """Reads an event in the form that `POST /dev/events` accepts. Raises EventRefused.

    `{"body": text or any JSON | "bodyBase64": base64, "properties": {...}, "systemProperties": {...},
    "partitionKey": text | "partition": text, "enqueuedTime": ISO 8601, "annotations": {...}}`; all but the body are
    optional. `annotations` are those that an AMQP sender made up, which become system properties whatever their names.
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
        system_properties=system_properties | _mapping(document, "annotations"),
        partition_key=None if document.get("partitionKey") is None else str(document["partitionKey"]),
        partition=None if document.get("partition") is None else str(document["partition"]),
        enqueued_time=_time(document.get("enqueuedTime")),
    )
    if len(event.body) > MAX_EVENT_BYTES:
        raise EventRefused(f"An event body has at most {MAX_EVENT_BYTES} bytes; this one has {len(event.body)}.")
    return event


class Partition:
    """One file of events. Only the offsets of their lines are held in memory. Without a retention nothing expires."""

    def __init__(self, path: Path, retention: timedelta | None = None) -> None:
        self._file = path.open("a+b")
        self._retention = retention
        self._expired = 0
        self._starts: list[int] = []
        self._end = 0
        self._newest = datetime.min.replace(tzinfo=UTC)
        self._newest_of = 0
        self._grown = asyncio.Event()
        with self._alone():
            pass

    @property
    def first_sequence_number(self) -> int:
        """Of the oldest event that has not expired; `next_sequence_number` if there is none."""
        self._look()
        if self._retention is not None:
            oldest = datetime.now(UTC) - self._retention
            while self._expired < len(self._starts) and self._at(self._expired).enqueued_time < oldest:
                self._expired += 1
        return self._expired

    @property
    def next_sequence_number(self) -> int:
        self._look()
        return len(self._starts)

    @property
    def last_enqueued(self) -> tuple[str, datetime] | None:
        """Offset and time of the last event that was stored, expired or not."""
        self._look()
        return (str(self._starts[-1]), self._newest_time()) if self._starts else None

    def after(self, offset: str, sequence_number: int | None) -> int:
        """The sequence number of the event after a position, as a checkpoint holds it: the offset counts, and the
        sequence number only where there is none.

        Raises PositionInvalid for a position beyond the end, as of a hub that was created anew.
        """
        self._look()
        if offset == _BEFORE_THE_FIRST:
            return 0
        if offset:
            if not _OFFSET.fullmatch(offset) or int(offset) > (self._starts[-1] if self._starts else -1):
                raise PositionInvalid(
                    f"The supplied offset '{offset}' is invalid. The last offset in the system is "
                    f"'{self._starts[-1] if self._starts else _BEFORE_THE_FIRST}'."
                )
            return bisect_right(self._starts, int(offset))
        if sequence_number is None:
            return 0
        if sequence_number >= len(self._starts):
            raise PositionInvalid(
                f"The supplied sequence number '{sequence_number}' is invalid. The last sequence number in the system "
                f"is '{len(self._starts) - 1}'."
            )
        return sequence_number + 1

    def first(self, annotation: str, value: str, *, inclusive: bool) -> int:
        """The sequence number of the first event beyond a position, or at it if `inclusive`, as receivers give it:
        by `x-opt-offset`, `x-opt-sequence-number`, or `x-opt-enqueued-time` in milliseconds since 1970.

        Raises PositionInvalid.
        """
        if annotation == "x-opt-offset":
            if value == _AFTER_THE_LAST:
                return self.next_sequence_number
            following = self.after(value, None)
            at_event = following > 0 and str(self._starts[following - 1]) == value
            return following - 1 if inclusive and at_event else following
        try:
            if annotation == "x-opt-sequence-number":
                return max(0, self.after("", int(value) - inclusive))
            if annotation == "x-opt-enqueued-time":
                time = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(value))
                find = bisect_left if inclusive else bisect_right
                return find(range(self.next_sequence_number), time, key=lambda n: self._at(n).enqueued_time)
        except (ValueError, OverflowError):
            raise PositionInvalid(f"The supplied {annotation} '{value}' is invalid.") from None
        raise PositionInvalid(f"Events are not found by '{annotation}'.")

    def append(self, event: NewEvent) -> int:
        """Stores an event and returns its sequence number.

        A time before that of the event before it becomes that time, as it does in Event Hubs when a broker with another
        clock takes the partition over.
        """
        with self._alone():
            time = max(self._newest_time(), event.enqueued_time or datetime.now(UTC))
            time = time.replace(microsecond=time.microsecond // 1000 * 1000)
            line = {
                "enqueued_time": time.isoformat(timespec="milliseconds"),
                "partition_key": event.partition_key,
                "properties": event.properties,
                "system_properties": event.system_properties,
                "body": base64.b64encode(event.body).decode(),
            }
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            self._look()
            self._newest, self._newest_of = time, len(self._starts)
            return len(self._starts) - 1

    def read(self, first: int, limit: int) -> list[StoredEvent]:
        """Up to `limit` events from a sequence number on, or from the oldest that has not expired."""
        first = max(first, self.first_sequence_number)
        return [self._at(number) for number in range(first, min(first + limit, len(self._starts)))]

    async def wait_for(self, sequence_number: int) -> None:
        """Returns once the event with this number is there."""
        while self.next_sequence_number <= sequence_number:
            self._grown.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._grown.wait(), _LOOK_SECONDS)

    def close(self) -> None:
        self._file.close()

    def _at(self, sequence_number: int) -> StoredEvent:
        return _stored(sequence_number, self._starts[sequence_number], self._line(sequence_number))

    def _line(self, sequence_number: int) -> bytes:
        start = self._starts[sequence_number]
        following = sequence_number + 1
        end = self._starts[following] if following < len(self._starts) else self._end
        return os.pread(self._file.fileno(), end - start, start)

    def _newest_time(self) -> datetime:
        """When the last event was enqueued."""
        if self._newest_of < len(self._starts):
            self._newest, self._newest_of = self._at(len(self._starts) - 1).enqueued_time, len(self._starts)
        return self._newest

    def _look(self) -> None:
        """Takes in the whole lines that were added to the file since the last look, by whichever process."""
        descriptor = self._file.fileno()
        if os.fstat(descriptor).st_size <= self._end:
            return
        known = self._end
        # Without a line's end, its rest is still being written.
        while (whole := (block := os.pread(descriptor, _BLOCK_BYTES, self._end)).rfind(b"\n") + 1) > 0:
            for line in block[:whole].splitlines(keepends=True):
                self._starts.append(self._end)
                self._end += len(line)
        if self._end > known:
            self._grown.set()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process writes. What it has written is known, and a line that a killed one left incomplete, gone."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._look()
            self._file.truncate(self._end)
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


class Hub:
    """A hub with `partition_count` partitions, or more if its folder already holds more; `created` is UTC."""

    def __init__(self, folder: Path, partition_count: int, retention: timedelta | None = None) -> None:
        self._consumer_groups = folder / "consumer-groups"
        self._consumer_groups.mkdir(parents=True, exist_ok=True)
        self._held = ExitStack()
        partition_count = max(partition_count, len(list(folder.glob("*.jsonl"))))
        self.partitions = {str(n): Partition(folder / f"{n}.jsonl", retention) for n in range(partition_count)}
        # Nothing is added to the folder after its partitions.
        self.created = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
        self._turn = count()

    def append(self, events: Sequence[NewEvent]) -> list[Position]:
        """Stores all events, or none: raises EventRefused for a partition that does not exist."""
        names = [self._partition(event) for event in events]
        return [Position(name, self.partitions[name].append(event)) for name, event in zip(names, events, strict=True)]

    def add_consumer_group(self, name: str, *, is_read: bool) -> None:
        """Creates a consumer group if it is not there. `is_read`: an app reads it until this object is closed."""
        file = self._held.enter_context((self._consumer_groups / quote(name, safe="$")).open("a"))
        if is_read:
            fcntl.flock(file, fcntl.LOCK_SH)

    def consumer_groups(self) -> dict[str, bool]:
        """By name whether an app reads it, in whichever process."""
        return {unquote(path.name): _is_locked(path) for path in sorted(self._consumer_groups.iterdir())}

    def close(self) -> None:
        self._held.close()
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


def _is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


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
