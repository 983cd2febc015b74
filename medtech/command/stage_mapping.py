"""The mapping that a stage of the command line works by: of a file, or the one in force in the app."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import typer

from medtech.command.terminal import printable
from medtech.errors import MappingInvalid, MedTechError

Mapping = TypeVar("Mapping")


def load(
    file: Path | None, read: Callable[[str], Mapping], in_force: Callable[[], Mapping | None], kind: str
) -> Mapping:
    """The mapping. If there is none to work by, the command ends with exit code 1 and says why."""
    try:
        found = in_force() if file is None else read(_text(file))
    except MappingInvalid as invalid:
        for issue in invalid.issues:
            place = f"{file or kind}:{issue.line}:{issue.position}" if issue.line > 0 else str(file or kind)
            typer.echo(printable(f"{place}: {issue.message}"), err=True)
        raise typer.Exit(1) from None
    except MedTechError as error:
        typer.echo(f"{error.message} Or give a mapping: --mapping FILE.", err=True)
        raise typer.Exit(1) from None
    if found is None:
        typer.echo(f"There has never been a good {kind} mapping in the app. Give one: --mapping FILE.", err=True)
        raise typer.Exit(1)
    return found


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(
            f"{file} is not UTF-8 (byte {error.start}). Save it in that encoding.", param_hint="--mapping"
        ) from None
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}.", param_hint="--mapping") from None
