"""Where dead letters are kept: the table `deadletters`.

Whatever storage answers, a letter is stored in some form: what it refuses is sent in halves, a letter that it refuses
alone in smaller parts, and in the end without its content, so that one letter cannot hold up what comes after it.
"""

import logging
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import NamedTuple

from medtech.dead_letter import letter as letters
from medtech.dead_letter.fingerprint import fingerprint, shape
from medtech.dead_letter.holders import UNMARKED
from medtech.dead_letter.letter import Keys, Letter
from medtech.dead_letter.letter_id import Origin, letter_id, origin_of
from medtech.dead_letter.selection import Cursor, Selection
from medtech.dotnet import ticks
from medtech.errors import BufferCorrupt, StorageRefused, StorageUnavailable
from medtech.storage import table as tables
from medtech.storage.connection import Storage
from medtech.storage.payload import PROPERTY_BYTES, ROW_BYTES, join, split
from medtech.storage.table import Entity, Operation, OperationFailed, Table, quoted, transactions

TABLE = "deadletters"

_log = logging.getLogger(__name__)

# What is left of the message of a letter that storage takes in no other form.
_LEFT_CHARACTERS = 200
# Two instances that write one letter at once make each other try again. More tries than this are not a coincidence.
_TRIES = 10
# An entity with its content has up to 1 MiB, and a page of them is in memory at once.
_ENTITIES_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Summary:
    """A letter without its content, for a list. Times are ISO 8601 texts; `count` is how often it was written.

    `job` is the replay job that holds the letter, empty if none does; `etag` is the version that was read.
    """

    partition_key: str
    row_key: str
    kind: str
    hub: str
    error: str
    stage: str
    type: str
    severity: str
    message: str
    count: int
    first_time: str
    last_time: str
    entities: int
    job: str
    etag: str

    @property
    def id(self) -> str:
        return letter_id(self.partition_key, self.row_key)

    @property
    def origin(self) -> Origin | None:
        return origin_of(self.partition_key, self.row_key)

    @property
    def cause(self) -> str:
        """The fingerprint of what went wrong."""
        return fingerprint(self.stage, self.error, self.type, shape(self.message))

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.partition_key, self.row_key)


_PROPERTIES = [field.name for field in fields(Summary)[2:-2]]
_ALL = Selection()
_SUMMARY = ["PartitionKey", "RowKey", "job", *_PROPERTIES]


Place = tuple[int, tables.Place | None]
"""Where a selection goes on: how many of its queries are done, and the place in the next one."""


class Page(NamedTuple):
    """Some of a selection's letters; `following` is the place of the next ones, None after the last."""

    letters: list[Summary]
    following: Place | None


class DeadLetters:
    """Letters in, letters out.

    Whatever asks storage raises StorageUnavailable when it is away; `select` does so while it is iterated.
    """

    def __init__(self, storage: Storage) -> None:
        self._table = storage.table(TABLE)

    def store(self, written: Iterable[Letter], now: int, counts: Mapping[Keys, int] = MappingProxyType({})) -> int:
        """Writes letters and returns how many they are; one that is there has its count raised, and `now` (ticks) is
        its last time.

        `counts` has, by key, what a replayed letter had counted when it failed again, in this letter or another: the
        count goes on from there, and stays the same however often the write is repeated. A replay job that holds a
        letter loses it by this write, since the letter may say something else than what the job put through.

        After a failure in between, the repetition writes all of them again.
        """
        moment = ticks.format_iso(now)
        envelopes = {
            letter.keys: _Envelope(letter, letters.pack(letter), counted=counts.get(letter.keys)) for letter in written
        }
        for _, partition in groupby(sorted(envelopes), key=itemgetter(0)):
            of_partition = (envelopes[key] for key in partition)
            for chunk in transactions(of_partition, lambda envelope: envelope.operation(None, moment)):
                self._store_chunk(chunk, moment)
        return len(envelopes)

    def _store_chunk(self, chunk: Sequence["_Envelope"], now: str) -> None:
        try:
            self._send(chunk, now)
        except StorageRefused as refused:
            if len(chunk) > 1:
                half = len(chunk) // 2
                self._store_chunk(chunk[:half], now)
                self._store_chunk(chunk[half:], now)
                return
            smaller = chunk[0].smaller()
            if smaller is None:
                raise
            if not smaller.part_bytes:
                _log.error(
                    "Of a dead letter (%s) of %s only the reason and the origin are kept: %s",
                    smaller.letter.error,
                    smaller.letter.partition_key,
                    refused.message,
                )
            self._store_chunk([smaller], now)

    def _send(self, chunk: Sequence["_Envelope"], now: str) -> None:
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

    def select(self, selection: Selection = _ALL, after: Cursor | None = None) -> Iterator[Summary]:
        """The letters of a selection, from beyond the cursor `after` on, in order of their day, hub, partition and
        sequence number.

        An ID that names no letter gives none.
        """
        return (summary for summary, _ in self._entities(selection, after, select=_SUMMARY))

    def pages(self, selection: Selection, page_size: int, place: Place | None = None) -> Iterator[Page]:
        """As `select`, page by page from a `place` on: what few letters meet is looked for in many that do not.

        A page has no more than `page_size` letters, and may have none.
        """
        queries = list(selection.queries())
        done, following = place or (0, None)
        for number, (condition, ids) in enumerate(queries[done:], done):
            after = (number + 1, None) if number + 1 < len(queries) else None
            for page in self._table.pages(condition, select=_SUMMARY, page_size=page_size, place=following):
                chosen = [summary for summary, _ in _chosen(selection, ids, page.entities)]
                yield Page(chosen, (number, page.following) if page.following else after)
            following = None

    def select_letters(
        self, selection: Selection, after: Cursor | None = None
    ) -> Iterator[tuple[Summary, Letter | BufferCorrupt]]:
        """As `select`, each letter with its content, or the reason why that cannot be read."""
        for summary, entity in self._entities(selection, after, page_size=_ENTITIES_AT_ONCE):
            try:
                yield summary, self._unpacked(entity)
            except BufferCorrupt as fault:
                yield summary, fault

    def _entities(
        self, selection: Selection, after: Cursor | None, *, select: Sequence[str] = (), page_size: int | None = None
    ) -> Iterator[tuple[Summary, Entity]]:
        for condition, ids in selection.queries(after):
            yield from _chosen(selection, ids, self._table.query(condition, select=select, page_size=page_size))

    def delete(self, chosen: Sequence[Summary]) -> int:
        """Deletes letters with their contents; returns how many.

        One that was written again, or taken by a replay job, since it was listed stays.
        """
        deleted = 0
        for _, partition in groupby(chosen, key=attrgetter("partition_key")):
            of_partition = list(partition)
            deletions = [_deletion(_keys_of(each)) for each in of_partition if each.entities <= 1]
            deleted += sum(result.status < 300 for result in self._table.change(deletions))
            deleted += sum(delete_letter(self._table, _keys_of(each)) for each in of_partition if each.entities > 1)
        return deleted

    def expire(self, now: int, days: int) -> int:
        """Deletes letters last written more than `days` days before `now` (ticks); returns how many.

        A letter that a replay job took since then stays: until its rows are in the buffer, it is all that there is.
        Continuations whose letter was never written, or has become shorter, go after as many days.
        """
        oldest = now - days * ticks.TICKS_PER_DAY
        # A letter is never written before the day in its key, so later days need not be looked at.
        condition = f"PartitionKey lt '{ticks.format_compact(oldest)[:8]}~'"
        select = ["PartitionKey", "RowKey", "Timestamp", "last_time", "entities", "job"]
        deleted = 0
        for _, partition in groupby(self._table.query(condition, select=select), key=itemgetter("PartitionKey")):
            rows = {row["RowKey"]: row for row in partition}
            found = {key: row for key, row in rows.items() if row.get("entities") is not None}
            orphans = [row for key, row in rows.items() if key not in found and _is_orphan(key, found)]
            self._table.change([_deletion(row) for row in orphans if _changed(row) < oldest])
            expired = [row for row in found.values() if row["last_time"] < ticks.format_iso(oldest)]
            # The service's own time: that of the mark.
            expired = [row for row in expired if not row.get("job") or _changed(row) < oldest]
            deleted += sum(delete_letter(self._table, row) for row in expired)
        return deleted

    def read(self, partition_key: str, row_key: str) -> Letter | None:
        """A letter with its content; None if it is not there. Raises BufferCorrupt if the content is damaged or was not
        stored."""
        entity = self._table.get(partition_key, row_key)
        return None if entity is None else self._unpacked(entity)

    def _unpacked(self, entity: Entity) -> Letter:
        if entity.get("entities") == 0:
            raise BufferCorrupt(
                "The content of a dead letter was not kept, since storage refused it. Its keys say where in the hub "
                "the message was."
            )
        try:
            payload = join(entity)
            for n in range(1, entity["entities"]):
                continuation = self._table.get(entity["PartitionKey"], _continuation_key(entity["RowKey"], n))
                payload += join(continuation or {})
        except (ValueError, KeyError, TypeError):
            raise BufferCorrupt("A dead letter is damaged: one of its parts is missing.") from None
        return letters.unpack(entity, payload)


def delete_letter(table: Table, letter: Entity) -> bool:
    """Deletes a letter with its continuations, all or none: nobody would find what is left of them.

    False if it was written again meanwhile, or deleted by another instance.
    """
    deletion = _deletion(letter)
    continuations = [
        Operation("delete", deletion.entity | {"RowKey": _continuation_key(letter["RowKey"], n)})
        for n in range(1, letter["entities"])
    ]
    while True:
        try:
            table.transact([deletion, *continuations])
        except OperationFailed as failed:
            if not failed.index:
                return False
            # A continuation that is missing must not keep the rest, which is health data, for ever.
            del continuations[failed.index - 1]
        else:
            return True


class _Envelope(NamedTuple):
    """A letter with its payload: the first part of it goes with the letter, the others into continuations."""

    letter: Letter
    payload: bytes
    part_bytes: int = ROW_BYTES
    """How much of the payload goes into one entity; 0: it is not kept."""
    counted: int | None = None
    """The count of the replayed letter that failed again; None for what fails by itself."""

    @property
    def entities(self) -> int:
        """How many entities the content goes into."""
        return max(1, -(-len(self.payload) // self.part_bytes)) if self.part_bytes else 0

    def smaller(self) -> "_Envelope | None":
        """What to send when storage refuses the letter in this form; None if nothing can be left out any more."""
        if self.part_bytes > PROPERTY_BYTES and len(self.payload) > PROPERTY_BYTES:
            return self._replace(part_bytes=PROPERTY_BYTES)
        if self.part_bytes:
            # Plain characters: whatever the message quotes cannot be what storage takes offence at.
            text = self.letter.message[:_LEFT_CHARACTERS]
            message = "".join(each if each.isascii() and each.isprintable() else "?" for each in text)
            return _Envelope(replace(self.letter, message=message), b"", 0, self.counted)
        return None

    def continuations(self) -> Iterator[Entity]:
        """Entities without `kind`, since they are not letters of their own."""
        for n in range(1, self.entities):
            keys = {
                "PartitionKey": self.letter.partition_key,
                "RowKey": _continuation_key(self.letter.row_key, n),
            }
            start = n * self.part_bytes
            yield keys | split(self.payload[start : start + self.part_bytes])

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
            "message": letter.message,
            "count": (self.counted or 0) + 1,
            "last_time": now,
            "entities": self.entities,
            **split(self.payload[: self.part_bytes]),
        }
        if stored is None:
            return Operation("create", entity | {"first_time": now})
        if not self.part_bytes:
            # What was stored before, content and all, says more.
            entity = {name: entity[name] for name in ("PartitionKey", "RowKey", "last_time")}
        count = stored["count"] + 1 if self.counted is None else max(stored["count"], self.counted + 1)
        return Operation("merge", entity | {"count": count, **UNMARKED}, stored["etag"])


def _chosen(selection: Selection, ids: Container[str], entities: Iterable[Entity]) -> Iterator[tuple[Summary, Entity]]:
    """What a query of the selection found, without what it does not mean."""
    for entity in entities:
        if any(name not in entity for name in _PROPERTIES):
            continue  # written by somebody else
        summary = _summary(entity)
        if (not ids or summary.id in ids) and selection.cause in (None, summary.cause):
            yield summary, entity


def _summary(entity: Entity) -> Summary:
    properties = {name: entity[name] for name in _PROPERTIES}
    keys = entity["PartitionKey"], entity["RowKey"]
    return Summary(*keys, **properties, job=entity.get("job", ""), etag=entity["etag"])


def _keys_of(letter: Summary) -> Entity:
    """What deleting a letter takes of its entity."""
    keys = {"PartitionKey": letter.partition_key, "RowKey": letter.row_key}
    return keys | {"etag": letter.etag, "entities": letter.entities}


def _deletion(row: Entity) -> Operation:
    return Operation("delete", {name: row[name] for name in ("PartitionKey", "RowKey")}, row["etag"])


def _changed(row: Entity) -> int:
    """When the service wrote the row last, in ticks."""
    return ticks.from_datetime(row["timestamp"])


def _is_orphan(row_key: str, found: Mapping[str, Entity]) -> bool:
    """Whether a row is a continuation that none of the letters found would take with it."""
    of_letter, _, n = row_key.rpartition("|")
    letter = found.get(of_letter)
    return n.isdigit() and (letter is None or int(n) >= letter["entities"])


def _continuation_key(row_key: str, n: int) -> str:
    return f"{row_key}|{n:03d}"
