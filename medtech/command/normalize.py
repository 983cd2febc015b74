"""`python -m medtech normalize`: messages to measurements, line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medtech.command import lines
from medtech.command.stage_mapping import load
from medtech.dotnet import ticks

if TYPE_CHECKING:
    from medtech.mapping.device import DeviceMapping
    from medtech.model import DeviceEvent


def normalize(
    mapping: Annotated[
        Path | None,
        typer.Option(
            help="The device mapping; the one in force in the app if it is left out.",
            metavar="FILE",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    errors: lines.Errors = False,
) -> None:
    """Read messages, write their measurements: JSON lines from standard input to standard output.

    A message is a body alone, a whole event, or what IoT Hub routes. What fails is a JSON line on standard error, and
    the next message goes on. The exit code is 0, or 1 if a message failed.

    Example: python -m medtech normalize --mapping mappings/deviceMapping.json < messages.jsonl
    """
    from medtech import parts
    from medtech.mapping.device import load_device_mapping

    loaded = load(mapping, load_device_mapping, lambda: parts.device_mapping().stored(), "device")
    lines.put_through(stage(loaded), "messages", errors_in_output=errors)


def stage(mapping: DeviceMapping) -> Callable[[list[lines.Line]], Iterable[lines.Result]]:
    """The function from lines to the results of each."""
    return lambda found: (result for line in found for result in _results(line, mapping))


def _results(line: lines.Line, mapping: DeviceMapping) -> Iterator[lines.Result]:
    from medtech.normalize.batch import normalize as put_through
    from medtech.validation.document import of_measurement
    from medtech.validation.message import BadRequest

    if line.text is None:
        yield lines.too_long(line)
        return
    try:
        event = _event(line.text, line.number)
    except BadRequest as refused:
        yield lines.LineError(line.number, "NotSupported", "Normalization", str(refused))
        return
    batch = put_through([event], mapping)
    for measurement in batch.measurements:
        ingested = ticks.format_iso(measurement.ingestion_time)
        yield {**of_measurement(measurement), "ingestionTimeUtc": ingested, "message": line.number}
    for _, failures in batch.failed:
        for failure in failures:
            yield lines.of_error(line.number, failure.error, failure.type)
    if batch.unmatched:
        yield lines.LineError(
            line.number,
            "NoTemplateMatched",
            "Normalization",
            "No template of the device mapping matches this message.",
            level="warning",
        )


def _event(text: bytes, number: int) -> DeviceEvent:
    """What is no strict JSON is a body as a device sent it: the app's reader takes more, and says what it does not."""
    from medtech.validation.message import read_message

    message: Any
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = {"Body": text.decode("utf-8", "replace")}
    return read_message(message, number)
