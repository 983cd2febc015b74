"""The values that travel between the stages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from medtech.errors import MedTechError


class DeviceEvent(NamedTuple):
    """One message as the hub delivered it.

    `hub` is the 8 hex digits that stand for namespace, hub and consumer group; `enqueued_time` is in ticks.
    """

    body: bytes
    properties: Mapping[str, Any]
    system_properties: Mapping[str, Any]
    enqueued_time: int
    hub: str
    partition: str
    sequence_number: int


class Measurement(NamedTuple):
    """One reading set that a template took from a message; a NamedTuple because they are made by the million.

    Times are ticks. `properties` are (value name, text) in the order of the mapping. The last four fields are the
    source within its hub: equal content of one source is the same measurement, delivered twice.
    """

    type: str
    occurrence_time: int
    device_id: str
    patient_id: str | None
    encounter_id: str | None
    correlation_id: str | None
    properties: tuple[tuple[str, str], ...]
    ingestion_time: int
    partition: str
    sequence_number: int
    template: int
    match: int


class NormalizationFailure(NamedTuple):
    """A message, a template on a message (`match` -1) or one match of a template that gave no measurement."""

    error: MedTechError
    template: int
    match: int


class Normalized(NamedTuple):
    """What one message became; both lists in order of template, then match. Both empty: no template matched."""

    measurements: list[Measurement]
    failures: list[NormalizationFailure]


@dataclass(frozen=True, slots=True)
class MeasurementGroup:
    """Measurements of a flush that share device, type, patient, encounter and correlation id.

    In order of occurrence time, then of precedence: of equal times the first one is the one ingested last, and it
    wins value by value.
    """

    type: str
    device_id: str
    patient_id: str | None
    encounter_id: str | None
    correlation_id: str | None
    measurements: list[Measurement]


class ResourceIdentity(NamedTuple):
    """The FHIR ids (without resource type) that an Observation refers to."""

    device: str
    patient: str
    encounter: str | None
