"""`python -m medtech dead-letters`: what failed and why, one letter, an export, and deleting.

It works on the storage that the settings in the environment name.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from medtech.command import filters
from medtech.command.list_by_default import ListByDefault
from medtech.command.terminal import console, ending_on_errors, laid_out, printable, progress
from medtech.dotnet import ticks
from medtech.errors import MedTechError

if TYPE_CHECKING:
    from medtech.dead_letter.causes import Cause, Causes
    from medtech.dead_letter.selection import Selection
    from medtech.dead_letter.store import DeadLetters, Summary

_DELETED_AT_ONCE = 500

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ShowBody = Annotated[bool, typer.Option("--show-body", help="With the content, which is health data.")]


app = typer.Typer(cls=ListByDefault)


@app.callback()
def dead_letters() -> None:
    """What could not be processed: list (if no command is named), show, export, delete.

    Reads the app's setting BufferStorage (or AzureWebJobsStorage) from the environment. The exit code is 1 if storage
    cannot be reached.
    """


@app.command("list")
def list_causes(
    stage: filters.Stage = None,
    error: filters.Error = None,
    type: filters.Type = None,
    cause: filters.Cause = None,
    from_time: filters.From = None,
    to_time: filters.To = None,
    ids: filters.Ids = None,
    as_json: AsJson = False,
) -> None:
    """The causes of the letters, each with its counts, times and one letter as an example."""
    chosen = filters.selection(
        stage=stage, error=error, type=type, cause=cause, from_time=from_time, to_time=to_time, ids=ids
    )
    with ending_on_errors():
        causes = _counted(_opened(), chosen)
    if as_json:
        from medtech.dead_letter.document import of_causes

        typer.echo(json.dumps(of_causes(causes)))
    elif causes.letters:
        _print_causes(causes)
    else:
        typer.echo("There are no dead letters." if not _is_filtered(chosen) else "No dead letters meet the filters.")


@app.command()
def show(
    letter_id: Annotated[str, typer.Argument(help="The letter's ID.", metavar="ID")],
    show_body: ShowBody = False,
    as_json: AsJson = False,
) -> None:
    """One letter: its error, message, failures, origin and what a server said about it."""
    chosen = filters.selection(
        stage=None, error=None, type=None, cause=None, from_time=None, to_time=None, ids=[letter_id]
    )
    with ending_on_errors():
        found = next(_opened().select_letters(chosen), None)
    if found is None:
        typer.echo(f"There is no letter {letter_id}. It was replayed, deleted or has expired.", err=True)
        raise typer.Exit(1)
    from medtech.dead_letter.document import of_letter

    document = of_letter(*found, content=show_body)
    typer.echo(json.dumps(document, indent=2) if as_json else _described(document))


@app.command()
def export(
    file: Annotated[
        Path | None, typer.Argument(help="Where to, a new file; standard output if it is left out.", metavar="FILE")
    ] = None,
    stage: filters.Stage = None,
    error: filters.Error = None,
    type: filters.Type = None,
    cause: filters.Cause = None,
    from_time: filters.From = None,
    to_time: filters.To = None,
    ids: filters.Ids = None,
    show_body: ShowBody = False,
) -> None:
    """The letters as JSON lines: without --show-body no content, nor what a server said, which can quote it."""
    chosen = filters.selection(
        stage=stage, error=error, type=type, cause=cause, from_time=from_time, to_time=to_time, ids=ids
    )
    count = 0
    with _written_to(file) as output, progress("exporting", "letters") as bar:
        task = bar.add_task("", total=None)
        try:
            for document in _documents(_opened(), chosen, show_body):
                output.write(json.dumps(document) + "\n")
                count += 1
                bar.advance(task)
        except MedTechError as away:
            typer.echo(f"{away.message} The export is not complete: it ends after {_letters(count)}.", err=True)
            raise typer.Exit(1) from None
    if file is not None:
        typer.echo(f"{_letters(count)} written to {file}.", err=True)


@app.command()
def delete(
    stage: filters.Stage = None,
    error: filters.Error = None,
    type: filters.Type = None,
    cause: filters.Cause = None,
    from_time: filters.From = None,
    to_time: filters.To = None,
    ids: filters.Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="All letters, where no filter is given.")] = False,
    in_replay: Annotated[
        bool, typer.Option("--in-replay", help="Letters that a replay job holds too; they are kept otherwise.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete letters for good, with their contents. Asks twice; a letter written again meanwhile stays."""
    started = ticks.now()
    chosen = filters.selection(
        stage=stage, error=error, type=type, cause=cause, from_time=from_time, to_time=to_time, ids=ids
    )
    if _is_filtered(chosen) == everything:
        raise typer.BadParameter("Give filters, or --all to delete every letter.", param_hint="--all")
    # Letters that come while it asks are not among those that it asked about.
    chosen = replace(chosen, to_time=min(started, chosen.to_time or started))
    with ending_on_errors():
        causes = _counted(_opened(), chosen, in_replay=in_replay)
    if causes.letters and not yes:
        _print_causes(causes, error=True)
        _ask(causes.letters)
    deleted = 0
    try:
        with progress("deleting", "letters") as bar:
            task = bar.add_task("", total=causes.letters)
            letters = _deletable(_opened().select(chosen), in_replay) if causes.letters else iter(())
            while some := list(islice(letters, _DELETED_AT_ONCE)):
                deleted += _opened().delete(some)
                bar.advance(task, len(some))
    except MedTechError as away:
        typer.echo(
            f"{away.message} Deleted before that: {_letters(deleted)} at least. Give the command again.", err=True
        )
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({"selected": causes.letters, "deleted": deleted}))
    else:
        rest = "" if deleted == causes.letters else f" of {causes.letters}; the others have changed or gone meanwhile"
        typer.echo(f"Deleted: {_letters(deleted)}{rest}.")


def _opened() -> DeadLetters:
    from medtech import parts

    return parts.dead_letters()


def _is_filtered(chosen: Selection) -> bool:
    return chosen != type(chosen)()


def _counted(letters: DeadLetters, chosen: Selection, *, in_replay: bool = True) -> Causes:
    from medtech.dead_letter.causes import Causes

    causes = Causes()
    with progress("reading", "letters") as bar:
        task = bar.add_task("", total=None)
        for letter in _deletable(letters.select(chosen), in_replay):
            causes.add(letter)
            bar.advance(task)
    return causes


def _deletable(letters: Iterator[Summary], in_replay: bool) -> Iterator[Summary]:
    return (letter for letter in letters if in_replay or not letter.job)


def _ask(count: int) -> None:
    typer.confirm(f"Delete {_letters(count)} for good?", abort=True, err=True)
    if typer.prompt(f"Write the number {count} to delete them", err=True) != str(count):
        typer.echo("That is another number: nothing was deleted.", err=True)
        raise typer.Exit(1)


@contextmanager
def _written_to(file: Path | None) -> Iterator[TextIO]:
    if file is None:
        yield sys.stdout
        return
    try:
        # For the owner's eyes only: it can hold health data.
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be created: {error.strerror}.", param_hint="FILE") from None
    with os.fdopen(opened, "w", encoding="utf-8") as output:
        yield output


def _documents(letters: DeadLetters, chosen: Selection, show_body: bool) -> Iterator[dict[str, Any]]:
    from medtech.dead_letter.document import of_letter, of_summary

    if show_body:
        return (of_letter(*found, content=True) for found in letters.select_letters(chosen))
    return map(of_summary, letters.select(chosen))


def _print_causes(causes: Causes, *, error: bool = False) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, leading=1)
    table.add_column("cause", no_wrap=True)
    table.add_column("letters", justify="right", no_wrap=True)
    table.add_column("last time (UTC)", no_wrap=True)
    table.add_column("what failed, and an example", overflow="fold")
    for cause in causes.table():
        table.add_row(*map(_text, _cells(cause)))
    output = console(error=error)
    output.print(table)
    output.print(_letters(causes.letters))


def _cells(cause: Cause) -> tuple[str, ...]:
    example, origin = cause.example, cause.example.origin
    place = f"hub {example.hub}"
    if origin is not None:
        place += f", partition {origin.partition}, sequence number {origin.sequence_number}"
    since = f"since {_minute(cause.first_time)}"
    if cause.written != cause.letters:
        since += f", written {cause.written} times in all"
    if cause.held:
        since += f", {cause.held} of them in replay"
    what = (
        f"{cause.error} ({cause.stage}, {cause.type})",
        cause.shape,
        since,
        f"e.g. {example.id}",
        place,
    )
    return cause.fingerprint or "–", str(cause.letters), _minute(cause.last_time), "\n".join(what)


def _letters(count: int) -> str:
    return "1 letter" if count == 1 else f"{count} letters"


def _text(text: str) -> Any:
    """A cell without markup: a message may hold square brackets."""
    from rich.text import Text

    return Text(printable(text))


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")


_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NAMES = {
    "id": "ID",
    "count": "written",
    "job": "replay job",
    "bodyBase64": "body (base64)",
    "rowBase64": "row (base64)",
}
_NAME_CHARACTERS = 22
_BELOW = ("failures", "outcome", "event", "measurement")


def _described(document: dict[str, Any]) -> str:
    """A letter for people: a line for each name with its value, longer values below their name."""
    lines: list[str] = []

    def add(name: str, text: str) -> None:
        shown = _NAMES.get(name) or _WORDS.sub(" ", name).lower()
        lines.append(f"{shown:<{_NAME_CHARACTERS}}{printable(text)}")

    def add_below(name: str, text: str) -> None:
        add(name, "")
        lines.extend(f"    {line}" for line in printable(text).split("\n"))

    for name, value in document.items():
        if name not in _BELOW:
            add(name, str(value))
    if failures := document.get("failures"):
        add_below("failures", "\n".join(f"{each['type'] or 'the message'}: {each['message']}" for each in failures))
    if outcome := document.get("outcome"):
        add_below("the server said", laid_out(outcome))
    for name, value in document.get("event", document.get("measurement", {})).items():
        if name == "body":
            add_below(name, laid_out(value))
        elif value is not None:
            add(name, value if isinstance(value, str) else json.dumps(value))
    return "\n".join(line.rstrip() for line in lines)
