"""What ingest and flush leave behind for health, which may be asked of an instance that does neither.

Table `health`; times are ticks, as text:

    PartitionKey  `arrival`     RowKey  `{hub}|{partition}`    the last batch that was read of a hub's partition
    PartitionKey  `flush`       RowKey  `last`                 the last tick of the flush, of whatever instance
    PartitionKey  `flush`       RowKey  `shard-002`            by queue: the last flush of the shard, likewise

A record is best effort: what it cannot store is not worth a batch or a flush. The table holds no health data.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from medtech.deadline import Deadline, within
from medtech.dotnet import ticks
from medtech.errors import MedTechError
from medtech.group.windows import shard_name
from medtech.model import DeviceEvent
from medtech.storage.connection import Storage
from medtech.storage.table import Entity, quoted

if TYPE_CHECKING:
    from medtech.flush.tally import Tally

TABLE = "health"

ARRIVAL_SECONDS = 30.0
"""How often an instance records a partition. A record a batch would double what ingest asks of storage."""

_RECORD_SECONDS = 5.0
"""What a record may take; the batch is stored by then, or the flush done."""

_DECAY = 0.9
"""A flush that somebody starts by hand, between two of an hourly schedule, must not make the next one late; nor must a
day of standstill count as the schedule for long."""

_MESSAGE_CHARACTERS = 2_000

_OLD_SECONDS = 600.0
"""A shard's record that is older than the tick by more than this, and by two intervals, says nothing of today."""

_ARRIVAL, _FLUSH, _LAST = "arrival", "flush", "last"

_log = logging.getLogger(__name__)


class Arrival(NamedTuple):
    """The last batch of a partition that was recorded: its last event, and when it was stored (ticks)."""

    partition: str
    sequence_number: int
    enqueued_time: int
    read_time: int


class LastFlush(NamedTuple):
    """The last flush, by queue with the last one of each shard. Times are ticks; `interval_seconds` is about how far
    apart flushes begin, None if unknown.

    `held_up_by` says why data waits; empty if nothing held it up. `failed`: it ended with an error and did nothing.
    """

    began: int
    ended: int
    interval_seconds: float | None
    failed: bool
    held_up_by: str
    windows: int
    measurements: int
    waiting: int
    dead_letters: int


class Recorder:
    """Records what this process does. `storage` is called when there is something to record; `clock` gives ticks."""

    def __init__(
        self,
        storage: Callable[[], Storage],
        *,
        clock: Callable[[], int] = ticks.now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._monotonic = monotonic
        self._due: dict[tuple[str, str], float] = {}
        self._last_began: int | None = None
        self._interval_seconds = 0.0

    def arrived(self, events: Sequence[DeviceEvent]) -> None:
        """After a batch of one partition is stored."""
        last = events[-1]
        key = last.hub, last.partition
        if self._monotonic() < self._due.get(key, 0.0):
            return
        self._due[key] = self._monotonic() + ARRIVAL_SECONDS
        self._store(
            {
                "PartitionKey": _ARRIVAL,
                "RowKey": f"{last.hub}|{last.partition}",
                "sequence_number": str(last.sequence_number),
                "enqueued": str(last.enqueued_time),
                "read": str(self._clock()),
            }
        )

    def flush(self, run: "Callable[[], Tally]", *, by_queue: bool = False, shard: int | None = None) -> None:
        """Runs a flush and records it. Raises what `run` raises.

        `by_queue`: it is the tick that puts messages. `shard`: it is the flush of one, for its message.
        """
        # Imported late: ingest has a recorder too, and no use for the FHIR client.
        from medtech.flush.tally import Tally

        began = self._clock()
        try:
            tally = run()
        except Exception as error:
            why = error.message if isinstance(error, MedTechError) else f"{type(error).__name__}: see the log."
            self._flushed(began, Tally(), failed=True, held_up_by=why, by_queue=by_queue, shard=shard)
            raise
        why = " ".join(tally.hindrances())
        self._flushed(began, tally, failed=False, held_up_by=why, by_queue=by_queue, shard=shard)

    def _flushed(
        self, began: int, tally: "Tally", *, failed: bool, held_up_by: str, by_queue: bool, shard: int | None
    ) -> None:
        row: Entity = {
            "PartitionKey": _FLUSH,
            "RowKey": _LAST if shard is None else shard_name(shard),
            "by_queue": by_queue,
            "began": str(began),
            "ended": str(self._clock()),
            "failed": failed,
            "held_up_by": held_up_by[:_MESSAGE_CHARACTERS],
            "windows": tally.windows,
            "measurements": tally.measurements,
            "waiting": tally.waiting,
            "dead_letters": tally.letters,
        }
        if shard is None:
            self._measure_interval(began, row)
        self._store(row)

    def _measure_interval(self, began: int, row: Entity) -> None:
        if self._last_began is not None:
            gap = (began - self._last_began) / ticks.TICKS_PER_SECOND
            self._interval_seconds = max(gap, _DECAY * self._interval_seconds)
            row["interval_seconds"] = self._interval_seconds
        self._last_began = began

    def _store(self, row: Entity) -> None:
        try:
            with within(Deadline(_RECORD_SECONDS)):
                # Merged: a process that has just started does not know the interval, and leaves the stored one.
                self._storage().table(TABLE).upsert(row, merge=True)
        except Exception as error:  # noqa: BLE001 - what was recorded is done; it must not be done again for this
            _log.debug("Nothing was recorded for health (%s).", type(error).__name__)


def arrivals(storage: Storage) -> Iterator[Arrival]:
    """One for each partition of each hub that was ever read. Raises StorageUnavailable."""
    for row in storage.table(TABLE).query(f"PartitionKey eq '{_ARRIVAL}'"):
        partition = row["RowKey"].rpartition("|")[2]
        yield Arrival(partition, _integer(row, "sequence_number"), _integer(row, "enqueued"), _integer(row, "read"))


def last_flush(storage: Storage) -> LastFlush | None:
    """None if none was recorded. Raises StorageUnavailable."""
    row = storage.table(TABLE).get(_FLUSH, _LAST)
    if row is None:
        return None
    last = _last_flush(row)
    if row.get("by_queue") is not True:
        return last
    oldest = last.began - int(max(_OLD_SECONDS, 2 * (last.interval_seconds or 0.0)) * ticks.TICKS_PER_SECOND)
    records = storage.table(TABLE).query(f"PartitionKey eq {quoted(_FLUSH)} and RowKey ne {quoted(_LAST)}")
    shards = [each for each in map(_last_flush, records) if each.ended > oldest]
    return last._replace(
        ended=max(each.ended for each in (last, *shards)),
        failed=any(each.failed for each in (last, *shards)),
        held_up_by=next((each.held_up_by for each in (last, *shards) if each.held_up_by), ""),
        windows=sum(each.windows for each in shards),
        measurements=sum(each.measurements for each in shards),
        waiting=sum(each.waiting for each in shards),
        dead_letters=sum(each.dead_letters for each in shards),
    )


def _last_flush(row: Entity) -> LastFlush:
    interval = row.get("interval_seconds")
    return LastFlush(
        began=_integer(row, "began"),
        ended=_integer(row, "ended"),
        interval_seconds=float(interval) if isinstance(interval, int | float) else None,
        failed=row.get("failed") is True,
        held_up_by=str(row.get("held_up_by") or ""),
        windows=_integer(row, "windows"),
        measurements=_integer(row, "measurements"),
        waiting=_integer(row, "waiting"),
        dead_letters=_integer(row, "dead_letters"),
    )


def _integer(row: Entity, name: str) -> int:
    """0 for what another version did not write."""
    text = str(row.get(name, ""))
    return int(text) if text.isdecimal() else 0
