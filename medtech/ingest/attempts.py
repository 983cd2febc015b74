"""What ends the process (memory, `functionTimeout`, a crash in C) must not stop a partition: attempts that outlive it.

Table `attempts` has a row for each partition that is under way: PartitionKey is the hub's 8 digits, RowKey the
partition. It holds the suspects (packed: hundreds that end the process take more than a text property may have), the
numbers that are being tried, and the process that tries them. It is written before the work starts and deleted after
it. A process that finds the row of another one counts a death: if that other one is still alive (the partition was
taken from it), it counts one too many, which is why it takes several, and why what is suspected is put through in
parts, and not thrown away.

A process that goes on from where it was itself writes no row: it has put the batch before this one through, so
whatever ended it would be this batch's first death. Nor is an exception a death; the hub delivers the batch again.
"""

import json
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from medtech.deadline import Deadline, within
from medtech.dotnet import ticks
from medtech.errors import PoisonMessage, Unavailable
from medtech.ingest.suspects import Suspects, Trial
from medtech.ingest.turns import Turns
from medtech.model import DeviceEvent
from medtech.storage.connection import Storage
from medtech.storage.payload import ROW_BYTES, Codec, join, split
from medtech.storage.table import Entity, Operation, OperationFailed, Table

TABLE = "attempts"

PAUSE_SECONDS = 240
"""No trial begins later than this after the first of its batch: the next delivery goes on. Else `functionTimeout` would
end the process, and blame what happens to be tried then, although the batch as a whole is what takes so long."""

RELEASE_SECONDS = 10
"""What writing down that a trial failed, and was no death, may take: as a rule it failed because storage is away."""

_SUSPECTS = Codec(max_bytes=64 * 1024 * 1024, version=1)

_ONE_READER = "If this goes on, see whether another app reads the hub in the same consumer group."

# Others can delete the row between two looks at it, but not time and again.
_TRIES = 5

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


def pack_suspects(suspects: Suspects) -> Entity:
    """The properties of a row that hold them."""
    payload = _SUSPECTS.pack(suspects.to_json().encode())
    if len(payload) > ROW_BYTES:
        # Of some 40,000 ranges. Forgetting costs deaths; a row that cannot be written would cost the partition.
        payload = _SUSPECTS.pack(Suspects().to_json().encode())
    return split(payload)


def unpack_suspects(row: Entity) -> Suspects:
    """The suspects of a row. Raises TypeError, or ValueError (as PayloadDamaged is), for a row that has none."""
    return Suspects.from_json(_SUSPECTS.unpack(join(row)))


class Attempts:
    """The attempts of this process; one object for all partitions, whose batches run side by side."""

    def __init__(
        self,
        storage: Storage,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], int] = ticks.now,
    ) -> None:
        """`monotonic` gives seconds, `clock` ticks."""
        self._table = storage.table(TABLE)
        self._owner = uuid.uuid4().hex
        self._monotonic = monotonic
        self._clock = clock
        self._done: dict[tuple[str, str], int] = {}
        # A suspect has the process to itself. It has one chance, which it must not lose to what runs beside it: another
        # suspect, or poison that nobody suspects yet.
        self._turns = Turns()

    def run(
        self,
        events: Sequence[DeviceEvent],
        process: Callable[[Sequence[DeviceEvent]], Result],
        bury: Callable[[DeviceEvent, PoisonMessage], Result],
        *,
        retried: bool,
    ) -> list[Result]:
        """Puts the events of one partition through `process`, in parts if they are suspected; a message that ends the
        process even by itself goes to `bury`. Returns what these returned.

        `retried` says that the batch has failed before. Raises what `process` and `bury` raise, and Unavailable if the
        attempt cannot be recorded, or is for the next delivery to go on with.
        """
        first, last = events[0], events[-1]
        key = first.hub, first.partition
        if not retried and self._done.get(key) == first.sequence_number - 1:
            with self._turns.beside_others():
                results = [process(events)]
            self._done[key] = last.sequence_number
            return results
        self._done.pop(key, None)
        row = _Row(self._table, first.hub, first.partition, self._owner, self._clock)
        results, rest = self._run_recorded(events, row, process, bury)
        if rest.ranges:
            # The next batch is recorded too, so it will find them.
            row.write(rest, None)
        else:
            row.delete()
            self._done[key] = last.sequence_number
        return results

    def _run_recorded(
        self,
        events: Sequence[DeviceEvent],
        row: "_Row",
        process: Callable[[Sequence[DeviceEvent]], Result],
        bury: Callable[[DeviceEvent, PoisonMessage], Result],
    ) -> tuple[list[Result], Suspects]:
        """What `run` returns, and what is left for later batches."""
        suspects = row.open(events)
        results: list[Result] = []
        started = self._monotonic()
        while (trial := suspects.next_trial(events)) is not None:
            if results and self._monotonic() - started > PAUSE_SECONDS:
                row.write(suspects, None)
                raise Unavailable(
                    f"A batch of partition {row.partition} is put through in parts, since it ended the process; what "
                    "is left waits for its next delivery. There is nothing to do: what ends the process becomes a dead "
                    "letter."
                )
            with self._turns.alone() if trial.deaths else self._turns.beside_others():
                row.write(suspects, trial)
                try:
                    results.append(
                        bury(trial.events[0], _poison(trial.deaths)) if trial.hopeless else process(trial.events)
                    )
                except Exception:
                    # Best effort: another process would take it for a death.
                    with suppress(Unavailable), within(Deadline(RELEASE_SECONDS)):
                        row.write(suspects, None)
                    raise
                suspects = suspects.after_storing(*trial.borders)
                if trial.deaths:
                    # Before another partition has its turn: what ends the process then is not to be blamed on these.
                    row.write(suspects, None)
        return results, suspects.after_batch(events)


class _Row:
    """The row of one partition, as far as this process knows it."""

    def __init__(self, table: Table, hub: str, partition: str, owner: str, clock: Callable[[], int]) -> None:
        self.partition = partition
        self._table = table
        self._keys: Entity = {"PartitionKey": hub, "RowKey": f"{partition:0>4}"}
        self._owner = owner
        self._clock = clock
        self._etag = ""
        self._written: Entity = {}

    def open(self, events: Sequence[DeviceEvent]) -> Suspects:
        """The suspects of a batch, with the death that the row tells of. Recorded only if there was no row."""
        fresh = Suspects().of_batch(events)
        for _ in range(_TRIES):
            # Written before it is read: as a rule there is none, and one write is all.
            if self._create(fresh, fresh.next_trial(events)):
                return fresh
            found = self._table.get(self._keys["PartitionKey"], self._keys["RowKey"])
            if found is not None:
                self._etag = found["etag"]
                return self._after_death(found).of_batch(events)
        raise Unavailable(
            f"Other instances keep taking partition {self.partition}; its batch comes again. {_ONE_READER}"
        )

    def write(self, suspects: Suspects, trial: Trial | None) -> None:
        """Raises Unavailable if another process has written meanwhile: it has the partition then."""
        entity = self._entity(suspects, trial)
        if entity == self._written:
            return
        try:
            [self._etag] = self._table.transact([Operation("replace", self._stamped(entity), self._etag)])
        except OperationFailed:
            raise Unavailable(
                f"Another instance works on partition {self.partition} too; its batch comes again. {_ONE_READER}"
            ) from None
        self._written = entity

    def delete(self) -> None:
        """Leaves the row to another process if that has written meanwhile."""
        with suppress(OperationFailed):
            self._table.transact([Operation("delete", self._keys, self._etag)])

    def _create(self, suspects: Suspects, trial: Trial | None) -> bool:
        """False if there is a row."""
        entity = self._entity(suspects, trial)
        try:
            [self._etag] = self._table.transact([Operation("create", self._stamped(entity))])
        except OperationFailed:
            return False
        self._written = entity
        return True

    def _entity(self, suspects: Suspects, trial: Trial | None) -> Entity:
        borders = None if trial is None else trial.borders
        return self._keys | {"trial": json.dumps(borders), "owner": self._owner} | pack_suspects(suspects)

    def _stamped(self, entity: Entity) -> Entity:
        return entity | {"written": ticks.format_iso(self._clock())}

    def _after_death(self, found: Entity) -> Suspects:
        try:
            suspects, trial = unpack_suspects(found), json.loads(found["trial"])
            if trial is None or found["owner"] == self._owner:
                return suspects
            first, last = map(int, trial)
        except (KeyError, TypeError, ValueError):
            _log.error("A row of table `%s` is damaged and is written anew.", TABLE)
            return Suspects()
        _log.warning(
            "partition %s: the process ended, or lost the partition, while it worked on messages %d to %d",
            self.partition,
            first,
            last,
        )
        return suspects.after_death(first, last)


def _poison(deaths: int) -> PoisonMessage:
    return PoisonMessage(
        f"Processing this message ended the process {deaths} times, for instance by memory, functionTimeout or a crash "
        "of a library; it was given up so that its partition could go on. Send its body to POST /api/validate: it says "
        "what is wrong, or ends the process too, which is a fault of the app to report. Then replay."
    )
