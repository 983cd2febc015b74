"""`python -m dev`: the functions host, the local run, the demo."""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from dev.processes import ROOT, LocalRunFailed
from dev.stack import Ports

if TYPE_CHECKING:
    from dev.local_run import LocalRun

app = typer.Typer(no_args_is_help=True, add_completion=False)

LAST_PORT = 65_535


def _port_option(of: str) -> typer.models.OptionInfo:
    return typer.Option(min=1, max=LAST_PORT, help=f"Port of {of}. Default: a free one.")


class LocalOptions(NamedTuple):
    """What the commands of a local run are given. `export` is the file to write the FHIR resources to, `picture`
    that for a picture of the result; events expire after `retention_hours`, or never."""

    data: Path
    ports: Ports
    export: Path | None
    picture: Path | None
    retention_hours: float | None


Retention = Annotated[
    float | None,
    typer.Option(
        "--retention", min=0, metavar="HOURS", help="Events expire after so many hours. Default: they do not."
    ),
]


def local_command(play: Callable[[LocalOptions], bool]) -> Callable[[LocalOptions], bool]:
    """Makes a command of a function, with the options of a local run; its result says whether to exit with 0."""

    def command(
        data: Annotated[Path, typer.Option(help="Folder for everything that the run keeps.")] = ROOT
        / ".local"
        / play.__name__,
        host_port: Annotated[int | None, _port_option("the functions host")] = None,
        fhir_port: Annotated[int | None, _port_option("the FHIR server")] = None,
        blob_port: Annotated[int | None, _port_option("Azurite's blobs")] = None,
        queue_port: Annotated[int | None, _port_option("Azurite's queues")] = None,
        table_port: Annotated[int | None, _port_option("Azurite's tables")] = None,
        amqp_port: Annotated[int | None, _port_option("the event hub's AMQP")] = None,
        rest_port: Annotated[int | None, _port_option("the event hub's REST call")] = None,
        export: Annotated[
            Path | None,
            typer.Option(
                help="Write the Patients, Devices and Observations to this file (NDJSON) after the demo traffic."
            ),
        ] = None,
        picture: Annotated[Path | None, typer.Option(help="Draw what the demo shows into this file (SVG).")] = None,
        retention: Retention = None,
    ) -> None:
        ports = Ports(host_port, fhir_port, blob_port, queue_port, table_port, amqp_port, rest_port)
        try:
            complete = play(LocalOptions(data, ports, export, picture, retention))
        except LocalRunFailed as error:
            raise _failure(str(error)) from error
        raise typer.Exit(0 if complete else 1)

    app.command(play.__name__, help=play.__doc__)(command)
    return play


@app.callback()
def main() -> None:
    """The local run of the app: functions host, Azurite, FHIR server, demo traffic."""


@app.command()
def host(
    app_directory: Annotated[Path, typer.Option("--app", help="Folder with function_app.py and host.json.")] = ROOT,
    port: Annotated[int, typer.Option(min=0, max=LAST_PORT, help="Port on 127.0.0.1; 0 takes a free one.")] = 7071,
    data: Annotated[Path, typer.Option(help="Folder for hub and keys.")] = ROOT / ".local" / "host",
    settings: Annotated[Path | None, typer.Option(help="Default: local.settings.json of the app.")] = None,
    partitions: Annotated[int, typer.Option(min=1, max=32, help="Partitions of a new hub.")] = 4,
    longest_wait_seconds: Annotated[
        float,
        typer.Option(min=0, help="Longest wait before a batch or a worker is tried again."),
    ] = inf,
    retention: Retention = None,
    hubs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of hubs that other hosts read too. Default: in --data.")
    ] = None,
) -> None:
    """The functions host alone, around an app."""
    from dev.functions import FunctionInvalid
    from dev.host_config import HostConfigInvalid
    from dev.serve import configure_logging, serve
    from dev.worker_process import WorkerFailed

    configure_logging()
    app_directory = app_directory.resolve()
    try:
        values = read_settings(settings or app_directory / "local.settings.json")
        asyncio.run(
            serve(
                app_directory,
                values | os.environ,
                data.resolve(),
                port,
                partitions,
                longest_wait_seconds,
                None if retention is None else timedelta(hours=retention),
                hubs,
            )
        )
    except OSError as error:
        raise _failure(f"Port {port} cannot be used ({error.strerror}): choose another with --port.") from error
    except (LocalRunFailed, FunctionInvalid, HostConfigInvalid, WorkerFailed) as error:
        raise _failure(str(error)) from error


@local_command
def run(options: LocalOptions) -> bool:
    """Everything up: servers, host, demo traffic and what it became; stays up until Ctrl-C.

    Values of local.settings.json apply, except the addresses of what runs here; environment variables override them.
    Data is kept for the next start.
    """
    from dev.demo import QUICK_SETTINGS

    settings = QUICK_SETTINGS | read_settings(ROOT / "local.settings.json")
    settings = {name: os.environ.get(name, value) for name, value in settings.items()}
    _local_run(options, settings, fresh=False).run()
    return True


@local_command
def demo(options: LocalOptions) -> bool:
    """The demo traffic through a fresh app; exits 0 only if every reading sent is in the FHIR server.

    Environment variables named as app settings apply, unless the run sets them itself.
    """
    return _local_run(options, {}, fresh=True).demo()


@app.command("migrate-demo")
def migrate_demo(
    data: Annotated[Path, typer.Option(help="Folder for everything that the run keeps.")] = ROOT
    / ".local"
    / "migrate-demo",
) -> None:
    """A move from an old service to the app, under traffic: compare, switch, go back; exits 0 only if it shows it all.

    A line for each step. Takes about two minutes, on ports of its own.
    """
    from dev.migrate_demo import MigrateDemo, MigrationFailed

    try:
        with MigrateDemo(data, typer.echo) as demo:
            complete = demo.play()
    except (LocalRunFailed, MigrationFailed) as error:
        raise _failure(str(error)) from error
    raise typer.Exit(0 if complete else 1)


@app.command()
def token(hub: Annotated[str, typer.Argument(help="The hub's name.")] = "devicedata") -> None:
    """A token for the REST call of the local event hub, as its header `Authorization` takes it; valid for an hour."""
    from dev.namespace import token as signature

    typer.echo(signature(hub))


@app.command("settings-table")
def settings_table() -> None:
    """Write the table of docs/settings.md anew, from the code."""
    from dev.settings_table import PAGE, PageUnusable, with_table

    try:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    except PageUnusable as error:
        raise _failure(str(error)) from error


def read_settings(path: Path) -> dict[str, str]:
    """`Values` of a local.settings.json; empty if there is no such file. Raises LocalRunFailed."""
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8")).get("Values", {})
        return {name: str(value) for name, value in values.items()}
    except (ValueError, AttributeError) as error:
        raise LocalRunFailed(f"{path} is not a settings file: {error}") from None


def _local_run(options: LocalOptions, settings: Mapping[str, str], *, fresh: bool) -> "LocalRun":
    from dev.local_run import LocalRun

    return LocalRun(
        options.data,
        options.ports,
        settings,
        fresh=fresh,
        export_path=options.export,
        picture_path=options.picture,
        retention_hours=options.retention_hours,
    )


def _failure(sentence: str) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(1)
