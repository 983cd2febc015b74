"""A replay job: which letters it takes, how far it is, and what became of them so far."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from medtech.dead_letter.selection import Cursor, Selection
from medtech.dotnet import ticks
from medtech.jobs import JobTable, StoredJob, new_id
from medtech.storage.payload import join, split
from medtech.storage.table import Entity


class Left(StrEnum):
    """Why a letter was left as it is."""

    ROW = "row"
    CHANGED = "changed"
    IN_BUFFER = "inBuffer"
    OTHER_JOB = "otherJob"
    DAMAGED = "damaged"
    TOO_LARGE = "tooLarge"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Counts:
    """Letters, by what became of them.

    `put_through`: something of it is in the buffer, and nothing failed. `failed_again`: something of it failed, or
    today's mapping takes nothing of it; it is a letter with a raised count. `left` has the others by `Left`. What fails
    in the flush later is not counted here: it is a letter again. Letters that were done with when a worker was killed,
    before it wrote so, are missing.
    """

    put_through: int = 0
    failed_again: int = 0
    left: Counter[Left] = field(default_factory=Counter)

    @property
    def taken(self) -> int:
        return self.put_through + self.failed_again + self.left.total()

    def plus(self, other: "Counts") -> "Counts":
        return Counts(
            self.put_through + other.put_through, self.failed_again + other.failed_again, self.left + other.left
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(StoredJob):
    """`selected` is how many letters there were at the start, None if not counted (yet).

    `first` is the partition of the first letter taken and `cursor` the last letter that was worked off.
    """

    selection: Selection
    relabel_unit: bool
    selected: int | None = None
    counts: Counts = field(default_factory=Counts)
    first: str = ""
    cursor: Cursor | None = None


class Jobs(JobTable[Job]):
    kind = "replay"
    after_deleting = "letters that it holds are taken by the next replay."

    def create(self, selection: Selection, now: int, *, relabel_unit: bool) -> Job:
        """A job that the next tick of the timer takes; `now` is in ticks."""
        created = ticks.format_iso(now)
        return self.add(Job(id=new_id(now), created=created, selection=selection, relabel_unit=relabel_unit))

    def _properties(self, job: Job) -> Entity:
        return {
            # A thousand ids are more than a text property holds (64 KiB in UTF-16).
            **split(json.dumps(asdict(job.selection)).encode()),
            "relabel_unit": job.relabel_unit,
            "selected": -1 if job.selected is None else job.selected,
            "put_through": job.counts.put_through,
            "failed_again": job.counts.failed_again,
            "left": json.dumps(job.counts.left),
            "first": job.first,
            "cursor": json.dumps(job.cursor),
        }

    def _job(self, entity: Entity, common: dict[str, Any]) -> Job:
        selection = json.loads(join(entity))
        cursor = json.loads(entity["cursor"])
        left = Counter({Left(name): count for name, count in json.loads(entity["left"]).items()})
        return Job(
            **common,
            selection=Selection(**selection | {"ids": tuple(selection["ids"])}),
            relabel_unit=entity["relabel_unit"],
            selected=None if entity["selected"] < 0 else entity["selected"],
            counts=Counts(entity["put_through"], entity["failed_again"], left),
            first=entity["first"],
            cursor=None if cursor is None else Cursor(*cursor),
        )
