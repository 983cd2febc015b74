"""What waits in the app's storage: events by partition, windows, replay jobs, dead letters. Read by `status`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from medtech.dotnet import ticks

if TYPE_CHECKING:
    from medtech.backfill.job import BackfillJob
    from medtech.dead_letter.causes import Cause
    from medtech.health.record import Arrival
    from medtech.replay.job import Job
    from medtech.settings import Settings
    from medtech.storage.connection import Storage

MOST_WINDOWS = 1_000
"""Each is a request; a backlog of three days has that many of 5 minutes."""
MOST_LETTERS = 10_000
"""A second or two; `dead-letters` counts them all."""

_MOST_CAUSES = 5


@dataclass(frozen=True, slots=True)
class Waiting:
    """`windows` are starts (ticks), the oldest first, of all shards; `due` is how many the flush should have taken.

    `letters` counts at most MOST_LETTERS, `causes` has the largest of them.
    """

    arrivals: tuple[Arrival, ...]
    windows: tuple[int, ...]
    due: int
    jobs: tuple[Job, ...]
    backfills: tuple[BackfillJob, ...]
    letters: int
    causes: tuple[Cause, ...]


def look(storage: Storage, settings: Settings, now: int) -> Waiting:
    """`now` is in ticks. Raises StorageUnavailable."""
    from medtech.backfill.job import BackfillJobs
    from medtech.dead_letter.causes import fold
    from medtech.dead_letter.store import DeadLetters
    from medtech.health.record import arrivals
    from medtech.jobs import State
    from medtech.replay.job import Jobs

    windows = _windows(storage, now)
    latest = now - (settings.window_seconds + settings.flush_grace_seconds) * ticks.TICKS_PER_SECOND
    causes = fold(islice(DeadLetters(storage).select(), MOST_LETTERS))
    return Waiting(
        arrivals=tuple(sorted(arrivals(storage), key=lambda each: (len(each.partition), each.partition))),
        windows=windows,
        due=sum(start <= latest for start in windows),
        jobs=tuple(job for job in Jobs(storage).all() if job.state is not State.DONE),
        backfills=tuple(job for job in BackfillJobs(storage).all() if job.state is not State.DONE),
        letters=causes.letters,
        causes=tuple(causes.table()[:_MOST_CAUSES]),
    )


def _windows(storage: Storage, now: int) -> tuple[int, ...]:
    from medtech.group.buffer import Buffer

    buffer = Buffer(storage)
    found = (start for shard in buffer.shards() for start in buffer.due_windows(shard, now, 0, 0))
    return tuple(sorted(set(islice(found, MOST_WINDOWS))))


def behind_seconds(arrival: Arrival) -> float:
    """How old the last event of a partition was when it was read."""
    return (arrival.read_time - arrival.enqueued_time) / ticks.TICKS_PER_SECOND


def document(waiting: Waiting) -> dict[str, Any]:
    """As `status --json` gives it. Times are ISO 8601."""
    from medtech.backfill.document import of_backfill

    return {
        "partitions": [
            {
                "partition": each.partition,
                "lastSequenceNumber": each.sequence_number,
                "lastEnqueued": ticks.format_iso(each.enqueued_time),
                "lastRead": ticks.format_iso(each.read_time),
                "behindSeconds": round(behind_seconds(each), 3),
            }
            for each in waiting.arrivals
        ],
        "windows": {
            "waiting": len(waiting.windows),
            "due": waiting.due,
            "oldest": ticks.format_iso(waiting.windows[0]) if waiting.windows else None,
        },
        "jobs": [
            {
                "id": job.id,
                "state": job.state,
                "taken": job.counts.taken,
                "selected": job.selected,
                "message": job.message,
            }
            for job in waiting.jobs
        ],
        "backfills": [of_backfill(job) for job in waiting.backfills],
        "deadLetters": {
            "letters": waiting.letters,
            "complete": waiting.letters < MOST_LETTERS,
            "causes": [
                {"error": each.error, "stage": each.stage, "type": each.type, "letters": each.letters}
                for each in waiting.causes
            ],
        },
    }


def sentences(waiting: Waiting) -> Iterable[str]:
    """A line for each thing that waits."""
    for each in waiting.arrivals:
        yield (
            f"partition {each.partition}: last read {ticks.format_iso(each.read_time)[:19]}Z, event "
            f"{each.sequence_number}, {behind_seconds(each):,.0f} s after it was enqueued"
        )
    if waiting.windows:
        least = "at least " if len(waiting.windows) == MOST_WINDOWS else ""
        yield (
            f"windows: {least}{len(waiting.windows):,} wait, {waiting.due:,} of them due, the oldest from "
            f"{ticks.format_iso(waiting.windows[0])[:19]}Z"
        )
    for job in waiting.jobs:
        of = "" if job.selected is None else f" of {job.selected:,}"
        yield f"replay job {job.id}: {job.state}, {job.counts.taken:,}{of} letters taken. {job.message}".rstrip()
    for backfill in waiting.backfills:
        reached = "" if backfill.cursor is None else f", as far as {ticks.format_iso(backfill.cursor.time)[:19]}Z"
        yield (
            f"backfill job {backfill.id}: {backfill.state}, {backfill.counts.events:,} events taken{reached}, "
            f"{backfill.counts.faults:,} faults. {backfill.message}"
        ).rstrip()
    if waiting.letters:
        least = "at least " if waiting.letters == MOST_LETTERS else ""
        largest = ", ".join(f"{each.letters:,} {each.error}" for each in waiting.causes)
        yield f"dead letters: {least}{waiting.letters:,} ({largest}); `dead-letters` has the causes"
