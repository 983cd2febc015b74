"""Measurements, measurement groups and Observations in the form that the vectors hold them."""

from typing import Any

from medtech.dotnet.ticks import format_iso
from medtech.mapping.fhir import FhirMapping, FhirOptions, load_fhir_mapping
from medtech.model import Measurement, MeasurementGroup, ResourceIdentity
from medtech.transform.effective import read_effective
from medtech.transform.fhir_json import dump_resource
from medtech.transform.observation import ObservationDraft, create
from tests.conformance.compare import parse

IDENTITY = ResourceIdentity("devId", "patId", None)
"""What the vectors' Observations refer to."""

OPTIONS = FhirOptions(group_single_values=True)
"""How the vectors' FHIR mappings are applied: SINGLE_VALUE_PERIOD=group, OBSERVATION_EFFECTIVE=period."""

_NOT_HELD = ("subject", "device", "identifier", "id", "issued")


def group_of(vector: dict[str, Any]) -> MeasurementGroup:
    """Of equal times the first stays: the vectors' order is the order of precedence."""
    key = (vector["PatientId"], vector["EncounterId"], vector["CorrelationId"])
    measurements = [
        Measurement(
            vector["MeasureType"],
            ticks_of(reading["OccurrenceTimeUtc"]),
            vector["DeviceId"],
            *key,
            tuple((each["Name"], each["Value"]) for each in reading["Properties"]),
            ingestion_time=0,
            partition="0",
            sequence_number=index,
            template=0,
            match=0,
        )
        for index, reading in enumerate(vector["Data"])
    ]
    return MeasurementGroup(vector["MeasureType"], vector["DeviceId"], *key, measurements)


def mapping_text(mapping: dict[str, Any]) -> str:
    """A mapping that a vector holds as JSON, with the digits it has."""
    return dump_resource(mapping).decode()


def fhir_mapping_of(mapping: dict[str, Any]) -> FhirMapping:
    """The FHIR mapping of a vector; raises MappingInvalid."""
    return load_fhir_mapping(mapping_text(mapping), OPTIONS)


def ticks_of(text: str) -> int:
    start = read_effective({"effectiveInstant": text}, "the vector").start
    assert start is not None
    return start


def written(observation: dict[str, Any]) -> dict[str, Any]:
    """What of an Observation the vectors hold, as it is sent."""
    sent = parse(dump_resource(observation).decode())
    return {name: value for name, value in sent.items() if name not in _NOT_HELD}


def described(draft: ObservationDraft) -> dict[str, Any]:
    """A draft as `fhir` and `pipeline` describe its Observation."""
    observation = create(draft, IDENTITY, issued=0)
    return {
        "boundary": [format_iso(draft.start), format_iso(draft.end)],
        "identifier": observation["identifier"][0]["value"],
        "id": observation["id"],
        "observation": written(observation),
    }


def described_measurement(measurement: Measurement) -> dict[str, Any]:
    """A measurement as `normalize`, `pipeline` and `validate` describe it."""
    return {
        "type": measurement.type,
        "deviceId": measurement.device_id,
        "occurrenceTimeUtc": format_iso(measurement.occurrence_time),
        "patientId": measurement.patient_id,
        "encounterId": measurement.encounter_id,
        "correlationId": measurement.correlation_id,
        "properties": [list(each) for each in measurement.properties],
    }
