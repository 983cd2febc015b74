"""`python -m medtech replay`: a job for the app's timer, followed until it is done; or what it would do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from medtech.command import filters
from medtech.command.following import follow
from medtech.command.terminal import ending_on_errors, printable
from medtech.dotnet import ticks

if TYPE_CHECKING:
    from medtech.dead_letter.selection import Selection
    from medtech.replay.dry_run import DryRun
    from medtech.replay.job import Job


def replay(
    stage: filters.Stage = None,
    error: filters.Error = None,
    type: filters.Type = None,
    cause: filters.Cause = None,
    from_time: filters.From = None,
    to_time: filters.To = None,
    ids: filters.Ids = None,
    relabel_unit: Annotated[
        bool,
        typer.Option("--relabel-unit", help="Take a stored series in another unit to be in the mapping's: the label."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and store nothing.")] = False,
    job_id: Annotated[str | None, typer.Option("--job", help="Follow this job, and make none.", metavar="JOB")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Put dead letters through again: all, or those that meet the filters.

    Reads the app's setting BufferStorage (or AzureWebJobsStorage) from the environment. The app's timer does the work;
    the command follows it, and can be ended without ending it. A letter goes when its readings are in the FHIR server;
    what fails again stays. The exit code is 1 if storage cannot be reached or there is no such job.
    """
    chosen = filters.selection(
        stage=stage, error=error, type=type, cause=cause, from_time=from_time, to_time=to_time, ids=ids
    )
    with ending_on_errors():
        if dry_run:
            _try(chosen, as_json)
        else:
            _follow(_job(chosen, relabel_unit, job_id), as_json)


def _job(chosen: Selection, relabel_unit: bool, job_id: str | None) -> Job:
    from medtech import parts

    jobs = parts.replay_jobs()
    if job_id is None:
        return jobs.create(chosen, ticks.now(), relabel_unit=relabel_unit)
    job = jobs.get(job_id)
    if job is None:
        typer.echo(f"There is no replay job {job_id}. It was done days ago, or its id is wrong.", err=True)
        raise typer.Exit(1)
    return job


def _follow(job: Job, as_json: bool) -> None:
    from medtech import application, parts

    done = follow(job, parts.replay_jobs(), "replay", "replaying", "letters", _far)
    waiting = application.letters_in_buffer(done)
    if as_json:
        from medtech.replay.document import of_job

        typer.echo(json.dumps(of_job(done, waiting)))
    else:
        typer.echo(_sentences(done, waiting))


def _far(job: Job) -> tuple[float, float | None]:
    return job.counts.taken, job.selected


def _sentences(job: Job, waiting: int) -> str:
    from medtech.replay.document import WHY_LEFT

    counts = job.counts
    lines = [
        f"Job {job.id} is done: {counts.taken:,} letters taken, {counts.put_through:,} put through, "
        f"{counts.failed_again:,} failed again."
    ]
    lines += [f"{count:,} were left: {WHY_LEFT[reason]}." for reason, count in counts.left.most_common()]
    if waiting:
        lines.append(f"{waiting:,} wait in the buffer for the flush; their letters go when it has written them.")
    return "\n".join(lines)


def _try(chosen: Selection, as_json: bool) -> None:
    from medtech import application

    result = application.try_replay(chosen)
    if as_json:
        from medtech.replay.document import of_dry_run

        typer.echo(json.dumps(of_dry_run(result)))
    else:
        typer.echo(printable("\n".join(_described(result))))


def _described(result: DryRun) -> list[str]:
    letters = result.causes.letters
    lines = [f"{letters:,} letters would be taken{'' if result.complete else ' at least; not all were counted'}:"]
    lines += [f"{each.letters:>9,}  {each.error} ({each.stage}): {each.shape}" for each in result.causes.table()]
    if result.held:
        lines.append(f"{result.held:,} of them are in replay already; if they still are, they are left.")
    if result.rows:
        lines.append(f"{result.rows:,} of them are damaged rows of the buffer, which nobody can put through.")
    sample = result.sample
    if sample is None:
        lines.append("No device mapping is in force: a job would wait for one.")
    elif sample.messages:
        lines.append(
            f"Of the first {sample.messages:,} messages, the mapping in force puts {sample.put_through:,} through."
        )
        lines += [
            f"{count:>9,}  would fail again: {error} ({stage})"
            for (error, stage), count in sample.failed_again.most_common()
        ]
        if sample.failed_again:
            lines.append(
                "A mapping that was changed after the last message came is in force from the next one on, or "
                "from the beginning of a replay."
            )
    return [*lines, "Nothing was stored."]
