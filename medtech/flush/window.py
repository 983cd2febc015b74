"""One due window of a shard, from the buffer to the FHIR server.

    buffer.read()           its rows, and portions: the measurements of some devices, as many as memory has room for
      → runs(portion)       groups of a few of these devices
        → _plan(run)        convert, resolve identities, fold: one write for each Observation id
        → _write(plan)      send the writes; what can never be written becomes dead letters
      → _settle(portion)    delete the rows that nothing is left of
    _replace(reading)       at the end, or when time runs out: shrink the rows that wait in part

What a step could not do travels on in its value as `Unsaved`, up to the end of `_write`, which decides: it waits in the
buffer for the next flush, or it is stored as a dead letter. What is not known to be done waits: a measurement leaves
`Plan.unsettled` when it is written or stored as a letter, and the rows keep what is still in it.

An outage, or the end of the time for work, ends the window: what comes after is not tried. What was done until then is
settled all the same, so that a window for which one flush is too short gets done in several: rows mix devices, so most
are left in part, and each is replaced, by ETag, by what is left of it. A flush that dies before that has written
Observations whose rows are whole: the next one writes them again, which changes nothing. An unexpected fault ends its
run, or the settling, and nothing else: its rows stay, and a window that always fails does not stop those after it.

A window whose portions are too large to be held even packed is done in rounds, each with its own reading of the rows.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

from medtech.dead_letter import letter as letters
from medtech.dead_letter.letter import Keys, Letter
from medtech.dead_letter.marks import Marks
from medtech.dead_letter.store import DeadLetters
from medtech.deadline import ask, within
from medtech.dotnet import ticks
from medtech.errors import MedTechError, OutOfTime, Unavailable, UnexpectedFault
from medtech.flush import replayed
from medtech.flush.budget import Budget
from medtech.flush.memory import Memory
from medtech.flush.runs import runs, sent_together
from medtech.flush.tally import Tally
from medtech.flush.watches import ShardWatches
from medtech.group.buffer import Buffer
from medtech.group.reading import Portion, Round, Row, Unsettled, WindowReading
from medtech.mapping.fhir import FhirMapping
from medtech.model import Measurement, MeasurementGroup, ResourceIdentity
from medtech.persist.identity import IdentityKey, IdentityResolver, Links
from medtech.persist.observations import ObservationWrite, ObservationWriter, Outcome, Refused, Saved, Waiting
from medtech.persist.watch import Watch
from medtech.storage.lease import Lease
from medtech.telemetry.span import Span, span
from medtech.transform.observation import ObservationDraft, convert, fold, meetings

_log = logging.getLogger(__name__)

_LETTERS_AT_ONCE = 1000
"""Letters that are stored before the next ones are tried: when the time ends, those that are stored count, so that a
window of nothing but letters gets done as well. Fewer would fill fewer of the transactions."""


_GROUPS_PER_LOOK = 100
"""Groups that are converted before the time is looked at: some 10 ms."""

_WATCHES_AT_ONCE = 500
"""Watches that are stored while a run is still written: at its end there may be time for no more than these."""


_ingestion_time = attrgetter("ingestion_time")


class ShardContested(Exception):
    """Another instance works on the shard as well, or a row changed meanwhile: the rest is left to the next flush."""


class Unsaved(NamedTuple):
    """Measurements that did not get into an Observation.

    They wait if `error` is an Unavailable, or None, when the next flush knows more; else they become dead letters.
    """

    measurements: Sequence[Measurement]
    error: MedTechError | None


class Plan(NamedTuple):
    """What to write of a run.

    `unsettled` is of the portion. `identities` are what the keys of its groups were resolved to.
    `creating` are rows that did not keep their mark before creates of this run were sent.
    """

    unsettled: Unsettled
    identities: dict[IdentityKey, ResourceIdentity | MedTechError]
    links: Links
    writes: list[ObservationWrite]
    unsaved: list[Unsaved]
    creating: list[Row]


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
    marks: Marks
    identities: IdentityResolver
    writer: ObservationWriter
    watches: ShardWatches
    memory: Memory
    clock: Callable[[], int]

    def run(self, window: int) -> None:
        """Flushes the window that starts at `window` (ticks). Called within the deadline `budget.work`.

        What ends it before its end is in the tally. Raises StorageUnavailable or OutOfTime when rows cannot be settled,
        and ShardContested before anything is sent that another instance may be sending.
        """
        before = self.tally.counts()
        with span("flush window") as current:
            try:
                self._run(window, current)
            finally:
                if len(self.tally.outages) > before["outages"]:
                    current.error = self.tally.outages[-1].name
                current.set(medtech__shard=self.shard)
                current.set(**{f"medtech__{name}": count - before[name] for name, count in self.tally.counts().items()})

    def _run(self, window: int, current: Span) -> None:
        reading = self._read(window, None)
        while reading.rows:
            try:
                self._contain(window, partial(self._flush_portions, window, reading))
            finally:
                current.link(dict.fromkeys(row.trace_context for row in reading.rows if row.trace_context))
                # By ETag, so it does no harm if another instance is at work too.
                self._contain(window, partial(self._replace, window, reading))
            of_round = reading.next_round
            if of_round is None or self.tally.outages:
                self.tally.waiting += reading.waiting
                return
            reading = self._read(window, of_round)

    def _read(self, window: int, of_round: Round | None) -> WindowReading:
        return self.buffer.read(self.shard, window, self.memory.portion_bytes, self.memory.packed_bytes, of_round)

    def _flush_portions(self, window: int, reading: WindowReading) -> None:
        # A window that takes longer to be read than there is time would never be done.
        half = self.budget.work.earlier(self.budget.work.seconds_left() / 2)
        # Lazy from end to end: each portion is let go before the next is made.
        portions = reading.portions(lambda: half.over)
        try:
            for _ in map(partial(self._flush_portion, window, reading), portions):
                if self.tally.outages:
                    return
                if self.budget.work.over:
                    self.tally.outages.append(OutOfTime("all portions of a window were written"))
                    return
            if reading.cut_off:
                self.tally.outages.append(OutOfTime("all rows of a window were read"))
        except Unavailable as outage:
            self.tally.outages.append(outage)

    def _flush_portion(self, window: int, reading: WindowReading, portion: Portion) -> None:
        unsettled = portion.unsettled()
        try:
            for groups in runs(self.mapping, unsettled.holders, self.memory.run_bytes):
                self._contain(window, partial(self._flush_run, window, unsettled, groups))
                if self.tally.outages:
                    return
        except Unavailable as outage:
            self.tally.outages.append(outage)
        finally:
            self._settle(reading, portion, unsettled)

    def _flush_run(self, window: int, unsettled: Unsettled, groups: Sequence[MeasurementGroup]) -> None:
        self.tally.groups += len(groups)
        self._write(self._plan(unsettled, groups))

    def _contain(self, window: int, step: Callable[[], None]) -> None:
        """Does the step; an unexpected fault of it is counted, logged, and goes no further."""
        try:
            step()
        except (Unavailable, ShardContested):
            raise
        except Exception as error:  # noqa: BLE001 - the oldest window comes first: it would stop the shard for ever
            fault = UnexpectedFault.of(error, "flushing a window", then="Report it; its rows stay in the buffer.")
            self.tally.errors[fault.kind] += 1
            _log.error("Shard %d, window %s: %s", self.shard, ticks.format_iso(window), fault.message)

    def _plan(self, unsettled: Unsettled, groups: Sequence[MeasurementGroup]) -> Plan:
        drafts, unsaved = self._convert(groups)
        identities = self.identities.resolve((key for key, _ in drafts), self._check_lease, self.watches)
        identified: list[tuple[ResourceIdentity, ObservationDraft]] = []
        for key, draft in drafts:
            identity = identities[key]
            if isinstance(identity, ResourceIdentity):
                identified.append((identity, draft))
            else:
                unsaved.append(Unsaved(draft.measurements, identity))
        # Of most windows no row has more to say than its measurements, and these are not looked up.
        rows_with = unsettled.rows_with if any(map(_tells_more, unsettled.rows)) else _no_rows
        folded = [self._fold(rows_with, resource_id, members) for resource_id, members in meetings(identified).items()]
        return Plan(
            unsettled,
            identities,
            Links(self.identities, identities),
            writes=[each for each in folded if isinstance(each, ObservationWrite)],
            unsaved=unsaved + [each for each in folded if isinstance(each, Unsaved)],
            creating=[],
        )

    def _convert(
        self, groups: Sequence[MeasurementGroup]
    ) -> tuple[list[tuple[IdentityKey, ObservationDraft]], list[Unsaved]]:
        """The drafts of a run, and the measurements that make none. Raises OutOfTime."""
        drafts: list[tuple[IdentityKey, ObservationDraft]] = []
        unsaved: list[Unsaved] = []
        for number, group in enumerate(groups):
            if number % _GROUPS_PER_LOOK == 0:
                ask("all measurements of a window were converted")
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
        rows_with: Callable[[Sequence[Measurement]], Sequence[Row]],
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
        if len(members) > 1:
            self.tally.other_encounters += sum(other != identity for other, _ in members)
        rows = rows_with(draft.measurements)
        # Not the marks that this flush sets: an Observation is written in one run of it, and its neighbours' creates
        # are no reason to read its history.
        check_history = any(row.sent_before for row in rows)
        return ObservationWrite(
            draft,
            identity,
            check_history,
            replayed.relabels_unit(rows),
            watch=self.watches.of_observation(resource_id, rows),
        )

    def _write(self, plan: Plan) -> None:
        """Writes what can be written; what is settled then, one way or the other, leaves `plan.unsettled`."""
        unsaved = list(plan.unsaved)
        done: list[Measurement] = []
        unanswered = dict.fromkeys(plan.writes)
        watches: list[Watch] = []
        try:
            for writes in sent_together(plan.writes, self.memory.writes_at_once, self.memory.writes_bytes):
                before = len(done)
                try:
                    for outcome in self.writer.write(writes, lambda creates: self._before_writes(plan, creates)):
                        not_saved = self._take(outcome, plan)
                        unsaved += not_saved
                        if not not_saved:
                            done += outcome.write.draft.measurements
                        del unanswered[outcome.write]
                        if outcome.watch is not None:
                            watches.append(outcome.watch)
                        if len(watches) == _WATCHES_AT_ONCE:
                            self.watches.add(watches)
                            watches.clear()
                finally:
                    # Of all that were sent side by side: each alone would take longer to count than to settle.
                    self.tally.wrote(map(_ingestion_time, islice(done, before, None)), self.clock())
                if self.tally.outages:
                    break
        except Unavailable as outage:
            self.tally.outages.append(outage)
        # Before any row goes; what this raises leaves all of them, with their marks.
        with within(self.budget.letters):
            self.watches.add(watches)
        if not unanswered:
            for row in plan.creating:
                row.keeps_mark = False
        self._conclude(plan, unsaved + [Unsaved(write.draft.measurements, None) for write in unanswered], done)

    def _conclude(self, plan: Plan, unsaved: Iterable[Unsaved], done: list[Measurement]) -> None:
        """Makes dead letters of what can never be written; what is `done`, or is a letter, is settled."""
        waiting: set[Measurement] = set()
        burials: list[tuple[Measurement, MedTechError]] = []
        for measurements, error in unsaved:
            if error is not None and not isinstance(error, Unavailable):
                burials += ((each, error) for each in measurements)
                continue
            waiting.update(measurements)
            if error is not None:
                self.tally.held_up_by.append(error)
        # Only now, and before the rows go: a flush that is cut short writes the same letters again.
        buried = self._bury_measurements(plan.unsettled, burials)
        waiting.update(measurement for measurement, _ in burials[buried:])
        done += (measurement for measurement, _ in burials[:buried])
        # One with a bad reading beside a good one is written and buried: it is settled when both are done.
        plan.unsettled.settle([each for each in done if each not in waiting] if waiting else done)

    def _before_writes(self, plan: Plan, creates: Sequence[ObservationWrite]) -> None:
        """Called just before bundles are sent; `creates` are the writes among them that find nothing stored."""
        self._check_lease()
        if not plan.links.hold(self._check_lease, self.watches):
            raise ShardContested("A Device was linked to another Patient meanwhile.")
        created = chain.from_iterable(write.draft.measurements for write in creates)
        rows = {row.place: row for row in plan.unsettled.rows_with(created)}
        for row in rows.values():
            if not row.keeps_mark:
                row.keeps_mark = True
                plan.creating.append(row)
        if self.buffer.mark_creates_sent(rows.values(), self.writer.now()):
            raise ShardContested("Another instance changed one of its rows.")

    def _check_lease(self) -> None:
        """Called just before Patients, Devices and Observations are written."""
        check_lease(self.lease)

    def _take(self, outcome: Outcome, plan: Plan) -> list[Unsaved]:
        """Counts a write that succeeded; returns the measurements of one that did not."""
        match outcome:
            case Saved(write, saved_as, other_encounter):
                self.tally.observations[saved_as] += 1
                self.tally.other_encounters += other_encounter
                if write.draft.superseded:
                    self.tally.superseded[write.draft.type] += write.draft.superseded
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

    def _settle(self, reading: WindowReading, portion: Portion, unsettled: Unsettled) -> None:
        """Notes what is left of a portion, and deletes the rows that nothing is left of."""
        self.tally.measurements += reading.settle(portion, unsettled.holders)
        with within(self.budget.rows):
            replayed.delete_settled(self.buffer, self.marks, reading.settled_rows())

    def _replace(self, window: int, reading: WindowReading) -> None:
        """Leaves of each row what is not settled. Rows that cannot be unpacked become letters."""
        with within(self.budget.rows):
            replayed.delete_settled(self.buffer, self.marks, reading.settled_rows())
            for lefts in reading.left():
                self.buffer.replace(lefts)
            self._bury_rows(window, reading.faulty_rows())

    def _bury_measurements(self, unsettled: Unsettled, burials: list[tuple[Measurement, MedTechError]]) -> int:
        """Sorts the burials, and stores their letters in that order; returns how many are stored."""
        # In this order letters of one partition key, which share transactions, follow each other.
        burials.sort(key=lambda burial: (burial[0].partition, burial[0].ingestion_time))
        counts: dict[Keys, int] = {}
        written = ((_letter(measurement, error, unsettled, counts), error) for measurement, error in burials)
        return self._bury(written, counts)

    def _bury_rows(self, window: int, rows: Sequence[Row]) -> None:
        corrupt: list[Row] = []
        for row in rows:
            if isinstance(row.fault, Unavailable):
                self.tally.outages.append(row.fault)
            elif row.fault and not row.given_up:
                corrupt.append(row)
        stored = self._bury(
            (letters.of_row(row.partition_key, row.row_key, row.hub, window, row.payload, row.fault), row.fault)
            for row in corrupt
            if row.fault
        )
        self.buffer.delete(corrupt[:stored])

    def _bury(
        self, written: Iterator[tuple[Letter, MedTechError]], counts: Mapping[Keys, int] = MappingProxyType({})
    ) -> int:
        """Stores letters, made as they are needed, as far as storage takes them in time; returns how many it took."""
        stored = 0
        while together := list(islice(written, _LETTERS_AT_ONCE)):
            try:
                with within(self.budget.letters):
                    ordered = sorted((letter for letter, _ in together), key=lambda letter: letter.partition_key)
                    self.tally.letters += self.dead_letters.store(ordered, self.clock(), counts)
            except Unavailable as error:
                self.tally.outages.append(error)
                break
            self.tally.errors.update(error.kind for _, error in together)
            self.tally.letters_by_error.update((letter.error, letter.stage) for letter, _ in together)
            stored += len(together)
        return stored


def check_lease(lease: Lease) -> None:
    """Raises ShardContested when the lease does not cover a write any more."""
    if not lease.held:
        raise ShardContested("Its lease was lost.")


def _tells_more(row: Row) -> bool:
    """Whether a write depends on what is known of this row: of creates sent before, or of the letter that it was."""
    return row.sent_before or row.replayed is not None


def _no_rows(_: Sequence[Measurement]) -> Sequence[Row]:
    return ()


def _letter(measurement: Measurement, error: MedTechError, unsettled: Unsettled, counts: dict[Keys, int]) -> Letter:
    rows = unsettled.rows_with([measurement])
    return replayed.counted(letters.of_measurement(measurement, rows[0].hub, error), rows, counts)
