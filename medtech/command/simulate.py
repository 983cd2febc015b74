"""`python -m medtech simulate`: its options, its progress bar and its result."""

import json
from typing import Annotated

import typer

from medtech.command import destination, traffic
from medtech.command.terminal import ending_on_errors
from medtech.dotnet import ticks


def simulate(
    devices: Annotated[int, typer.Option(min=1, help="How many devices send.")] = 10,
    rate: Annotated[int, typer.Option(min=1, max=traffic.HIGHEST_RATE, help="Messages a minute per device.")] = 6,
    duration: Annotated[int, typer.Option(min=1, help="Seconds that the readings' times span.")] = 120,
    seed: Annotated[int, typer.Option(help="The same seed gives the same readings.")] = 1,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Send now what the past DURATION seconds would have brought.")
    ] = False,
    host: Annotated[str, typer.Option(help="The local functions host.")] = "http://127.0.0.1:7071",
    event_hub: Annotated[
        str | None, typer.Option(help="A hub by its name, over AMQP: in Azure, or that of the local run.")
    ] = None,
    fully_qualified_namespace: Annotated[
        str | None, typer.Option(help="The hub's namespace, opened as the signed-in identity.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Send device traffic for the start mapping to the local host or to an event hub.

    With a connection string in EVENT_HUB_CONNECTION_STRING, as the local run prints one, no namespace is needed.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    start = ticks.now() - (duration * ticks.TICKS_PER_SECOND if at_once else 0)
    count = traffic.message_count(devices, rate, duration)
    readings = 0

    def sent(batch: list[traffic.Message]) -> None:
        nonlocal readings
        readings += sum(len(message.readings) for message in batch)
        progress.advance(task, len(batch))

    console = Console(stderr=True)
    progress = Progress(
        TextColumn("sending"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with ending_on_errors():
        if fully_qualified_namespace is not None and event_hub is None:
            raise destination.SimulationFailed("A namespace alone does not name a hub: add --event-hub NAME.")
        if count == 0:
            raise destination.SimulationFailed(
                f"At {rate} messages a minute no message falls into {duration} seconds: raise --rate or --duration."
            )
        goal = (
            destination.LocalHost(host)
            if event_hub is None
            else destination.EventHub(event_hub, fully_qualified_namespace)
        )
        send = destination.send_at_once if at_once else destination.send_in_time
        with goal, progress:
            task = progress.add_task("", total=count)
            send(traffic.messages(devices, rate, duration, start, seed), goal, sent)
    target = host if event_hub is None else event_hub
    if as_json:
        typer.echo(json.dumps({"messages": count, "readings": readings, "destination": target}))
    else:
        typer.echo(f"{count} messages with {readings} readings of {devices} devices sent to {target}")
