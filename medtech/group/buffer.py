"""The durable buffer between ingest and flush, in Table storage.

One batch becomes one row per (window, shard), or more when it does not fit. The flush reads the rows of a window, and
deletes them by ETag once their measurements are settled: what was stored or changed meanwhile stays for the next flush.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, NamedTuple

from medtech.dotnet import ticks
from medtech.errors import BufferCorrupt, MedTechError, StorageRefused, Unavailable
from medtech.group import segment, windows
from medtech.group.segment import Packed
from medtech.model import Measurement
from medtech.storage.connection import Storage
from medtech.storage.payload import PayloadDamaged, join, split
from medtech.storage.table import Entity, Operation, quoted

TABLE = "buffer"

_log = logging.getLogger(__name__)

# A page of rows is held while it is unpacked; the service itself returns no more than 1,000 entities at once.
_PAGE_BYTES = 16 * 1024 * 1024
_PAGE_ROWS = 1000
_WRITES_AT_ONCE = 8
# Measured: the memory that measurements take as Python values, per byte of the JSON that they are unpacked from.
_MEMORY_PER_UNPACKED_BYTE = 5
# These characters come before and after every digit.
_FIRST, _LAST = "!", "~"
_LAST_TICK = 2**63 - 1


class SegmentRow(NamedTuple):
    """A segment with the keys of the row that it goes to; `row_prefix` is what the row keys of its batch begin with."""

    partition_key: str
    row_prefix: str
    hub: str
    packed: Packed

    @property
    def row_key(self) -> str:
        return windows.row_key(self.row_prefix, self.packed.digest)


@dataclass(slots=True)
class Row:
    """One row as it was read. `etag` and `creates_sent` follow this process's own changes to it.

    `creates_sent` is the mark of creates of whose answers nothing is known, should the flush die; `creates_from` and
    `creates_to` are the first and the last time (ticks) at which it was made. `sent_by_earlier`: an earlier flush made
    it. `marked`: this one did. `keeps_mark`: it stays when the row is replaced; whoever keeps a watch on all that this
    flush has created unanswered may clear it, unless an earlier one made it too.

    `fault` says why the row gave no measurements: BufferCorrupt (`payload` then goes into the dead letter), or
    Unavailable, when the row has to stay.
    """

    partition_key: str
    row_key: str
    etag: str
    hub: str
    creates_sent: bool
    stored_bytes: int
    unpacked_bytes: int
    trace_context: str = ""
    fault: MedTechError | None = None
    payload: bytes = b""
    creates_from: int = 0
    creates_to: int = _LAST_TICK
    sent_by_earlier: bool = False
    marked: bool = False
    keeps_mark: bool = True


class Portion(NamedTuple):
    """A part of a window: every measurement of some of its devices, so that no group is split.

    `rows` are all rows of the window, the same objects in each of its portions; `of_row` has the portion's measurements
    of each row, by row key.
    """

    rows: list[Row]
    of_row: dict[str, list[Measurement]]

    def measurements(self) -> list[Measurement]:
        return list(chain.from_iterable(self.of_row.values()))


class Buffer:
    """Segments in, due windows out.

    Whatever asks storage raises StorageUnavailable when it is away; `due_windows` and `read` do so while they are
    iterated. Partitions in between that are not the app's are skipped, and logged once.
    """

    def __init__(self, storage: Storage) -> None:
        self._table = storage.table(TABLE)
        self._writers = ThreadPoolExecutor(_WRITES_AT_ONCE, thread_name_prefix="buffer")
        self._foreign_logged = False

    def store(self, rows: Sequence[SegmentRow]) -> list[Measurement]:
        """Writes each row over its earlier self, side by side; returns when all are stored.

        A row that storage refuses as too large is stored in halves. The measurements returned are those that it refuses
        even alone; none, unless something before it takes less than Table storage does.

        When one fails, its error is raised after the others have ended: the batch comes again and writes the same rows.
        """
        if len(rows) == 1:
            return self._store_row(rows[0])
        writes = [self._writers.submit(self._store_row, row) for row in rows]
        failures = [failure for write in writes if (failure := write.exception()) is not None]
        if failures:
            raise failures[0]
        return list(chain.from_iterable(write.result() for write in writes))

    def _store_row(self, row: SegmentRow) -> list[Measurement]:
        entity = _entity(row.partition_key, row.row_key, row.packed)
        try:
            # Merged, not replaced: a redelivery must not wipe out `creates_sent`.
            self._table.upsert({**entity, "hub": row.hub}, merge=True)
        except StorageRefused as refused:
            if not refused.too_large:
                raise
            return self._store_halves(row)
        return []

    def _store_halves(self, row: SegmentRow) -> list[Measurement]:
        trace_context, measurements = segment.unpack(row.packed.payload)
        if len(measurements) == 1:
            return measurements
        half = len(measurements) // 2
        smaller = (segment.pack(part, trace_context).segments for part in (measurements[:half], measurements[half:]))
        return [
            refused
            for packed in chain.from_iterable(smaller)
            for refused in self._store_row(row._replace(packed=packed))
        ]

    def shards(self) -> list[int]:
        """Shards that hold rows. They are found by skipping through the keys: the setting may have been lowered."""
        found: list[int] = []
        after = _FIRST
        while (place := self._next_place(after, _LAST)) is not None:
            shard, _ = place
            found.append(shard)
            after = windows.shard_prefix(shard) + _LAST
        return found

    def due_windows(self, shard: int, now: int, window_seconds: int, grace_seconds: int) -> Iterator[int]:
        """Window starts (ticks) whose window and grace are over at `now` (ticks), the oldest first.

        Each is looked up when it is asked for: one range query, first row.
        """
        latest = now - (window_seconds + grace_seconds) * ticks.TICKS_PER_SECOND
        if latest < 0:
            return
        after, last = windows.shard_prefix(shard), windows.partition_key(shard, latest)
        while (place := self._next_place(after, last)) is not None:
            yield place[1]
            after = windows.partition_key(*place)

    def oldest_window(self) -> int | None:
        """The start (ticks) of the oldest window that holds rows, due or not; None when the buffer is empty."""
        prefixes = map(windows.shard_prefix, self.shards())
        places = (self._next_place(prefix, prefix + _LAST) for prefix in prefixes)
        return min((place[1] for place in places if place is not None), default=None)

    def _next_place(self, after: str, last: str) -> tuple[int, int] | None:
        """Shard and window start of the first row whose partition key is after `after`, and not after `last`."""
        while True:
            condition = f"PartitionKey gt {quoted(after)} and PartitionKey le {quoted(last)}"
            row = self._table.first(condition, select=["PartitionKey"])
            if row is None:
                return None
            after = row["PartitionKey"]
            place = windows.parse_partition_key(after)
            if place is not None:
                return place
            self._log_foreign()

    def _log_foreign(self) -> None:
        if not self._foreign_logged:
            self._foreign_logged = True
            # Without the key: nobody knows what it holds.
            _log.error(
                "Table `%s` holds rows whose PartitionKey is not one of the app's (such as `002|20220312100500`). They "
                "are left alone. Delete them, and give whatever writes them a table of its own.",
                TABLE,
            )

    def read(self, shard: int, window: int, portion_bytes: int) -> Iterator[Portion]:
        """The measurements of a window: in one portion or, if they take more memory than `portion_bytes`, in several.

        A row is complete only after the last portion. Rows that come after the first look are left to the next flush,
        as are rows that somebody changes between two portions: they keep their old etag, so they cannot be deleted.
        """
        partition_key = windows.partition_key(shard, window)
        rows = list(self._sizes(partition_key))
        if not rows:
            return
        memory_bytes = sum(row.unpacked_bytes for row in rows) * _MEMORY_PER_UNPACKED_BYTE
        portions = max(1, -(-memory_bytes // portion_bytes))
        for number in range(portions):
            # Made in a call, so that nothing here still holds a portion while the next one is read.
            yield self._read_portion(rows, number, portions)

    def _read_portion(self, rows: list[Row], number: int, portions: int) -> Portion:
        portion = Portion(rows, {row.row_key: [] for row in rows})
        for row, measurements in self.read_rows(rows):
            portion.of_row[row.row_key] = (
                [each for each in measurements if _portion_of(each.device_id, portions) == number]
                if portions > 1
                else measurements
            )
        return portion

    def read_rows(self, rows: Sequence[Row]) -> Iterator[tuple[Row, list[Measurement]]]:
        """The measurements of rows of one window, page by page; rows that somebody changed meanwhile are left out."""
        known = {row.row_key: row for row in rows}
        largest = max(row.stored_bytes for row in rows)
        page_size = max(1, min(_PAGE_ROWS, _PAGE_BYTES // max(largest, 1)))
        for entity in self._table.query(f"PartitionKey eq '{rows[0].partition_key}'", page_size=page_size):
            row = known.get(entity["RowKey"])
            if row is not None and row.etag == entity["etag"]:
                yield row, _unpack(row, entity)

    def _sizes(self, partition_key: str) -> Iterator[Row]:
        select = ["PartitionKey", "RowKey", "hub", "stored_bytes", "unpacked_bytes"]
        select += ["creates_sent", "creates_from", "creates_to"]
        for entity in self._table.query(f"PartitionKey eq '{partition_key}'", select=select):
            yield Row(
                partition_key=partition_key,
                row_key=entity["RowKey"],
                etag=entity["etag"],
                hub=_typed(entity.get("hub"), str, ""),
                creates_sent=(creates_sent := _typed(entity.get("creates_sent"), bool, False)),
                sent_by_earlier=creates_sent,
                stored_bytes=_typed(entity.get("stored_bytes"), int, 0),
                unpacked_bytes=_typed(entity.get("unpacked_bytes"), int, 0),
                # Text: the protocol's numbers of 64 bits are text as well. Rows of earlier versions have only the mark.
                creates_from=_ticks(entity.get("creates_from"), 0),
                creates_to=_ticks(entity.get("creates_to"), _LAST_TICK),
            )

    def mark_creates_sent(self, rows: Iterable[Row], now: int) -> list[Row]:
        """Marks rows before a bundle is sent that creates Observations of their measurements, issued at about `now`.

        Once in a flush. Returns the rows that could not be marked, since they were changed or deleted: what they hold
        must not be sent in this flush.
        """
        unmarked: list[Row] = []
        pending = [row for row in rows if not row.marked]
        for row, status, etag in self._change(pending, lambda row: Operation("merge", _mark(row, now), row.etag)):
            if status != 204:
                unmarked.append(row)
                continue
            row.creates_from = row.creates_from if row.creates_sent else now
            row.creates_sent, row.creates_to, row.marked, row.etag = True, now, True, etag
            row.keeps_mark = True
        return unmarked

    def delete(self, rows: Iterable[Row]) -> int:
        """Deletes rows that have not changed since they were read; returns how many are gone.

        A row that somebody else deleted is gone too; a changed one stays for the next flush.
        """
        deletions = self._change(list(rows), lambda row: Operation("delete", _keys(row), row.etag))
        return sum(status in (204, 404) for _, status, _ in deletions)

    def replace(self, row: Row, remaining: list[Measurement]) -> bool:
        """Leaves only the measurements of a row that are not settled; False if it changed meanwhile and stays whole."""
        packing = segment.pack(remaining, row.trace_context)
        if len(packing.segments) != 1:
            # A part can, in theory, compress worse than the whole. The row then stays as it is, which is safe.
            return False
        entity = _entity(row.partition_key, row.row_key, packing.segments[0])
        if not row.keeps_mark:
            entity["creates_sent"] = False
        changes = list(self._change([row], lambda row: Operation("merge", entity, row.etag)))
        _, status, etag = changes[0]
        if status == 204:
            row.etag = etag
        return status == 204

    def _change(self, rows: list[Row], operation: Callable[[Row], Operation]) -> Iterator[tuple[Row, int, str]]:
        """(row, status, new etag) for each row's operation; a transaction has one partition key."""
        for _, group in groupby(sorted(rows, key=_partition_key), key=_partition_key):
            partition = list(group)
            for row, outcome in zip(partition, self._table.change(list(map(operation, partition))), strict=True):
                yield row, outcome.status, outcome.etag


def segment_rows(
    measurements: Iterable[Measurement],
    *,
    hub: str,
    row_prefix: str,
    window_seconds: int,
    shards: int,
    trace_context: str = "",
) -> tuple[list[SegmentRow], list[Measurement]]:
    """The rows of a batch, one per (window, shard) if it fits, and the measurements that no row can hold."""
    by_partition: defaultdict[tuple[int, int], list[Measurement]] = defaultdict(list)
    starts: dict[int, int] = {}
    of_device: dict[str, int] = {}
    for measurement in measurements:
        device_id, enqueued = measurement.device_id, measurement.ingestion_time
        if (shard := of_device.get(device_id)) is None:
            shard = of_device[device_id] = windows.shard_of(device_id, shards)
        if (window := starts.get(enqueued)) is None:
            window = starts[enqueued] = windows.window_start(enqueued, window_seconds)
        by_partition[shard, window].append(measurement)
    rows: list[SegmentRow] = []
    too_large: list[Measurement] = []
    for (shard, window), members in by_partition.items():
        packing = segment.pack(members, trace_context)
        key = windows.partition_key(shard, window)
        rows.extend(SegmentRow(key, row_prefix, hub, packed) for packed in packing.segments)
        too_large.extend(packing.too_large)
    return rows, too_large


def _entity(partition_key: str, row_key: str, packed: Packed) -> Entity:
    sizes = {"stored_bytes": len(packed.payload), "unpacked_bytes": packed.unpacked_bytes}
    return {"PartitionKey": partition_key, "RowKey": row_key, **sizes, **split(packed.payload)}


def _unpack(row: Row, entity: Entity) -> list[Measurement]:
    """The measurements of a row; if it has a fault, none, and the row says why."""
    try:
        row.payload = join(entity)
        row.trace_context, measurements = segment.unpack(row.payload)
    except PayloadDamaged as damaged:
        row.fault = BufferCorrupt(f"A row of the buffer is damaged: {damaged}.")
        return []
    except (BufferCorrupt, Unavailable) as fault:
        row.fault = fault
        return []
    row.payload = b""
    return measurements


def _portion_of(device_id: str, portions: int) -> int:
    # Not the CRC that made the shard: within a shard its remainders repeat. Python's own hash differs from process to
    # process, which does not matter to the portions of one flush.
    return hash(device_id) % portions


def _typed(value: Any, kind: type, default: Any) -> Any:
    return value if type(value) is kind else default


def _ticks(value: Any, default: int) -> int:
    text = _typed(value, str, "")
    return int(text) if text.isdecimal() else default


def _mark(row: Row, now: int) -> Entity:
    first = row.creates_from if row.creates_sent else now
    return _keys(row) | {"creates_sent": True, "creates_from": str(first), "creates_to": str(now)}


def _keys(row: Row) -> Entity:
    return {"PartitionKey": row.partition_key, "RowKey": row.row_key}


def _partition_key(row: Row) -> str:
    return row.partition_key
