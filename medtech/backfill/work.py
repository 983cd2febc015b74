"""Works off backfill jobs, the oldest first: captured events, chunk by chunk, through what ingest does with a batch.

    files      of the app's hub, by the time in their names, from the job's cursor on
      → events     as the trigger gives them, of the time that was asked for
      → process    into the buffer and the dead letters, under the keys of ingest
      → write      the job's cursor and counts, by ETag

A worker may be killed anywhere: the chunk that was under way is done again. Its measurements are the ones that are in
the buffer, or in the FHIR server, already: what is delivered twice is written once.

A job that came to no end of its own goes on one event at a time, until it is past what was under way. An event over
which it ended three times is a dead letter, as in ingest; a file that cannot even be read to its next event is left.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

from medtech.backfill.container import CaptureContainer, shown
from medtech.backfill.job import BackfillJob, BackfillJobs, Cursor, Fault
from medtech.backfill.path_format import PathFormat
from medtech.backfill.reading import Chunk, chunks, days, files
from medtech.dead_letter.store import DeadLetters
from medtech.deadline import seconds_left
from medtech.dotnet import ticks
from medtech.errors import PoisonMessage
from medtech.group.buffer import Buffer
from medtech.group.windows import window_start
from medtech.ingest.batch import NOTHING, BatchCounts, bury, process
from medtech.ingest.events import hub_name
from medtech.jobs import NO_DEVICE_MAPPING, JobContested, JobRun, JobWorker, State, Words
from medtech.model import DeviceEvent
from medtech.normalize.batch import Normalizer
from medtech.settings import Settings
from medtech.setup.hub_place import HubPlace
from medtech.storage.connection import Storage
from medtech.storage.lease import Lease

LEASE = "backfill"

CHUNK_RECORDS = 500
"""What is repeated at most after a kill: as many as a batch of the trigger has by default."""

MOST_WINDOWS_AHEAD = 48
"""That are due and wait in the buffer, when no more is put there. The flush writes the oldest windows first, so what is
backfilled goes before what devices send now: with four hours of it ahead, a tick or two, and not with a month."""

_ENDS_PER_EVENT = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Backfill:
    """What backfilling needs; one per process. `clock` gives ticks, `monotonic` seconds."""

    storage: Storage
    buffer: Buffer
    dead_letters: DeadLetters
    device_mapping: Callable[[], Normalizer | None]
    settings: Settings
    hub: Callable[[], HubPlace]
    clock: Callable[[], int] = ticks.now
    monotonic: Callable[[], float] = time.monotonic

    def run(self) -> None:
        """Works off jobs until the deadline in force. What goes wrong is logged, and not raised."""
        jobs = BackfillJobs(self.storage)
        JobWorker(
            storage=self.storage,
            jobs=jobs,
            lease=LEASE,
            words=_Run.words,
            carry_out=lambda job, lease: _Run(self, jobs, lease, job).run(),
            clock=self.clock,
            monotonic=self.monotonic,
        ).run()


class _Run(JobRun[BackfillJob]):
    words = Words("Backfill", "backfilling", "Report it; the files stay where they are.")

    def __init__(self, parts: Backfill, jobs: BackfillJobs, lease: Lease, job: BackfillJob) -> None:
        super().__init__(jobs, lease, job, parts.clock, parts.monotonic)
        self._parts = parts
        self._windows: set[int] = set()

    def _at_once(self) -> int:
        return CHUNK_RECORDS

    def _log_done(self) -> None:
        counts = self.job.counts
        _log.log(
            logging.WARNING if counts.faults else logging.INFO,
            "Backfill job %s is done: %d files, %d events, %d measurements, %d dropped, %d dead letters, %d faults",
            *(self.job.id, counts.files, counts.events, counts.measurements),
            *(counts.dropped, counts.letters, counts.faults),
        )

    def _obstacle(self) -> str:
        if self._parts.device_mapping() is None:
            return NO_DEVICE_MAPPING
        self._windows = self._due()
        return self._far_ahead()

    def _due(self) -> set[int]:
        """Windows that are due and wait in the buffer, at most so many of each shard that the bound is reached."""
        buffer, settings, now = self._parts.buffer, self._parts.settings, self._parts.clock()
        return {
            start
            for shard in buffer.shards()
            for start in islice(
                buffer.due_windows(shard, now, settings.window_seconds, settings.flush_grace_seconds),
                MOST_WINDOWS_AHEAD,
            )
        }

    def _far_ahead(self) -> str:
        if len(self._windows) < MOST_WINDOWS_AHEAD:
            return ""
        return (
            f"{MOST_WINDOWS_AHEAD} windows wait in the buffer for the flush. The job goes on by itself when they are "
            "written; if this stays, `python -m medtech status` tells what holds up the flush."
        )

    def _work_off(self) -> str:
        request, place = self.job.request, self._parts.hub()
        container = CaptureContainer(self._parts.storage, request.container, PathFormat(request.path_format), place)
        container.others.update(dict.fromkeys(self.job.others))
        if self.job.attempts > 2 * _ENDS_PER_EVENT:
            self._leave_file(container)
        found = chunks(container, request, hub_name(*place), self.job.cursor, self._most_records)
        while self._lease.held and seconds_left():
            if message := self._far_ahead():
                return message
            chunk = next(found, None)
            if chunk is None:
                self._finish()
                return ""
            mapping = self._parts.device_mapping()
            if mapping is None:
                return ""
            seconds = self._parts.settings.window_seconds
            self._windows.update(window_start(event.enqueued_time, seconds) for event in chunk.events)
            counts = self._put_through(chunk.events, mapping)
            self._move_on(chunk, counts, container)
        return ""

    def _most_records(self) -> int:
        return 1 if self.job.carefully else CHUNK_RECORDS

    def _put_through(self, events: list[DeviceEvent], mapping: Normalizer) -> BatchCounts:
        if not self._lease.held:
            raise JobContested
        parts = self._parts
        if not events:
            return NOTHING
        if self.job.attempts > _ENDS_PER_EVENT:
            poison = PoisonMessage(
                f"Processing this message ended the process {self.job.attempts - 1} times while it was backfilled, for "
                "instance by memory, functionTimeout or a crash of a library; it was given up so that the others could "
                "go on. Send its body to POST /api/validate: it says what is wrong, or ends the process too, which is "
                "a fault of the app to report. Then replay."
            )
            return bury(events[0], poison, parts.dead_letters, parts.clock)
        return process(events, mapping, parts.buffer, parts.dead_letters, parts.settings, parts.clock)

    def _move_on(self, chunk: Chunk, counts: BatchCounts, container: CaptureContainer) -> None:
        job = self.job
        for fault in chunk.faults:
            _log.error("Backfill job %s: %s: %s", job.id, fault.file, fault.reason)
            job = job.with_fault(fault)
        done = job.counts.plus(
            files=int(chunk.after.done),
            events=counts.events,
            measurements=counts.measurements,
            dropped=counts.dropped,
            letters=counts.letters,
        )
        others, carefully = tuple(container.others), max(0, job.carefully - 1)
        self._write(job.but(counts=done, cursor=chunk.after, others=others, attempts=1, carefully=carefully))

    def _leave_file(self, container: CaptureContainer) -> None:
        """Leaves the file that is under way, without reading on."""
        request, cursor = self.job.request, self.job.cursor
        found = (blob for day in days(request, cursor) for blob in files(container, request, day, cursor))
        blob = next(found, None)
        if blob is None:
            return
        fault = Fault(
            blob.name,
            f"the file is left from there on: the app came to no end over it {self.job.attempts - 1} times. Report it.",
        )
        self._move_on(Chunk([], [fault], Cursor(blob.time, blob.partition, blob.name, done=True)), NOTHING, container)

    def _finish(self) -> None:
        job = self.job
        # A signature opens the container to whoever reads the row.
        request = replace(job.request, container=shown(job.request.container))
        self.job = job.but(state=State.DONE, carefully=0, request=request)
