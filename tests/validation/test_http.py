"""`POST /api/validate`: what is accepted, what is refused, what is answered."""

import json
import os
import time
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import azure.functions as func
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from medtech.deadline import Deadline, within
from medtech.dotnet.json_reader import MAX_DEPTH
from medtech.mapping.device import load_device_mapping
from medtech.mapping.fhir import DEFAULT_OPTIONS, FhirOptions, load_fhir_mapping
from medtech.mapping.in_force import MappingStore
from medtech.storage.connection import Storage, Timeouts
from medtech.validation.http import answer
from tests.azurite import free_ports, nobody
from tests.faults import FaultProxy
from tests.validation.trace.documents import at

MAPPINGS = Path(__file__).parents[2] / "mappings"
DEVICE = (MAPPINGS / "deviceMapping.json").read_text()
FHIR = (MAPPINGS / "fhirDestinationMapping.json").read_text()
MESSAGES = json.loads((MAPPINGS / "sampleMessages.json").read_text())
MAX_BYTES = 96 * 1024

BROKEN = DEVICE.replace('"$..[?(@steps)]"', '"$..[?(@steps]"').replace('"timestampExpression"', '"timeExpression"', 1)


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def ask(
    storage: Storage,
    body: Any,
    device: str = "mappings/deviceMapping.json",
    fhir: str = "mappings/fhirDestinationMapping.json",
    options: FhirOptions = DEFAULT_OPTIONS,
) -> tuple[int, Any]:
    request = func.HttpRequest(
        method="POST", url="/api/validate", body=body if isinstance(body, bytes) else json.dumps(body).encode()
    )
    response = answer(
        request,
        MAX_BYTES,
        MappingStore("device", device, load_device_mapping, storage),
        MappingStore("fhir", fhir, partial(load_fhir_mapping, options=options), storage),
        options,
    )
    return response.status_code, json.loads(response.get_body())


def test_messages_that_there_is_no_time_for_are_refused(storage: Storage) -> None:
    with within(Deadline(0)):
        status, document = ask(storage, {"deviceMapping": DEVICE, "fhirMapping": FHIR, "deviceMessages": MESSAGES})
    assert (status, "Send fewer" in document["error"]) == (413, True)


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


def test_what_is_stored_comes_with_the_messages_it_is_of(storage: Storage) -> None:
    second = {**MESSAGES[0], "heartRate": 75}
    asked = {"deviceMapping": DEVICE, "fhirMapping": FHIR, "deviceMessages": [MESSAGES[0], MESSAGES[1], second]}
    _, document = ask(storage, asked)
    heart_rate, blood_pressure = document["storedObservations"]
    assert (heart_rate["messages"], blood_pressure["messages"]) == ([0, 2], [1])
    assert heart_rate["observation"]["valueQuantity"]["value"] == 75
    assert heart_rate["supersededReadings"] == 1
    assert [finding["name"] for finding in heart_rate["findings"]] == ["ReadingsMeet"]
    ids = [result["observations"][0]["id"] for result in document["deviceResults"]]
    assert ids[0] == ids[2] == heart_rate["observation"]["id"]


def test_a_finding_comes_with_its_place_and_its_fix(storage: Storage) -> None:
    fhir = FHIR.replace('"code": "/min"', '"code": "count/min"')
    _, document = ask(storage, {"fhirMapping": fhir})
    [finding] = document["templateResult"]["findings"]
    assert finding.keys() == {
        *("name", "message", "level", "stage", "line", "position"),
        *("mapping", "pointer", "range", "fix", "count", "messageIndex"),
    }
    assert finding["pointer"] == "/template/0/template/value/code"
    marked, fix = finding["range"], finding["fix"]
    line = fhir.splitlines()[marked["line"] - 1]
    assert line[marked["position"] : marked["endPosition"]] == '"count/min"'
    assert (fix["range"], fix["replacement"], fix["value"]) == (marked, '"/min"', "/min")


def test_the_lines_of_an_object_are_those_of_an_editor_s_layout(storage: Storage) -> None:
    fhir = json.loads(FHIR.replace('"code": "/min"', '"code": "count/min"'))
    _, document = ask(storage, {"fhirMapping": fhir})
    [finding] = document["templateResult"]["findings"]
    line = json.dumps(fhir, indent=2).splitlines()[finding["line"] - 1]
    assert '"count/min"' in line


def test_the_mappings_in_force_are_checked_too(storage: Storage, tmp_path: Path) -> None:
    """Their texts are not at hand: a finding has no range, and no fix for an editor."""
    fhir = tmp_path / "fhir.json"
    fhir.write_text(FHIR.replace('"code": "/min"', '"code": "count/min"'))
    _, document = ask(storage, {}, fhir=str(fhir))
    [finding] = document["templateResult"]["findings"]
    assert finding["name"] == "VitalSignUnit"
    assert (finding["line"], finding["range"], finding["fix"]) == (-1, None, None)


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


def test_a_message_that_is_too_costly_is_one_finding_at_its_expression(storage: Storage) -> None:
    body: Any = {"heartRate": "60"}
    for level in range(480):
        body = {"xyzw"[level % 4]: body}
    costly = DEVICE.replace('"$..[?(@heartRate)]"', '"$..x..y..z..w"')
    assert costly != DEVICE
    _, document = ask(storage, {"deviceMapping": costly, "deviceMessages": [body, MESSAGES[1]]})
    first, second = document["deviceResults"]
    assert not first["measurements"]
    [finding] = first["findings"]
    assert (finding["level"], finding["stage"]) == ("error", "Normalization")
    assert finding["line"] > 1
    assert "$..x..y..z..w" in finding["message"]
    assert second["measurements"]


def test_equal_findings_are_folded_with_their_count(storage: Storage) -> None:
    unmatched = [{"x": number} for number in range(3)]
    asked = {"deviceMapping": DEVICE, "deviceMessages": [MESSAGES[0], *unmatched], "aggregate": True}
    _, document = ask(storage, asked)
    [folded] = document["deviceResults"]
    assert folded["aggregatedCount"] == 3
    assert [each["level"] for each in folded["findings"]] == ["warning"]
    assert folded["deviceMessage"]["Body"] == '{"x": 0}'


def test_without_mappings_those_in_force_are_tried_and_their_state_is_shown(storage: Storage) -> None:
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


TEMPERATURE = json.dumps(
    {
        "templateType": "CollectionFhir",
        "template": [
            {
                "templateType": "CodeValueFhir",
                "template": {
                    "typeName": "bodyTemperature",
                    "periodInterval": 60,
                    "codes": [{"code": "8310-5", "system": "http://loinc.org"}],
                    "value": {"valueType": "Quantity", "valueName": "bodyTemperature", "unit": "Cel"},
                },
            }
        ],
    }
)
"""A single value in an interval of an hour."""

TEMPERATURES = [
    {"deviceId": "d", "endDate": f"2026-03-02T08:{minute}:00Z", "bodyTemperature": value}
    for minute, value in (("05", 36.6), ("20", 36.9), ("45", 37.4))
]


@pytest.mark.parametrize("from_store", [True, False], ids=["in force", "in the request"])
@pytest.mark.parametrize(
    ("options", "effective", "ids", "warned"),
    [
        (FhirOptions(), "effectivePeriod", 3, True),
        (FhirOptions(effective_date_time=True), "effectiveDateTime", 3, True),
        (FhirOptions(group_single_values=True), "effectivePeriod", 1, False),
    ],
    ids=["default", "dateTime", "group"],
)
def test_three_temperatures_of_an_hour_are_what_the_settings_make_of_them(
    storage: Storage, tmp_path: Path, from_store: bool, options: FhirOptions, effective: str, ids: int, warned: bool
) -> None:
    (tmp_path / "fhir.json").write_text(TEMPERATURE)
    asked = {} if from_store else {"deviceMapping": DEVICE, "fhirMapping": TEMPERATURE}
    _, document = ask(
        storage, {**asked, "deviceMessages": TEMPERATURES}, fhir=str(tmp_path / "fhir.json"), options=options
    )
    shown = [result["observations"] for result in document["deviceResults"]]
    assert [len(observations) for observations in shown] == [1, 1, 1]
    observations = [observation for [observation] in shown]
    assert [each["valueQuantity"]["value"] for each in observations] == [36.6, 36.9, 37.4]
    assert len({each["id"] for each in observations}) == ids
    assert all(effective in each for each in observations)
    warnings = [each["message"] for each in document["templateResult"]["findings"] if each["level"] == "warning"]
    assert any("'periodInterval' of the type 'bodyTemperature' has no effect" in each for each in warnings) is warned


def _resource(name: str, mapping: str) -> dict[str, Any]:
    return {"type": "Microsoft.HealthcareApis/workspaces", "properties": {name: {"content": json.loads(mapping)}}}


def test_mappings_may_be_what_the_resource_manager_hands_out(storage: Storage, tmp_path: Path) -> None:
    resources = _resource("deviceMapping", DEVICE), _resource("fhirMapping", FHIR)
    paths = tmp_path / "iotconnector.json", tmp_path / "fhirdestination.json"
    for path, resource in zip(paths, resources, strict=True):
        path.write_text(json.dumps(resource))
    asked = {"deviceMapping": resources[0], "fhirMapping": json.dumps(resources[1]), "deviceMessages": MESSAGES}
    _, of_request = ask(storage, asked)
    _, of_stores = ask(storage, {"deviceMessages": MESSAGES}, *map(str, paths))
    _, plain = ask(storage, {"deviceMapping": DEVICE, "fhirMapping": FHIR, "deviceMessages": MESSAGES})
    for document in (of_request, of_stores):
        assert document["templateResult"] == {"findings": []}
        assert _observations(document) == _observations(plain)


def _observations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**observation, "issued": ""} for result in document["deviceResults"] for observation in result["observations"]
    ]


def test_a_fault_in_a_resource_is_named_at_its_line(storage: Storage) -> None:
    text = json.dumps(_resource("deviceMapping", DEVICE), indent=2).replace('"timestampExpression"', '"timeExpression"')
    _, document = ask(storage, {"deviceMapping": text})
    lines = text.splitlines()
    places = [each["line"] for each in document["templateResult"]["findings"]]
    assert any('"timeExpression"' in lines[line - 1] for line in places)


def test_resources_in_the_wrong_place_are_one_error_each(storage: Storage) -> None:
    swapped = {"deviceMapping": _resource("fhirMapping", FHIR), "fhirMapping": _resource("deviceMapping", DEVICE)}
    _, document = ask(storage, swapped)
    findings = document["templateResult"]["findings"]
    assert [each["stage"] for each in findings] == ["Normalization", "FHIRConversion"]
    assert all("is the other mapping" in each["message"] and each["line"] > 0 for each in findings)


def test_storage_that_is_away_is_reported_and_not_a_failure() -> None:
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


def test_storage_that_is_away_is_looked_at_once() -> None:
    with FaultProxy("http://127.0.0.1:1") as proxy:
        proxy.answer(503, times=None)
        away = nobody(urlsplit(proxy.url).port, timeouts=Timeouts(connect_seconds=5, read_seconds=5, retries=0))
        status, document = ask(away, {"deviceMessages": MESSAGES})
        away.close()
    assert len(proxy.requests) == 1
    assert status == 200
    assert ["is away (503" in state["unavailable"] for state in document["mappingsInForce"]] == [True, True]


def test_a_mapping_that_is_held_back_is_shown_and_warned_about(storage: Storage, tmp_path: Path) -> None:
    older, newer = tmp_path / "older.json", tmp_path / "newer.json"
    older.write_text(DEVICE)
    newer.write_text(DEVICE + " ")
    os.utime(newer, (time.time() + 60,) * 2)
    assert MappingStore("device", str(newer), load_device_mapping, storage).in_force()
    _, document = ask(storage, {"deviceMessages": MESSAGES[:1]}, device=str(older))
    held_back = document["mappingsInForce"][0]["heldBack"]
    assert "mapping accept --kind device" in held_back
    [finding] = document["templateResult"]["findings"]
    assert (finding["level"], finding["message"]) == ("warning", held_back)
    assert document["deviceResults"][0]["measurements"]


def test_messages_are_traced_on_request(storage: Storage) -> None:
    asked = {"deviceMapping": DEVICE, "fhirMapping": FHIR, "deviceMessages": [*MESSAGES, {"Body": "{'other': 1}"}]}
    _, untraced = ask(storage, asked)
    assert all("trace" not in result for result in untraced["deviceResults"])
    status, document = ask(storage, {**asked, "trace": True})
    assert status == 200
    *results, unmatched = document["deviceResults"]
    assert (unmatched["trace"], unmatched["bodyAt"], unmatched["bodyIsText"]) == ([], "/Body", True)
    for result, sent in zip(results, MESSAGES, strict=True):
        assert [each["typeName"] for each in result["trace"]] == [each["type"] for each in result["measurements"]]
        for traced in result["trace"]:
            (match,) = traced["matches"]
            assert at({"Body": at(sent, result["bodyAt"])}, match["pointer"])
            texts = [found["result"] for found in match["expressions"]]
            assert set(texts) >= {
                value["value"] for value in result["measurements"][match["measurement"]]["properties"]
            }


def test_a_mapping_that_does_not_load_leaves_nothing_to_trace(storage: Storage) -> None:
    status, document = ask(storage, {"deviceMapping": BROKEN, "deviceMessages": MESSAGES, "trace": True})
    assert (status, document["deviceResults"]) == (200, [])


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe\x00", 400, "not JSON"),
        (b"[" * 100_000, 413, "VALIDATE_MAX_BYTES"),
        (b"[" * 60_000, 400, "nested more than 515 deep"),
        (f"\ufeff{'[' * 9_000}".encode("utf-16"), 400, "nested more than 515 deep"),
        (b'["' + b"[" * 60_000 + b'"]', 400, "not a JSON object"),
        (b"[" * 515 + b"]" * 515, 400, "not a JSON object"),
        ({"deviceMapping": nested(600)}, 400, "nested more than 515 deep"),
        ({"deviceMessages": [1] * 10_001}, 400, "10001 messages"),
        (b"[]", 400, "not a JSON object"),
        ({"deviceMaping": ""}, 400, "deviceMaping"),
        ({"deviceMapping": 1}, 400, "deviceMapping"),
        ({"deviceMessages": {}}, 400, "deviceMessages"),
        ({"deviceMessages": [{"Body": 1, "Properties": []}]}, 400, "Message 0"),
        ({"deviceMessages": [{"Body": 1, "Properties": {"n": 10**30}}]}, 400, "'Properties' holds what no event can"),
        ({"deviceMessages": [{"Body": 1, "SystemProperties": {"n": "\ud800"}}]}, 400, "'SystemProperties' holds"),
        ({"deviceMessages": [{"Body": 1, "Properties": nested(250)}]}, 400, "'Properties' holds"),
        ({"\ud800": 1}, 400, "'\\ud800' is not a property"),
        ({"aggregate": "yes"}, 400, "aggregate"),
        ({"trace": 1}, 400, "'trace' is neither true nor false"),
        ({"trace": True, "aggregate": True}, 400, "Send one of the two"),
    ],
)
def test_a_bad_request_is_answered_with_what_is_wrong(storage: Storage, body: Any, status: int, words: str) -> None:
    answered, document = ask(storage, body)
    assert answered == status
    assert words in document["error"]


@pytest.mark.parametrize("body", ["", " ", "{", "\ud800", "[" * 50_000, "\x00", "1 2", "NaN"])
def test_any_body_of_a_message_gets_an_answer(storage: Storage, body: str) -> None:
    status, document = ask(storage, {"deviceMapping": DEVICE, "fhirMapping": FHIR, "deviceMessages": [{"Body": body}]})
    assert status == 200
    assert document["deviceResults"][0]["measurements"] == []
    assert document["deviceResults"][0]["findings"]


@pytest.mark.parametrize("encoded", ["//79", "", "====", "AAAA"])
def test_any_bytes_of_a_dead_letter_get_an_answer(storage: Storage, encoded: str) -> None:
    asked = {"deviceMapping": DEVICE, "fhirMapping": FHIR, "deviceMessages": [{"bodyBase64": encoded}]}
    status, document = ask(storage, asked)
    assert status == 200
    assert document["deviceResults"][0]["measurements"] == []


@pytest.mark.parametrize("place", ['"typeName": "', '"typeMatch'], ids=["a type", "a name"])
def test_half_a_surrogate_pair_in_a_mapping_gets_an_answer(storage: Storage, place: str) -> None:
    device = DEVICE.replace(place, f"{place}\ud800", 1)
    status, document = ask(storage, {"deviceMapping": device, "fhirMapping": FHIR})
    assert status == 200
    assert any("?" in each["message"] for each in document["templateResult"]["findings"])


DEEP_JMESPATH = [
    "Body.left == Body.right",
    "Body.left != Body.k",
    "contains(Body.pair, Body.right)",
    "contains(to_string(Body), 'n')",
    "to_string(sort_by(Body.pair, &to_string(@))[0])",
    "to_string(max_by(Body.pair, &length(to_string(@))))",
    "to_string(merge(Body, {more: Body.left}))",
    "to_string(Body.*)",
    "to_string(Body.pair[?@ == `1`])",
    "join('', map(&to_string(@), Body.pair))",
    "to_string([Body, {a: Body}])",
]
DEEP_JSONPATH = ["$.Body..end", "$.Body..[?(@.end)].end", "$..[?(@.end == $.Body.nowhere)].k", "$.Body[?(@..end)]..end"]


def template(number: int, expression: str, language: str) -> dict[str, Any]:
    read = {
        "typeName": f"type{number}",
        "typeMatchExpression": "$..[?(@.matches)]",
        "deviceIdExpression": "$.Body.deviceId",
        "timestampExpression": "$.Body.time",
        "values": [{"valueName": "v", "valueExpression": {"value": expression, "language": language}}],
    }
    return {"templateType": "CalculatedContent", "template": read}


@pytest.mark.parametrize("shape", ["[{}]", '{{"n":{}}}'], ids=["arrays", "objects"])
@pytest.mark.parametrize("depth", [3, 498, MAX_DEPTH])
def test_every_template_of_a_message_works_however_deep_it_is(storage: Storage, shape: str, depth: int) -> None:
    expressions = [(text, "JmesPath") for text in DEEP_JMESPATH] + [(text, "JsonPath") for text in DEEP_JSONPATH]
    templates = [template(number, *expression) for number, expression in enumerate(expressions)]
    deep = "1"
    for _ in range(depth - 2):
        deep = shape.format(deep)
    # The element of `pair` and the object around `end` are at the deepest level.
    body = (
        f'{{"deviceId": "d", "time": "2026-03-02T08:00:00Z", "k": 1, "left": {shape.format(deep)}, '
        f'"right": {shape.format(deep)}, "pair": [{deep}, 1], "matches": [], "last": [{{"end": 1}}]}}'
    )
    mapping = {"templateType": "CollectionContent", "template": templates}
    asked = {"deviceMapping": mapping, "deviceMessages": [{"Body": body}, json.loads(body)]}
    status, document = ask(storage, asked)
    assert status == 200
    for result in document["deviceResults"]:
        assert [finding["message"] for finding in result["findings"]] == []
        assert len(result["measurements"]) == len(expressions)


def _deep(depth: int, inner: Any) -> bytes:
    """Written by hand: the writers of JSON recurse."""
    return b'{"a":' * depth + json.dumps(inner).encode() + b"}" * depth


_MANY = st.sampled_from([[], [1] * 5_000, ["[{"] * 2_000, [[]] * 2_000, [{"a": {}}] * 1_000, {"": [1] * 3_000}])
_PLACES = st.sampled_from(
    [
        b"%s",
        b'{"deviceMapping":%s}',
        b'{"fhirMapping":{"templateType":"CollectionFhir","template":[%s]}}',
        b'{"deviceMapping":' + DEVICE.encode() + b',"deviceMessages":[%s]}',
        b'{"deviceMapping":' + DEVICE.encode() + b',"deviceMessages":[{"Body":%s}]}',
        b'{"deviceMapping":' + DEVICE.encode() + b',"deviceMessages":[{"Body":1,"Properties":%s}]}',
        b'{"deviceMapping":' + DEVICE.encode() + b',"deviceMessages":[%s],"aggregate":true}',
        b'{"deviceMapping":' + DEVICE.encode() + b',"deviceMessages":[%s],"trace":true}',
        b'{"deviceMapping":' + DEVICE.encode() + b',"deviceMessages":[{"deviceId":"d","steps":%s}],"trace":true}',
    ]
)


@given(place=_PLACES, depth=st.integers(0, 600) | st.just(9_000), many=_MANY, open_ended=st.booleans())
@example(place=b'{"deviceMapping":%s}', depth=510, many=[1] * 5_000, open_ended=False)
@example(place=b'{"deviceMapping":%s}', depth=9_000, many=[], open_ended=False)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_memory_is_proportional_to_the_request_however_deep_and_wide_it_is(
    storage: Storage, place: bytes, depth: int, many: Any, open_ended: bool
) -> None:
    body = place % _deep(depth, many)
    tracemalloc.start()
    try:
        status, document = ask(storage, body[:-1] if open_ended else body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert status == 200 or document["error"]
    # A value of two bytes is a node of 200 with its place, or an issue; indented, one at 500 levels took a kilobyte.
    assert peak < 400 * len(body) + 4_000_000
