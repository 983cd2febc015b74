"""The options by which commands select dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from medtech.dotnet import ticks

if TYPE_CHECKING:
    from medtech.dead_letter.selection import Selection

_WHEN = "2022-03-12, 2022-03-12T10:30Z, or how long ago: 30m, 2h, 7d"

Stage = Annotated[str | None, typer.Option("--stage", help="Only letters of this data flow stage.", metavar="STAGE")]
Error = Annotated[
    str | None, typer.Option("--error", help="Only letters of this error, as DeviceNotFound.", metavar="ERROR")
]
Type = Annotated[
    str | None,
    typer.Option("--type", help="Only letters of this type of error, as DeviceMessageError.", metavar="TYPE"),
]
Cause = Annotated[
    str | None, typer.Option("--cause", help="Only letters of this row of the table of causes.", metavar="CAUSE")
]
From = Annotated[
    str | None, typer.Option("--from", help=f"Only letters last written then or later: {_WHEN}.", metavar="TIME")
]
To = Annotated[
    str | None,
    typer.Option("--to", help="Only letters last written before then; a date is meant to its end.", metavar="TIME"),
]
Ids = Annotated[list[str] | None, typer.Option("--id", help="Only this letter; may be repeated.", metavar="ID")]


def selection(
    *,
    stage: str | None,
    error: str | None,
    type: str | None,
    cause: str | None,
    from_time: str | None,
    to_time: str | None,
    ids: list[str] | None,
) -> Selection:
    """What the options select. Raises BadParameter, which ends the command with exit code 2."""
    from medtech.dead_letter.selection import SelectionInvalid, read

    try:
        return read(
            now=ticks.now(),
            stage=stage,
            error=error,
            type=type,
            cause=cause,
            from_time=from_time,
            to_time=to_time,
            ids=ids or (),
        )
    except SelectionInvalid as invalid:
        raise typer.BadParameter(str(invalid), param_hint=f"--{invalid.option}") from None
