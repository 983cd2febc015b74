"""Messages for the start mapping become Observations: identity, content, merging, and an empty buffer."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from dev.processes import ROOT
from dev.stack import LocalStack
from tests.end_to_end.ward import DAY, QUIET, Version, Ward, pulse, steps

SYSTEM = "https://azure.microsoft.com/en-us/services/iomt-fhir-connector/"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
SAMPLES = json.loads((ROOT / "mappings" / "sampleMessages.json").read_text())


def concept(text: str, *codings: tuple[str, str, str]) -> dict[str, Any]:
    """A CodeableConcept of (system, code, display)."""
    return {"coding": [dict(zip(("system", "code", "display"), each, strict=True)) for each in codings], "text": text}


def category(code: str, display: str) -> list[dict[str, Any]]:
    return [concept(display, ("http://terminology.hl7.org/CodeSystem/observation-category", code, display))]


def typed(name: str, *codings: tuple[str, str]) -> dict[str, Any]:
    """The codes of the mapping, all LOINC, followed by the service's own."""
    return concept(name, *((LOINC, *coding) for coding in codings), (SYSTEM, name, name))


def quantity(value: float, unit: str, code: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": code}


def period(start: str, end: str) -> dict[str, str]:
    return {"start": f"{DAY}T{start}Z", "end": f"{DAY}T{end}Z"}


def samples(values: dict[int, int]) -> dict[str, Any]:
    """The steps of an hour, minute by minute."""
    data = " ".join(str(values.get(minute, "E")) for minute in range(60))
    return {"origin": {"value": 0, "unit": "{steps}"}, "period": 60000, "dimensions": 1, "data": data}


def observation(device: str, type_name: str, segment: str, **content: Any) -> dict[str, Any]:
    """An Observation in Lookup mode without `meta` and `issued`."""
    patient = f"{device}-wearer"
    value = f"{patient}.{device}.{type_name}.{segment}"
    return {
        "resourceType": "Observation",
        "id": sha256(f"{SYSTEM}_{value}".encode()).hexdigest(),
        "identifier": [{"system": SYSTEM, "value": value}],
        "status": "final",
        "subject": {"reference": f"Patient/{patient}"},
        "device": {"reference": f"Device/{device}"},
        **content,
    }


VITAL_SIGNS = category("vital-signs", "Vital Signs")
OXYGEN = ("2708-6", "Oxygen saturation in Arterial blood")
PULSE_OXIMETRY = ("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry")

EXPECTED = {
    "device-01": [
        observation(
            "device-01",
            "bloodPressure",
            "20260302080005Z.20260302080005Z",
            category=VITAL_SIGNS,
            code=typed("bloodPressure", ("85354-9", "Blood pressure panel with all children optional")),
            effectivePeriod=period("08:00:05.5000000", "08:00:05.5000000"),
            component=[
                {
                    "code": typed("systolic", ("8480-6", "Systolic blood pressure")),
                    "valueQuantity": quantity(121, "mmHg", "mm[Hg]"),
                },
                {
                    "code": typed("diastolic", ("8462-4", "Diastolic blood pressure")),
                    "valueQuantity": quantity(79, "mmHg", "mm[Hg]"),
                },
            ],
        ),
        observation(
            "device-01",
            "heartRate",
            "20260302080000Z.20260302080000Z",
            category=VITAL_SIGNS,
            code=typed("heartRate", ("8867-4", "Heart rate")),
            effectivePeriod=period("08:00:00.2500000", "08:00:00.2500000"),
            valueQuantity=quantity(71, "beats/minute", "/min"),
        ),
    ],
    "device-02": [
        observation(
            "device-02",
            "bodyTemperature",
            "20260302080010Z.20260302080010Z",
            category=VITAL_SIGNS,
            code=typed("bodyTemperature", ("8310-5", "Body temperature")),
            effectivePeriod=period("08:00:10.0000000", "08:00:10.0000000"),
            valueQuantity=quantity(36.6, "Cel", "Cel"),
        ),
        observation(
            "device-02",
            "oxygenSaturation",
            "20260302080010Z.20260302080010Z",
            category=VITAL_SIGNS,
            code=typed("oxygenSaturation", OXYGEN, PULSE_OXIMETRY),
            effectivePeriod=period("08:00:10.0000000", "08:00:10.0000000"),
            valueQuantity=quantity(97.5, "%", "%"),
        ),
        observation(
            "device-02",
            "steps",
            "20260302080000Z.20260302085959Z",
            category=category("activity", "Activity"),
            code=typed("steps", ("55423-8", "Number of steps in unspecified time Pedometer")),
            effectivePeriod=period("08:00:00.0000000", "08:59:59.9999999"),
            valueSampledData=samples({1: 54}),
        ),
    ],
}


def without_moment(resource: dict[str, Any]) -> dict[str, Any]:
    """A resource without the elements that depend on when it was written."""
    return {name: value for name, value in resource.items() if name not in ("meta", "issued")}


def test_the_sample_messages_become_these_observations_and_leave_the_buffer(ward: Ward) -> None:
    for device in EXPECTED:
        ward.admit(device)
    positions = ward.deliver(SAMPLES)
    assert [len(ward.waiting(device)) for device in EXPECTED] == [2, 3]

    ward.flush()

    assert {device: [without_moment(each) for each in ward.observations(device)] for device in EXPECTED} == EXPECTED
    assert [ward.waiting(device) for device in EXPECTED] == [[], []]
    assert ward.letters(positions) == []


def test_a_message_that_comes_twice_changes_nothing(ward: Ward, device: str) -> None:
    ward.admit(device)
    for _ in range(2):
        ward.deliver([pulse(device, "08:00:00", 71), steps(device, "08:01:00", 54)])
        ward.flush()
    assert ward.stored(device) == [("heartRate", 71, 1), ("steps", {1: "54"}, 1)]
    assert ward.waiting(device) == []


def test_a_later_reading_of_the_hour_is_merged_into_its_observation(ward: Ward, device: str) -> None:
    ward.admit(device)
    ward.deliver([steps(device, "08:01:00", 54)])
    ward.flush()
    ward.deliver([steps(device, "08:03:30", 17)])
    ward.flush()
    [stored] = ward.observations(device)
    assert ward.history(stored["id"]) == [
        Version(1, "final", {1: "54"}),
        Version(2, "amended", {1: "54", 3: "17"}),
    ]


def test_readings_of_several_partitions_meet_in_one_write(ward: Ward, device: str) -> None:
    ward.admit(device)
    for partition in ("0", "1", "2", "3"):
        ward.send([steps(device, f"08:0{partition}:00", 10 + int(partition))], partition)
    ward.stack.wait_until_read()
    ward.flush()
    assert ward.stored(device) == [("steps", {0: "10", 1: "11", 2: "12", 3: "13"}, 1)]


@pytest.fixture(scope="module")
def creating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """A stack that creates the Patients and Devices it does not find."""
    settings = {"RESOURCE_IDENTITY_RESOLUTION_TYPE": "Create", "DEFAULT_DEVICE_IDENTIFIER_SYSTEM": "urn:devices"}
    folder: Path = tmp_path_factory.mktemp("creating")
    with LocalStack(folder, settings=QUIET | settings) as stack, Ward(stack) as ward:
        yield ward


def test_create_mode_makes_patient_and_device_once(creating: Ward, device: str) -> None:
    patient_id, device_id = sha256(b"_wearer-1").hexdigest(), sha256(f"urn:devices_{device}".encode()).hexdigest()
    for time, beats in (("08:00:00", 71), ("08:05:00", 75)):
        creating.deliver([pulse(device, time, beats, patientId="wearer-1")])
        creating.flush()

    patient, made = creating.get(f"/Patient/{patient_id}"), creating.get(f"/Device/{device_id}")
    assert patient["identifier"] == [{"value": "wearer-1"}]
    assert made["identifier"] == [{"system": "urn:devices", "value": device}]
    assert made["patient"] == {"reference": f"Patient/{patient_id}"}
    assert [patient["meta"]["versionId"], made["meta"]["versionId"]] == ["1", "1"]
    assert creating.stored(device_id) == [("heartRate", 71, 1), ("heartRate", 75, 1)]
    assert {each["subject"]["reference"] for each in creating.observations(device_id)} == {f"Patient/{patient_id}"}


def test_create_mode_links_a_device_that_has_no_patient(creating: Ward, device: str) -> None:
    creating.put({"resourceType": "Patient", "id": "ada", "identifier": [{"value": "wearer-2"}]})
    identifier = [{"system": "urn:devices", "value": device}]
    creating.put({"resourceType": "Device", "id": "bare", "identifier": identifier, "lotNumber": "7"})
    creating.deliver([pulse(device, "08:00:00", 71, patientId="wearer-2")])
    creating.flush()
    linked = creating.get("/Device/bare")
    assert (linked["patient"], linked["lotNumber"]) == ({"reference": "Patient/ada"}, "7")
    assert creating.stored("bare") == [("heartRate", 71, 1)]


def test_create_mode_keeps_a_reading_that_names_another_patient(creating: Ward, device: str) -> None:
    good = pulse(device, "08:00:00", 71, patientId="wearer-3")
    [_, foreign] = creating.deliver([good, pulse(device, "08:05:00", 75, patientId="wearer-4")])
    creating.flush()
    [letter] = creating.letters([foreign])
    assert letter.error == "PatientDeviceMismatch"
    assert creating.stored(sha256(f"urn:devices_{device}".encode()).hexdigest()) == [("heartRate", 71, 1)]
