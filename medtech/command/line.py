"""`python -m medtech`: the product on the command line.

Each command imports what it needs when it runs: `--help` answers at once, and nothing of this weighs on the functions.
"""

import json
from typing import Annotated, NoReturn

import typer

from medtech.command import simulate
from medtech.dotnet import ticks
from medtech.errors import MedTechError

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Device messages to FHIR R4 Observations."""


@app.command("simulate")
def send_traffic(
    devices: Annotated[int, typer.Option(min=1, help="How many devices send.")] = 10,
    rate: Annotated[int, typer.Option(min=1, max=simulate.HIGHEST_RATE, help="Messages a minute of each device.")] = 6,
    duration: Annotated[int, typer.Option(min=1, help="Seconds that the readings' times span.")] = 120,
    seed: Annotated[int, typer.Option(help="The same seed makes the same readings.")] = 1,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Send now what the past DURATION would have been.")
    ] = False,
    host: Annotated[str, typer.Option(help="The local functions host.")] = "http://127.0.0.1:7071",
    event_hub: Annotated[str | None, typer.Option(help="A real hub by its name, instead of the local host.")] = None,
    fully_qualified_namespace: Annotated[
        str | None, typer.Option(help="The hub's namespace, for the signed-in identity.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Send device traffic for the start mapping, to the local host or to a real Event Hub.

    With a connection string in EVENT_HUB_CONNECTION_STRING no namespace is needed.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    start = ticks.now() - (duration * ticks.TICKS_PER_SECOND if at_once else 0)
    messages = simulate.traffic(devices, rate, duration, start, seed)
    count = simulate.message_count(devices, rate, duration)
    readings = 0

    def sent(batch: list[simulate.Message]) -> None:
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
    try:
        if fully_qualified_namespace is not None and event_hub is None:
            raise simulate.SimulationFailed("A namespace alone names no hub: add --event-hub NAME.")
        if count == 0:
            raise simulate.SimulationFailed(
                f"At {rate} messages a minute no message falls into {duration} seconds: raise --rate or --duration."
            )
        destination = (
            simulate.LocalHost(host) if event_hub is None else simulate.EventHub(event_hub, fully_qualified_namespace)
        )
        send = simulate.send_at_once if at_once else simulate.send_in_time
        with destination, progress:
            task = progress.add_task("", total=count)
            send(messages, destination, sent)
    except MedTechError as error:
        _fail(error)
    target = host if event_hub is None else event_hub
    if as_json:
        typer.echo(json.dumps({"messages": count, "readings": readings, "destination": target}))
    else:
        typer.echo(f"{count} messages with {readings} readings of {devices} devices sent to {target}")


def _fail(error: MedTechError) -> NoReturn:
    typer.echo(error.message, err=True)
    raise typer.Exit(1)
