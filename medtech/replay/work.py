"""Works off replay jobs, the oldest first: letters of a job, chunk by chunk, into the buffer.

    select     letters in the order of the table, from the job's cursor on
      → today      what each becomes under the mapping in force: rows, and letters of what fails again
      → claim      letters are marked with the job and their holders, by ETag; others have them no more
      → store      newer letters first, then rows, then what stays of the letters themselves
      → write      the job's cursor and counts, by ETag

A worker may be killed anywhere: what a chunk has done is done again, under the same keys, or found done. A letter that
is marked already is put through anew only as far as its rows are not in the buffer, so that nothing is held for ever
when the mapping in force has changed in between.

A job that came to no end of its own goes on one letter at a time, until it is past what was under way, and a letter
over which it ended three times is left: the timer, which flushes as well, must not be killed by it for ever.
"""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from medtech.dead_letter.holders import JOB, MAX_HOLDER_BYTES, pack_holders
from medtech.dead_letter.letter import Keys, Letter
from medtech.dead_letter.letter_id import letter_id
from medtech.dead_letter.marks import Claim, Marks, Release
from medtech.dead_letter.store import DeadLetters, Summary
from medtech.deadline import Deadline, seconds_left, within
from medtech.dotnet import ticks
from medtech.errors import BufferCorrupt, OutOfTime
from medtech.group.buffer import Buffer
from medtech.group.replayed import Replayed
from medtech.group.windows import replay_row_prefix, row_key, row_name
from medtech.jobs import NO_DEVICE_MAPPING, JobContested, JobRun, JobWorker, State, Words
from medtech.model import DeviceEvent, Measurement
from medtech.normalize.batch import Normalizer
from medtech.replay.job import Counts, Job, Jobs, Left
from medtech.replay.today import Places, Today, replay_event, replay_measurement
from medtech.settings import Settings
from medtech.storage.connection import Storage
from medtech.storage.lease import Lease

LEASE = "replay"

CHUNK_LETTERS = 200
"""What is repeated at most after a kill. The job's row is written once a chunk."""

_CHUNK_BYTES = 16 * 1024 * 1024
"""Of bodies. What they become takes several times as much."""

_COUNT_SECONDS = 10
"""A selection that takes longer to count is worked off without being counted: the count is for the progress bar."""

_ENDS_PER_LETTER = 3

_log = logging.getLogger(__name__)

FoundLetter = tuple[Summary, Letter | BufferCorrupt]


class Taken(NamedTuple):
    """A letter that the job puts through; `holders` are those of its mark."""

    summary: Summary
    letter: Letter
    today: Today
    holders: list[str]


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What replaying needs; one per process. `clock` gives ticks, `monotonic` seconds."""

    storage: Storage
    buffer: Buffer
    dead_letters: DeadLetters
    device_mapping: Callable[[], Normalizer | None]
    settings: Settings
    clock: Callable[[], int] = ticks.now
    monotonic: Callable[[], float] = time.monotonic

    def run(self) -> None:
        """Works off jobs until the deadline in force. What goes wrong is logged, and not raised."""
        jobs = Jobs(self.storage)
        JobWorker(
            storage=self.storage,
            jobs=jobs,
            lease=LEASE,
            words=_Run.words,
            carry_out=lambda job, lease: _Run(self, jobs, Marks(self.storage), lease, job).run(),
            clock=self.clock,
            monotonic=self.monotonic,
        ).run()


class _Run(JobRun[Job]):
    words = Words("Replay", "replaying letters", "Report it; no letter is lost.")

    def __init__(self, parts: Replay, jobs: Jobs, marks: Marks, lease: Lease, job: Job) -> None:
        super().__init__(jobs, lease, job, parts.clock, parts.monotonic)
        self._parts = parts
        self._marks = marks
        self._others: dict[str, bool] = {}

    def _obstacle(self) -> str:
        return NO_DEVICE_MAPPING if self._parts.device_mapping() is None else ""

    def _at_once(self) -> int:
        return CHUNK_LETTERS

    def _begun(self, job: Job, now: int) -> Job:
        # A letter that fails again is written after this: taking it would be replaying without end.
        to_time = now if job.selection.to_time is None else min(now, job.selection.to_time)
        return super()._begun(job, now).but(selection=replace(job.selection, to_time=to_time))

    def _log_done(self) -> None:
        counts = self.job.counts
        _log.info(
            "Replay job %s is done: %d letters put through, %d failed again, %d left",
            self.job.id,
            counts.put_through,
            counts.failed_again,
            counts.left.total(),
        )

    def _count(self) -> None:
        if self.job.selected is not None or self.job.cursor is not None:
            return
        with suppress(OutOfTime), within(Deadline(min(_COUNT_SECONDS, seconds_left() / 2), self._parts.monotonic)):
            self.job = self.job.but(selected=sum(1 for _ in self._parts.dead_letters.select(self.job.selection)))

    def _work_off(self) -> str:
        self._count()
        if self.job.attempts > _ENDS_PER_LETTER:
            self._pass_by()
        found = self._parts.dead_letters.select_letters(self.job.selection, self.job.cursor)
        while self._lease.held and seconds_left():
            chunk = _chunk(found, 1 if self.job.carefully else CHUNK_LETTERS)
            if not chunk:
                self.job = self.job.but(state=State.DONE, carefully=0)
                break
            mapping = self._parts.device_mapping()
            if mapping is None:
                break
            counts = self._put_through(chunk, mapping)
            self._move_on(chunk[0][0], chunk[-1][0], counts, len(chunk))
        return ""

    def _pass_by(self) -> None:
        """Leaves the next letter, without reading its content."""
        summary = next(self._parts.dead_letters.select(self.job.selection, self.job.cursor), None)
        if summary is not None:
            _log.error(
                "Replay job %s: letter %s is left, since the app came to no end over it %d times. Report it.",
                self.job.id,
                summary.id,
                _ENDS_PER_LETTER,
            )
            self._give_back(summary)
            self._move_on(summary, summary, Counts(left=Counter({Left.FAULT: 1})), 1)

    def _give_back(self, summary: Summary) -> None:
        """Unmarks a letter, unless all of its rows got into the buffer: nothing else would ever take it off the job."""
        keys = Keys(summary.partition_key, summary.row_key)
        if summary.job == self.job.id and not self._in_buffer([summary]).get(keys, ([], False))[1]:
            self._marks.give_back(Claim(keys, summary.etag, []))

    def _move_on(self, first: Summary, last: Summary, counts: Counts, letters: int) -> None:
        job = self.job
        self._write(
            job.but(
                counts=job.counts.plus(counts),
                first=job.first or first.partition_key,
                cursor=last.cursor,
                attempts=1,
                carefully=max(0, job.carefully - letters),
            )
        )

    def _put_through(self, chunk: Sequence[FoundLetter], mapping: Normalizer) -> Counts:
        left: Counter[Left] = Counter()
        in_buffer = self._in_buffer([summary for summary, _ in chunk if summary.job])
        done = 0
        taken: dict[Keys, Taken] = {}
        for summary, letter in chunk:
            keys = Keys(summary.partition_key, summary.row_key)
            stored = in_buffer.get(keys, ([], False))
            if summary.job == self.job.id and stored[1]:
                done += 1
                continue
            reason = self._reason_to_leave(summary, letter, bool(stored[0]))
            if reason is None and not isinstance(letter, BufferCorrupt):
                today = self._today(letter, mapping)
                holders = [JOB] if today.failed else []
                holders += (row_name(row.partition_key, row.row_key) for row in today.rows)
                holders = list(dict.fromkeys([*holders, *stored[0]]))
                if len(pack_holders(holders)) <= MAX_HOLDER_BYTES:
                    taken[keys] = Taken(summary, letter, today, holders)
                    continue
                reason = Left.TOO_LARGE
            left[reason or Left.DAMAGED] += 1
        claimed = self._marks.claim(
            self.job.id, [Claim(keys, each.summary.etag, each.holders) for keys, each in taken.items()]
        )
        left[Left.CHANGED] += len(taken) - len(claimed)
        mine = {keys: each for keys, each in taken.items() if keys in claimed}
        self._store(mine)
        failed_again = sum(bool(each.today.failed) for each in mine.values())
        return Counts(done + len(mine) - failed_again, failed_again, +left)

    def _in_buffer(self, marked: Sequence[Summary]) -> dict[Keys, tuple[list[str], bool]]:
        """Of marked letters, the holders that are rows of the buffer, and whether all of its holders are."""
        holders_of = self._marks.holders([Keys(each.partition_key, each.row_key) for each in marked])
        wanted: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for keys, holders in holders_of.items():
            prefix = replay_row_prefix(letter_id(*keys))
            for name in holders:
                if name != JOB:
                    partition_key, _, digest = name.rpartition("|")
                    wanted[partition_key][row_key(prefix, digest)] = name
        present: set[tuple[str, str]] = set()
        for partition_key, rows in wanted.items():
            stored = self._parts.buffer.stored_replayed(partition_key, min(rows), max(rows))
            present.update((partition_key, key) for key in stored)
        found: dict[Keys, tuple[list[str], bool]] = {}
        for keys, holders in holders_of.items():
            prefix = replay_row_prefix(letter_id(*keys))
            there = []
            for name in holders:
                partition_key, _, digest = name.rpartition("|")
                if (partition_key, row_key(prefix, digest)) in present:
                    there.append(name)
            found[keys] = (there, len(there) == len(holders))
        return found

    def _reason_to_leave(self, summary: Summary, letter: Letter | BufferCorrupt, is_in_buffer: bool) -> Left | None:
        if isinstance(letter, BufferCorrupt):
            return Left.DAMAGED
        if isinstance(letter.content, bytes):
            return Left.ROW
        if not summary.job or summary.job == self.job.id:
            return None
        if self._is_under_way(summary.job):
            return Left.OTHER_JOB
        # The other job is done: its rows settle the letter. Without them nobody would.
        return Left.IN_BUFFER if is_in_buffer else None

    def _is_under_way(self, job_id: str) -> bool:
        if job_id not in self._others:
            other = self._jobs.get(job_id)
            self._others[job_id] = other is not None and other.state is not State.DONE
        return self._others[job_id]

    def _today(self, letter: Letter, mapping: Normalizer) -> Today:
        settings = self._parts.settings
        places = Places(settings.window_seconds, settings.buffer_shards)
        match letter.content:
            case DeviceEvent() as event:
                return replay_event(letter, event, mapping, places)
            case Measurement() as measurement:
                return replay_measurement(letter, measurement, places)
        raise TypeError(letter.kind)

    def _store(self, mine: dict[Keys, Taken]) -> None:
        if not self._lease.held:
            raise JobContested
        now = self._parts.clock()
        newer: dict[Keys, Letter] = {}
        staying: list[Letter] = []
        counts: dict[Keys, int] = {}
        done: list[Release] = []
        for keys, each in mine.items():
            for failed in each.today.failed:
                counts[failed.keys] = max(counts.get(failed.keys, 0), each.summary.count)
                if failed.keys == keys:
                    staying.append(failed)
                else:
                    newer[failed.keys] = failed
            if each.today.failed and all(failed.keys != keys for failed in each.today.failed):
                done.append(Release(keys, self.job.id, frozenset([JOB])))
        self._parts.dead_letters.store(newer.values(), now, counts)
        self._parts.buffer.store_replayed(
            row._replace(replayed=Replayed(*keys, each.summary.count, self.job.id, self.job.relabel_unit))
            for keys, each in mine.items()
            for row in each.today.rows
        )
        self._parts.dead_letters.store(staying, now, counts)
        self._marks.release(done)


def _chunk(found: Iterator[FoundLetter], letters: int) -> list[FoundLetter]:
    """The next letters: as many, or fewer if they are large."""
    chunk: list[FoundLetter] = []
    size = 0
    for each in islice(found, letters):
        chunk.append(each)
        content = each[1].content if isinstance(each[1], Letter) else b""
        size += len(content.body) if isinstance(content, DeviceEvent) else 0
        if size > _CHUNK_BYTES:
            break
    return chunk
