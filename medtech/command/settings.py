"""`python -m medtech settings`: the settings in force, where each comes from, and what is wrong with them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple
from urllib.parse import urlsplit

import typer

from medtech.command import settings_file
from medtech.command.terminal import console, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from medtech.settings import SettingFault
    from medtech.setup.catalogue import Setting
    from medtech.setup.check import Misspelt

_HIDDEN = "(set, not shown)"
_UNUSABLE = "(unusable)"
_REFERENCE = "(reference to a secret)"
_SECRET_PARTS = ("__clientsecret", "__furtheraccounts")


class InForce(NamedTuple):
    """A setting as it is in force; `value` is what may be shown of it, None for one that nothing is set for."""

    name: str
    value: str | None
    source: str


def settings(
    file: Annotated[
        Path | None,
        typer.Option(
            help="Settings to look at in place of the environment's: a local.settings.json, or what `az functionapp "
            "config appsettings list` prints.",
            metavar="FILE",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show the settings in force, where each comes from, and every fault in them; secrets are not shown.

    Nothing outside is asked: `status` tells whether hub, storage and FHIR server can be reached. The exit code is 1 if
    a setting is unusable.
    """
    from medtech.setup.check import faults, is_reference, missing_mappings, misspelt

    given = os.environ if file is None else settings_file.read(file, "--file")
    # A list of an app's settings has references where the app itself gets the secrets.
    unseen = {name.partition("__")[0] for name, value in given.items() if file is not None and is_reference(value)}
    found = [*faults(given), *missing_mappings(given)]
    found = [fault for fault in found if fault.name.partition("__")[0] not in unseen]
    hints = misspelt(given)
    rows = list(_in_force(given, {fault.name for fault in found}, "environment" if file is None else str(file)))
    if as_json:
        document = {
            "settings": [row._asdict() for row in rows],
            "faults": [fault._asdict() for fault in found],
            "hints": [hint.message for hint in hints],
        }
        typer.echo(json.dumps(document))
    else:
        _print(rows, found, hints)
    if found:
        raise typer.Exit(1)


def _in_force(given: Mapping[str, str], faulty: set[str], source: str) -> Iterator[InForce]:
    from medtech.setup.catalogue import catalogue

    in_any_case = {name.lower(): value for name, value in given.items()}
    for setting in catalogue():
        set_names = [name for name in setting.names if name.lower() in in_any_case]
        for name in set_names:
            value = in_any_case[name.lower()]
            is_faulty = name in faulty or (setting.name in faulty and setting.name not in set_names)
            yield InForce(name, _UNUSABLE if is_faulty else _shown(setting, name, value), source)
        if not set_names:
            is_default = setting.name not in faulty and setting.default != "–"
            yield InForce(
                setting.name,
                setting.default.replace("`", "") if is_default else None,
                "missing" if setting.name in faulty else "default",
            )


def _shown(setting: Setting, name: str, value: str) -> str:
    from medtech.setup.check import is_reference

    if is_reference(value):
        return _REFERENCE
    if (setting.secret and name == setting.name) or name.lower().endswith(_SECRET_PARTS):
        return _HIDDEN
    if "://" in value:
        # A blob's address may hold a shared access signature, a server's a password.
        try:
            parts = urlsplit(value)
        except ValueError:
            return "(not an address)"
        query = "?…" if parts.query else ""
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"
    return value


def _print(rows: list[InForce], found: list[SettingFault], hints: list[Misspelt]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for row in rows:
        table.add_row(row.name, Text(printable(row.value or "–")), row.source)
    console().print(table)
    for fault in found:
        console().print(Text(printable(fault.message), "bold red"), soft_wrap=True)
    for hint in hints:
        console().print(Text(printable(hint.message), "yellow"), soft_wrap=True)
    if not found:
        console().print("The app can run under these settings.")
