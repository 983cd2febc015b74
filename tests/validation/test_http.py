"""`POST /api/validate`: what is asked, what is refused, what comes back."""

import json
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from medtech.mapping.device import load_device_mapping
from medtech.mapping.fhir import load_fhir_mapping
from medtech.mapping.in_force import MappingStore
from medtech.storage.connection import Storage
from medtech.validation.http import answer
from tests.azurite import free_ports

MAPPINGS = Path(__file__).parents[2] / "mappings"
DEVICE = (MAPPINGS / "deviceMapping.json").read_text()
FHIR = (MAPPINGS / "fhirDestinationMapping.json").read_text()
MESSAGES = json.loads((MAPPINGS / "sampleMessages.json").read_text())
MAX_BYTES = 64 * 1024

BROKEN = DEVICE.replace('"$..[?(@steps)]"', '"$..[?(@steps]"').replace('"timestampExpression"', '"timeExpression"', 1)


@pytest.fixture(scope="module")
def storage(azurite: str) -> Storage:
    return Storage("AzureWebJobsStorage", {"AzureWebJobsStorage": azurite})


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def ask(storage: Storage, body: Any, device: str = "mappings/deviceMapping.json") -> tuple[int, Any]:
    request = func.HttpRequest(
        method="POST", url="/api/validate", body=body if isinstance(body, bytes) else json.dumps(body).encode()
    )
    response = answer(
        request,
        MAX_BYTES,
        MappingStore("device", device, load_device_mapping, storage),
        MappingStore("fhir", "mappings/fhirDestinationMapping.json", load_fhir_mapping, storage),
    )
    return response.status_code, json.loads(response.get_body())


def test_sample_messages_become_measurements_and_observations(storage: Storage) -> None:
    status, document = ask(storage, {"deviceMapping": DEVICE, "fhirMapping": FHIR, "deviceMessages": MESSAGES})
    assert status == 200
    assert document["templateResult"] == {"findings": []}
    results = document["deviceResults"]
    assert [[each["type"] for each in result["measurements"]] for result in results] == [
        ["heartRate"],
        ["bloodPressure"],
        ["oxygenSaturation", "bodyTemperature"],
        ["steps"],
    ]
    assert all(result["findings"] == [] for result in results)
    heart_rate = results[0]["observations"][0]
    assert heart_rate["valueQuantity"] == {
        "value": 71,
        "unit": "beats/minute",
        "system": "http://unitsofmeasure.org",
        "code": "/min",
    }
    assert heart_rate["subject"] == {"reference": "Patient/patId"}
    assert heart_rate["device"] == {"reference": "Device/devId"}
    assert len(results[1]["observations"][0]["component"]) == 2


def test_every_fault_of_a_mapping_comes_with_its_line(storage: Storage) -> None:
    _, document = ask(storage, {"deviceMapping": BROKEN, "fhirMapping": FHIR, "deviceMessages": MESSAGES})
    lines = BROKEN.splitlines()
    errors = [each for each in document["templateResult"]["findings"] if each["level"] == "error"]
    assert {each["stage"] for each in errors} == {"Normalization"}
    assert any('"$..[?(@steps]"' in lines[each["line"] - 1] for each in errors)
    assert any('"timeExpression"' in lines[each["line"] - 1] for each in errors)
    assert document["deviceResults"] == []


def test_templates_beside_a_broken_one_are_compared(storage: Storage) -> None:
    broken = FHIR.replace('"valueType": "SampledData"', '"valueType": "Sampled"')
    device = DEVICE.replace('"valueName": "heartRate"', '"valueName": "rate"')
    _, document = ask(storage, {"deviceMapping": device, "fhirMapping": broken})
    findings = document["templateResult"]["findings"]
    assert [each["stage"] for each in findings if each["level"] == "error"] == ["FHIRConversion"]
    warnings = [each["message"] for each in findings if each["level"] == "warning"]
    assert any("'rate'" in warning for warning in warnings)
    assert not any("'systolic'" in warning for warning in warnings)


def test_a_mapping_may_be_an_object_and_a_message_an_envelope(storage: Storage) -> None:
    envelope = {"Body": MESSAGES[0], "Properties": {"a": "b"}, "SystemProperties": {}}
    as_text = {"Body": json.dumps(MESSAGES[0])}
    asked = {"deviceMapping": json.loads(DEVICE), "deviceMessages": [envelope, as_text]}
    _, document = ask(storage, asked)
    first, second = document["deviceResults"]
    assert first["measurements"][0]["properties"] == [{"name": "heartRate", "value": "71"}]
    assert first["measurements"] == second["measurements"]
    assert first["observations"] == []


def test_equal_findings_are_folded_with_their_count(storage: Storage) -> None:
    unmatched = [{"x": number} for number in range(3)]
    asked = {"deviceMapping": DEVICE, "deviceMessages": [MESSAGES[0], *unmatched], "aggregate": True}
    _, document = ask(storage, asked)
    [folded] = document["deviceResults"]
    assert folded["aggregatedCount"] == 3
    assert [each["level"] for each in folded["findings"]] == ["warning"]
    assert folded["deviceMessage"]["Body"] == '{"x": 0}'


def test_without_mappings_the_apps_own_are_tried_and_their_state_is_told(storage: Storage) -> None:
    _, document = ask(storage, {"deviceMessages": MESSAGES[:1]})
    states = document["mappingsInForce"]
    assert [state["kind"] for state in states] == ["device", "fhir"]
    assert all(state["inForce"] and not state["newerRefused"] for state in states)
    assert len(document["deviceResults"][0]["observations"]) == 1


def test_a_newer_mapping_that_was_refused_is_named_with_its_faults(storage: Storage, tmp_path: Path) -> None:
    ask(storage, {})
    broken = tmp_path / "broken.json"
    broken.write_text(BROKEN)
    _, document = ask(storage, {"deviceMessages": MESSAGES[:1]}, device=str(broken))
    assert document["mappingsInForce"][0]["newerRefused"]
    assert any(each["line"] > 0 for each in document["templateResult"]["findings"])
    assert document["deviceResults"][0]["measurements"]


def test_storage_that_is_away_is_told_and_not_a_failure() -> None:
    [port] = free_ports(1)
    nowhere = f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;TableEndpoint=http://127.0.0.1:{port}/a;"
    away = Storage("AzureWebJobsStorage", {"AzureWebJobsStorage": nowhere})
    status, document = ask(away, {"deviceMessages": MESSAGES})
    away.close()
    assert status == 200
    assert ["cannot be reached" in state["unavailable"] for state in document["mappingsInForce"]] == [True, True]
    findings = document["templateResult"]["findings"]
    assert [(each["level"], each["stage"]) for each in findings] == [
        ("error", "Normalization"),
        ("error", "FHIRConversion"),
    ]
    assert document["deviceResults"] == []


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 400, "no JSON"),
        (b"{", 400, "no JSON"),
        (b"\xff\xfe\x00", 400, "no JSON"),
        (b"[" * 100_000, 413, "VALIDATE_MAX_BYTES"),
        (b"[" * 60_000, 400, "no JSON"),
        (b"[]", 400, "no JSON object"),
        ({"deviceMaping": ""}, 400, "deviceMaping"),
        ({"deviceMapping": 1}, 400, "deviceMapping"),
        ({"deviceMessages": {}}, 400, "deviceMessages"),
        ({"deviceMessages": [{"Body": 1, "Properties": []}]}, 400, "Message 0"),
        ({"deviceMessages": [{"Body": 1, "Properties": {"n": 10**30}}]}, 400, "'Properties' holds what no event does"),
        ({"deviceMessages": [{"Body": 1, "SystemProperties": {"n": "\ud800"}}]}, 400, "'SystemProperties' holds"),
        ({"deviceMessages": [{"Body": 1, "Properties": nested(250)}]}, 400, "'Properties' holds"),
        ({"\ud800": 1}, 400, "'\\ud800' is no property"),
        ({"aggregate": "yes"}, 400, "aggregate"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(storage: Storage, body: Any, status: int, told: str) -> None:
    answered, document = ask(storage, body)
    assert answered == status
    assert told in document["error"]


@pytest.mark.parametrize("body", ["", " ", "{", "\ud800", "[" * 50_000, "\x00", "1 2", "NaN"])
def test_any_body_of_a_message_gets_an_answer(storage: Storage, body: str) -> None:
    status, document = ask(storage, {"deviceMapping": DEVICE, "fhirMapping": FHIR, "deviceMessages": [{"Body": body}]})
    assert status == 200
    assert document["deviceResults"][0]["measurements"] == []
    assert document["deviceResults"][0]["findings"]


@pytest.mark.parametrize("place", ['"typeName": "', '"typeMatch'], ids=["a type", "a name"])
def test_half_a_surrogate_pair_in_a_mapping_gets_an_answer(storage: Storage, place: str) -> None:
    device = DEVICE.replace(place, f"{place}\ud800", 1)
    status, document = ask(storage, {"deviceMapping": device, "fhirMapping": FHIR})
    assert status == 200
    assert any("?" in each["message"] for each in document["templateResult"]["findings"])
