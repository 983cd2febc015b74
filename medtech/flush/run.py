"""Windows that are due, through group, transform and persist.

One flush goes over the shards side by side and over the windows of a shard oldest first, so that of single values the
later one wins. A shard is worked under a lease, which spares two instances the same work; what keeps them from harming
each other are ids, ETags and merges further down.

What cannot be written now stays in the buffer and is tried again at the next tick. What can never be written goes to
the dead letters, and only then leaves the buffer.
"""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import chain

from medtech.dead_letter import letter as letters
from medtech.dead_letter.letter import Letter
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.errors import MedTechError, Unavailable, UnexpectedFault
from medtech.group.buffer import Buffer, Row
from medtech.group.groups import group_measurements
from medtech.group.lease import ShardLease
from medtech.mapping.fhir import FhirMapping
from medtech.model import Measurement, ResourceIdentity
from medtech.persist.identity import IdentityKey, IdentityResolver
from medtech.persist.observations import ObservationWrite, ObservationWriter, Outcome, Refused, Saved, Waiting
from medtech.persist.settle import SavedAs
from medtech.settings import Settings
from medtech.storage import Storage
from medtech.transform.observation import ObservationDraft, convert, fold

_log = logging.getLogger(__name__)

BUDGET_SECONDS = 240
"""A flush starts no further window after this long, so that it ends well within `functionTimeout`."""

_SHARDS_AT_ONCE = 8
_BYTES_PER_MB = 1024 * 1024


class ShardContested(Exception):
    """Another instance works on the shard as well, or a row changed under way: the rest is left to the next flush."""


@dataclass(slots=True)
class Tally:
    """What became of the windows that a flush took; the figures of its log line.

    `waiting` are measurements that stay in the buffer, `held_up_by` says why; `outages` are the reasons that concern
    more than the measurements at hand, and end a shard.
    """

    windows: int = 0
    measurements: int = 0
    observations: Counter[SavedAs] = field(default_factory=Counter)
    letters: int = 0
    waiting: int = 0
    superseded: int = 0
    other_encounters: int = 0
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    held_up_by: list[Unavailable] = field(default_factory=list)
    outages: list[Unavailable] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.windows += other.windows
        self.measurements += other.measurements
        self.observations += other.observations
        self.letters += other.letters
        self.waiting += other.waiting
        self.superseded += other.superseded
        self.other_encounters += other.other_encounters
        self.errors += other.errors
        self.held_up_by += other.held_up_by
        self.outages += other.outages


@dataclass(frozen=True, kw_only=True)
class Flush:
    """What a flush needs; one per process. `clock` gives ticks, `monotonic` seconds."""

    storage: Storage
    buffer: Buffer
    dead_letters: DeadLetters
    fhir_mapping: Callable[[], FhirMapping | None]
    identities: IdentityResolver
    writer: ObservationWriter
    settings: Settings
    clock: Callable[[], int] = ticks.now
    monotonic: Callable[[], float] = time.monotonic

    def run(self) -> Tally:
        """Flushes what is due. An outage ends the shard it is met in, is logged, and leaves its rows where they are."""
        started = self.monotonic()
        tally = Tally()
        try:
            if shards := self.buffer.shards():
                mapping = self.fhir_mapping()
                if mapping is None:
                    _log.error(
                        "There is no FHIR mapping that was ever good: measurements wait in the buffer. Mend the "
                        "mapping that FHIR_MAPPING names (POST /api/validate tells its errors)."
                    )
                else:
                    self._flush_shards(shards, mapping, started + BUDGET_SECONDS, tally)
        except Unavailable as error:
            tally.outages.append(error)
        _report(tally, self.monotonic() - started)
        return tally

    def _flush_shards(self, shards: Sequence[int], mapping: FhirMapping, deadline: float, tally: Tally) -> None:
        with ThreadPoolExecutor(min(len(shards), _SHARDS_AT_ONCE), thread_name_prefix="flush") as pool:
            # In a copy of this context each: the worker tells by it which invocation a log line belongs to.
            flushes = [pool.submit(copy_context().run, self._flush_shard, shard, mapping, deadline) for shard in shards]
            for of_shard in flushes:
                tally.add(of_shard.result())

    def _flush_shard(self, shard: int, mapping: FhirMapping, deadline: float) -> Tally:
        tally = Tally()
        window_seconds, grace_seconds = self.settings.window_seconds, self.settings.flush_grace_seconds
        try:
            with ShardLease(self.storage, shard) as lease:
                for window in self.buffer.due_windows(shard, self.clock(), window_seconds, grace_seconds):
                    # Asked for with the first due window: an idle shard costs one query a tick, and no lease.
                    if self.monotonic() > deadline or not (lease.held or (not tally.windows and lease.acquire())):
                        break
                    tally.windows += 1
                    _WindowFlush(self, shard, window, mapping, lease, tally).run()
                    if tally.outages:
                        break
        except Unavailable as error:
            tally.outages.append(error)
        except ShardContested as contested:
            _log.warning("Shard %d: %s The next flush goes on with it.", shard, contested)
        return tally


class _WindowFlush:
    """One window of one shard on its way. `tally` is the shard's."""

    def __init__(
        self, flush: Flush, shard: int, window: int, mapping: FhirMapping, lease: ShardLease, tally: Tally
    ) -> None:
        self._flush = flush
        self._shard = shard
        self._window = window
        self._mapping = mapping
        self._lease = lease
        self._tally = tally
        self._rows_of: dict[Measurement, list[Row]] = {}
        self._waiting: set[Measurement] = set()
        self._letters: list[Letter] = []
        self._identities: dict[IdentityKey, ResourceIdentity | MedTechError] = {}

    def run(self) -> None:
        """Writes the window pass by pass, then settles its rows: only after the last pass is known what is left."""
        rows: list[Row] = []
        left: defaultdict[str, list[Measurement]] = defaultdict(list)
        measurements: Counter[str] = Counter()
        portion_bytes = self._flush.settings.flush_portion_mb * _BYTES_PER_MB
        for rows in self._flush.buffer.read(self._shard, self._window, portion_bytes):
            self._write_pass(rows)
            for row in rows:
                measurements[row.row_key] += len(row.measurements)
                left[row.row_key] += (each for each in row.measurements if each in self._waiting)
        self._bury_corrupt(rows)
        self._settle(rows, left, measurements)

    def _write_pass(self, rows: Sequence[Row]) -> None:
        self._rows_of = {}
        for row in rows:
            for measurement in row.measurements:
                self._rows_of.setdefault(measurement, []).append(row)
        self._waiting = set()
        for outcome in self._flush.writer.write(self._plan(rows), self._before_writes):
            self._take(outcome)
        # Only now, and before the rows go: a flush that is cut short writes the same letters again.
        self._store_letters()

    def _plan(self, rows: Iterable[Row]) -> list[ObservationWrite]:
        """One write for each Observation id. What can make no Observation is given up here."""
        drafts: list[tuple[IdentityKey, ObservationDraft]] = []
        for group in group_measurements(chain.from_iterable(row.measurements for row in rows)):
            key = IdentityKey(group.device_id, group.patient_id, group.encounter_id)
            try:
                conversion = convert(self._mapping, group)
            except Exception as error:  # noqa: BLE001 - one group must not hold up its shard for good
                self._bury(group.measurements, UnexpectedFault.of(error, "converting a group"))
                continue
            drafts += ((key, draft) for draft in conversion.drafts)
            for failure in conversion.failures:
                self._bury([failure.measurement], failure.error)
        identities = self._flush.identities.resolve((key for key, _ in drafts), self._before_identities)
        self._identities = identities
        meeting: defaultdict[str, list[tuple[ResourceIdentity, ObservationDraft]]] = defaultdict(list)
        for key, draft in drafts:
            identity = identities[key]
            if isinstance(identity, ResourceIdentity):
                meeting[draft.identify(identity)[1]].append((identity, draft))
            else:
                self._give_up(draft.measurements, identity)
        return [write for members in meeting.values() if (write := self._fold(members)) is not None]

    def _fold(self, members: Sequence[tuple[ResourceIdentity, ObservationDraft]]) -> ObservationWrite | None:
        identity = members[0][0]
        drafts = [draft for _, draft in members]
        try:
            draft = fold(drafts)
        except Exception as error:  # noqa: BLE001 - as above
            known = error if isinstance(error, MedTechError) else UnexpectedFault.of(error, "folding Observations")
            self._bury(chain.from_iterable(draft.measurements for draft in drafts), known)
            return None
        self._tally.superseded += draft.superseded
        self._tally.other_encounters += sum(other != identity for other, _ in members)
        return ObservationWrite(draft, identity, any(row.creates_sent for row in self._rows_behind(draft)))

    def _before_identities(self) -> None:
        """The last moment before Patients and Devices are written."""
        self._before_writes(())

    def _before_writes(self, creates: Sequence[ObservationWrite]) -> None:
        """The last moment before a bundle goes out; `creates` are the writes that find nothing stored."""
        if not self._lease.held:
            raise ShardContested("Its lease was lost.")
        rows = {row.row_key: row for write in creates for row in self._rows_behind(write.draft)}
        if self._flush.buffer.mark_creates_sent(rows.values()):
            raise ShardContested("A row of it was changed by another.")

    def _take(self, outcome: Outcome) -> None:
        match outcome:
            case Saved(_, operation, other_encounter):
                self._tally.observations[operation] += 1
                self._tally.other_encounters += other_encounter
            case Refused(write, error, reference_lost):
                if reference_lost and self._finds_another_identity(write):
                    self._waiting.update(write.draft.measurements)
                else:
                    self._bury(write.draft.measurements, error)
            case Waiting(write, error, server_away):
                self._give_up(write.draft.measurements, error)
                # One resource that a server cannot take must not hold up the windows after it; only an outage does.
                if server_away:
                    self._tally.outages.append(error)

    def _finds_another_identity(self, write: ObservationWrite) -> bool:
        """Whether an identity that it was written by was out of date.

        If one was, the next flush writes by the new one, or says what is missing. Each key is compared with what it
        was resolved to before: drafts of several encounters meet in one write, which is made by the first one's.
        """
        keys = {IdentityKey(each.device_id, each.patient_id, each.encounter_id) for each in write.draft.measurements}
        for key in keys:
            self._flush.identities.forget(key)
        found = self._flush.identities.resolve(keys, self._before_identities)
        return any(found[key] != self._identities[key] for key in keys)

    def _give_up(self, measurements: Iterable[Measurement], error: MedTechError) -> None:
        """For now, when something outside is away; else for good."""
        if isinstance(error, Unavailable):
            self._waiting.update(measurements)
            self._tally.held_up_by.append(error)
        else:
            self._bury(measurements, error)

    def _bury(self, measurements: Iterable[Measurement], error: MedTechError) -> None:
        for measurement in measurements:
            hub = self._rows_of[measurement][0].hub
            self._letters.append(letters.of_measurement(measurement, hub, error))
            self._tally.errors[error.name, error.stage] += 1

    def _bury_corrupt(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if row.fault is not None and not isinstance(row.fault, Unavailable):
                keys = row.partition_key, row.row_key
                self._letters.append(letters.of_row(*keys, row.hub, self._window, row.payload, row.fault))
                self._tally.errors[row.fault.name, row.fault.stage] += 1
        self._store_letters()

    def _store_letters(self) -> None:
        if self._letters:
            self._tally.letters += self._flush.dead_letters.store(self._letters, self._flush.clock())
            self._letters = []

    def _settle(self, rows: Iterable[Row], left: dict[str, list[Measurement]], measurements: Counter[str]) -> None:
        """Takes what is written or buried out of the buffer; a neighbour that waits stays."""
        settled: list[Row] = []
        for row in rows:
            if isinstance(row.fault, Unavailable):
                self._tally.outages.append(row.fault)
                continue
            remaining = left[row.row_key]
            self._tally.measurements += measurements[row.row_key] - len(remaining)
            self._tally.waiting += len(remaining)
            if not remaining:
                settled.append(row)
            elif len(remaining) < measurements[row.row_key]:
                self._flush.buffer.replace(row, remaining)
        self._flush.buffer.delete(settled)

    def _rows_behind(self, draft: ObservationDraft) -> Iterable[Row]:
        return chain.from_iterable(self._rows_of[measurement] for measurement in draft.measurements)


def _report(tally: Tally, seconds: float) -> None:
    if tally.windows:
        written = tally.observations
        _log.info(
            "%d windows: %d measurements to Observations (%d created, %d updated, %d unchanged), "
            "%d dead letters, %d superseded, %d with another encounter, %d waiting, %.2f s%s",
            tally.windows,
            tally.measurements,
            written[SavedAs.CREATED],
            written[SavedAs.UPDATED],
            written[SavedAs.NO_OPERATION],
            tally.letters,
            tally.superseded,
            tally.other_encounters,
            tally.waiting,
            seconds,
            "".join(f"; {name} ({stage}): {count}" for (name, stage), count in sorted(tally.errors.items())),
        )
    # One line a kind: a hundred Observations that wait for one server are one thing to mend.
    for message in {error.name: error.message for error in (*tally.held_up_by, *tally.outages)}.values():
        _log.error("The flush is held up, nothing is lost: %s", message)
