"""`python -m medtech convert`: measurements to Observations, in batches as the app's flush makes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medtech.command import lines
from medtech.command.stage_mapping import load
from medtech.command.terminal import ending_on_errors
from medtech.dotnet import ticks
from medtech.dotnet.text import well_formed

if TYPE_CHECKING:
    from medtech.mapping.fhir import FhirMapping
    from medtech.model import Measurement, MeasurementGroup, ResourceIdentity

BATCH = 1000


def convert(
    mapping: Annotated[
        Path | None,
        typer.Option(
            help="The FHIR mapping; the one in force in the app if it is left out.",
            metavar="FILE",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    batch: Annotated[
        int,
        typer.Option(
            min=1, max=100_000, help="Measurements that are grouped and folded together; 1 gives each its Observation."
        ),
    ] = BATCH,
    errors: lines.Errors = False,
) -> None:
    """Read measurements as `normalize` writes them, write Observations: JSON lines, standard input to output.

    The measurements of a batch become what one flush of the app would store; a batch ends with the input too. Devices
    and patients have the ids that Create mode gives them, or patId. The exit code is 0, or 1 if a line failed.

    Example: python -m medtech convert --mapping mappings/fhirDestinationMapping.json < measurements.jsonl
    """
    from medtech import parts
    from medtech.mapping.fhir import load_fhir_mapping

    with ending_on_errors():
        options, system = parts.fhir_options(), parts.settings().default_device_identifier_system
    read = partial(load_fhir_mapping, options=options)
    loaded = load(mapping, read, lambda: parts.fhir_mapping().stored(), "FHIR")
    lines.put_through(Batches(loaded, batch, system).results, "measurements", errors_in_output=errors)


class Batches:
    """Gathers measurements until there are enough of them."""

    def __init__(
        self, mapping: FhirMapping, size: int, device_system: str, clock: Callable[[], int] = ticks.now
    ) -> None:
        self._mapping = mapping
        self._size = size
        self._device_system = device_system
        self._clock = clock
        self._gathered: list[Measurement] = []

    def results(self, found: list[lines.Line]) -> Iterator[lines.Result]:
        """What becomes of these lines and of those before them; of an empty list, what is left."""
        for line in found:
            try:
                read = _read(line)
            except NotAMeasurement as refused:
                yield lines.LineError(line.number, "NotSupported", "FHIRConversion", str(refused))
                continue
            if isinstance(read, lines.LineError):
                yield read
                continue
            self._gathered.append(read)
            if len(self._gathered) >= self._size:
                yield from self._converted()
        if not found:
            yield from self._converted()

    def _converted(self) -> Iterator[lines.Result]:
        from medtech.validation.stored import store

        stored = store(self._gathered, self._mapping, self._clock(), self._identity)
        self._gathered = []
        yield from (each.observation for each in stored.observations)
        for error, measurement in stored.losses:
            yield lines.of_error(measurement.sequence_number, error, measurement.type)

    def _identity(self, group: MeasurementGroup) -> ResourceIdentity:
        from medtech.model import ResourceIdentity
        from medtech.persist.references import Identifier
        from medtech.validation.stored import IDENTITY

        device = Identifier.of(self._device_system, group.device_id).resource_id()
        patient = IDENTITY.patient
        if group.patient_id is not None and group.patient_id.strip():
            patient = Identifier.of("", group.patient_id).resource_id()
        return ResourceIdentity(device, patient, None)


class NotAMeasurement(Exception):
    """A line that `normalize` does not write; the text says how to fix it."""


_HOW = "Give lines as `python -m medtech normalize` writes them."


def _read(line: lines.Line) -> Measurement | lines.LineError:
    if line.text is None:
        return lines.too_long(line)
    try:
        document = json.loads(line.text)
    except (ValueError, RecursionError):
        raise NotAMeasurement(f"The line is not JSON. {_HOW}") from None
    if not isinstance(document, dict):
        raise NotAMeasurement(f"The line is not an object. {_HOW}")
    if isinstance(document.get("error"), dict):
        return _passed_on(document["error"])
    return _measurement(document, line.number)


def _passed_on(error: dict[str, Any]) -> lines.LineError:
    """An error that `normalize --errors` put among its measurements."""
    number = error.get("line")
    texts = {name: str(error.get(name, "")) for name in ("name", "stage", "message", "level")}
    type_name = error.get("type")
    return lines.LineError(
        number if isinstance(number, int) else 0,
        **texts,
        type=type_name if isinstance(type_name, str) else None,
    )


def _measurement(document: dict[str, Any], number: int) -> Measurement:
    """Of two readings of one time the one ingested later stands; where that is not said, the later line."""
    from medtech.model import Measurement

    return Measurement(
        type=_text(document, "type"),
        occurrence_time=_time(document, "occurrenceTimeUtc"),
        device_id=_text(document, "deviceId"),
        patient_id=_optional(document, "patientId"),
        encounter_id=_optional(document, "encounterId"),
        correlation_id=_optional(document, "correlationId"),
        properties=_properties(document),
        ingestion_time=_time(document, "ingestionTimeUtc") if "ingestionTimeUtc" in document else number,
        partition="0",
        sequence_number=number,
        template=0,
        match=0,
    )


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise NotAMeasurement(f"'{name}' is not a text. {_HOW}")
    return well_formed(value)


def _optional(document: dict[str, Any], name: str) -> str | None:
    return None if document.get(name) is None else _text(document, name)


def _time(document: dict[str, Any], name: str) -> int:
    from medtech.dotnet.times import json_date

    moment = json_date(_text(document, name))
    if moment is None:
        raise NotAMeasurement(f"'{name}' is not a time such as 2026-03-02T08:00:00Z. {_HOW}")
    return moment.ticks


def _properties(document: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    properties = document.get("properties")
    if not isinstance(properties, list) or not all(isinstance(each, dict) for each in properties):
        raise NotAMeasurement(f"'properties' is not a list of objects with name and value. {_HOW}")
    return tuple((_text(each, "name"), _text(each, "value")) for each in properties)
