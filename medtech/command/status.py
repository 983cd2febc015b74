"""`python -m medtech status`: how each part of the app is, as `GET /api/health` answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from medtech.command.terminal import console, printable

if TYPE_CHECKING:
    from medtech.health.part import Health

_STYLES = {"ok": "green", "warning": "yellow", "unknown": "yellow", "down": "bold red"}


def status(as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False) -> None:
    """Look at the hub, storage, the mappings, the FHIR server and what waits; nothing is changed.

    Reads the app's settings from the environment. It sees with the identity and over the network of this machine, which
    may be others than the app's. The exit code is 1 if a part is down.
    """
    from medtech import application
    from medtech.health.part import State

    health = application.look_at_health()
    if as_json:
        from medtech.health.document import of_health

        typer.echo(json.dumps(of_health(health)))
    else:
        _print(health)
    if health.state is State.DOWN:
        raise typer.Exit(1)


def _print(health: Health) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("part", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("what was found, and what to do", overflow="fold")
    for part in health.parts:
        table.add_row(part.name, Text(part.state, _STYLES[part.state]), Text(printable(part.message)))
    console().print(table)
