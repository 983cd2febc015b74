"""`python -m medtech backfill`: a job for the app's timer that reads Event Hubs Capture files, followed to its end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from medtech.backfill.path_format import DEFAULT_FORMAT
from medtech.command.following import follow
from medtech.command.terminal import ending_on_errors, printable
from medtech.dotnet import ticks
from medtech.errors import SettingInvalid

if TYPE_CHECKING:
    from medtech.backfill.dry_run import DryRun
    from medtech.backfill.job import BackfillJob, Request

_WHEN = "2022-03-12, 2022-03-12T10:30Z, or how long ago: 30m, 2h, 7d"


def backfill(
    container: Annotated[
        str | None,
        typer.Argument(help="What Capture writes to: a container of the app's storage account, or an address."),
    ] = None,
    from_time: Annotated[
        str | None, typer.Option("--from", help=f"Events that arrived then or later: {_WHEN}.", metavar="TIME")
    ] = None,
    to_time: Annotated[
        str | None,
        typer.Option("--to", help="Events that arrived before then; a date is meant to its end.", metavar="TIME"),
    ] = None,
    partition: Annotated[str | None, typer.Option("--partition", help="Only of this partition.")] = None,
    path_format: Annotated[
        str, typer.Option("--path-format", help="How Capture names files, without .avro at the end.", metavar="FORMAT")
    ] = DEFAULT_FORMAT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be read, and store nothing.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Make the job, and do not follow it.")] = False,
    job_id: Annotated[str | None, typer.Option("--job", help="Follow this job, and make none.", metavar="JOB")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Read events from Event Hubs Capture files that the hub holds no more.

    Reads the app's settings from the environment: BufferStorage (or AzureWebJobsStorage), and for --dry-run the hub's.
    The app's timer does the work; the command follows it, and can be ended without ending it. What the hub delivered,
    or delivers, too is written once. The exit code is 1 if a file could not be read, storage cannot be reached or there
    is no such job.

    Example: python -m medtech backfill capture --from 2022-03-12T10:00Z --to 2022-03-12T14:00Z --dry-run
    """
    with ending_on_errors():
        if job_id is not None:
            _follow(_known(job_id), as_json)
            return
        request = _request(container, from_time, to_time, partition, path_format)
        if dry_run:
            _try(request, as_json)
        else:
            _start(request, no_wait, as_json)


def _request(
    container: str | None, from_time: str | None, to_time: str | None, partition: str | None, path_format: str
) -> Request:
    """Raises BadParameter, which ends the command with exit code 2."""
    from medtech.backfill.container import check_address
    from medtech.backfill.job import Request
    from medtech.backfill.path_format import PathFormat, PathFormatInvalid
    from medtech.dead_letter.selection import SelectionInvalid, read_time

    now = ticks.now()
    try:
        if container is None:
            raise typer.BadParameter("Name the container that Capture writes to.", param_hint="CONTAINER")
        check_address(container)
        PathFormat(path_format)
        start, end = read_time("from", from_time, now), read_time("to", to_time, now, end=True)
    except SettingInvalid as invalid:
        raise typer.BadParameter(invalid.message, param_hint="CONTAINER") from None
    except PathFormatInvalid as invalid:
        raise typer.BadParameter(str(invalid), param_hint="--path-format") from None
    except SelectionInvalid as invalid:
        raise typer.BadParameter(str(invalid), param_hint=f"--{invalid.option}") from None
    if start is None or end is None:
        raise typer.BadParameter("Give both: from when, and until when.", param_hint="--from, --to")
    if start >= min(end, now):
        raise typer.BadParameter(
            f"No time until now is from {from_time!a} on and before {to_time!a}.", param_hint="--to"
        )
    if partition is not None and not (partition.isascii() and partition.isdigit()):
        raise typer.BadParameter("A partition is a number.", param_hint="--partition")
    return Request(container, path_format, start, min(end, now), partition)


def _known(job_id: str) -> BackfillJob:
    from medtech import parts

    job = parts.backfill_jobs().get(job_id)
    if job is None:
        typer.echo(f"There is no backfill job {job_id}. It was done days ago, or its id is wrong.", err=True)
        raise typer.Exit(1)
    return job


def _start(request: Request, no_wait: bool, as_json: bool) -> None:
    from medtech import parts

    job = parts.backfill_jobs().create(request, ticks.now())
    if not no_wait:
        _follow(job, as_json)
    elif as_json:
        from medtech.backfill.document import of_backfill

        typer.echo(json.dumps(of_backfill(job)))
    else:
        typer.echo(f"Job {job.id} is made. Follow it with: python -m medtech backfill --job {job.id}")


def _follow(job: BackfillJob, as_json: bool) -> None:
    from medtech import parts

    done = follow(job, parts.backfill_jobs(), "backfill", "backfilling", "seconds of traffic", _far)
    if as_json:
        from medtech.backfill.document import of_backfill

        typer.echo(json.dumps(of_backfill(done)))
    else:
        typer.echo(printable("\n".join(_sentences(done))))
    if done.counts.faults:
        raise typer.Exit(1)


def _far(job: BackfillJob) -> tuple[float, float | None]:
    """In seconds of traffic: how many files and events there are, only reading them tells."""
    request = job.request
    reached = request.from_time if job.cursor is None else max(request.from_time, job.cursor.time)
    total = request.to_time - request.from_time
    return (reached - request.from_time) / ticks.TICKS_PER_SECOND, total / ticks.TICKS_PER_SECOND


def _sentences(job: BackfillJob) -> list[str]:
    counts = job.counts
    lines = [
        f"Job {job.id} is done: {counts.files:,} files read, {counts.events:,} events put through, "
        f"{counts.measurements:,} measurements in the buffer, {counts.dropped:,} events dropped, "
        f"{counts.letters:,} dead letters."
    ]
    if not counts.files:
        lines.append("No file of the app's hub is named for that time: look at --path-format, and try --dry-run.")
    if job.others:
        lines.append(f"Files of other hubs were left out: {', '.join(job.others)}.")
    lines += [f"{fault.file}: {fault.reason}" for fault in job.faults]
    if counts.faults > len(job.faults):
        lines.append(f"There were {counts.faults - len(job.faults):,} more faults; the app's log has them.")
    return lines


def _try(request: Request, as_json: bool) -> None:
    from medtech import application

    result = application.try_backfill(request)
    if as_json:
        from medtech.backfill.document import of_backfill_dry_run

        typer.echo(json.dumps(of_backfill_dry_run(result)))
    else:
        typer.echo(printable("\n".join(_described(result))))
    if result.faults:
        raise typer.Exit(1)


def _described(result: DryRun) -> list[str]:
    least = "" if result.complete else " at least; not all were counted"
    partitions = f", of the partitions {', '.join(result.partitions)}" if result.partitions else ""
    lines = [f"{result.files:,} files of {result.size_bytes:,} bytes would be read{least}{partitions}."]
    if not result.files:
        lines.append("No file of the app's hub is named for that time: look at --path-format.")
    if result.others:
        lines.append(f"Files of other hubs are left out: {', '.join(result.others)}.")
    lines += [f"{fault.file}: {fault.reason}" for fault in result.faults]
    sample = result.sample
    if sample is None:
        lines.append("No device mapping is in force: a job would wait for one.")
    elif sample.events:
        lines.append(
            f"Of the first {sample.events:,} events, the mapping in force makes {sample.measurements:,} measurements; "
            f"{sample.dropped:,} events match no template."
        )
        lines += [
            f"{count:>9,}  would fail: {error} ({stage})" for (error, stage), count in sample.failed.most_common()
        ]
    return [*lines, "Nothing was stored."]
