"""Writes of a small FHIR mapping, and a plain client of the FHIR server that sees what is really there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any
from uuid import uuid4

import httpx
import orjson

from medtech.dotnet import ticks
from medtech.mapping.fhir import FhirOptions, load_fhir_mapping
from medtech.model import Measurement, MeasurementGroup, ResourceIdentity
from medtech.persist.client import FhirClient
from medtech.persist.observations import ObservationWrite, ObservationWriter, Outcome
from medtech.transform.fhir_json import dump_resource, parse_resource
from medtech.transform.observation import convert, fold

_CATEGORY = [
    {
        "text": "Vital Signs",
        "codes": [
            {"code": "vital-signs", "system": "http://terminology.hl7.org/CodeSystem/observation-category"},
        ],
    }
]


def _template(type_name: str, interval: int, **values: Any) -> dict[str, Any]:
    template = {"typeName": type_name, "periodInterval": interval, "category": _CATEGORY, "codes": []} | values
    return {"templateType": "CodeValueFhir", "template": template}


_SERIES = {"valueType": "SampledData", "defaultPeriod": 60_000, "unit": "/min"}
_QUANTITY = {"valueType": "Quantity", "unit": "mmHg", "code": "mm[Hg]", "system": "http://unitsofmeasure.org"}

_CONCEPT = {"text": "Fall", "codes": [{"code": "217082002", "system": "http://snomed.info/sct"}]}

MAPPING = load_fhir_mapping(
    orjson.dumps(
        {
            "templateType": "CollectionFhir",
            "template": [
                _template("series", 60, value={"valueName": "value", **_SERIES}),
                _template("spot", 0, value={"valueName": "value", **_QUANTITY}),
                _template("refused", 0, value={"valueName": "value", **_QUANTITY}),
                _template("session", -1, value={"valueName": "value", **_SERIES}),
                _template("remark", 0, value={"valueName": "value", "valueType": "String"}),
                _template("finding", 0, value={"valueName": "value", "valueType": "CodeableConcept", **_CONCEPT}),
                _template(
                    "pressure",
                    60,
                    components=[
                        {"codes": [], "value": {"valueName": name, **_QUANTITY}} for name in ("systolic", "diastolic")
                    ],
                ),
            ],
        }
    ).decode(),
    FhirOptions(group_single_values=True),
)

HOUR = ticks.from_unix_seconds(1_760_000_400)
"""The start of an hour in October 2025."""
MINUTE = ticks.TICKS_PER_MINUTE
_sequence = count()


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid4()}"


def identity(encounter: str | None = None) -> ResourceIdentity:
    """A device and a patient that nobody else has."""
    return ResourceIdentity(unique("d"), unique("p"), encounter)


def write(
    of: ResourceIdentity,
    type_name: str,
    readings: Sequence[tuple[int, dict[str, str]]],
    correlation_id: str | None = None,
    **options: bool,
) -> ObservationWrite:
    """The one Observation of these readings, each (minutes after HOUR, values by name)."""
    measurements = [
        Measurement(
            type_name,
            HOUR + minutes * MINUTE,
            of.device,
            None,
            None,
            correlation_id,
            tuple(values.items()),
            HOUR,
            "0",
            next(_sequence),
            0,
            0,
        )
        for minutes, values in readings
    ]
    conversion = convert(MAPPING, MeasurementGroup(type_name, of.device, None, None, correlation_id, measurements))
    assert not conversion.failures
    return ObservationWrite(fold(conversion.drafts), of, **options)


def refused(of: ResourceIdentity) -> ObservationWrite:
    """An Observation that no server takes: it holds a time that is none."""
    bad = write(of, "refused", [(0, {"value": "1"})])
    bad.draft.pattern.category = [{"extension": [{"url": "urn:seen", "valueDateTime": "secret"}]}]
    return bad


def series(of: ResourceIdentity, readings: dict[int, int], **options: bool) -> ObservationWrite:
    """An hour of one data point a minute; `readings` by minute."""
    return write(of, "series", [(minute, {"value": str(value)}) for minute, value in readings.items()], **options)


def points(observation: dict[str, Any]) -> dict[int, str]:
    """The data points of a series by minute, without `E`."""
    data = observation["valueSampledData"]["data"].split()
    return {minute: point for minute, point in enumerate(data) if point != "E"}


def resource_id(of: ObservationWrite) -> str:
    return of.draft.identify(of.identity)[1]


class Server:
    """Looks at a FHIR server, and edits by hand what is in it, past the client under test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(timeout=30, headers={"Cache-Control": "no-cache"})

    def close(self) -> None:
        self._http.close()

    def get(self, path: str) -> dict[str, Any]:
        answer = self._http.get(f"{self.url}/{path}")
        assert answer.status_code == 200, answer.text
        return parse_resource(answer.content)

    def put(self, resource: dict[str, Any]) -> dict[str, Any]:
        url = f"{self.url}/{resource['resourceType']}/{resource['id']}"
        answer = self._http.put(url, content=dump_resource(resource), headers={"content-type": "application/fhir+json"})
        assert answer.status_code in (200, 201), answer.text
        return parse_resource(answer.content)

    def batch(self, entries: list[Any]) -> dict[str, Any]:
        bundle = dump_resource({"resourceType": "Bundle", "type": "batch", "entry": entries})
        answer = self._http.post(self.url, content=bundle, headers={"content-type": "application/fhir+json"})
        assert answer.status_code == 200, answer.text
        return parse_resource(answer.content)

    def delete(self, path: str) -> None:
        assert self._http.delete(f"{self.url}/{path}").status_code in (200, 204)

    def observation(self, of: ObservationWrite) -> dict[str, Any]:
        return self.get(f"Observation/{resource_id(of)}")

    def versions(self, path: str) -> int:
        return int(self.get(f"{path}/_history")["total"])

    def add_people(self, of: ResourceIdentity) -> None:
        """Some servers want to know whom an Observation refers to."""
        self.put({"resourceType": "Patient", "id": of.patient})
        self.put({"resourceType": "Device", "id": of.device, "patient": {"reference": f"Patient/{of.patient}"}})


@contextmanager
def writer_at(url: str, bundle_size: int = 100, **options: Any) -> Iterator[ObservationWriter]:
    """A writer whose waits take no time."""
    with FhirClient(url, bundle_size=bundle_size) as client:
        yield ObservationWriter(client, **{"pause": lambda seconds: None, **options})


def write_all(url: str, *writes: ObservationWrite, **options: Any) -> list[Outcome]:
    """The outcomes, in the order of the writes."""
    with writer_at(url, **options) as writer:
        outcomes = {outcome.write: outcome for outcome in writer.write(writes, lambda creates: None)}
    assert len(outcomes) == len(writes)
    return [outcomes[each] for each in writes]
