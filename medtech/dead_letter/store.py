"""Where dead letters are kept: the table `deadletters`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from medtech.dead_letter import letter as letters
from medtech.dead_letter.letter import Letter
from medtech.dotnet import ticks
from medtech.errors import BufferCorrupt, StorageUnavailable
from medtech.storage.connection import Storage
from medtech.storage.payload import ROW_BYTES, join, split
from medtech.storage.table import TRANSACTION_OPERATIONS, Entity, Operation, OperationFailed, quoted

TABLE = "deadletters"

# A transaction takes 4 MiB on the wire, where a payload is base64; the rest is for keys and names.
_TRANSACTION_PAYLOAD_BYTES = 2_500_000
# A property takes 64 KiB of UTF-16.
_MESSAGE_CHARACTERS = 8_000
# Two instances that write one letter at once make each other try again. More tries than this are not a coincidence.
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Summary:
    """A letter without its content, for a list. Times are ISO 8601 texts; `count` is how often it was written."""

    partition_key: str
    row_key: str
    kind: str
    error: str
    stage: str
    type: str
    severity: str
    message: str
    count: int
    first_time: str
    last_time: str


_SUMMARY = ["PartitionKey", "RowKey", *(field.name for field in fields(Summary)[2:])]


class DeadLetters:
    """Letters in, letters out.

    Whatever asks storage raises StorageUnavailable when it is away; `summaries` does so while it is iterated.
    """

    def __init__(self, storage: Storage) -> None:
        self._table = storage.table(TABLE)

    def store(self, written: Iterable[Letter], now: int) -> int:
        """Writes letters and returns how many they are; one that is there has its count raised, and `now` (ticks) is
        its last time.

        After a failure in between, the repetition writes all of them again.
        """
        envelopes = {
            (letter.partition_key, letter.row_key): _Envelope(letter, letters.pack(letter)) for letter in written
        }
        for _, partition in groupby(sorted(envelopes), key=itemgetter(0)):
            for chunk in _chunks(envelopes[key] for key in partition):
                self._store_chunk(chunk, ticks.format_iso(now))
        return len(envelopes)

    def _store_chunk(self, chunk: list["_Envelope"], now: str) -> None:
        for envelope in chunk:
            # Before the letter itself: a letter that can be seen is complete.
            for continuation in envelope.continuations():
                self._table.upsert(continuation)
        first, last = chunk[0].letter, chunk[-1].letter
        condition = (
            f"PartitionKey eq {quoted(first.partition_key)} "
            f"and RowKey ge {quoted(first.row_key)} and RowKey le {quoted(last.row_key)}"
        )
        for _ in range(_TRIES):
            stored = {row["RowKey"]: row for row in self._table.query(condition, select=["RowKey", "count"])}
            try:
                self._table.transact(
                    [envelope.operation(stored.get(envelope.letter.row_key), now) for envelope in chunk]
                )
            except OperationFailed:
                continue
            return
        raise StorageUnavailable("Too many instances write the same dead letters at once. They are tried again.")

    def summaries(self) -> Iterator[Summary]:
        """All letters in order of their day, hub, partition and sequence number."""
        for entity in self._table.query("kind ne ''", select=_SUMMARY):
            yield Summary(*(entity[name] for name in _SUMMARY))

    def expire(self, now: int, days: int) -> int:
        """Deletes letters last written more than `days` days before `now` (ticks); returns how many."""
        oldest = now - days * ticks.TICKS_PER_DAY
        # A letter is never written before the day in its key, so later days need not be looked at.
        condition = (
            f"PartitionKey lt '{ticks.format_compact(oldest)[:8]}~' and last_time lt '{ticks.format_iso(oldest)}'"
        )
        found = list(self._table.query(condition, select=["PartitionKey", "RowKey", "entities"]))
        return sum(map(self._delete, found))

    def _delete(self, letter: Entity) -> bool:
        """Deletes a letter with its continuations, all or none: nobody would find what is left of them."""
        keys = {"PartitionKey": letter["PartitionKey"], "RowKey": letter["RowKey"]}
        continuations = [
            Operation("delete", keys | {"RowKey": _continuation_key(letter["RowKey"], n)})
            for n in range(1, letter["entities"])
        ]
        while True:
            try:
                self._table.transact([Operation("delete", keys, letter["etag"]), *continuations])
            except OperationFailed as failed:
                if failed.index == 0:
                    return False  # written again meanwhile, or deleted by another instance
                # A continuation that is missing must not keep the rest, which is health data, for ever.
                del continuations[failed.index - 1]
            else:
                return True

    def read(self, partition_key: str, row_key: str) -> Letter | None:
        """A letter with its content; None if it is not there. Raises BufferCorrupt if it is damaged."""
        entity = self._table.get(partition_key, row_key)
        if entity is None:
            return None
        try:
            payload = join(entity)
            for n in range(1, entity["entities"]):
                continuation = self._table.get(partition_key, _continuation_key(row_key, n))
                payload += join(continuation or {})
        except (ValueError, KeyError, TypeError):
            raise BufferCorrupt("A dead letter is damaged: one of its parts is missing.") from None
        return letters.unpack(entity, payload)


class _Envelope(NamedTuple):
    """A letter with its payload: as much as an entity holds goes with the letter, the rest into continuations."""

    letter: Letter
    payload: bytes

    @property
    def bytes_in_letter(self) -> int:
        return min(len(self.payload), ROW_BYTES)

    def continuations(self) -> Iterator[Entity]:
        """Entities without `kind`, since they are not letters of their own."""
        for n, start in enumerate(range(ROW_BYTES, len(self.payload), ROW_BYTES), start=1):
            keys = {
                "PartitionKey": self.letter.partition_key,
                "RowKey": _continuation_key(self.letter.row_key, n),
            }
            yield keys | split(self.payload[start : start + ROW_BYTES])

    def operation(self, stored: Entity | None, now: str) -> Operation:
        """Creates the letter, or raises the count of the one that is `stored`."""
        letter = self.letter
        entity: Entity = {
            "PartitionKey": letter.partition_key,
            "RowKey": letter.row_key,
            "kind": str(letter.kind),
            "hub": letter.hub,
            "error": letter.error,
            "stage": letter.stage,
            "type": letter.type,
            "severity": letter.severity,
            "message": letter.message[:_MESSAGE_CHARACTERS],
            "count": 1,
            "last_time": now,
            "entities": max(1, -(-len(self.payload) // ROW_BYTES)),
            **split(self.payload[:ROW_BYTES]),
        }
        if stored is None:
            return Operation("create", entity | {"first_time": now})
        return Operation("merge", entity | {"count": stored["count"] + 1}, stored["etag"])


def _chunks(envelopes: Iterable[_Envelope]) -> Iterator[list[_Envelope]]:
    """The letters, in order, in runs that one transaction takes."""
    chunk: list[_Envelope] = []
    size = 0
    for envelope in envelopes:
        if len(chunk) == TRANSACTION_OPERATIONS or (
            chunk and size + envelope.bytes_in_letter > _TRANSACTION_PAYLOAD_BYTES
        ):
            yield chunk
            chunk, size = [], 0
        chunk.append(envelope)
        size += envelope.bytes_in_letter
    if chunk:
        yield chunk


def _continuation_key(row_key: str, n: int) -> str:
    return f"{row_key}|{n:03d}"
