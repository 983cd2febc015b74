"""A replay job: one row of table `jobs`, which says what it takes, how far it is, and what became of it so far."""

import json
import logging
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from medtech.dead_letter.selection import Cursor, Selection
from medtech.dotnet import ticks
from medtech.errors import StorageUnavailable
from medtech.storage.connection import Storage
from medtech.storage.payload import join, split
from medtech.storage.table import Entity, Operation, OperationFailed

TABLE = "jobs"
KEPT_DAYS = 7
"""How long a job that is done can be asked for. Letters that it left marked are taken by later jobs all the same."""

_PARTITION_KEY = "replay"
_ID = re.compile(r"[0-9]{14}-[0-9a-f]{8}")

_log = logging.getLogger(__name__)


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"


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
class Job:
    """Times are ISO 8601 texts. `selected` is how many letters there were at the start, None if not counted (yet).

    `first` is the partition of the first letter taken and `cursor` the last letter that was worked off. `attempts`
    counts how often the work went on from there and did not come to an end of its own; `carefully` is how many letters
    are taken one by one, since the app died over one of them. `message` says what the job waits for.
    """

    id: str
    created: str
    selection: Selection
    relabel_unit: bool
    state: State = State.QUEUED
    began: str = ""
    progress: str = ""
    message: str = ""
    selected: int | None = None
    counts: Counts = field(default_factory=Counts)
    first: str = ""
    cursor: Cursor | None = None
    attempts: int = 0
    carefully: int = 0
    etag: str = ""

    def but(self, **changes: Any) -> "Job":
        return replace(self, **changes)


class JobContested(Exception):
    """Another instance works on the job as well: this one stops."""


class Jobs:
    """Whatever asks storage raises StorageUnavailable when it is away."""

    def __init__(self, storage: Storage) -> None:
        self._table = storage.table(TABLE)

    def create(self, selection: Selection, now: int, *, relabel_unit: bool) -> Job:
        """A job that the next tick of the timer takes; `now` is in ticks."""
        # Jobs are worked off in the order of their ids.
        job_id = f"{ticks.format_compact(now)}-{secrets.token_hex(4)}"
        job = Job(id=job_id, created=ticks.format_iso(now), selection=selection, relabel_unit=relabel_unit)
        [etag] = self._table.transact([Operation("create", _entity(job))])
        return job.but(etag=etag)

    def get(self, job_id: str) -> Job | None:
        # Of a caller. Storage answers characters that no key may have as if the request were broken.
        if _ID.fullmatch(job_id) is None:
            return None
        entity = self._table.get(_PARTITION_KEY, job_id)
        return None if entity is None else _job(entity)

    def all(self) -> Iterator[Job]:
        """Those that this version of the app can read, in the order of their creation."""
        for entity in self._table.query(f"PartitionKey eq '{_PARTITION_KEY}'"):
            try:
                yield _job(entity)
            except StorageUnavailable as unreadable:
                _log.error("%s", unreadable.message)

    def write(self, job: Job, now: int) -> Job:
        """Stores how far a job is. Raises JobContested if its row changed since it was read."""
        job = job.but(progress=ticks.format_iso(now))
        try:
            [etag] = self._table.transact([Operation("merge", _entity(job), job.etag)])
        except OperationFailed:
            raise JobContested from None
        return job.but(etag=etag)

    def expire(self, jobs: list[Job], now: int) -> None:
        """Deletes those that were done more than KEPT_DAYS ago."""
        oldest = ticks.format_iso(now - KEPT_DAYS * ticks.TICKS_PER_DAY)
        self._table.change(
            [
                Operation("delete", {"PartitionKey": _PARTITION_KEY, "RowKey": job.id}, job.etag)
                for job in jobs
                if job.state is State.DONE and job.progress < oldest
            ]
        )


def _entity(job: Job) -> Entity:
    return {
        "PartitionKey": _PARTITION_KEY,
        "RowKey": job.id,
        "created": job.created,
        # A thousand ids are more than a text property holds (64 KiB in UTF-16).
        **split(json.dumps(asdict(job.selection)).encode()),
        "relabel_unit": job.relabel_unit,
        "state": str(job.state),
        "began": job.began,
        "progress": job.progress,
        "message": job.message,
        "selected": -1 if job.selected is None else job.selected,
        "put_through": job.counts.put_through,
        "failed_again": job.counts.failed_again,
        "left": json.dumps(job.counts.left),
        "first": job.first,
        "cursor": json.dumps(job.cursor),
        "attempts": job.attempts,
        "carefully": job.carefully,
    }


def _job(entity: Entity) -> Job:
    """Raises StorageUnavailable for a row that this version of the app cannot read: it waits for one that can."""
    try:
        selection = json.loads(join(entity))
        cursor = json.loads(entity["cursor"])
        left = Counter({Left(name): count for name, count in json.loads(entity["left"]).items()})
        return Job(
            id=entity["RowKey"],
            created=entity["created"],
            selection=Selection(**selection | {"ids": tuple(selection["ids"])}),
            relabel_unit=entity["relabel_unit"],
            state=State(entity["state"]),
            began=entity["began"],
            progress=entity["progress"],
            message=entity["message"],
            selected=None if entity["selected"] < 0 else entity["selected"],
            counts=Counts(entity["put_through"], entity["failed_again"], left),
            first=entity["first"],
            cursor=None if cursor is None else Cursor(*cursor),
            attempts=entity["attempts"],
            carefully=entity["carefully"],
            etag=entity["etag"],
        )
    except (KeyError, TypeError, ValueError):
        raise StorageUnavailable(
            f"A row of table `{TABLE}` cannot be read by this version of the app. Finish the deployment that wrote it, "
            "or delete the row: letters that it holds are taken by the next replay."
        ) from None
