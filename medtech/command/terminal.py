"""What commands print for people, and how they end."""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from medtech.errors import MedTechError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.progress import Progress

_PLAIN_COLUMNS = 160
"""Of tables that go into a file or a pipe."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{},:]|[^][{},:"\s]+', re.DOTALL)
_MOST_LEVELS = 20
"""That are indented: a body can be nested a thousand deep, whose spaces would take more than the body."""


def printable(text: str) -> str:
    """The text with its control and formatting characters as escapes (`\\x1b`); line ends stay.

    What devices and servers say can hold sequences that move the cursor, change colours or turn the direction of text.
    """
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode() for each in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def laid_out(text: str) -> str:
    """JSON with a line for each value, nothing else of it changed (numbers, equal names); another text as it is."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    written: list[str] = []
    level = 0
    tokens = _TOKEN.findall(text)
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        if token in "]}":
            level -= 1
        written.append(token)
        if token in "[{":
            level += 1
        if token == ":":
            written.append(" ")
        elif following and following not in ",:" and token + following not in ("[]", "{}"):
            written.append("\n" + "  " * min(level - (following in "]}"), _MOST_LEVELS))
    return "".join(written)


def console(*, error: bool = False) -> Console:
    """Standard output, or standard error, as rich writes to it."""
    from rich.console import Console

    chosen = Console(stderr=error, highlight=False)
    if not chosen.is_terminal and "COLUMNS" not in os.environ:
        chosen.width = _PLAIN_COLUMNS
    return chosen


def progress(doing: str, unit: str) -> Progress:
    """A bar on standard error for work that counts in `unit`s; nothing if that is no terminal. A total may be None."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    errors = console(error=True)
    return Progress(
        TextColumn(doing),
        BarColumn(),
        TextColumn("{task.completed:,.0f} " + unit),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )


@contextmanager
def ending_on_errors(code: int = 1) -> Iterator[None]:
    """A MedTechError ends the command with this exit code, and is said on standard error."""
    try:
        yield
    except MedTechError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(code) from None
