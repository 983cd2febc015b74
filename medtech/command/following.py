"""Following a job that the app's timer works off, until it is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import typer

from medtech.command.terminal import progress

if TYPE_CHECKING:
    from medtech.jobs import JobTable, StoredJob

    AnyJob = TypeVar("AnyJob", bound=StoredJob)

POLL_SECONDS = 1.0
_PATIENCE_SECONDS = 90
"""The timer has ticked twice by then, and a lease of an instance that died has ended."""


def follow(
    job: AnyJob,
    jobs: JobTable[AnyJob],
    command: str,
    doing: str,
    unit: str,
    far: Callable[[AnyJob], tuple[float, float | None]],
) -> AnyJob:
    """The job when it is done. `far` is how far it is, and the total if it is known, in `unit`.

    What it waits for is told. Ends the command if the row is deleted, storage is away, or the user interrupts it;
    `command` follows the job again.
    """
    from medtech.errors import StorageUnavailable

    goes_on = f"The job goes on. Follow it with: python -m medtech {command} --job {job.id}"
    try:
        return _wait(job, jobs, doing, unit, far)
    except KeyboardInterrupt:
        typer.echo(goes_on, err=True)
        raise typer.Exit(130) from None
    except StorageUnavailable as away:
        typer.echo(f"{away.message}\n{goes_on}", err=True)
        raise typer.Exit(1) from None


def _wait(
    job: AnyJob, jobs: JobTable[AnyJob], doing: str, unit: str, far: Callable[[AnyJob], tuple[float, float | None]]
) -> AnyJob:
    from medtech.jobs import State

    told, moved, seen = "", time.monotonic(), job.progress
    with progress(doing, unit) as bar:
        task = bar.add_task("", total=None)
        while job.state is not State.DONE:
            time.sleep(POLL_SECONDS)
            latest = jobs.get(job.id)
            if latest is None:
                typer.echo(f"The row of job {job.id} was deleted.", err=True)
                raise typer.Exit(1)
            job = latest
            completed, total = far(job)
            bar.update(task, total=total, completed=completed)
            if job.progress != seen:
                moved, seen = time.monotonic(), job.progress
            message = job.message
            if not message and time.monotonic() - moved > _PATIENCE_SECONDS:
                message = "Nothing goes on. Check that the app runs, with the BufferStorage of this command."
            if message and message != told:
                typer.echo(message, err=True)
                told = message
    return job
