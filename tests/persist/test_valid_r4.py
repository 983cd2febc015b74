"""What is sent is valid R4: every kind of Observation that the mappings in this repository and the published ones make.

Checked by fhir.resources (R4B, whose Observation is R4's) and by the FHIR server's own validation.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest
from fhir.resources.R4B.observation import Observation

from medtech.group.groups import group_measurements
from medtech.mapping.device import load_device_mapping
from medtech.mapping.fhir import DEFAULT_OPTIONS, FhirOptions, load_fhir_mapping
from medtech.model import DeviceEvent, MeasurementGroup
from medtech.persist.observations import ObservationWrite, Operation
from medtech.transform.fhir_json import dump_resource
from medtech.transform.observation import ObservationDraft, convert, fold
from tests.conformance.observations import fhir_mapping_of, mapping_text
from tests.conformance.suites.pipeline import event_of
from tests.conformance.test_samples import SAMPLES
from tests.conformance.vectors import Vector, read
from tests.persist.samples import Server, identity, series, write, write_all

_MAPPINGS = Path(__file__).parents[2] / "mappings"


def _start_mapping(options: FhirOptions = DEFAULT_OPTIONS) -> list[ObservationWrite]:
    device = load_device_mapping((_MAPPINGS / "deviceMapping.json").read_text())
    fhir = load_fhir_mapping((_MAPPINGS / "fhirDestinationMapping.json").read_text(), options)
    writes = []
    for number, message in enumerate(orjson.loads((_MAPPINGS / "sampleMessages.json").read_bytes())):
        event = DeviceEvent(orjson.dumps(message), {}, {}, 638_000_000_000_000_000, "00000000", "0", number)
        for measurement in device.normalize(event).measurements:
            ids = (measurement.device_id, measurement.patient_id, measurement.encounter_id, measurement.correlation_id)
            conversion = convert(fhir, MeasurementGroup(measurement.type, *ids, [measurement]))
            writes += [ObservationWrite(fold([draft]), identity("e1")) for draft in conversion.drafts]
    return writes


def _every_kind_of_value() -> list[ObservationWrite]:
    of = identity("e1")
    return [
        series(of, {0: 60, 59: 61}),
        write(of, "spot", [(0, {"value": "1.50"})]),
        write(of, "session", [(0, {"value": "1"}), (3, {"value": "2"})], "walk"),
        write(of, "pressure", [(0, {"systolic": "120", "diastolic": "80"})]),
        write(of, "remark", [(0, {"value": "felt dizzy"})]),
        write(of, "finding", [(0, {"value": "1"})]),
    ]


WRITES = {
    "start mapping": _start_mapping(),
    "start mapping, effectiveDateTime": _start_mapping(FhirOptions(effective_date_time=True)),
    "every kind of value": _every_kind_of_value(),
}


def test_the_start_mapping_makes_observations_of_its_samples() -> None:
    assert {each.draft.type for each in WRITES["start mapping"]} >= {"heartRate", "bloodPressure"}


@pytest.mark.parametrize("of", WRITES)
def test_observations_are_valid(server: Server, of: str) -> None:
    _check(server, WRITES[of])


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples folder is not beside the project")
def test_observations_of_the_published_mappings_are_valid(server: Server) -> None:
    for vector in read("pipeline", SAMPLES):
        _check(server, _published_mapping(vector))


def _published_mapping(vector: Vector) -> list[ObservationWrite]:
    device = load_device_mapping(mapping_text(vector["device"]))
    fhir = fhir_mapping_of(vector["fhir"])
    of = identity("e1")
    drafts: defaultdict[str, list[ObservationDraft]] = defaultdict(list)
    for index, event in enumerate(vector["events"]):
        for group in group_measurements(device.normalize(event_of(event, index)).measurements):
            for draft in convert(fhir, group).drafts:
                drafts[draft.identify(of)[1]].append(draft)
    assert drafts
    return [ObservationWrite(fold(meeting), of) for meeting in drafts.values()]


def _check(server: Server, writes: list[ObservationWrite]) -> None:
    for step in (Operation.CREATED, Operation.NO_OPERATION):
        assert [outcome.operation for outcome in write_all(server.url, *writes)] == [step] * len(writes)
    for each in writes:
        stored: dict[str, Any] = server.observation(each)
        Observation.model_validate_json(dump_resource(stored))
