"""The flush: every shard with due windows, under a lease, until its time is over.

Shards are flushed side by side, the windows of a shard oldest first, so that the later of two single values wins. The
lease on a shard spares two instances the same work; what keeps them from harming each other are ids, ETags and merges
further down.

What cannot be written now stays in the buffer until the next tick. What can never be written goes to the dead letters,
and only then leaves the buffer.
"""

import logging
import time
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from itertools import chain

from medtech.dead_letter.marks import Marks
from medtech.dead_letter.store import DeadLetters
from medtech.deadline import Deadline, within
from medtech.dotnet import ticks
from medtech.errors import OutOfTime, StorageUnavailable, Unavailable, UnexpectedFault
from medtech.flush.budget import Budget
from medtech.flush.comparing import Comparing
from medtech.flush.garbage import rarely_collected
from medtech.flush.memory import Memory
from medtech.flush.tally import Tally
from medtech.flush.watches import ShardWatches, Watches
from medtech.flush.window import ShardContested, WindowFlush, check_lease
from medtech.group.buffer import Buffer
from medtech.group.windows import shard_name
from medtech.mapping.fhir import FhirMapping
from medtech.persist.identity import IdentityResolver
from medtech.persist.observations import ObservationWriter
from medtech.settings import Settings
from medtech.storage import lease as leases
from medtech.storage.connection import Storage
from medtech.storage.lease import Lease

_log = logging.getLogger(__name__)

BUDGET_SECONDS = 240
"""A flush has ended by then, whatever the FHIR server and storage do: `functionTimeout`, which kills the worker with
the batches in its hands, is more than twice as long."""

_SHARDS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Flush:
    """What a flush needs; one per process. `clock` gives ticks, `monotonic` seconds.

    With `comparing` nothing is written to the FHIR server: windows are compared, and what is watched waits.

    It ends within `budget_seconds`, but for what an answer takes to be given up (`LATE_SECONDS` of the FHIR client).
    """

    storage: Storage
    buffer: Buffer
    dead_letters: DeadLetters
    fhir_mapping: Callable[[], FhirMapping | None]
    identities: IdentityResolver
    writer: ObservationWriter
    watches: Watches
    settings: Settings
    comparing: Comparing | None = None
    clock: Callable[[], int] = ticks.now
    monotonic: Callable[[], float] = time.monotonic
    budget_seconds: float = BUDGET_SECONDS

    def run(self) -> Tally:
        """Flushes what is due, and logs it. An outage ends the shard that meets it, and leaves its rows in place."""
        started = self.monotonic()
        budget = Budget.of(self.budget_seconds, self.monotonic)
        tally = self._tally()
        try:
            with within(budget.work):
                shards, watched = self._due_shards(), self._watched()
                # Before the windows too: an account may be back before the last of them is flushed.
                self._tell_away(tally)
                mapping = self._mapping() if shards else None
                if mapping is None:
                    shards = []
                if due_or_watched := sorted({*shards, *watched}):
                    self._flush_shards(due_or_watched, watched, mapping, budget, tally)
                self._tell_away(tally)
        except Unavailable as error:
            tally.outages.append(error)
        tally.log(self.monotonic() - started)
        return tally

    def due(self) -> list[int]:
        """The shards with windows that are due, or with watches, in order; `buffer.away()` has what keeps others from
        being found. Raises Unavailable."""
        shards, watched = self._due_shards(), self._watched()
        if shards and self._mapping() is None:
            shards = []
        return sorted({*shards, *watched})

    def run_shard(self, shard: int) -> Tally:
        """Flushes one shard, as `run` does each, and logs it; nothing if another instance is at it."""
        started = self.monotonic()
        budget = Budget.of(self.budget_seconds, self.monotonic)
        memory = Memory.of(self.settings.flush_portion_mb, 1, self.settings.fhir_bundle_size)
        tally = self._tally()
        try:
            with within(budget.work):
                # Watched or not: to look costs one query under the lease.
                tally = self._flush_shard(shard, True, self._mapping(), budget, memory)
        except Unavailable as error:
            tally.outages.append(error)
        tally.log(self.monotonic() - started)
        return tally

    def _due_shards(self) -> list[int]:
        """Those with windows that are due now; where the app compares, of those whose turn it is."""
        chosen = self.settings
        shards = self.buffer.due_shards(self.clock(), chosen.window_seconds, chosen.flush_grace_seconds)
        self.buffer.look_after_accounts(self.clock())
        return [shard for shard in shards if self.comparing is None or self.comparing.is_turn(shard)]

    def _tell_away(self, tally: Tally) -> None:
        """Adds the further accounts that are away, each once."""
        told = {outage.account for outage in tally.outages if isinstance(outage, StorageUnavailable)}
        tally.outages += [each for each in self.buffer.away() if each.account not in told]

    def _tally(self) -> Tally:
        return Tally(comparing=self.comparing is not None)

    def _watched(self) -> set[int]:
        """The shards with watches, without those whose account is away: they could not be flushed."""
        watched = self.watches.shards() if self.comparing is None else ()
        return set(filter(self.buffer.is_within_reach, watched))

    def _mapping(self) -> FhirMapping | None:
        mapping = self.fhir_mapping()
        if mapping is None:
            _log.error(
                "There has never been a good FHIR mapping, so measurements wait in the buffer. Fix the mapping that "
                "FHIR_MAPPING names (POST /api/validate lists its errors)."
            )
        return mapping

    def _due_windows(self, shard: int) -> Iterator[int]:
        chosen = self.settings
        if self.comparing is not None and not self.comparing.is_turn(shard):
            return iter(())
        return self.buffer.due_windows(shard, self.clock(), chosen.window_seconds, chosen.flush_grace_seconds)

    def _flush_shards(
        self, shards: Sequence[int], watched: Container[int], mapping: FhirMapping | None, budget: Budget, tally: Tally
    ) -> None:
        at_once = min(len(shards), _SHARDS_AT_ONCE)
        memory = Memory.of(self.settings.flush_portion_mb, at_once, self.settings.fhir_bundle_size)
        with ThreadPoolExecutor(at_once, thread_name_prefix="flush") as pool:
            # Each in a copy of this context: it holds the deadline, and by it the worker knows which invocation a log
            # line belongs to.
            flushes = [
                pool.submit(copy_context().run, self._flush_shard, shard, shard in watched, mapping, budget, memory)
                for shard in shards
            ]
            for of_shard in flushes:
                tally.add(of_shard.result())

    def _flush_shard(
        self, shard: int, watched: bool, mapping: FhirMapping | None, budget: Budget, memory: Memory
    ) -> Tally:
        """Whatever ends the shard, what it did until then is counted, and the other shards go on."""
        tally = self._tally()
        try:
            with rarely_collected():
                self._flush_windows(shard, self._due_windows(shard), watched, mapping, budget, memory, tally)
        except Unavailable as error:
            tally.outages.append(error)
        except ShardContested as contested:
            _log.warning("Shard %d: %s The next flush goes on with it.", shard, contested)
        except Exception as error:  # noqa: BLE001 - logged and counted; it must not stop the other shards
            fault = UnexpectedFault.of(error, "flushing a shard", then="Report it; its rows stay in the buffer.")
            tally.errors[fault.kind] += 1
            _log.error("Shard %d: %s", shard, fault.message)
        return tally

    def _flush_windows(
        self,
        shard: int,
        due: Iterator[int],
        watched: bool,
        mapping: FhirMapping | None,
        budget: Budget,
        memory: Memory,
        tally: Tally,
    ) -> None:
        # The lease is asked for with the first due window: a shard that another instance has flushed since it was found
        # costs one query, and no lease.
        first = next(due, None) if mapping is not None else None
        if first is None and not watched:
            return
        lease = leases.acquire(self.storage, shard_name(shard), monotonic=self.monotonic)
        if lease is None:
            return
        # The lease is given back even when the time for work is over: else the next flush would find it held.
        with within(budget.rows), lease, within(budget.work):
            # Read only here: another instance may just have worked on the shard.
            watches = self.watches.of(shard, self.clock)
            if self.comparing is None:
                self._look(shard, watches, lease, budget, tally)
            if first is None or mapping is None or tally.outages:
                return
            flush = self._window_flush(shard, mapping, lease, watches, budget, memory, tally)
            for window in chain([first], due):
                if not lease.held:
                    return
                if budget.work.over:
                    tally.outages.append(OutOfTime("every window that is due was begun"))
                    return
                tally.windows += 1
                flush.run(window)
                if tally.outages:
                    return
            if self.comparing is not None:
                self.comparing.had_turn(shard)

    def _look(self, shard: int, watches: ShardWatches, lease: Lease, budget: Budget, tally: Tally) -> None:
        """Looks at what is watched, before the windows but in half of the time, so that neither holds up the other."""
        half = Deadline(budget.work.seconds_left() / 2, self.monotonic)
        try:
            tally.outages += watches.look(lambda: check_lease(lease), half)
        except OutOfTime:
            return
        except (Unavailable, ShardContested):
            raise
        except Exception as error:  # noqa: BLE001 - the shard's windows must not wait for it for ever
            fault = UnexpectedFault.of(error, "looking at what is watched", then="Report it.")
            tally.errors[fault.kind] += 1
            _log.error("Shard %d: %s", shard, fault.message)

    def _window_flush(
        self,
        shard: int,
        mapping: FhirMapping,
        lease: Lease,
        watches: ShardWatches,
        budget: Budget,
        memory: Memory,
        tally: Tally,
    ) -> WindowFlush:
        make = WindowFlush if self.comparing is None else self.comparing.window_flush(shard)
        return make(
            shard=shard,
            mapping=mapping,
            lease=lease,
            budget=budget,
            tally=tally,
            buffer=self.buffer,
            dead_letters=self.dead_letters,
            marks=Marks(self.storage),
            identities=self.identities,
            writer=self.writer,
            watches=watches,
            memory=memory,
            clock=self.clock,
        )
