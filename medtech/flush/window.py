"""One due window of a shard, from the buffer to the FHIR server.

    buffer.read()           a portion: measurements of some devices, and the rows that hold them
      → _plan(portion)      group, convert, resolve identities, fold: one write for each Observation id
      → _write(plan)        send the writes; what can never be written becomes dead letters
      → _settle(remainders) after the last portion: delete the rows that are done, shrink those that wait in part

What a step could not do travels on in its value as `Unsaved`, up to the end of `_write`, which decides: it waits in the
buffer for the next flush, or it is stored as a dead letter.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from medtech.dead_letter import letter as letters
from medtech.dead_letter.letter import Letter
from medtech.dead_letter.store import DeadLetters
from medtech.errors import MedTechError, Unavailable, UnexpectedFault
from medtech.flush.tally import Tally
from medtech.group.buffer import Buffer, Portion, Row
from medtech.group.groups import group_measurements
from medtech.mapping.fhir import FhirMapping
from medtech.model import Measurement, ResourceIdentity
from medtech.persist.identity import IdentityKey, IdentityResolver
from medtech.persist.observations import ObservationWrite, ObservationWriter, Outcome, Refused, Saved, Waiting
from medtech.storage.lease import Lease
from medtech.transform.observation import ObservationDraft, convert, fold


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
    writes: list[ObservationWrite]
    unsaved: list[Unsaved]


class Remainder(NamedTuple):
    """What a portion leaves of the window's rows: by row key, how many measurements it had, and those that wait."""

    rows: Sequence[Row]
    sizes: dict[str, int]
    waiting: dict[str, list[Measurement]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFlush:
    """Flushes the windows of one shard, one at a time; `tally` is the shard's, `clock` gives ticks."""

    shard: int
    mapping: FhirMapping
    lease: Lease
    tally: Tally
    buffer: Buffer
    dead_letters: DeadLetters
    identities: IdentityResolver
    writer: ObservationWriter
    portion_bytes: int
    clock: Callable[[], int]

    def run(self, window: int) -> None:
        """Flushes the window that starts at `window` (ticks).

        Raises StorageUnavailable, and ShardContested before anything is sent that another instance may be sending.
        """
        # Lazy from end to end: each portion is let go before the next is read.
        portions = self.buffer.read(self.shard, window, self.portion_bytes)
        self._settle(window, map(self._write, map(self._plan, portions)))

    def _plan(self, portion: Portion) -> Plan:
        rows_of: dict[Measurement, list[Row]] = {}
        for row in portion.rows:
            for measurement in portion.of_row[row.row_key]:
                rows_of.setdefault(measurement, []).append(row)
        drafts, unsaved = self._convert(portion)
        identities = self.identities.resolve((key for key, _ in drafts), self._check_lease)
        meeting: defaultdict[str, list[tuple[ResourceIdentity, ObservationDraft]]] = defaultdict(list)
        for key, draft in drafts:
            identity = identities[key]
            if isinstance(identity, ResourceIdentity):
                meeting[draft.identify(identity)[1]].append((identity, draft))
            else:
                unsaved.append(Unsaved(draft.measurements, identity))
        folded = [self._fold(rows_of, members) for members in meeting.values()]
        return Plan(
            portion,
            rows_of,
            identities,
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
        self, rows_of: dict[Measurement, list[Row]], members: Sequence[tuple[ResourceIdentity, ObservationDraft]]
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
        check_history = any(row.creates_sent for row in _rows_with(draft, rows_of))
        return ObservationWrite(draft, identity, check_history)

    def _write(self, plan: Plan) -> Remainder:
        unsaved = list(plan.unsaved)
        for outcome in self.writer.write(plan.writes, lambda creates: self._before_writes(plan, creates)):
            unsaved.extend(self._take(outcome, plan))
        waiting: set[Measurement] = set()
        written: list[Letter] = []
        for measurements, error in unsaved:
            if error is None:
                waiting.update(measurements)
            elif isinstance(error, Unavailable):
                waiting.update(measurements)
                self.tally.held_up_by.append(error)
            else:
                written += (letters.of_measurement(each, plan.rows_of[each][0].hub, error) for each in measurements)
                self.tally.errors[error.name, error.stage] += len(measurements)
        # Only now, and before the rows go: a flush that is cut short writes the same letters again.
        self._store(written)
        of_row = plan.portion.of_row
        return Remainder(
            plan.portion.rows,
            {key: len(measurements) for key, measurements in of_row.items()},
            {key: [each for each in measurements if each in waiting] for key, measurements in of_row.items()},
        )

    def _before_writes(self, plan: Plan, creates: Sequence[ObservationWrite]) -> None:
        """Called just before bundles are sent; `creates` are the writes among them that find nothing stored."""
        self._check_lease()
        rows = {row.row_key: row for write in creates for row in _rows_with(write.draft, plan.rows_of)}
        if self.buffer.mark_creates_sent(rows.values()):
            raise ShardContested("Another instance changed one of its rows.")

    def _check_lease(self) -> None:
        """Called just before Patients, Devices and Observations are written."""
        if not self.lease.held:
            raise ShardContested("Its lease was lost.")

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
        found = self.identities.resolve(keys, self._check_lease)
        return any(found[key] != plan.identities[key] for key in keys)

    def _settle(self, window: int, remainders: Iterable[Remainder]) -> None:
        """Takes what is done out of the buffer. A row is complete only after the last portion."""
        rows: Sequence[Row] = []
        sizes: Counter[str] = Counter()
        waiting: defaultdict[str, list[Measurement]] = defaultdict(list)
        for remainder in remainders:
            rows = remainder.rows
            sizes.update(remainder.sizes)
            for row_key, measurements in remainder.waiting.items():
                waiting[row_key] += measurements
        self._bury_corrupt(window, rows)
        settled: list[Row] = []
        for row in rows:
            if isinstance(row.fault, Unavailable):
                self.tally.outages.append(row.fault)
                continue
            size, remaining = sizes[row.row_key], waiting[row.row_key]
            self.tally.measurements += size - len(remaining)
            self.tally.waiting += len(remaining)
            if not remaining:
                settled.append(row)
            elif len(remaining) < size:
                self.buffer.replace(row, remaining)
        self.buffer.delete(settled)

    def _bury_corrupt(self, window: int, rows: Iterable[Row]) -> None:
        corrupt = [(row, row.fault) for row in rows if row.fault and not isinstance(row.fault, Unavailable)]
        self.tally.errors.update((fault.name, str(fault.stage)) for _, fault in corrupt)
        self._store(
            [
                letters.of_row(row.partition_key, row.row_key, row.hub, window, row.payload, fault)
                for row, fault in corrupt
            ]
        )

    def _store(self, written: Sequence[Letter]) -> None:
        if written:
            self.tally.letters += self.dead_letters.store(written, self.clock())


def _rows_with(draft: ObservationDraft, rows_of: dict[Measurement, list[Row]]) -> Iterable[Row]:
    return chain.from_iterable(rows_of[measurement] for measurement in draft.measurements)
