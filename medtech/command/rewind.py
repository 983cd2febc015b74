"""`python -m medtech rewind`: sets the app's checkpoints back, so that it reads events of its hub again."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from medtech.command.terminal import console, ending_on_errors, printable, progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medtech.checkpoints.connection import HubConnection
    from medtech.checkpoints.rewind import Step

_MOST_HOURS = 24 * 366


def rewind(
    to: Annotated[
        str | None,
        typer.Option(
            "--to", help="From events of this time on: 2026-03-02T08:00:00Z, or +01:00 for the Z.", metavar="TIME"
        ),
    ] = None,
    hours: Annotated[
        float | None, typer.Option("--hours", help="From events of so many hours ago on.", metavar="N")
    ] = None,
    partitions: Annotated[
        list[str] | None, typer.Option("--partition", help="Only this partition; may be repeated.", metavar="P")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Set the consumer group's checkpoints back to a time, so that the app reads its events again.

    Stop the app first. Reads its settings EventHubConnection, EVENT_HUB_NAME, EVENT_HUB_CONSUMER_GROUP and
    AzureWebJobsStorage from the environment. What the app has written from these events stays as it is if the mappings
    are unchanged. The exit code is 1 if instances of the app read the hub, or hub or storage cannot be reached.

    Example: python -m medtech rewind --hours 2 --dry-run
    """
    time = _time(to, hours)
    with ending_on_errors():
        _rewind(time, partitions or (), dry_run, as_json)


def _time(to: str | None, hours: float | None) -> datetime:
    """The time asked for, in UTC. Raises BadParameter."""
    now = datetime.now(UTC)
    if (to is None) == (hours is None):
        raise typer.BadParameter("Give either --to TIME or --hours N.")
    if hours is not None:
        if not 0 < hours <= _MOST_HOURS:
            raise typer.BadParameter(f"It must be more than 0, and at most {_MOST_HOURS}.", param_hint="--hours")
        return now - timedelta(hours=hours)
    try:
        time = datetime.fromisoformat(to or "")
        if time.tzinfo is None:
            raise typer.BadParameter(
                "The time has no offset: add Z for UTC, or that of your clock, as +01:00.", param_hint="--to"
            )
        time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter("It must be as 2026-03-02T08:00:00Z.", param_hint="--to") from None
    if time > now:
        raise typer.BadParameter("The time is yet to come: checkpoints are only set back.", param_hint="--to")
    return time


def _rewind(to: datetime, wanted: Sequence[str], dry_run: bool, as_json: bool) -> None:
    from medtech.checkpoints import rewind
    from medtech.checkpoints.blobs import CheckpointBlobs
    from medtech.checkpoints.connection import HubConnection
    from medtech.checkpoints.hub import EventHub
    from medtech.setup.platform import DEFAULT_CONSUMER_GROUP, HOST_STORAGE
    from medtech.storage.connection import Storage

    connection = HubConnection.of(os.environ)
    blobs = CheckpointBlobs(Storage(HOST_STORAGE.name), connection)
    held = blobs.held()
    if not dry_run:
        rewind.refuse_while_held(held, connection.consumer_group)
    # While the app reads its group the hub lets nobody else read there.
    hub = EventHub(connection, DEFAULT_CONSUMER_GROUP if held else connection.consumer_group)
    partitions = rewind.chosen(hub.partitions(), wanted)
    with progress("looking at the hub", "partitions") as bar:
        task = bar.add_task("", total=len(partitions))
        steps = rewind.plan(hub, blobs.checkpoints(), partitions, to, lambda: bar.advance(task))
    if not dry_run:
        steps = rewind.carry_out(steps, blobs)
        held = blobs.held()
    if as_json:
        typer.echo(json.dumps(_document(connection, to, dry_run, steps, held)))
    else:
        _print(connection, to, dry_run, steps, held)
    changed = any(step.outcome is rewind.Outcome.CHANGED for step in steps)
    if not dry_run and (held or changed):
        raise typer.Exit(1)


def _document(
    connection: HubConnection, to: datetime, dry_run: bool, steps: Sequence[Step], held: dict[str, float]
) -> dict[str, object]:
    return {
        "namespace": connection.namespace,
        "eventHub": connection.event_hub,
        "consumerGroup": connection.consumer_group,
        "to": _iso(to),
        "dryRun": dry_run,
        "events": sum(step.events for step in steps),
        "held": sorted(held),
        "partitions": [
            {
                "partition": step.partition,
                "outcome": step.outcome,
                "checkpoint": None if step.checkpoint is None else step.checkpoint.sequence_number,
                "becomes": step.becomes,
                "events": step.events,
                "first": _iso(step.first_time),
                "last": _iso(step.last_time),
                "heldFrom": _iso(step.held_from),
            }
            for step in steps
        ],
    }


def _print(
    connection: HubConnection, to: datetime, dry_run: bool, steps: Sequence[Step], held: dict[str, float]
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("partition", "checkpoint", "becomes", "events"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("first", "last", "outcome"):
        table.add_column(name, overflow="fold", min_width=10)
    for step in steps:
        table.add_row(
            step.partition,
            _number(None if step.checkpoint is None else step.checkpoint.sequence_number),
            _number(step.becomes),
            f"{step.events:,}",
            _iso(step.first_time) or "–",
            _iso(step.last_time) or "–",
            step.outcome,
        )
    console().print(table)
    for sentence in _sentences(connection, to, dry_run, steps, held):
        console().print(Text(printable(sentence)), soft_wrap=True)


def _sentences(
    connection: HubConnection, to: datetime, dry_run: bool, steps: Sequence[Step], held: dict[str, float]
) -> list[str]:
    from medtech.checkpoints.rewind import Outcome

    group, events = connection.consumer_group, sum(step.events for step in steps)
    would = "would come" if dry_run else "come"
    lines = [f"{events:,} events of {_iso(to)} and later {would} again in consumer group {group}."]
    lines += [
        f"Partition {step.partition}: the hub holds events from {_iso(step.held_from)} on. What came before, "
        "`python -m medtech backfill` reads from the files of Event Hubs Capture."
        for step in steps
        if step.held_from is not None
    ]
    if dry_run:
        lines.append("Nothing was written.")
        if held:
            lines.append("Instances of the app hold partitions: stop it before the rewind.")
    elif held:
        lines.append(
            f"Instances of the app have taken partitions in the meantime: {', '.join(sorted(held))}. They may have "
            "begun where they were before. Stop the app and call this again."
        )
    elif changed := [step.partition for step in steps if step.outcome is Outcome.CHANGED]:
        lines.append(
            f"Somebody has written the checkpoints of these partitions in the meantime: {', '.join(changed)}. They are "
            "left as they are. See that the app is stopped, and call this again."
        )
    else:
        lines.append("Now start the app: az functionapp start --resource-group GROUP --name APP")
    return lines


def _number(number: int | None) -> str:
    return "–" if number is None else str(number)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
