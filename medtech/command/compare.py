"""`python -m medtech compare`: what the app would have stored differently from the service that it runs beside.

It works on the storage that the settings in the environment name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medtech.command.list_by_default import ListByDefault
from medtech.command.terminal import console, ending_on_errors, laid_out, printable
from medtech.dotnet import ticks

if TYPE_CHECKING:
    from medtech.comparison.store import Comparisons, Found, Sides

_EXAMPLES = 3
"""Of each type and outcome, for people; JSON has more."""

_NOTHING = 2
"""The exit code where nothing can be said, so that no script takes it for "no difference"."""

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

app = typer.Typer(cls=ListByDefault)


@app.callback()
def compare() -> None:
    """What comparing (FHIR_WRITE=compare) has found: list (if no command is named), show, clear.

    Reads the app's setting BufferStorage (or AzureWebJobsStorage) from the environment. The exit code is 0 if nothing
    differs and nothing is absent, 1 if something is, 2 if nothing was compared or storage cannot be reached.
    """


@app.command("list")
def list_types(
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            help="Only windows that began then or later: 2022-03-12, 2022-03-12T10:30Z, or how long ago: 30m, 2h, 7d.",
            metavar="TIME",
        ),
    ] = None,
    type: Annotated[str | None, typer.Option("--type", help="Only this measurement type.", metavar="TYPE")] = None,
    as_json: AsJson = False,
) -> None:
    """How many Observations are the same, absent and different, by measurement type, with examples."""
    from medtech.comparison.document import EXAMPLES, of_comparison
    from medtech.dead_letter.selection import SelectionInvalid, read

    try:
        start = read(now=ticks.now(), from_time=since).from_time
    except SelectionInvalid as invalid:
        raise typer.BadParameter(str(invalid), param_hint="--since") from None
    with ending_on_errors(_NOTHING):
        document = of_comparison(_opened(), start, type, EXAMPLES if as_json else _EXAMPLES)
    if as_json:
        typer.echo(json.dumps(document))
    elif document["compared"]:
        _print(document)
    else:
        typer.echo("Nothing was compared" + (" that meets the filters." if since or type else " yet."))
    if not document["compared"]:
        raise typer.Exit(_NOTHING)
    if document["absent"] or document["different"]:
        raise typer.Exit(1)


@app.command()
def show(
    difference_id: Annotated[str, typer.Argument(help="The difference's ID.", metavar="ID")],
    show_body: Annotated[bool, typer.Option("--show-body", help="With both sides, which are health data.")] = False,
    as_json: AsJson = False,
) -> None:
    """One difference: what differs and, with --show-body, both sides next to each other."""
    import orjson

    from medtech.comparison.document import of_difference, of_found

    with ending_on_errors(_NOTHING):
        try:
            found = _opened().find(difference_id)
        except ValueError as invalid:
            raise typer.BadParameter(str(invalid), param_hint="ID") from None
    if found is None:
        typer.echo(f"There is no difference {difference_id}. It has expired, or was cleared.", err=True)
        raise typer.Exit(1)
    if as_json:
        document = of_difference(*found) if show_body else of_found(found[0])
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        return
    _print_difference(found[0])
    if show_body:
        _print_sides(found[1])
    else:
        typer.echo("Add --show-body for both sides next to each other, which are health data.")


@app.command()
def clear(yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False) -> None:
    """Delete all that was counted and kept, to begin anew, as after a changed mapping."""
    if not yes:
        typer.confirm("Delete what comparing has found so far?", abort=True, err=True)
    with ending_on_errors(_NOTHING):
        kept = _opened().clear()
    typer.echo(f"Cleared, with {kept} differences that were kept.")


def _opened() -> Comparisons:
    from medtech import parts

    return parts.comparisons()


def _print(document: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    # At 80 columns the times take two lines, before anything of a type is lost.
    table.add_column("type", overflow="fold", min_width=12)
    for outcome in ("compared", "same", "absent", "different"):
        table.add_column(outcome, justify="right", no_wrap=True)
    table.add_column("windows from (UTC)")
    table.add_column("to")
    for each in document["types"]:
        counts = (str(each[name]) for name in ("compared", "same", "absent", "different"))
        table.add_row(_text(each["type"]), *counts, _minute(each["firstWindow"]), _minute(each["lastWindow"]))
    output = console()
    output.print(table)
    for each in document["differences"]:
        what = ", ".join(filter(None, (*each["elements"], each["error"])))
        told = f"{each['id']}  {each['type']}  {each['outcome']}"
        output.print(_text(f"{told}: {what}" if what else told), soft_wrap=True)
    if document["truncated"]:
        output.print("There are more; `compare --json` lists up to 20 of each type and outcome.", soft_wrap=True)


def _print_difference(found: Found) -> None:
    lines = {
        "ID": found.id,
        "type": found.type,
        "outcome": found.outcome,
        "differs in": ", ".join(found.elements) or "–",
        "error": found.error,
        "Observation": found.observation,
        "judged": found.time,
    }
    for name, text in lines.items():
        if text:
            typer.echo(f"{name:<14}{printable(text)}")


def _print_sides(sides: Sides) -> None:
    from rich import box
    from rich.table import Table

    ours, stored = _elements(sides.ours), _elements(sides.stored)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, leading=1)
    for name in ("element", "as it would be created", "as it is stored"):
        table.add_column(name, overflow="fold")
    for name in dict.fromkeys((*ours, *stored)):
        table.add_row(_text(name), _text(ours.get(name, "–")), _text(stored.get(name, "–")))
    console().print(table)


def _elements(side: bytes | None) -> dict[str, str]:
    """The elements of a resource as texts that keep every digit of their numbers."""
    if side is None:
        return {}
    from medtech.transform.fhir_json import dump_resource, parse_resource

    return {name: laid_out(dump_resource(element).decode()) for name, element in parse_resource(side).items()}


def _text(text: str) -> Any:
    """A cell without markup: a value may hold square brackets."""
    from rich.text import Text

    return Text(printable(text))


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")
