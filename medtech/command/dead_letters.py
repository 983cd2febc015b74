"""`python -m medtech dead-letters`: what failed and why, one letter, an export, and deleting.

It works on the storage that the settings in the environment name.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from medtech.command import filters
from medtech.command.terminal import console, laid_out, printable, progress
from medtech.dotnet import ticks
from medtech.errors import MedTechError

if TYPE_CHECKING:
    from medtech.dead_letter.causes import Cause, Causes
    from medtech.dead_letter.selection import Selection
    from medtech.dead_letter.store import DeadLetters, Summary

_DELETED_AT_ONCE = 500

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ShowBody = Annotated[bool, typer.Option("--show-body", help="With the content, which is health data.")]


class _ListByDefault(TyperGroup):
    """A group whose first command is `list` if none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_ListByDefault)


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
    with _reaching():
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
    with _reaching():
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
    with _reaching(), _written_to(file) as output, progress("exporting", "letters") as bar:
        task = bar.add_task("", total=None)
        for document in _documents(_opened(), chosen, show_body):
            output.write(json.dumps(document) + "\n")
            count += 1
            bar.advance(task)
    if file is not None:
        typer.echo(f"{count} letters are in {file}.", err=True)


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
    with _reaching():
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
        typer.echo(f"{away.message} Until then {deleted} letters were deleted; give the command again.", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({"selected": causes.letters, "deleted": deleted}))
    else:
        rest = "" if deleted == causes.letters else f" of {causes.letters}; the others have changed or gone meanwhile"
        typer.echo(f"{deleted} letters were deleted{rest}.")


def _opened() -> DeadLetters:
    from medtech import application

    return application.dead_letters()


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except MedTechError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(1) from None


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
    typer.confirm(f"Delete {count} letters for good?", abort=True, err=True)
    if typer.prompt(f"Write {count} to delete them", err=True) != str(count):
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

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("cause", no_wrap=True)
    table.add_column("letters", justify="right", no_wrap=True)
    table.add_column("written", justify="right", no_wrap=True)
    table.add_column("first and last", no_wrap=True)
    table.add_column("error", no_wrap=True)
    table.add_column("message and an example", overflow="fold")
    for cause in causes.table():
        table.add_row(*map(_text, _cells(cause)))
    output = console(error=error)
    output.print(table)
    output.print(f"{causes.letters} letters", end="\n")


def _cells(cause: Cause) -> tuple[str, ...]:
    example, origin = cause.example, cause.example.origin
    place = f"hub {example.hub}"
    if origin is not None:
        enqueued = _minute(ticks.format_iso(origin.enqueued_time))
        place += f", partition {origin.partition}, sequence number {origin.sequence_number}, enqueued {enqueued}"
    held = f"\n{cause.held} in replay" if cause.held else ""
    return (
        cause.fingerprint or "–",
        f"{cause.letters}{held}",
        str(cause.written),
        f"{_minute(cause.first_time)}\n{_minute(cause.last_time)}",
        f"{cause.error}\n{cause.stage}\n{cause.type}",
        f"{cause.shape}\n{example.id}\n{place}",
    )


def _text(text: str) -> Any:
    """A cell without markup: a message may hold square brackets."""
    from rich.text import Text

    return Text(printable(text))


def _minute(moment: str) -> str:
    return f"{moment[:19]}Z".replace("T", " ")


def _described(document: dict[str, Any]) -> str:
    """A letter for people: a name and a value a line, longer values indented below their name."""
    lines: list[str] = []

    def add(name: str, value: object) -> None:
        text = printable(str(value))
        if "\n" in text:
            lines.extend([name, *(f"    {line}" for line in text.split("\n"))])
        else:
            lines.append(f"{name:<16}{text}")

    names = {
        "id": "ID",
        "sequenceNumber": "sequence number",
        "enqueuedTime": "enqueued",
        "count": "written",
        "firstTime": "first time",
        "lastTime": "last time",
        "job": "replay job",
        "unreadable": "not readable",
    }
    for name in (
        *("id", "kind", "error", "stage", "type", "severity", "message", "hub", "partition", "sequenceNumber"),
        *("enqueuedTime", "count", "firstTime", "lastTime", "job", "unreadable"),
    ):
        if name in document:
            add(names.get(name, name), document[name])
    if failures := document.get("failures"):
        add("failures", "\n" + "\n".join(f"{each['type'] or 'the message'}: {each['message']}" for each in failures))
    if document.get("outcome"):
        add("the server said", "\n" + laid_out(document["outcome"]))
    for name in ("event", "measurement"):
        for field, value in document.get(name, {}).items():
            text = value if isinstance(value, str) else json.dumps(value)
            add(_CONTENT_NAMES.get(field, field), "\n" + laid_out(text) if field == "body" else text)
    if "rowBase64" in document:
        add("row (base64)", document["rowBase64"])
    return "\n".join(lines)


_CONTENT_NAMES = {"bodyBase64": "body (base64)"}
