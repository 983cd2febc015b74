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
from medtech.storage import (
    PAYLOAD_BYTES,
    TRANSACTION_OPERATIONS,
    Entity,
    Operation,
    OperationFailed,
    Storage,
    join_payload,
    split_payload,
)

TABLE = "deadletters"

# A transaction takes 4 MiB on the wire, where a payload is base64; the rest is for keys and names.
_TRANSACTION_PAYLOAD_BYTES = 2_500_000
# A property takes 64 KiB of UTF-16.
_MESSAGE_CHARACTERS = 8_000
# Two instances that write one letter at once make each other try again; more turns than this are no coincidence.
_TURNS = 10


@dataclass(frozen=True, slots=True)
class Summary:
    """A letter without its content, fit to be listed. Times are ISO 8601 texts; `count` is how often it was written."""

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
    """Letters in, letters out. Every method raises StorageUnavailable when storage is away."""

    def __init__(self, storage: Storage) -> None:
        self._table = storage.table(TABLE)

    def store(self, written: Iterable[Letter], now: int) -> int:
        """Writes letters; one that is there already has its count raised and its last time set to `now` (ticks).

        Gives how many letters that were. After a failure in between, the repetition writes all of them again.
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
            # Before the letter itself: a letter that can be seen is whole.
            for continuation in envelope.continuations():
                self._table.upsert(continuation)
        first, last = chunk[0].letter, chunk[-1].letter
        condition = (
            f"PartitionKey eq '{first.partition_key}' and RowKey ge '{first.row_key}' and RowKey le '{last.row_key}'"
        )
        for _ in range(_TURNS):
            stored = {row["RowKey"]: row for row in self._table.query(condition, select=["RowKey", "count"])}
            try:
                self._table.transact(
                    [envelope.operation(stored.get(envelope.letter.row_key), now) for envelope in chunk]
                )
            except OperationFailed:
                continue
            return
        raise StorageUnavailable("Dead letters are being written by too many instances at once. They are tried again.")

    def summaries(self) -> Iterator[Summary]:
        """All letters in order of their day, hub, partition and sequence number."""
        for entity in self._table.query("kind ne ''", select=_SUMMARY):
            yield Summary(*(entity[name] for name in _SUMMARY))

    def expire(self, now: int, days: int) -> int:
        """Deletes letters that were last written more than `days` days before `now` (ticks); gives how many."""
        oldest = now - days * ticks.TICKS_PER_DAY
        # A letter is never written before the day in its key, so later days need not be looked at.
        condition = (
            f"PartitionKey lt '{ticks.format_compact(oldest)[:8]}~' and last_time lt '{ticks.format_iso(oldest)}'"
        )
        expired = 0
        for entity in list(self._table.query(condition, select=["PartitionKey", "RowKey", "entities"])):
            partition_key, row_key = entity["PartitionKey"], entity["RowKey"]
            keys = [row_key, *(_continuation_key(row_key, n) for n in range(1, entity["entities"]))]
            deletions = [Operation("delete", {"PartitionKey": partition_key, "RowKey": key}) for key in keys]
            try:
                # All entities of a letter or none: what is left of it would be found by nobody.
                self._table.transact([deletions[0]._replace(etag=entity["etag"]), *deletions[1:]])
            except OperationFailed:
                continue  # written again meanwhile, or deleted by another instance
            expired += 1
        return expired

    def read(self, partition_key: str, row_key: str) -> Letter | None:
        """One letter with its content. Raises BufferCorrupt if it is damaged."""
        entity = self._table.get(partition_key, row_key)
        if entity is None:
            return None
        try:
            payload = join_payload(entity)
            for n in range(1, entity["entities"]):
                continuation = self._table.get(partition_key, _continuation_key(row_key, n))
                payload += join_payload(continuation or {})
        except (ValueError, KeyError, TypeError):
            raise BufferCorrupt("A dead letter is damaged: a part of it is missing.") from None
        return letters.unpack(entity, payload)


class _Envelope(NamedTuple):
    """A letter with its payload: as much of it as an entity holds goes with the letter, the rest over several."""

    letter: Letter
    payload: bytes

    @property
    def bytes_in_letter(self) -> int:
        return min(len(self.payload), PAYLOAD_BYTES)

    def continuations(self) -> Iterator[Entity]:
        """Entities without `kind`: they are no letters of their own."""
        for n, start in enumerate(range(PAYLOAD_BYTES, len(self.payload), PAYLOAD_BYTES), start=1):
            keys = {
                "PartitionKey": self.letter.partition_key,
                "RowKey": _continuation_key(self.letter.row_key, n),
            }
            yield keys | split_payload(self.payload[start : start + PAYLOAD_BYTES])

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
            "entities": max(1, -(-len(self.payload) // PAYLOAD_BYTES)),
            **split_payload(self.payload[:PAYLOAD_BYTES]),
        }
        if stored is None:
            return Operation("create", entity | {"first_time": now})
        return Operation("merge", entity | {"count": stored["count"] + 1}, stored["etag"])


def _chunks(envelopes: Iterable[_Envelope]) -> Iterator[list[_Envelope]]:
    """Runs of letters that one transaction takes."""
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
