"""One due window of a shard, from the buffer to the FHIR server.

    buffer.read()           a portion: measurements of some devices, and the rows that hold them
      → _plan(portion)      group, convert, resolve identities, fold: one write for each Observation id
      → _write(plan)        send the writes; what can never be written becomes dead letters
      → _settle(flushed)    after the last portion: delete the rows that are done, shrink those that wait in part

What a step could not do travels on in its value as `Unsaved`, up to the end of `_write`, which decides: it waits in the
buffer for the next flush, or it is stored as a dead letter.

An outage, or the end of the time for work, ends the window: portions after it are not tried. What was done until then
is settled all the same, so that a window for which one flush is too short gets done in several. An unexpected fault
ends its portion, or the settling, and nothing else: its rows stay, and a window that always fails does not stop those
after it.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import NamedTuple, TypeVar

from medtech.dead_letter import letter as letters
from medtech.dead_letter.letter import Letter
from medtech.dead_letter.store import DeadLetters
from medtech.deadline import within
from medtech.dotnet import ticks
from medtech.errors import MedTechError, OutOfTime, Unavailable, UnexpectedFault
from medtech.flush.budget import Budget
from medtech.flush.tally import Tally
from medtech.flush.watches import ShardWatches
from medtech.group.buffer import Buffer, Portion, Row
from medtech.group.groups import group_measurements
from medtech.mapping.fhir import FhirMapping
from medtech.model import Measurement, ResourceIdentity
from medtech.persist.identity import IdentityKey, IdentityResolver, Links
from medtech.persist.observations import ObservationWrite, ObservationWriter, Outcome, Refused, Saved, Waiting
from medtech.persist.watch import Watch
from medtech.storage.lease import Lease
from medtech.transform.observation import ObservationDraft, convert, fold

Buried = TypeVar("Buried")

_log = logging.getLogger(__name__)

_LETTERS_AT_ONCE = 1000
"""Letters that are stored before the next ones are tried: when the time ends, those that are stored count, so that a
window of nothing but letters gets done as well. Fewer would fill fewer of the transactions."""


_WATCHES_AT_ONCE = 500
"""Watches that are stored while a portion is still written: at its end there may be time for no more than these."""


class ShardContested(Exception):
    """Another instance works on the shard as well, or a row changed meanwhile: the rest is left to the next flush."""


class Unsaved(NamedTuple):
    """Measurements that did not get into an Observation.

    They wait if `error` is an Unavailable, or None, when the next flush knows more; else they become dead letters.
    """

    measurements: Sequence[Measurement]
    error: MedTechError | None


class Plan(NamedTuple):
    """What to write of a portion.

    `rows_of` gives the rows that hold a measurement: several, if it came twice. `identities` are what the keys of its
    groups were resolved to.
    """

    portion: Portion
    rows_of: dict[Measurement, list[Row]]
    identities: dict[IdentityKey, ResourceIdentity | MedTechError]
    links: Links
    writes: list[ObservationWrite]
    unsaved: list[Unsaved]


class Remainder(NamedTuple):
    """What a portion leaves of the window's rows: by row key, how many measurements it had, and those that wait."""

    portion: Portion
    waiting: dict[str, list[Measurement]]


@dataclass(slots=True)
class Flushed:
    """The portions of a window that were worked off: their devices, and what they leave of each row, by row key.

    `complete`: these are all portions of the window.
    """

    rows: Sequence[Row] = ()
    devices: set[str] = field(default_factory=set)
    sizes: Counter[str] = field(default_factory=Counter)
    waiting: defaultdict[str, list[Measurement]] = field(default_factory=lambda: defaultdict(list))
    complete: bool = False

    def add(self, remainder: Remainder) -> None:
        self.rows = remainder.portion.rows
        for row_key, measurements in remainder.portion.of_row.items():
            self.devices.update(each.device_id for each in measurements)
            self.sizes[row_key] += len(measurements)
            self.waiting[row_key] += remainder.waiting[row_key]


class Left(NamedTuple):
    """What is left of a row that had `size` measurements."""

    row: Row
    size: int
    measurements: list[Measurement]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFlush:
    """Flushes the windows of one shard, one at a time; `tally` is the shard's, `clock` gives ticks."""

    shard: int
    mapping: FhirMapping
    lease: Lease
    budget: Budget
    tally: Tally
    buffer: Buffer
    dead_letters: DeadLetters
    identities: IdentityResolver
    writer: ObservationWriter
    watches: ShardWatches
    portion_bytes: int
    clock: Callable[[], int]

    def run(self, window: int) -> None:
        """Flushes the window that starts at `window` (ticks). Called within the deadline `budget.work`.

        What ends it before its end is in the tally. Raises StorageUnavailable or OutOfTime when rows cannot be settled,
        and ShardContested before anything is sent that another instance may be sending.
        """
        flushed = Flushed()
        self._goes_well(window, lambda: self._flush_portions(window, flushed))
        if flushed.rows:
            self._goes_well(window, lambda: self._settle(window, flushed))

    def _flush_portions(self, window: int, flushed: Flushed) -> None:
        faultless = True
        # Lazy from end to end: each portion is let go before the next is read.
        portions = self.buffer.read(self.shard, window, self.portion_bytes)
        try:
            for went_well in map(partial(self._flush_portion, window, flushed), portions):
                faultless = faultless and went_well
                if self.tally.outages:
                    return
                if self.budget.work.over:
                    self.tally.outages.append(OutOfTime("all portions of a window were written"))
                    return
        except Unavailable as outage:
            self.tally.outages.append(outage)
        else:
            flushed.complete = faultless

    def _flush_portion(self, window: int, flushed: Flushed, portion: Portion) -> bool:
        return self._goes_well(window, lambda: flushed.add(self._write(self._plan(portion))))

    def _goes_well(self, window: int, step: Callable[[], None]) -> bool:
        """Whether the step ends without an unexpected fault, which is counted, logged, and goes no further."""
        try:
            step()
        except (Unavailable, ShardContested):
            raise
        except Exception as error:  # noqa: BLE001 - the oldest window comes first: it would stop the shard for ever
            fault = UnexpectedFault.of(error, "flushing a window", then="Report it; its rows stay in the buffer.")
            self.tally.errors[fault.name, fault.stage] += 1
            _log.error("Shard %d, window %s: %s", self.shard, ticks.format_iso(window), fault.message)
            return False
        return True

    def _plan(self, portion: Portion) -> Plan:
        rows_of: dict[Measurement, list[Row]] = {}
        for row in portion.rows:
            for measurement in portion.of_row[row.row_key]:
                rows_of.setdefault(measurement, []).append(row)
        drafts, unsaved = self._convert(portion)
        identities = self.identities.resolve((key for key, _ in drafts), self._check_lease, self.watches)
        meeting: defaultdict[str, list[tuple[ResourceIdentity, ObservationDraft]]] = defaultdict(list)
        for key, draft in drafts:
            identity = identities[key]
            if isinstance(identity, ResourceIdentity):
                meeting[draft.identify(identity)[1]].append((identity, draft))
            else:
                unsaved.append(Unsaved(draft.measurements, identity))
        folded = [self._fold(rows_of, resource_id, members) for resource_id, members in meeting.items()]
        return Plan(
            portion,
            rows_of,
            identities,
            Links(self.identities, identities),
            writes=[each for each in folded if isinstance(each, ObservationWrite)],
            unsaved=unsaved + [each for each in folded if isinstance(each, Unsaved)],
        )

    def _convert(self, portion: Portion) -> tuple[list[tuple[IdentityKey, ObservationDraft]], list[Unsaved]]:
        """The drafts of a portion, and the measurements that make none."""
        drafts: list[tuple[IdentityKey, ObservationDraft]] = []
        unsaved: list[Unsaved] = []
        for group in group_measurements(portion.measurements()):
            key = IdentityKey(group.device_id, group.patient_id, group.encounter_id)
            try:
                conversion = convert(self.mapping, group)
            except Exception as error:  # noqa: BLE001 - one group must not hold up its shard for good
                unsaved.append(Unsaved(group.measurements, UnexpectedFault.of(error, "converting a group")))
                continue
            drafts += ((key, draft) for draft in conversion.drafts)
            unsaved += (Unsaved([failure.measurement], failure.error) for failure in conversion.failures)
        return drafts, unsaved

    def _fold(
        self,
        rows_of: dict[Measurement, list[Row]],
        resource_id: str,
        members: Sequence[tuple[ResourceIdentity, ObservationDraft]],
    ) -> ObservationWrite | Unsaved:
        """One write of the drafts that meet in one Observation."""
        identity = members[0][0]
        drafts = [draft for _, draft in members]
        try:
            draft = fold(drafts)
        except Exception as error:  # noqa: BLE001 - as above
            known = error if isinstance(error, MedTechError) else UnexpectedFault.of(error, "folding Observations")
            return Unsaved([each for draft in drafts for each in draft.measurements], known)
        self.tally.superseded += draft.superseded
        self.tally.other_encounters += sum(other != identity for other, _ in members)
        rows = list(_rows_with(draft, rows_of))
        check_history = any(row.sent_by_earlier for row in rows)
        watch = self.watches.of_observation(resource_id, rows)
        return ObservationWrite(draft, identity, check_history, watch=watch)

    def _write(self, plan: Plan) -> Remainder:
        unsaved = list(plan.unsaved)
        unsettled = dict.fromkeys(plan.writes)
        watches: list[Watch] = []
        try:
            for outcome in self.writer.write(plan.writes, lambda creates: self._before_writes(plan, creates)):
                unsaved.extend(self._take(outcome, plan))
                del unsettled[outcome.write]
                if outcome.watch is not None:
                    watches.append(outcome.watch)
                if len(watches) == _WATCHES_AT_ONCE:
                    self.watches.add(watches)
                    watches.clear()
        except Unavailable as outage:
            self.tally.outages.append(outage)
            unsaved += [Unsaved(write.draft.measurements, outage) for write in unsettled]
        # Before any row goes; what this raises leaves all of them, with their marks.
        with within(self.budget.letters):
            self.watches.add(watches)
        if not unsettled:
            for row in plan.portion.rows:
                row.keeps_mark = row.sent_by_earlier
        waiting: set[Measurement] = set()
        burials: list[tuple[Measurement, Letter]] = []
        for measurements, error in unsaved:
            if error is None:
                waiting.update(measurements)
            elif isinstance(error, Unavailable):
                waiting.update(measurements)
                self.tally.held_up_by.append(error)
            else:
                burials += (
                    (each, letters.of_measurement(each, plan.rows_of[each][0].hub, error)) for each in measurements
                )
        # Only now, and before the rows go: a flush that is cut short writes the same letters again.
        waiting.update(self._bury(burials))
        of_row = plan.portion.of_row
        return Remainder(
            plan.portion,
            {key: [each for each in measurements if each in waiting] for key, measurements in of_row.items()},
        )

    def _before_writes(self, plan: Plan, creates: Sequence[ObservationWrite]) -> None:
        """Called just before bundles are sent; `creates` are the writes among them that find nothing stored."""
        self._check_lease()
        if not plan.links.hold(self._check_lease, self.watches):
            raise ShardContested("A Device was linked to another Patient meanwhile.")
        rows = {row.row_key: row for write in creates for row in _rows_with(write.draft, plan.rows_of)}
        if self.buffer.mark_creates_sent(rows.values(), self.writer.now()):
            raise ShardContested("Another instance changed one of its rows.")

    def _check_lease(self) -> None:
        """Called just before Patients, Devices and Observations are written."""
        check_lease(self.lease)

    def _take(self, outcome: Outcome, plan: Plan) -> list[Unsaved]:
        """Counts a write that succeeded; returns the measurements of one that did not."""
        match outcome:
            case Saved(_, saved_as, other_encounter):
                self.tally.observations[saved_as] += 1
                self.tally.other_encounters += other_encounter
                return []
            case Refused(write, error, reference_lost):
                outdated = reference_lost and self._finds_another_identity(write, plan)
                return [Unsaved(write.draft.measurements, None if outdated else error)]
            case Waiting(write, error, server_away):
                # One resource that a server cannot take must not hold up the windows after it; only an outage does.
                if server_away:
                    self.tally.outages.append(error)
                return [Unsaved(write.draft.measurements, error)]

    def _finds_another_identity(self, write: ObservationWrite, plan: Plan) -> bool:
        """Whether an identity that it was written by was out of date.

        If one was, the next flush writes by the new one, or says what is missing. Each key is compared with what it
        was resolved to before: drafts of several encounters meet in one write, which is made by the first one's.
        """
        keys = {IdentityKey(each.device_id, each.patient_id, each.encounter_id) for each in write.draft.measurements}
        for key in keys:
            self.identities.forget(key)
        found = self.identities.resolve(keys, self._check_lease, self.watches)
        return any(found[key] != plan.identities[key] for key in keys)

    def _settle(self, window: int, flushed: Flushed) -> None:
        """Takes what is done out of the buffer; unless the window is complete, most rows are left in part."""
        with within(self.budget.rows):
            self._settle_rows(window, _left(flushed) if flushed.complete else self._read_left(flushed))

    def _settle_rows(self, window: int, lefts: Iterable[Left]) -> None:
        settled: list[Row] = []
        corrupt: list[Row] = []
        for row, size, remaining in lefts:
            if isinstance(row.fault, Unavailable):
                self.tally.outages.append(row.fault)
                continue
            if row.fault:
                corrupt.append(row)
                continue
            self.tally.measurements += size - len(remaining)
            self.tally.waiting += len(remaining)
            if not remaining:
                settled.append(row)
            elif len(remaining) < size:
                self.buffer.replace(row, remaining)
        self.buffer.delete(settled)
        self.buffer.delete(self._bury_corrupt(window, corrupt))

    def _read_left(self, flushed: Flushed) -> Iterator[Left]:
        """The rows are read once more: what portions that were not worked off hold of them was not kept in memory."""
        for row, measurements in self.buffer.read_rows(flushed.rows):
            waiting = set(flushed.waiting[row.row_key])
            left = [each for each in measurements if each in waiting or each.device_id not in flushed.devices]
            yield Left(row, len(measurements), left)

    def _bury_corrupt(self, window: int, rows: Iterable[Row]) -> list[Row]:
        """Returns the rows that are in letters now."""
        burials = [
            (row, letters.of_row(row.partition_key, row.row_key, row.hub, window, row.payload, row.fault))
            for row in rows
            if row.fault
        ]
        kept = {row.row_key for row in self._bury(burials)}
        return [row for row, _ in burials if row.row_key not in kept]

    def _bury(self, burials: Sequence[tuple[Buried, Letter]]) -> list[Buried]:
        """Stores the letters, as far as storage takes them in time; returns those whose letters are not stored."""
        burials = sorted(burials, key=lambda burial: burial[1].partition_key)
        for start in range(0, len(burials), _LETTERS_AT_ONCE):
            written = [letter for _, letter in burials[start : start + _LETTERS_AT_ONCE]]
            try:
                with within(self.budget.letters):
                    self.tally.letters += self.dead_letters.store(written, self.clock())
            except Unavailable as error:
                self.tally.outages.append(error)
                return [buried for buried, _ in burials[start:]]
            self.tally.errors.update((letter.error, letter.stage) for letter in written)
        return []


def check_lease(lease: Lease) -> None:
    """Raises ShardContested when the lease does not cover a write any more."""
    if not lease.held:
        raise ShardContested("Its lease was lost.")


def _left(flushed: Flushed) -> Iterator[Left]:
    return (Left(row, flushed.sizes[row.row_key], flushed.waiting[row.row_key]) for row in flushed.rows)


def _rows_with(draft: ObservationDraft, rows_of: dict[Measurement, list[Row]]) -> Iterable[Row]:
    return chain.from_iterable(rows_of[measurement] for measurement in draft.measurements)
