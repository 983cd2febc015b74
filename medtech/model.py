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
    """The readings that a template took from one match in a message.

    Times are ticks. `properties` are (value name, text) in the order of the mapping. The last four fields are the
    source within its hub: equal content of one source is the same measurement, delivered twice. A NamedTuple, since
    measurements are made by the million.
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


def precedence(measurement: Measurement) -> tuple[object, ...]:
    """The order of measurements: by time; of equal times the one ingested last first, then by place in the hub.

    Partitions are numbers in text, so the shorter one is the lower. Two readings of one source, which a change of the
    mapping between two deliveries can make, are ordered by their values, so that each run has the same winner.
    """
    return (
        measurement.occurrence_time,
        -measurement.ingestion_time,
        len(measurement.partition),
        measurement.partition,
        measurement.sequence_number,
        measurement.template,
        measurement.match,
        measurement.properties,
    )


class NormalizationFailure(NamedTuple):
    """What gave no measurement: a message, a template on a message (`match` -1), or one match of a template.

    `type` is the template's; None for a message, whose `template` and `match` are -1.
    """

    error: MedTechError
    template: int
    match: int
    type: str | None = None


class Normalized(NamedTuple):
    """What one message became, both in order of template, then match. If both are empty, no template matched."""

    measurements: list[Measurement]
    failures: list[NormalizationFailure]


@dataclass(frozen=True, slots=True)
class MeasurementGroup:
    """Measurements of a flush that share device, type, patient, encounter and correlation id.

    They are in order of `precedence`: of equal occurrence times the first is the one ingested last, and it wins, value
    by value.
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
