"""JSON lines through a stage: from standard input to standard output, in constant memory.

What is there is read, put through and written before more is read. So a slow reader slows the writer down, and what
comes line by line goes out line by line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NamedTuple

import typer

from medtech.command.terminal import progress

if TYPE_CHECKING:
    from medtech.errors import MedTechError

MAX_LINE_BYTES = 32 * 1024 * 1024
"""More than any hub delivers as one event (20 MiB). Without a bound, input without line ends would fill the memory."""

_CHUNK_BYTES = 1024 * 1024

BROKEN_PIPE = 141
"""As a shell counts a process that SIGPIPE ended."""
INTERRUPTED = 130

Errors = Annotated[
    bool, typer.Option("--errors", help='Write errors to the output, as {"error": …}, instead of to standard error.')
]


class Line(NamedTuple):
    """A line of the input, counted from 1, without its end; `text` is None if it is longer than MAX_LINE_BYTES."""

    number: int
    text: bytes | None


class LineError(NamedTuple):
    """What a line has instead of a result, or beside it. A warning does not change the exit code."""

    line: int
    name: str
    stage: str
    message: str
    type: str | None = None
    level: str = "error"

    def document(self) -> dict[str, Any]:
        return {name: value for name, value in self._asdict().items() if value is not None}


def of_error(line: int, error: MedTechError, type_name: str | None = None) -> LineError:
    return LineError(line, error.name, error.stage, error.message, type_name)


def too_long(line: Line) -> LineError:
    return LineError(
        line.number, "NotSupported", "Normalization", f"The line has over {MAX_LINE_BYTES} bytes, which no event has."
    )


Result = dict[str, Any] | LineError
"""What goes to the output, or is an error."""


def chunks(source: BinaryIO, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[list[Line]]:
    """The lines of `source`, as many at a time as there are; blank ones are left out."""
    number = 0
    rest = bytearray()
    skipping = False
    while chunk := _read(source):
        found: list[Line] = []
        *whole, end = chunk.split(b"\n")
        for piece in whole:
            number += 1
            rest += piece
            if skipping or len(rest) > max_line_bytes:
                found.append(Line(number, None))
            elif not rest.isspace() and rest:
                found.append(Line(number, bytes(rest)))
            rest.clear()
            skipping = False
        if not skipping:
            rest += end
        if len(rest) > max_line_bytes:
            skipping = True
            rest.clear()
        yield found
    if skipping:
        yield [Line(number + 1, None)]
    elif rest and not rest.isspace():
        yield [Line(number + 1, bytes(rest))]


def _read(source: BinaryIO) -> bytes:
    """What is there, at most a chunk; waits if nothing is."""
    read: Callable[[int], bytes] = getattr(source, "read1", source.read)
    return read(_CHUNK_BYTES)


def put_through(stage: Callable[[list[Line]], Iterable[Result]], unit: str, *, errors_in_output: bool) -> None:
    """Runs standard input through `stage`, chunk by chunk, then once more with no lines: the end of the input.

    Ends the command: exit code 1 if there was an error, 141 if nobody reads the output any more, 130 if interrupted.
    """
    output, errors = sys.stdout.buffer, sys.stderr.buffer
    failed = False
    try:
        bar = progress("reading", unit)
        # On one terminal the bar and the output would write over each other.
        bar.disable = bar.disable or output.isatty()
        with bar:
            task = bar.add_task("", total=None)
            for found in _then_none(chunks(sys.stdin.buffer)):
                for result in stage(found):
                    failed = _write(result, output, errors, errors_in_output) or failed
                output.flush()
                bar.advance(task, len(found))
    except BrokenPipeError:
        # What is still buffered must not be written at the end of the process either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
        raise typer.Exit(BROKEN_PIPE) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    if failed:
        raise typer.Exit(1)


def _then_none(found: Iterator[list[Line]]) -> Iterator[list[Line]]:
    yield from (lines for lines in found if lines)
    yield []


def _write(result: Result, output: BinaryIO, errors: BinaryIO, errors_in_output: bool) -> bool:
    """Writes a result, or an error to where errors go; whether it was an error."""
    if not isinstance(result, LineError):
        output.write(_line(result))
        return False
    if errors_in_output:
        output.write(_line({"error": result.document()}))
    else:
        errors.write(_line(result.document()))
    return result.level == "error"


def _line(document: dict[str, Any]) -> bytes:
    from medtech.transform.fhir_json import dump_resource

    return dump_resource(document) + b"\n"
