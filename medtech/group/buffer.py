"""The durable buffer between ingest and flush, in Table storage, of one account or of several.

One batch becomes one row per (window, shard), or more when it does not fit. The flush reads the rows of a window, and
deletes them by ETag once their measurements are settled: what was stored or changed meanwhile stays for the next flush.
"""

import logging
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import chain, groupby, islice
from typing import Any, NamedTuple

from medtech.deadline import Deadline, seconds_left, within
from medtech.dotnet import ticks
from medtech.errors import StorageRefused, StorageUnavailable, Unavailable
from medtech.group import segment, windows
from medtech.group.accounts import TABLE, Accounts
from medtech.group.reading import BLOCK_ROWS, Left, Limits, Round, Row, WindowReading
from medtech.group.replayed import Replayed
from medtech.group.segment import Packed
from medtech.group.shard_tables import ASKED_SECONDS, ShardTables
from medtech.model import Measurement
from medtech.storage.connection import Storage
from medtech.storage.payload import split
from medtech.storage.table import Entity, Operation, Table, quoted

_log = logging.getLogger(__name__)

_WRITES_AT_ONCE = 8
_ROWS_LOOKED_AT = 100
"""To find windows. The work on a window with that many rows makes up for a hundred keys that name the same one."""
# These characters come before and after every digit.
_FIRST, _LAST = "!", "~"


class SegmentRow(NamedTuple):
    """A segment with the keys of the row that it goes to; `row_prefix` is what the row keys of its batch begin with.

    `replayed` names the letter that the segment was made of, if it was one.
    """

    partition_key: str
    row_prefix: str
    hub: str
    packed: Packed
    replayed: Replayed | None = None

    @property
    def row_key(self) -> str:
        return windows.row_key(self.row_prefix, self.packed.digest)

    def entity(self) -> Entity:
        replayed = {} if self.replayed is None else self.replayed.properties()
        return {**_entity(self.partition_key, self.row_key, self.packed), "hub": self.hub, **replayed}


class Buffer:
    """Segments in, due windows out.

    Whatever asks storage raises StorageUnavailable when it is away; `due_windows` and what `read` returns do so while
    they are iterated. They leave out what a further account may hold that is away, unless new rows of the shard go
    there. Partitions in between that are not the app's are skipped, and logged once.
    """

    def __init__(self, storage: Storage) -> None:
        self._tables = ShardTables(storage, TABLE)
        self._accounts = Accounts(storage)
        self._left_out_logged = False
        self._writers = ThreadPoolExecutor(_WRITES_AT_ONCE, thread_name_prefix="buffer")
        self._foreign_logged = False

    def store(self, rows: Sequence[SegmentRow]) -> list[Measurement]:
        """Writes each row over its earlier self, side by side; returns when all are stored.

        A row that storage refuses as too large is stored in halves. The measurements returned are those that it refuses
        even alone; none, unless something before it takes less than Table storage does.

        When one fails, its error is raised once those under way have ended, and the rest is not begun: the batch comes
        again and writes the same rows.
        """
        if len(rows) == 1:
            return self._store_row(rows[0])
        writes = [self._writers.submit(self._store_row, row) for row in rows]
        if any(write.exception() for write in wait(writes, return_when=FIRST_EXCEPTION).done):
            begun = [write for write in writes if not write.cancel()]
            raise next(failure for write in begun if (failure := write.exception()) is not None)
        return list(chain.from_iterable(write.result() for write in writes))

    def _store_row(self, row: SegmentRow) -> list[Measurement]:
        try:
            # Merged, not replaced: a redelivery must not wipe out `creates_sent`.
            self._home(row.partition_key).upsert(row.entity(), merge=True)
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

    def store_replayed(self, rows: Iterable[SegmentRow]) -> None:
        """As `store`, for many small rows of few partitions: they go in transactions.

        Raises StorageRefused, when others are stored already, if one is too large for storage alone.
        """
        in_order = sorted(rows, key=lambda row: (row.partition_key, row.row_key))
        for partition_key, group in groupby(in_order, key=lambda row: row.partition_key):
            partition, table = list(group), self._home(partition_key)
            results = table.change([Operation("create", row.entity()) for row in partition])
            for row, result in zip(partition, results, strict=True):
                if result.status == 413:
                    raise StorageRefused(
                        "Storage refuses a row of the buffer as too large. Check that no gateway or proxy before it "
                        "takes less than the 4 MiB that Table storage takes.",
                        too_large=True,
                    )
                if result.status != 204:
                    table.upsert(row.entity(), merge=True)

    def _home(self, partition_key: str) -> Table:
        """The table to write a new row of a partition to; its account is on record from now on."""
        number = self._tables.home(windows.shard_in(partition_key))
        self._accounts.note(number)
        return self._tables[number]

    def look_after_accounts(self, now: int) -> None:
        """Forgets accounts that are emptied at `now` (ticks), and logs, once, what was taken off the list too early."""
        if not self.away():
            # A tick has other work, and the next one is soon enough.
            with suppress(Unavailable), within(Deadline(min(ASKED_SECONDS, seconds_left()))):
                self._accounts.forget_emptied(now)
        if not self._left_out_logged:
            for account in self._accounts.left_out():
                _log.error("%s", account.advice)
            self._left_out_logged = True

    def stored_replayed(self, partition_key: str, first: str, last: str) -> set[str]:
        """The keys of the rows of replayed letters in a partition, from `first` to `last`."""
        condition = (
            f"PartitionKey eq {quoted(partition_key)} and RowKey ge {quoted(first)} and RowKey le {quoted(last)}"
        )
        return {row["RowKey"] for table in self._tables for row in table.query(condition, select=["RowKey"])}

    def shards(self) -> list[int]:
        """Shards that hold rows. They are found by skipping through the keys: the setting may have been lowered."""
        return list(self._tables.in_order(self._shards_in))

    def due_shards(self, now: int, window_seconds: int, grace_seconds: int) -> list[int]:
        """The shards that have `due_windows`, in order, without those that are not `is_within_reach`: see `away`.

        It takes a request for each shard that an account holds, and as long as one account does.
        """
        latest = _latest(now, window_seconds, grace_seconds)
        found = self._tables.all_within_reach(lambda _, table: self._first_places(table))
        return sorted({shard for shard, start in found if start <= latest and self.is_within_reach(shard)})

    def is_within_reach(self, shard: int) -> bool:
        """Whether a shard's new rows go to an account that answered when it was last asked."""
        return not self._tables.is_away(self._tables.home(shard))

    def away(self) -> list[StorageUnavailable]:
        """What is wrong with further accounts that did not answer when they were last asked. The flush of other shards
        goes on."""
        return self._tables.away()

    def _shards_in(self, table: Table) -> Iterator[int]:
        return (shard for shard, _ in self._first_places(table))

    def _first_places(self, table: Table) -> Iterator[tuple[int, int]]:
        """Each shard with the start of its oldest window."""
        after = _FIRST
        while (place := self._next_place(table, after, _LAST)) is not None:
            yield place
            after = windows.shard_prefix(place[0]) + _LAST

    def due_windows(self, shard: int, now: int, window_seconds: int, grace_seconds: int) -> Iterator[int]:
        """Window starts (ticks) whose window and grace are over at `now` (ticks), the oldest first.

        They are looked up when they are asked for: a query finds those of the next rows, since they may be many and
        small.
        """
        latest = _latest(now, window_seconds, grace_seconds)
        if latest < 0:
            return
        yield from self._windows(shard, windows.shard_prefix(shard), windows.partition_key(shard, latest))

    def later_windows(self, shard: int, after: int, last: int) -> Iterator[int]:
        """Window starts that come after `after`, and not after `last` (ticks), the oldest first, due or not."""
        return self._windows(shard, windows.partition_key(shard, after), windows.partition_key(shard, last))

    def _windows(self, shard: int, after: str, last: str) -> Iterator[int]:
        return self._tables.in_order_within_reach(lambda table: self._windows_in(table, after, last), shard)

    def _windows_in(self, table: Table, after: str, last: str) -> Iterator[int]:
        more = True
        while more:
            keys, more = _partition_keys(table, after, last, _ROWS_LOOKED_AT)
            for key in keys:
                place = windows.parse_partition_key(key)
                if place is None:
                    self._log_foreign()
                else:
                    yield place[1]
                after = key

    def oldest_window(self) -> int | None:
        """The start (ticks) of the oldest window that holds rows, due or not; None when the buffer is empty."""
        return self._oldest_window_in(self._tables)

    def oldest_window_within_reach(self) -> int | None:
        """As `oldest_window`, without what further accounts hold that did not answer when they were last asked."""
        return self._oldest_window_in(self._tables.answering())

    def _oldest_window_in(self, tables: Iterable[Table]) -> int | None:
        return min((start for table in tables for _, start in self._first_places(table)), default=None)

    def _next_place(self, table: Table, after: str, last: str) -> tuple[int, int] | None:
        """Shard and window start of the first row whose partition key is after `after`, and not after `last`."""
        while keys := _partition_keys(table, after, last, 1)[0]:
            (after,) = keys
            place = windows.parse_partition_key(after)
            if place is not None:
                return place
            self._log_foreign()
        return None

    def _log_foreign(self) -> None:
        if not self._foreign_logged:
            self._foreign_logged = True
            # Without the key: nobody knows what it holds.
            _log.error(
                "Table `%s` holds rows that the app did not write: their PartitionKey is not of the form "
                "`002|20220312100500`. They are left alone. Delete them, and give whatever writes them a table of its "
                "own.",
                TABLE,
            )

    def read(
        self,
        shard: int,
        window: int,
        portion_bytes: int,
        packed_bytes: int | None = None,
        of_round: Round | None = None,
    ) -> WindowReading:
        """The window, in one portion or, if its measurements take more memory than `portion_bytes`, in several.

        These are held packed up to `packed_bytes` (default: as many as there are); `of_round` is the
        round before's `next_round`. Rows are read when the reading is iterated.
        """
        key = windows.partition_key(shard, window)
        found = self._tables.within_reach(lambda number, table: self._sizes(number, table, key), shard)
        rows = list(chain.from_iterable(found))
        limits = Limits(portion_bytes, sys.maxsize if packed_bytes is None else packed_bytes)
        return WindowReading(rows, self._fetch, limits, of_round)

    def _fetch(self, rows: Sequence[Row]) -> list[tuple[Row, Entity]]:
        return list(chain.from_iterable(self._fetch_of_table(list(run)) for _, run in groupby(rows, key=_table)))

    def _fetch_of_table(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Entity]]:
        known = {row.row_key: row for row in rows}
        first, last = rows[0], rows[-1]
        condition = (
            f"PartitionKey eq {quoted(first.partition_key)} and RowKey ge {quoted(first.row_key)} "
            f"and RowKey le {quoted(last.row_key)}"
        )
        for entity in self._tables[first.table].query(condition, page_size=BLOCK_ROWS):
            row = known.get(entity["RowKey"])
            if row is not None and row.etag == entity["etag"]:
                yield row, entity

    def _sizes(self, number: int, table: Table, partition_key: str) -> Iterator[Row]:
        select = ["PartitionKey", "RowKey", "hub", "stored_bytes", "unpacked_bytes", *Replayed._fields]
        select += ["creates_sent", "creates_from", "creates_to"]
        for entity in table.query(f"PartitionKey eq '{partition_key}'", select=select):
            creates_sent = _typed(entity.get("creates_sent"), bool, False)
            yield Row(
                partition_key=partition_key,
                row_key=entity["RowKey"],
                etag=entity["etag"],
                hub=_typed(entity.get("hub"), str, ""),
                creates_sent=creates_sent,
                sent_before=creates_sent,
                keeps_mark=creates_sent,
                stored_bytes=_typed(entity.get("stored_bytes"), int, 0),
                unpacked_bytes=_typed(entity.get("unpacked_bytes"), int, 0),
                replayed=Replayed.read(entity),
                # Text: the protocol's numbers of 64 bits are text as well. Rows of earlier versions have only the mark.
                creates_from=_ticks(entity.get("creates_from"), 0),
                creates_to=_ticks(entity.get("creates_to"), ticks.MAX_TICKS),
                table=number,
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
        gone = 0
        for row, status, _ in self._change(list(rows), lambda row: Operation("delete", _keys(row), row.etag)):
            row.given_up = True
            gone += status in (204, 404)
        return gone

    def replace(self, lefts: Iterable[Left]) -> list[Row]:
        """Leaves only the measurements of rows that are not settled, as many rows in a transaction as it takes.

        Returns the rows that are replaced; one that changed meanwhile stays whole for the next flush.
        """
        entities: dict[tuple[int, str], Entity] = {}
        rows: list[Row] = []
        for row, measurements in lefts:
            packing = segment.pack(measurements, row.trace_context)
            if len(packing.segments) > 1:
                # A part can compress worse than the whole. Left whole, the row would have what is settled of it written
                # again at each flush, over later values.
                packing = segment.pack(measurements, row.trace_context, tightly=True)
            if len(packing.segments) == 1:
                entity = _entity(row.partition_key, row.row_key, packing.segments[0])
                entities[row.place] = entity if row.keeps_mark else entity | {"creates_sent": False}
                rows.append(row)
        replaced: list[Row] = []
        for row, status, etag in self._change(rows, lambda row: Operation("merge", entities[row.place], row.etag)):
            if status == 204:
                row.etag = etag
                replaced.append(row)
            else:
                row.given_up = True
        return replaced

    def _change(self, rows: list[Row], operation: Callable[[Row], Operation]) -> Iterator[tuple[Row, int, str]]:
        """(row, status, new etag) for each row's operation; a transaction has one table and one partition key."""
        for (table, _), group in groupby(sorted(rows, key=_partition), key=_partition):
            partition = list(group)
            for row, outcome in zip(
                partition, self._tables[table].change(list(map(operation, partition))), strict=True
            ):
                yield row, outcome.status, outcome.etag


def segment_rows(
    measurements: Iterable[Measurement],
    *,
    hub: str,
    row_prefix: str,
    window_seconds: int,
    shards: int,
    trace_context: str = "",
    characters: int | None = None,
) -> tuple[list[SegmentRow], list[Measurement]]:
    """The rows of a batch, one per (window, shard) if it fits, and the measurements that no row can hold.

    `characters` as for `segment.pack`.
    """
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
        packing = segment.pack(members, trace_context, characters=characters)
        key = windows.partition_key(shard, window)
        rows.extend(SegmentRow(key, row_prefix, hub, packed) for packed in packing.segments)
        too_large.extend(packing.too_large)
    return rows, too_large


def _latest(now: int, window_seconds: int, grace_seconds: int) -> int:
    """The latest start (ticks) of a window that is due."""
    return now - (window_seconds + grace_seconds) * ticks.TICKS_PER_SECOND


def _entity(partition_key: str, row_key: str, packed: Packed) -> Entity:
    sizes = {"stored_bytes": len(packed.payload), "unpacked_bytes": packed.unpacked_bytes}
    return {"PartitionKey": partition_key, "RowKey": row_key, **sizes, **split(packed.payload)}


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


def _partition(row: Row) -> tuple[int, str]:
    return row.table, row.partition_key


def _table(row: Row) -> int:
    return row.table


def _partition_keys(table: Table, after: str, last: str, rows: int) -> tuple[list[str], bool]:
    """(those of the next `rows` rows whose partition key is after `after`, and not after `last`; whether there may be
    more rows)."""
    condition = f"PartitionKey gt {quoted(after)} and PartitionKey le {quoted(last)}"
    found = [
        row["PartitionKey"] for row in islice(table.query(condition, select=["PartitionKey"], page_size=rows), rows)
    ]
    return list(dict.fromkeys(found)), len(found) == rows
