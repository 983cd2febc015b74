"""`python -m medtech`: the product on the command line.

Each command imports what it needs when it runs, so that `--help` returns at once.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from medtech.command import compare, dead_letters, mapping, settings_file
from medtech.command.backfill import backfill
from medtech.command.convert import convert
from medtech.command.import_service import import_service
from medtech.command.jwks import jwks
from medtech.command.normalize import normalize
from medtech.command.replay import replay
from medtech.command.rewind import rewind
from medtech.command.schema import schema
from medtech.command.settings import settings
from medtech.command.simulate import simulate
from medtech.command.status import status
from medtech.command.validate import validate

PROGRAM = "medtech"
"""The command that installing the package gives. Shells complete commands by their name: `python` is no such one."""

_is_installed = Path(sys.argv[0]).stem == PROGRAM

app = typer.Typer(no_args_is_help=True, add_completion=_is_installed)


@app.callback()
def main(
    file: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            help="App settings for the command, over those of the environment: a local.settings.json, or what "
            "`az functionapp config appsettings list` prints.",
            metavar="FILE",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Device messages to FHIR R4 Observations. docs/command-line.md has examples of every command."""
    if file is not None:
        # The settings of an app are its environment: what a command calls reads them there.
        os.environ.update(settings_file.read(file, "--settings"))


app.command()(validate)
app.command()(normalize)
app.command()(convert)
app.command()(schema)
app.command()(simulate)
app.command()(settings)
app.command()(status)
app.add_typer(mapping.app, name="mapping")
app.add_typer(dead_letters.app, name="dead-letters")
app.command()(replay)
app.add_typer(compare.app, name="compare")
app.command()(rewind)
app.command()(backfill)
app.command()(jwks)
app.command("import")(import_service)


def run() -> None:
    """Runs the command that the process was started with."""
    app(prog_name=PROGRAM if _is_installed else "python -m medtech")
