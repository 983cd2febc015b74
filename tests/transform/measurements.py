"""Mappings and measurement groups for the tests of this folder, in few words."""

import json
from typing import Any

from medtech.dotnet.ticks import TICKS_PER_SECOND
from medtech.mapping.fhir import FhirMapping, FhirOptions, load_fhir_mapping
from medtech.model import Measurement, MeasurementGroup, ResourceIdentity
from medtech.transform.effective import read_effective
from medtech.transform.fhir_json import dump_resource, parse_resource
from medtech.transform.observation import ObservationDraft, convert

IDENTITY = ResourceIdentity("dev-1", "pat-1", None)

SERIES = {"valueType": "SampledData", "valueName": "hr", "defaultPeriod": 1000, "unit": "/min"}
QUANTITY = {
    "valueType": "Quantity",
    "valueName": "hr",
    "unit": "/min",
    "code": "/min",
    "system": "http://unitsofmeasure.org",
}
STRING = {"valueType": "String", "valueName": "hr"}
CONCEPT = {"valueType": "CodeableConcept", "valueName": "hr", "text": "Worn", "codes": [{"code": "worn"}]}


GROUPED = FhirOptions(group_single_values=True)
"""Most rules of merging are about periods, whatever the type of the value."""

DATE_TIME = FhirOptions(effective_date_time=True)


def mapping_of(interval: int = 60, options: FhirOptions = GROUPED, **properties: Any) -> FhirMapping:
    """One template for the type `heartRate`."""
    template = {"typeName": "heartRate", "periodInterval": interval, "codes": [{"code": "8867-4"}], **properties}
    container = {"templateType": "CodeValueFhir", "template": template}
    return load_fhir_mapping(json.dumps({"templateType": "CollectionFhir", "template": [container]}), options)


def component(value: dict[str, Any]) -> dict[str, Any]:
    return {"codes": [], "value": value}


def tick(text: str) -> int:
    """`10:00:01` on a day of the tests, or a whole FHIR dateTime."""
    start = read_effective({"effectiveDateTime": text if "T" in text else f"2024-02-29T{text}Z"}, "the test").start
    assert start is not None
    return start


def measured(time: str | int, correlation_id: str | None = None, **values: str) -> Measurement:
    moment = tick(time) if isinstance(time, str) else time
    return Measurement(
        "heartRate", moment, "device", None, None, correlation_id, tuple(values.items()), moment, "0", 1, 0, 0
    )


def group_of(*measurements: Measurement) -> MeasurementGroup:
    return MeasurementGroup("heartRate", "device", None, None, measurements[0].correlation_id, list(measurements))


def draft_of(mapping: FhirMapping, *measurements: Measurement) -> ObservationDraft:
    (draft,) = convert(mapping, group_of(*measurements)).drafts
    return draft


def sent(observation: dict[str, Any]) -> dict[str, Any]:
    """An Observation as a server would hold it."""
    return parse_resource(dump_resource(observation))


SECOND = TICKS_PER_SECOND
