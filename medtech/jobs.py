"""Jobs of table `jobs`, a row each, of several kinds: what one takes, how far it is, and what became of it so far.

The app's timer works them off, the oldest first. Whatever becomes of a job is written with its ETag, so that of two
instances that work on one job the later to write finds out.
"""

import logging
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Generic, NamedTuple, Self, TypeVar

from medtech.deadline import Deadline, seconds_left, within
from medtech.dotnet import ticks
from medtech.errors import (
    OutOfTime,
    SettingInvalid,
    StorageRefused,
    StorageUnavailable,
    Unavailable,
    UnexpectedFault,
)
from medtech.storage import lease as leases
from medtech.storage.connection import Storage
from medtech.storage.lease import Lease
from medtech.storage.table import Entity, Operation, OperationFailed

TABLE = "jobs"
KEPT_DAYS = 7
"""How long a job that is done can be asked for."""

NO_DEVICE_MAPPING = (
    "There has never been a good device mapping. Fix the mapping that DEVICE_MAPPING names (POST /api/validate lists "
    "its errors); the job then goes on by itself."
)
"""What a job waits for that puts messages through."""

RESERVED_SECONDS = 10
"""Kept back, of the time that jobs have, to write how far one is."""

_ID = re.compile(r"[0-9]{14}-[0-9a-f]{8}")

_log = logging.getLogger(__name__)


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"


class JobContested(Exception):
    """Another instance works on the job as well: this one stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """What jobs of every kind have. Times are ISO 8601 texts.

    `attempts` counts how often the work went on from where the job is and did not come to an end of its own;
    `carefully` is how many pieces of the work are taken one by one, since the app died over one of them. `message` says
    what the job waits for.
    """

    id: str
    created: str
    state: State = State.QUEUED
    began: str = ""
    progress: str = ""
    message: str = ""
    attempts: int = 0
    carefully: int = 0
    etag: str = ""

    def but(self, **changes: Any) -> Self:
        return replace(self, **changes)


AnyJob = TypeVar("AnyJob", bound=StoredJob)


class JobTable(ABC, Generic[AnyJob]):
    """The jobs of one kind. Whatever asks storage raises StorageUnavailable when it is away."""

    kind: str
    """The PartitionKey of its rows."""
    after_deleting: str
    """What becomes of the work if the row of a job is deleted: the end of an advice."""

    def __init__(self, storage: Storage) -> None:
        self._table = storage.table(TABLE)

    @abstractmethod
    def _properties(self, job: AnyJob) -> Entity:
        """What the row of a job holds beside what all jobs have."""

    @abstractmethod
    def _job(self, entity: Entity, common: dict[str, Any]) -> AnyJob:
        """The job of a row; `common` is what all jobs have. Raises KeyError, TypeError or ValueError if it cannot be
        read."""

    def add(self, job: AnyJob) -> AnyJob:
        """Stores a new job, which the next tick of the timer takes."""
        [etag] = self._table.transact([Operation("create", self._entity(job))])
        return replace(job, etag=etag)

    def get(self, job_id: str) -> AnyJob | None:
        # Of a caller. Storage answers characters that no key may have as if the request were broken.
        if _ID.fullmatch(job_id) is None:
            return None
        entity = self._table.get(self.kind, job_id)
        return None if entity is None else self._read(entity)

    def all(self) -> Iterator[AnyJob]:
        """Those that this version of the app can read, in the order of their creation."""
        for entity in self._table.query(f"PartitionKey eq '{self.kind}'"):
            try:
                yield self._read(entity)
            except StorageUnavailable as unreadable:
                _log.error("%s", unreadable.message)

    def write(self, job: AnyJob, now: int) -> AnyJob:
        """Stores how far a job is. Raises JobContested if its row changed since it was read."""
        job = replace(job, progress=ticks.format_iso(now))
        try:
            [etag] = self._table.transact([Operation("merge", self._entity(job), job.etag)])
        except OperationFailed:
            raise JobContested from None
        return replace(job, etag=etag)

    def expire(self, jobs: list[AnyJob], now: int) -> None:
        """Deletes those that were done more than KEPT_DAYS ago."""
        oldest = ticks.format_iso(now - KEPT_DAYS * ticks.TICKS_PER_DAY)
        self._table.change(
            [
                Operation("delete", {"PartitionKey": self.kind, "RowKey": job.id}, job.etag)
                for job in jobs
                if job.state is State.DONE and job.progress < oldest
            ]
        )

    def _entity(self, job: AnyJob) -> Entity:
        return {
            "PartitionKey": self.kind,
            "RowKey": job.id,
            "created": job.created,
            "state": str(job.state),
            "began": job.began,
            "progress": job.progress,
            "message": job.message,
            "attempts": job.attempts,
            "carefully": job.carefully,
            **self._properties(job),
        }

    def _read(self, entity: Entity) -> AnyJob:
        """Raises StorageUnavailable for a row that this version of the app cannot read: it waits for one that can."""
        try:
            common = {
                "id": entity["RowKey"],
                "state": State(entity["state"]),
                "etag": entity["etag"],
                **{name: entity[name] for name in ("created", "began", "progress", "message", "attempts", "carefully")},
            }
            return self._job(entity, common)
        except (KeyError, TypeError, ValueError):
            raise StorageUnavailable(
                f"A row of table `{TABLE}` cannot be read by this version of the app. Finish the deployment that wrote "
                f"it, or delete the row: {self.after_deleting}"
            ) from None


def new_id(now: int) -> str:
    """The id of a job that is made at `now` (ticks). Jobs are worked off in the order of their ids."""
    return f"{ticks.format_compact(now)}-{secrets.token_hex(4)}"


class Words(NamedTuple):
    """How the log names jobs of a kind: `Replay`, `replaying letters`, and what to do about a fault of the app."""

    kind: str
    doing: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class JobWorker(Generic[AnyJob]):
    """Works off the jobs of one kind, the oldest first, on one instance at a time. `clock` gives ticks.

    `carry_out` takes a job on from where it is, as far as the deadline in force allows.
    """

    storage: Storage
    jobs: JobTable[AnyJob]
    lease: str
    words: Words
    carry_out: Callable[[AnyJob, Lease], None]
    clock: Callable[[], int]
    monotonic: Callable[[], float]

    def run(self) -> None:
        """What goes wrong is logged, and not raised: the flush comes next, and the next tick goes on."""
        try:
            known = list(self.jobs.all())
            self.jobs.expire(known, self.clock())
            waiting = [job for job in known if job.state is not State.DONE]
            if not waiting:
                return
            lease = leases.acquire(self.storage, self.lease, monotonic=self.monotonic)
            if lease is None:
                return
            with lease:
                for job in waiting:
                    self._work(job, lease)
        except Unavailable as error:
            _log.error("%s is held up, nothing is lost: %s", self.words.kind, error.message)

    def _work(self, job: AnyJob, lease: Lease) -> None:
        """One job that cannot go on does not hold up the others."""
        if not lease.held or seconds_left() <= RESERVED_SECONDS:
            return
        try:
            # Another instance may have gone on with it before the lease was had.
            latest = self.jobs.get(job.id)
            if latest is not None and latest.state is not State.DONE:
                self.carry_out(latest, lease)
        except JobContested:
            _log.warning("%s job %s: another instance goes on with it.", self.words.kind, job.id)
        except StorageRefused as refused:
            _log.error("%s job %s: %s", self.words.kind, job.id, refused.message)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - the flush must run all the same; the job goes on more carefully
            fault = UnexpectedFault.of(error, self.words.doing, then=self.words.advice)
            _log.error("%s job %s: %s", self.words.kind, job.id, fault.message)


class JobRun(ABC, Generic[AnyJob]):
    """One job during one tick. `job` is as it was last stored; `clock` gives ticks, `monotonic` seconds.

    A job that came to no end of its own goes on piece by piece, until it is past the pieces that were under way.
    """

    words: Words

    def __init__(
        self,
        jobs: JobTable[AnyJob],
        lease: Lease,
        job: AnyJob,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._jobs = jobs
        self._lease = lease
        self._clock = clock
        self._monotonic = monotonic
        self.job = job

    def run(self) -> None:
        """Raises JobContested, and StorageRefused as if it were killed: what storage refuses is then found piece by
        piece."""
        try:
            obstacle = self._obstacle()
        except (Unavailable, SettingInvalid) as error:
            obstacle = error.message
        if obstacle:
            self._wait(obstacle)
            return
        self._begin()
        message = ""
        try:
            with within(Deadline(seconds_left() - RESERVED_SECONDS, self._monotonic)):
                message = self._work_off()
        except OutOfTime:
            pass
        except StorageRefused:
            raise
        except (Unavailable, SettingInvalid) as error:
            message = error.message
            _log.error("%s job %s is held up, nothing is lost: %s", self.words.kind, self.job.id, message)
        self._write(self.job.but(attempts=0, message=message))
        if self.job.state is State.DONE:
            self._log_done()

    @abstractmethod
    def _obstacle(self) -> str:
        """What keeps the job from going on; nothing if that is empty. Raises Unavailable, SettingInvalid."""

    @abstractmethod
    def _at_once(self) -> int:
        """How many pieces are under way together, and so perhaps with one over which the app dies."""

    def _begun(self, job: AnyJob, now: int) -> AnyJob:
        """The job as it begins, at `now` (ticks)."""
        return job.but(began=ticks.format_iso(now))

    @abstractmethod
    def _work_off(self) -> str:
        """Takes `job` on as far as it gets; returns what it waits for then, nothing if that is empty."""

    @abstractmethod
    def _log_done(self) -> None:
        """Logs what became of the job."""

    def _wait(self, message: str) -> None:
        if self.job.message != message:
            self._write(self.job.but(message=message))
            _log.warning("%s job %s waits: %s", self.words.kind, self.job.id, message)

    def _begin(self) -> None:
        job = self.job if self.job.began else self._begun(self.job, self._clock())
        carefully = max(job.carefully, self._at_once()) if job.attempts else job.carefully
        self._write(job.but(state=State.RUNNING, message="", attempts=job.attempts + 1, carefully=carefully))

    def _write(self, job: AnyJob) -> None:
        self.job = self._jobs.write(job, self._clock())
