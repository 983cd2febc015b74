"""Table `watches`: resources whose create was sent and not answered, until none can be carried out any more.

    PartitionKey  `002|`                 the shard whose flush sent the create
    RowKey        `Observation|<id>`     so that a resource is watched once
    until         ticks; at the first look after it the row goes
    issued_from, issued_to, patient, version        as in Watch

The table holds no health data. Ticks are stored as text: the protocol's numbers of 64 bits are text as well.
"""

import logging
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from medtech.deadline import Deadline, within
from medtech.dotnet import ticks
from medtech.errors import OutOfTime, StorageUnavailable, Unavailable
from medtech.group.reading import Row
from medtech.group.windows import shard_prefix
from medtech.persist.client import CONCURRENT_BUNDLES, FhirClient
from medtech.persist.late import Looked, look
from medtech.persist.watch import Watch
from medtech.storage.connection import Storage
from medtech.storage.table import TRANSACTION_OPERATIONS, Entity, Operation, OperationResult, Table, quoted

TABLE = "watches"

WATCH_SECONDS = (15 + 10) * 60
"""A gateway lets a request go within minutes; a create is merged back if that is within 15. The other 10 are for clocks
that differ: one instance writes `until`, and another one compares it."""

FLUSH_SECONDS = 5 * 60
"""More than a flush takes: what it creates says that it was issued within this time of when its rows were marked."""

LOOKS_AT_ONCE = 1000
"""At a tick, besides those whose time is over. Of more, each has its turn every few ticks: what is found late is put
right all the same, and the server has other work."""

_ATTEMPTS = 5
"""To change a row that another instance keeps changing."""

_log = logging.getLogger(__name__)


class _Kept(NamedTuple):
    """A watch as the table has it; `until` in ticks."""

    watch: Watch
    until: int
    etag: str


class Watches:
    """The table, and the server that holds what is watched; one per process."""

    def __init__(self, storage: Storage, client: FhirClient, *, pause: Callable[[float], object] = time.sleep) -> None:
        self._table = storage.table(TABLE)
        self._client = client
        self._pause = pause

    def shards(self) -> set[int]:
        """Shards with watches: one request if there are none. Raises StorageUnavailable."""
        found: set[int] = set()
        after = "!"
        while (row := self._table.first(f"PartitionKey gt {quoted(after)}", select=["PartitionKey"])) is not None:
            after = row["PartitionKey"]
            if re.fullmatch(r"[0-9]{3}\|", after):
                found.add(int(after[:3]))
        return found

    def of(self, shard: int, clock: Callable[[], int]) -> "ShardWatches":
        """The watches of a shard as they are now; `clock` gives ticks. Raises StorageUnavailable."""
        partition_key = shard_prefix(shard)
        rows = self._table.query(f"PartitionKey eq {quoted(partition_key)}")
        kept = [each for row in rows if (each := _read(row)) is not None]
        return ShardWatches(self._table, self._client, partition_key, kept, clock, self._pause)


class ShardWatches:
    """The watches of a shard while it is flushed, under its lease; for one thread. A WatchKeeper."""

    def __init__(
        self,
        table: Table,
        client: FhirClient,
        partition_key: str,
        kept: Iterable[_Kept],
        clock: Callable[[], int],
        pause: Callable[[float], object],
    ) -> None:
        self._table = table
        self._client = client
        self._partition_key = partition_key
        self._kept = {each.watch.url: each for each in kept}
        self._clock = clock
        self._pause = pause
        self._only_sending: set[str] = set()

    def of_observation(self, resource_id: str, rows: Iterable[Row]) -> Watch | None:
        """What is known of an Observation's creates that may come late, also by the marks of its measurements' rows."""
        kept = self._kept.get(f"Observation/{resource_id}")
        watch = kept.watch if kept else None
        marked = [row for row in rows if row.sent_before]
        if not marked:
            return watch
        around = FLUSH_SECONDS * ticks.TICKS_PER_SECOND
        issued = (min(row.creates_from for row in marked) - around, max(row.creates_to for row in marked) + around)
        return Watch("Observation", resource_id, issued).joined(watch)

    def add(self, watches: Sequence[Watch]) -> None:
        """Watches these from now on. Raises StorageUnavailable."""
        until = self._clock() + WATCH_SECONDS * ticks.TICKS_PER_SECOND
        wanted: dict[str, Watch] = {}
        for watch in watches:
            wanted[watch.url] = watch.joined(wanted.get(watch.url))
        for _ in range(_ATTEMPTS):
            if not wanted:
                return
            changes = {url: self._extended(watch, until) for url, watch in wanted.items()}
            for url, result in self._change(changes):
                if result.status == 204:
                    self._kept[url] = changes[url]._replace(etag=result.etag)
                    del wanted[url]
                else:
                    self._read_again(wanted[url])
        if wanted:
            raise StorageUnavailable(
                f"Table `{TABLE}`: another instance keeps changing the same rows. The next flush tries again."
            )

    def sending(self, creates: Sequence[Watch]) -> None:
        self._only_sending.update(each.url for each in creates if each.url not in self._kept)
        self.add(creates)

    def answered(self, creates: Sequence[Watch]) -> None:
        urls = {each.url for each in creates} & self._only_sending
        self._only_sending -= urls
        try:
            self._delete({url: self._kept[url] for url in urls if url in self._kept})
        except Unavailable:
            # Looked at for nothing, until its time is over.
            return

    def look(self, before_writes: Callable[[], object], deadline: Deadline) -> list[Unavailable]:
        """Looks at what is watched until `deadline`; returns what makes it useless to go on with the shard.

        `before_writes` is called each time before bundles that write are sent; what it raises ends it. Raises
        StorageUnavailable.
        """
        at_once = self._client.bundle_size * CONCURRENT_BUNDLES
        restored = 0
        with within(deadline):
            for urls in _batched(self._turn(), at_once):
                looked = list(
                    look(
                        self._client,
                        [self._kept[url].watch for url in urls],
                        before_writes,
                        now=self._clock,
                        pause=self._pause,
                    )
                )
                restored += sum(each.restored for each in looked)
                self._note(looked)
                if away := next((each.error for each in looked if each.server_away), None):
                    _log_restored(restored)
                    return [away] if isinstance(away, Unavailable) and not isinstance(away, OutOfTime) else []
        _log_restored(restored)
        return []

    def _turn(self) -> list[str]:
        now = self._clock()
        over = [url for url, kept in self._kept.items() if kept.until <= now]
        others = [url for url, kept in self._kept.items() if kept.until > now]
        # Which, is left to chance: no instance has to know when another one last looked at what.
        return over + (random.sample(others, LOOKS_AT_ONCE) if len(others) > LOOKS_AT_ONCE else others)

    def _note(self, looked: Iterable[Looked]) -> None:
        """Keeps what was seen, and ends the watches whose time is over."""
        now = self._clock()
        done: dict[str, _Kept] = {}
        seen: dict[str, _Kept] = {}
        for watch, _, error, _ in looked:
            kept = self._kept[watch.url]
            if isinstance(error, Unavailable):
                continue
            if kept.until <= now:
                done[watch.url] = kept
                if error is not None:
                    _log.error("%s is not watched any more, without a last look: %s", watch.url, error.message)
            elif watch != kept.watch:
                seen[watch.url] = kept._replace(watch=watch)
        self._delete(done)
        for url, result in self._change(seen):
            if result.status == 204:
                self._kept[url] = seen[url]._replace(etag=result.etag)

    def _extended(self, watch: Watch, until: int) -> _Kept:
        kept = self._kept.get(watch.url)
        if kept is None:
            return _Kept(watch, until, "")
        return _Kept(watch.joined(kept.watch), max(until, kept.until), kept.etag)

    def _read_again(self, watch: Watch) -> None:
        row = self._table.get(self._partition_key, _row_key(watch))
        kept = _read(row) if row is not None else None
        if kept is None:
            self._kept.pop(watch.url, None)
        else:
            self._kept[watch.url] = kept

    def _delete(self, rows: Mapping[str, _Kept]) -> None:
        """By ETag: what somebody has extended meanwhile stays."""
        for url, result in self._change(rows, delete=True):
            if result.status in (204, 404):
                del self._kept[url]

    def _change(self, rows: Mapping[str, _Kept], *, delete: bool = False) -> Iterator[tuple[str, OperationResult]]:
        # Transaction by transaction: what one of them has done is known when the next one fails.
        for urls in _batched(rows, TRANSACTION_OPERATIONS):
            operations = [self._operation(rows[url], delete=delete) for url in urls]
            yield from zip(urls, self._table.change(operations), strict=True)

    def _operation(self, kept: _Kept, *, delete: bool) -> Operation:
        keys = {"PartitionKey": self._partition_key, "RowKey": _row_key(kept.watch)}
        if delete:
            return Operation("delete", keys, kept.etag)
        watch = kept.watch
        entity = keys | {
            "until": str(kept.until),
            "issued_from": str(watch.issued[0]),
            "issued_to": str(watch.issued[1]),
            "patient": watch.patient or "",
            "version": watch.version or "",
        }
        return Operation("merge", entity, kept.etag) if kept.etag else Operation("create", entity)


def _batched(urls: Iterable[str], size: int) -> Iterator[list[str]]:
    remaining = iter(urls)
    while batch := list(islice(remaining, size)):
        yield batch


def _log_restored(count: int) -> None:
    if count:
        _log.warning(
            "A create was carried out after its answer had been given up, over what was written since: %d resources "
            "were put right. If this goes on, look at what lies between the app and the FHIR server.",
            count,
        )


def _row_key(watch: Watch) -> str:
    return f"{watch.resource_type}|{watch.resource_id}"


def _read(row: Entity) -> _Kept | None:
    """None for a row that is not the app's."""
    found = re.fullmatch(r"(Observation|Patient|Device)\|([A-Za-z0-9.-]{1,64})", row["RowKey"])
    if found is None:
        return None
    issued = _ticks(row, "issued_from", 0), _ticks(row, "issued_to", ticks.MAX_TICKS)
    watch = Watch(found[1], found[2], issued, row.get("patient") or None, row.get("version") or None)
    return _Kept(watch, _ticks(row, "until", 0), row["etag"])


def _ticks(row: Entity, name: str, default: int) -> int:
    text = str(row.get(name, ""))
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else default
