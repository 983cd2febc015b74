"""A backfill job: which captured events it takes, how far it is, and what became of them so far."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

from medtech.backfill.capture_file import START, Position
from medtech.dotnet import ticks
from medtech.jobs import JobTable, StoredJob, new_id
from medtech.storage.payload import join, split
from medtech.storage.table import Entity

MOST_FAULTS = 20
"""Told with their places; all are counted."""


class Fault(NamedTuple):
    """What could not be read: a file, or a record of it, and why."""

    file: str
    reason: str


class Cursor(NamedTuple):
    """The file that is under way, or the last one that is done with, and the position to go on from. Without a file it
    is the start of a day: all before it are done with."""

    time: int
    partition: str = ""
    file: str = ""
    block: int = START.block
    record: int = START.record
    done: bool = False

    @property
    def place(self) -> tuple[int, str, str]:
        """By which files are in order."""
        return self[:3]

    @property
    def position(self) -> Position:
        return Position(self.block, self.record)


@dataclass(frozen=True, slots=True)
class Counts:
    """`events` of the time that was asked for, by what became of them as in `BatchCounts`; `faults` counts files and
    records that could not be read. Events that were done with when a worker was killed, before it wrote so, are counted
    when they are done again."""

    files: int = 0
    events: int = 0
    measurements: int = 0
    dropped: int = 0
    letters: int = 0
    faults: int = 0

    def plus(self, **more: int) -> "Counts":
        return Counts(**{each.name: getattr(self, each.name) + more.get(each.name, 0) for each in fields(self)})


@dataclass(frozen=True, slots=True)
class Request:
    """Events that arrived at the hub from `from_time` on and before `to_time` (ticks), of one partition or of all.

    `container` is the name of one in the app's storage account or an address, which may hold a signature.
    """

    container: str
    path_format: str
    from_time: int
    to_time: int
    partition: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillJob(StoredJob):
    """`others` are the places in the container where files of other hubs were left out."""

    request: Request
    counts: Counts = field(default_factory=Counts)
    faults: tuple[Fault, ...] = ()
    others: tuple[str, ...] = ()
    cursor: Cursor | None = None

    def with_fault(self, fault: Fault) -> "BackfillJob":
        kept = (*self.faults, fault) if len(self.faults) < MOST_FAULTS else self.faults
        return self.but(counts=self.counts.plus(faults=1), faults=kept)


class BackfillJobs(JobTable[BackfillJob]):
    kind = "backfill"
    after_deleting = "what it has put through stays, and the rest can be asked for by another job."

    def create(self, request: Request, now: int) -> BackfillJob:
        """A job that the next tick of the timer takes; `now` is in ticks."""
        return self.add(BackfillJob(id=new_id(now), created=ticks.format_iso(now), request=request))

    def _properties(self, job: BackfillJob) -> Entity:
        document = {
            "request": asdict(job.request),
            "counts": asdict(job.counts),
            "faults": job.faults,
            "others": job.others,
            "cursor": job.cursor,
        }
        # The names of files can be longer than a text property holds.
        return split(json.dumps(document).encode())

    def _job(self, entity: Entity, common: dict[str, Any]) -> BackfillJob:
        document = json.loads(join(entity))
        cursor = document["cursor"]
        return BackfillJob(
            **common,
            request=Request(**document["request"]),
            counts=Counts(**document["counts"]),
            faults=tuple(Fault(*each) for each in document["faults"]),
            others=tuple(document["others"]),
            cursor=None if cursor is None else Cursor(*cursor),
        )
