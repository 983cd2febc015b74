"""`python -m dev`: the functions host, the local run, the demo."""

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from dev.processes import ROOT, LocalRunFailed

app = typer.Typer(no_args_is_help=True, add_completion=False)

LAST_PORT = 65_535

DataFolder = Annotated[Path, typer.Option("--data", help="Folder for everything that the run keeps.")]
HostPort = Annotated[
    int | None, typer.Option(min=1, max=LAST_PORT, help="Port of the functions host. Default: a free one.")
]
FhirPort = Annotated[
    int | None, typer.Option(min=1, max=LAST_PORT, help="Port of the FHIR server. Default: a free one.")
]
BlobPort = Annotated[
    int | None, typer.Option(min=1, max=LAST_PORT, help="Port of Azurite's blobs. Default: a free one.")
]
QueuePort = Annotated[
    int | None, typer.Option(min=1, max=LAST_PORT, help="Port of Azurite's queues. Default: a free one.")
]
TablePort = Annotated[
    int | None, typer.Option(min=1, max=LAST_PORT, help="Port of Azurite's tables. Default: a free one.")
]


@app.callback()
def main() -> None:
    """The local run of the app: functions host, Azurite, FHIR server, demo traffic."""


@app.command()
def host(
    app_directory: Annotated[Path, typer.Option("--app", help="Folder with function_app.py and host.json.")] = ROOT,
    port: Annotated[int, typer.Option(min=0, max=LAST_PORT, help="Port on 127.0.0.1; 0 takes a free one.")] = 7071,
    data: Annotated[Path, typer.Option(help="Folder for hub, checkpoints and keys.")] = ROOT / ".local" / "host",
    settings: Annotated[Path | None, typer.Option(help="Default: local.settings.json of the app.")] = None,
    partitions: Annotated[int, typer.Option(min=1, max=32, help="Partitions of a new hub.")] = 4,
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
        asyncio.run(serve(app_directory, values | os.environ, data.resolve(), port, partitions))
    except OSError as error:
        raise _failure(f"Port {port} cannot be used ({error.strerror}): choose another with --port.") from error
    except (LocalRunFailed, FunctionInvalid, HostConfigInvalid, WorkerFailed) as error:
        raise _failure(str(error)) from error


@app.command()
def run(
    data: DataFolder = ROOT / ".local" / "run",
    host_port: HostPort = None,
    fhir_port: FhirPort = None,
    blob_port: BlobPort = None,
    queue_port: QueuePort = None,
    table_port: TablePort = None,
) -> None:
    """Everything up: servers, host, demo traffic, and what it became; stays up until Ctrl-C.

    Values of local.settings.json apply, except the addresses of what runs here. Data is kept for the next start.
    """
    from dev.local_run import LocalRun
    from dev.stack import Ports

    ports = Ports(host_port, fhir_port, blob_port, queue_port, table_port)
    try:
        settings = read_settings(ROOT / "local.settings.json")
        LocalRun(data, ports, settings, fresh=False).run()
    except LocalRunFailed as error:
        raise _failure(str(error)) from error


@app.command()
def demo(
    data: DataFolder = ROOT / ".local" / "demo",
    host_port: HostPort = None,
    fhir_port: FhirPort = None,
    blob_port: BlobPort = None,
    queue_port: QueuePort = None,
    table_port: TablePort = None,
) -> None:
    """The demo traffic through a fresh app; exits 0 only if every reading sent is in the FHIR server."""
    from dev.local_run import LocalRun
    from dev.stack import Ports

    ports = Ports(host_port, fhir_port, blob_port, queue_port, table_port)
    try:
        complete = LocalRun(data, ports, {}, fresh=True).demo()
    except LocalRunFailed as error:
        raise _failure(str(error)) from error
    raise typer.Exit(0 if complete else 1)


def read_settings(path: Path) -> dict[str, str]:
    """`Values` of a local.settings.json; empty if there is no such file. Raises LocalRunFailed."""
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8")).get("Values", {})
        return {name: str(value) for name, value in values.items()}
    except (ValueError, AttributeError) as error:
        raise LocalRunFailed(f"{path} is no settings file: {error}") from None


def _failure(sentence: str) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(1)
