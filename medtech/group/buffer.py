"""The durable buffer between ingest and flush, in Table storage.

One batch becomes one row per (window, shard), or more when it does not fit. Rows of a window are read, and when their
measurements are settled they are deleted by ETag: what was stored or changed meanwhile stays for the next flush.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from medtech.dotnet import ticks
from medtech.errors import BufferCorrupt, MedTechError, Unavailable
from medtech.group import segment, windows
from medtech.group.segment import Packed
from medtech.model import Measurement
from medtech.storage import Entity, Operation, Storage, join_payload, split_payload

TABLE = "buffer"

# A page of rows is held while it is unpacked; the service itself gives no more than 1,000 entities.
_PAGE_BYTES = 16 * 1024 * 1024
_PAGE_ROWS = 1000
_WRITES_AT_ONCE = 8
# Measured: what measurements take as Python values, for each byte of the JSON that they are unpacked from.
_MEMORY_PER_UNPACKED_BYTE = 5
_MAX_SHARD = 10**windows.SHARD_DIGITS - 1


class SegmentRow(NamedTuple):
    """A segment with the keys of the row that it goes to."""

    partition_key: str
    row_key: str
    hub: str
    packed: Packed


@dataclass(slots=True)
class Row:
    """One row as it was read. `etag` and `creates_sent` follow this process's own changes to the row.

    `measurements` are those of the pass at hand. `fault` says why a row gave none: BufferCorrupt (its payload, for
    the dead letter, is `payload`), or Unavailable, when the row has to stay.
    """

    partition_key: str
    row_key: str
    etag: str
    hub: str
    creates_sent: bool
    stored_bytes: int
    unpacked_bytes: int
    trace_context: str = ""
    measurements: list[Measurement] = field(default_factory=list)
    fault: MedTechError | None = None
    payload: bytes = b""


class Buffer:
    """Segments in, due windows out. Every method raises StorageUnavailable when storage is away."""

    def __init__(self, storage: Storage) -> None:
        self._table = storage.table(TABLE)
        self._writers = ThreadPoolExecutor(_WRITES_AT_ONCE, thread_name_prefix="buffer")

    def store(self, rows: Sequence[SegmentRow]) -> None:
        """Writes each row over its earlier self, side by side; returns when all are stored.

        When one fails the others are still waited for, then its error is raised: the batch comes again and writes the
        same rows.
        """
        if len(rows) == 1:
            self._store_row(rows[0])
            return
        writes = [self._writers.submit(self._store_row, row) for row in rows]
        failures = [failure for write in writes if (failure := write.exception()) is not None]
        if failures:
            raise failures[0]

    def _store_row(self, row: SegmentRow) -> None:
        entity = _entity(row.partition_key, row.row_key, row.packed)
        # Merged, not replaced: a redelivery must not wipe out `creates_sent`.
        self._table.upsert({**entity, "hub": row.hub}, merge=True)

    def shards(self) -> list[int]:
        """Shards that hold rows, found by skipping through the keys: the setting may have been lowered."""
        found: list[int] = []
        shard = 0
        while shard <= _MAX_SHARD:
            first = self._table.first(f"PartitionKey ge '{shard:03d}'", select=["PartitionKey"])
            if first is None:
                break
            shard = windows.parse_partition_key(first["PartitionKey"])[0]
            found.append(shard)
            shard += 1
        return found

    def due_windows(self, shard: int, now: int, window_seconds: int, grace_seconds: int) -> Iterator[int]:
        """Window starts (ticks) whose window and grace are over at `now` (ticks), the oldest first.

        Each is looked up when it is asked for: one range query, first row.
        """
        latest = now - (window_seconds + grace_seconds) * ticks.TICKS_PER_SECOND
        if latest < 0:
            return
        after, last = f"{shard:03d}|", windows.partition_key(shard, latest)
        while True:
            condition = f"PartitionKey gt '{after}' and PartitionKey le '{last}'"
            first = self._table.first(condition, select=["PartitionKey"])
            if first is None:
                return
            after = first["PartitionKey"]
            yield windows.parse_partition_key(after)[1]

    def oldest_window(self) -> int | None:
        """The start (ticks) of the oldest window that holds rows, due or not; None when the buffer is empty."""
        firsts = (
            self._table.first(f"PartitionKey ge '{shard:03d}'", select=["PartitionKey"]) for shard in self.shards()
        )
        return min((windows.parse_partition_key(row["PartitionKey"])[1] for row in firsts if row), default=None)

    def read(self, shard: int, window: int, portion_bytes: int) -> Iterator[list[Row]]:
        """The rows of a window with their measurements: in one pass or, if they take more memory than `portion_bytes`,
        in several.

        A pass holds all measurements of its share of the devices, so a group is never split. Each pass gives the same
        Row objects with the measurements of that pass; a row is read to its end when the last pass is. Rows that come
        after the first look are left to the next flush, as are rows that somebody changes between two passes: they
        keep their old etag, so that they cannot be deleted.
        """
        partition_key = windows.partition_key(shard, window)
        rows = {row.row_key: row for row in self._sizes(partition_key)}
        if not rows:
            return
        memory_bytes = sum(row.unpacked_bytes for row in rows.values()) * _MEMORY_PER_UNPACKED_BYTE
        passes = max(1, -(-memory_bytes // portion_bytes))
        largest = max(row.stored_bytes for row in rows.values())
        page_size = max(1, min(_PAGE_ROWS, _PAGE_BYTES // max(largest, 1)))
        for share in range(passes):
            for row in rows.values():
                row.measurements = []
            for entity in self._table.query(f"PartitionKey eq '{partition_key}'", page_size=page_size):
                known = rows.get(entity["RowKey"])
                if known is None or known.etag != entity["etag"]:
                    continue
                _unpack_into(known, entity)
                if passes > 1:
                    known.measurements = [m for m in known.measurements if _share(m.device_id, passes) == share]
            yield list(rows.values())

    def _sizes(self, partition_key: str) -> Iterator[Row]:
        select = ["PartitionKey", "RowKey", "hub", "creates_sent", "stored_bytes", "unpacked_bytes"]
        for entity in self._table.query(f"PartitionKey eq '{partition_key}'", select=select):
            yield Row(
                partition_key=partition_key,
                row_key=entity["RowKey"],
                etag=entity["etag"],
                hub=_typed(entity.get("hub"), str, ""),
                creates_sent=_typed(entity.get("creates_sent"), bool, False),
                stored_bytes=_typed(entity.get("stored_bytes"), int, 0),
                unpacked_bytes=_typed(entity.get("unpacked_bytes"), int, 0),
            )

    def mark_creates_sent(self, rows: Iterable[Row]) -> list[Row]:
        """Notes on the rows that a bundle which creates is about to be sent.

        Gives the rows that could not be marked since they were changed or deleted: what is behind them must not be
        sent in this flush.
        """
        mark = {"creates_sent": True}
        unmarked: list[Row] = []
        pending = [row for row in rows if not row.creates_sent]
        for row, status, etag in self._change(pending, lambda row: Operation("merge", _keys(row) | mark, row.etag)):
            if status == 204:
                row.creates_sent, row.etag = True, etag
            else:
                unmarked.append(row)
        return unmarked

    def delete(self, rows: Iterable[Row]) -> int:
        """Deletes rows that have not changed since they were read; gives how many are gone.

        A row that somebody else deleted is gone too; a changed one stays for the next flush.
        """
        deletions = self._change(list(rows), lambda row: Operation("delete", _keys(row), row.etag))
        return sum(status in (204, 404) for _, status, _ in deletions)

    def replace(self, row: Row, remaining: list[Measurement]) -> bool:
        """Leaves of a row only the measurements that are not settled. False: it changed meanwhile and stays whole."""
        packing = segment.pack(remaining, row.trace_context)
        if len(packing.segments) != 1:
            # A part can, in theory, compress worse than the whole. The row then stays as it is, which is safe.
            return False
        entity = _entity(row.partition_key, row.row_key, packing.segments[0])
        changes = list(self._change([row], lambda row: Operation("merge", entity, row.etag)))
        _, status, etag = changes[0]
        if status == 204:
            row.etag = etag
        return status == 204

    def _change(self, rows: list[Row], operation: Callable[[Row], Operation]) -> Iterator[tuple[Row, int, str]]:
        """(row, status, new etag) of one operation a row; a transaction has one partition key."""
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
    """The rows of a batch, one per (window, shard) unless they are too large, and the measurements no row can hold."""
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
        rows.extend(
            SegmentRow(key, windows.row_key(row_prefix, n), hub, packed) for n, packed in enumerate(packing.segments)
        )
        too_large.extend(packing.too_large)
    return rows, too_large


def _entity(partition_key: str, row_key: str, packed: Packed) -> Entity:
    sizes = {"stored_bytes": len(packed.payload), "unpacked_bytes": packed.unpacked_bytes}
    return {"PartitionKey": partition_key, "RowKey": row_key, **sizes, **split_payload(packed.payload)}


def _unpack_into(row: Row, entity: Entity) -> None:
    try:
        row.payload = join_payload(entity)
        row.trace_context, row.measurements = segment.unpack(row.payload)
        row.payload = b""
    except ValueError as error:
        row.fault = BufferCorrupt(f"A row of the buffer is damaged: {error}.")
    except (BufferCorrupt, Unavailable) as error:
        row.fault = error


def _share(device_id: str, passes: int) -> int:
    # Not the CRC that made the shard: within a shard its remainders repeat. Python's own hash differs from process to
    # process, which is fine for passes of one flush.
    return hash(device_id) % passes


def _typed(value: Any, kind: type, default: Any) -> Any:
    return value if type(value) is kind else default


def _keys(row: Row) -> Entity:
    return {"PartitionKey": row.partition_key, "RowKey": row.row_key}


def _partition_key(row: Row) -> str:
    return row.partition_key
