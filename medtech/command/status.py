"""`python -m medtech status`: how each part of the app is, as `GET /api/health` answers, and what waits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from medtech.command.terminal import console, printable
from medtech.dotnet import ticks
from medtech.errors import MedTechError

if TYPE_CHECKING:
    from medtech.command.waiting import Waiting
    from medtech.health.part import Health

_STYLES = {"ok": "green", "warning": "yellow", "unknown": "yellow", "down": "bold red"}


def status(as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False) -> None:
    """Look at the hub, storage, the mappings, the FHIR server and what waits; nothing is changed.

    Reads the app's settings from the environment. It sees with the identity and over the network of this machine, which
    may be others than the app's. The exit code is 1 if a part is down.

    Example: python -m medtech status --json
    """
    from medtech import application
    from medtech.health.part import State

    health = application.look_at_health()
    found = _waiting()
    if as_json:
        from medtech.command.waiting import document
        from medtech.health.document import of_health

        typer.echo(json.dumps({**of_health(health), "waiting": None if found is None else document(found)}))
    else:
        _print(health, found)
    if health.state is State.DOWN:
        raise typer.Exit(1)


def _waiting() -> Waiting | None:
    """What waits; None where storage cannot be seen, which is a part that is down."""
    from medtech import parts
    from medtech.command.waiting import look

    try:
        seen = parts.onlooker()
        return look(seen.storage, seen.settings, ticks.now())
    except MedTechError:
        return None


def _print(health: Health, found: Waiting | None) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from medtech.command.waiting import sentences

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("part", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("what was found, and what to do", overflow="fold")
    for part in health.parts:
        table.add_row(part.name, Text(part.state, _STYLES[part.state]), Text(printable(part.message)))
    console().print(table)
    for line in () if found is None else sentences(found):
        console().print(Text(printable(line)), soft_wrap=True)
