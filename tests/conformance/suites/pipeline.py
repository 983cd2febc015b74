"""Messages through both mappings: measurements, errors, groups and their Observations."""

from typing import Any

from medtech.errors import MedTechError
from medtech.group.groups import group_measurements
from medtech.mapping.device import load_device_mapping
from medtech.model import DeviceEvent, Measurement, MeasurementGroup
from medtech.transform.observation import convert
from tests.conformance.compare import difference
from tests.conformance.observations import described, described_measurement, fhir_mapping_of, mapping_text, ticks_of
from tests.conformance.vectors import Vector

NOT_ORDERED = frozenset({"observations"})


def check(vector: Vector) -> str | None:
    expected = vector["expected"]
    device = load_device_mapping(mapping_text(vector["device"]))
    fhir = fhir_mapping_of(vector["fhir"])
    measurements: list[Measurement] = []
    failures: list[int] = []
    for index, event in enumerate(vector["events"]):
        try:
            normalized = device.normalize(event_of(event, index))
        except MedTechError:
            failures.append(index)
            continue
        measurements += normalized.measurements
        failures += [index for _ in normalized.failures]
    actual = {
        "measurements": [described_measurement(measurement) for measurement in measurements],
        "groups": [],
    }
    for group in group_measurements(measurements):
        drafts = convert(fhir, group).drafts
        actual["groups"].append(_described_group(group, [described(draft) for draft in drafts]))
    wanted = {
        "measurements": expected["measurements"],
        "groups": [{**group, "observations": _in_order(group["observations"])} for group in expected["groups"]],
    }
    return difference(wanted, actual) or _difference_of_failures(expected["errors"], failures)


def event_of(vector: dict[str, Any], index: int) -> DeviceEvent:
    return DeviceEvent(
        vector["Body"].encode(),
        vector["Properties"],
        vector["SystemProperties"],
        ticks_of(vector["EnqueuedTime"]),
        hub="00000000",
        partition="0",
        sequence_number=index,
    )


def _described_group(group: MeasurementGroup, observations: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": group.type,
        "deviceId": group.device_id,
        "patientId": group.patient_id,
        "encounterId": group.encounter_id,
        "correlationId": group.correlation_id,
        "observations": _in_order(observations),
    }


def _in_order(observations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups are in order of time here, in the vectors in order of arrival: nothing depends on it."""
    return sorted(observations, key=lambda observation: observation["boundary"])


def _difference_of_failures(expected: list[Any], failures: list[int]) -> str | None:
    return None if len(expected) == len(failures) else f"$.errors: expected {expected}, got {failures}"
