"""The flush of an app that writes nothing to the FHIR server: what it would store is held against what is stored.

    _flush_run     plan as WindowFlush does, read what is stored, judge
      same         settled at once
      otherwise    waits, and is judged again until the grace is over; then it is counted, kept, and settled

Another service writes meanwhile, in batches of its own, so it is behind at times, and ahead at others. Behind: what is
absent or different waits. Ahead: where readings share a slot, or a single value its period, the store may hold a
reading of a later window, due or not. What differs in values alone is therefore judged a second time with the readings
of later windows, as far as the buffer has them. They are there as long as they are needed: the windows of a shard are
judged together, oldest first, and while an Observation waits in one window it is not settled in a later one either.

All windows of a shard are judged at its turn: five times within the grace, so that what is absent for long is not read
every half a minute.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Any

from medtech.comparison.store import ComparedElsewhere, Comparisons, Judged, WindowRecord
from medtech.deadline import ask
from medtech.dotnet import ticks
from medtech.errors import Unavailable
from medtech.flush.runs import sent_together
from medtech.flush.window import Plan, ShardContested, Unsaved, WindowFlush
from medtech.group.groups import group_measurements
from medtech.group.reading import Portion, Unsettled
from medtech.model import Measurement, MeasurementGroup, ResourceIdentity
from medtech.persist.comparison import Compared, ObservationComparer, Outcome
from medtech.persist.observations import ObservationWrite, Waiting
from medtech.settings import Settings
from medtech.transform.comparison import Later, may_explain

_AHEAD = ticks.TICKS_PER_HOUR
"""How long after an Observation's period, and after the window, its readings may still arrive. Those that arrive later
cannot explain a difference: a backlog of days would have each of its windows read all that follow."""

_MOST_WAITING = 100_000
"""Observations of a shard that are known to wait, of some 150 bytes each. With more, all of the shard's later windows
wait with them."""


_LaterReadings = dict[ObservationWrite, dict[int, dict[tuple[int, Any], None]]]
"""As Later, for each write; what comes several times is held once."""


class Waits:
    """Ids of Observations that wait in the windows judged so far; once there are too many, all ids."""

    def __init__(self, most: int = _MOST_WAITING) -> None:
        self._ids: set[str] = set()
        self._most = most

    def __contains__(self, resource_id: object) -> bool:
        return len(self._ids) >= self._most or resource_id in self._ids

    def update(self, ids: Iterable[str]) -> None:
        for each in ids:
            if len(self._ids) >= self._most:
                return
            self._ids.add(each)


@dataclass(frozen=True)
class Comparing:
    """What a flush needs to compare; one per process."""

    comparer: ObservationComparer
    comparisons: Comparisons
    settings: Settings
    monotonic: Callable[[], float] = time.monotonic
    _next_turns: dict[int, float] = field(default_factory=dict)

    def is_turn(self, shard: int) -> bool:
        """Whether the shard's windows are to be judged now. It is every shard's turn after a restart."""
        return self.monotonic() >= self._next_turns.get(shard, 0.0)

    def had_turn(self, shard: int) -> None:
        """All windows of the shard that are due were judged."""
        self._next_turns[shard] = self.monotonic() + self.settings.compare_interval_seconds

    def window_flush(self, shard: int) -> "partial[WindowComparison]":
        """Makes the comparison of a shard's windows, given what a WindowFlush needs."""
        chosen = self.settings
        last_seconds = chosen.window_seconds + ceil(chosen.compare_grace_minutes * 60)
        return partial(
            WindowComparison,
            comparer=self.comparer,
            records=_Records(self.comparisons, shard),
            waits=Waits(),
            last_after=last_seconds * ticks.TICKS_PER_SECOND,
        )


class _Records:
    """The record of the window at hand."""

    def __init__(self, comparisons: Comparisons, shard: int) -> None:
        self._comparisons = comparisons
        self._shard = shard
        self._of: tuple[int, WindowRecord] | None = None

    def of(self, window: int) -> WindowRecord:
        if self._of is None or self._of[0] != window:
            self._of = window, self._comparisons.of(self._shard, window)
        return self._of[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowComparison(WindowFlush):
    """Compares the windows of one shard, one at a time, the oldest first. Of a window that began `last_after` (ticks)
    ago or earlier nothing waits any more, but for what cannot be read."""

    comparer: ObservationComparer
    records: _Records
    waits: Waits
    last_after: int

    def _flush_run(self, window: int, unsettled: Unsettled, groups: Sequence[MeasurementGroup]) -> None:
        self.tally.groups += len(groups)
        plan = self._plan(unsettled, groups)
        undecided = {_id(write): write for write in plan.writes}
        done: list[Measurement] = []
        unread: list[Unsaved] = []
        try:
            for compared in self._compared(window, plan, unread):
                if not compared:
                    continue
                self._check_lease()
                self._record(window, compared)
                for each in compared:
                    del undecided[each.resource_id]
                    done += each.write.draft.measurements
        except Unavailable as outage:
            self.tally.outages.append(outage)
        finally:
            self.waits.update(undecided)
        waiting = {each for write in undecided.values() for each in write.draft.measurements}
        # One with a bad reading beside a good one: its letter would be written at each turn.
        unsaved = [each for each in plan.unsaved if waiting.isdisjoint(each.measurements)]
        self._conclude(plan, [*unsaved, *unread, Unsaved(list(waiting), None)], done)

    def _compared(self, window: int, plan: Plan, unread: list[Unsaved]) -> Iterator[list[Compared]]:
        """What is done with, some Observations at a time; `unread` gets what could not be read."""
        is_last = self.clock() >= window + self.last_after
        contested: list[ObservationWrite] = []
        for results in self._asked(plan.writes, {}):
            decided: list[Compared] = []
            for each in results:
                if isinstance(each, Waiting):
                    self._take_waiting(each, unread)
                elif each.outcome is Outcome.DIFFERENT and each.difference.is_of_values:
                    contested.append(each.write)
                elif is_last or (each.outcome is Outcome.SAME and each.resource_id not in self.waits):
                    decided.append(each)
            yield decided
        if not contested or self.tally.outages:
            return
        later = self._later(window, plan, contested)
        # At last, those without later readings too: both sides of them are kept.
        again = contested if is_last else list(later)
        for results in self._asked(again, later):
            decided = []
            for each in results:
                if isinstance(each, Waiting):
                    self._take_waiting(each, unread)
                elif is_last or (each.outcome is Outcome.SAME and each.resource_id not in self.waits):
                    decided.append(each)
            yield decided

    def _asked(
        self, writes: Iterable[ObservationWrite], later: Mapping[ObservationWrite, Later]
    ) -> Iterator[Iterator[Compared | Waiting]]:
        for together in sent_together(writes, self.memory.writes_at_once, self.memory.writes_bytes):
            yield self.comparer.compare(together, later)
            if self.tally.outages:
                return

    def _take_waiting(self, waiting: Waiting, unread: list[Unsaved]) -> None:
        """What cannot be read waits, whatever its age: nothing is known of it."""
        if waiting.server_away:
            self.tally.outages.append(waiting.error)
        unread.append(Unsaved(waiting.write.draft.measurements, waiting.error))

    def _record(self, window: int, compared: Sequence[Compared]) -> None:
        """Counts, and keeps both sides of what is not the same. Before any row goes: what is repeated counts once."""
        now = self.clock()
        try:
            new = self.records.of(window).add([_judged(each, now) for each in compared], now)
        except ComparedElsewhere:
            raise ShardContested("Another instance compares the same window.") from None
        self.tally.compared.update((each.type, each.outcome) for each in new)

    def _later(self, window: int, plan: Plan, contested: Sequence[ObservationWrite]) -> _LaterReadings:
        """What came after the readings of these in later windows, and may stand in their place."""
        by_id = {_id(write): write for write in contested}
        devices = {each.device_id for write in contested for each in write.draft.measurements}
        types = {write.draft.type for write in contested}
        found: _LaterReadings = {}
        # Devices that were offline send late, and all of it at about the same time.
        last = max(window, *(write.draft.end for write in contested)) + _AHEAD
        for later in self.buffer.later_windows(self.shard, window, last):
            for portion in self._portions(later):
                ask("the windows that follow were read")
                near = [each for each in portion.measurements() if each.device_id in devices and each.type in types]
                self._add_later(near, plan, by_id, found)
        return found

    def _portions(self, window: int) -> Iterator[Portion]:
        # Beside the portion at hand, so in the memory of a run.
        of_round = None
        while True:
            reading = self.buffer.read(self.shard, window, self.memory.run_bytes, self.memory.packed_bytes, of_round)
            yield from reading
            of_round = reading.next_round
            if of_round is None:
                return

    def _add_later(
        self,
        measurements: Sequence[Measurement],
        plan: Plan,
        by_id: Mapping[str, ObservationWrite],
        found: _LaterReadings,
    ) -> None:
        drafts, _ = self._convert(list(group_measurements(measurements)))
        unknown = {key for key, _ in drafts if key not in plan.identities}
        identities = plan.identities | self.identities.resolve(unknown, self._check_lease, self.watches)
        for key, draft in drafts:
            identity = identities[key]
            write = by_id.get(draft.identify(identity)[1]) if isinstance(identity, ResourceIdentity) else None
            if write is None or draft.pattern is not write.draft.pattern:
                continue
            for index, readings in may_explain(write.draft, draft).items():
                found.setdefault(write, {}).setdefault(index, {}).update(dict.fromkeys(readings))


def _id(write: ObservationWrite) -> str:
    return write.draft.identify(write.identity)[1]


def _judged(compared: Compared, now: int) -> Judged:
    differs = compared.difference
    found = compared.stored or {}
    return Judged(
        compared.resource_id,
        compared.write.draft.type,
        str(compared.outcome),
        differs.elements,
        differs.error,
        str(found.get("id") or ""),
        None if compared.outcome is Outcome.SAME else compared.sides(now),
    )
