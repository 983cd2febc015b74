"""Messages through a loaded mapping: bad input, bounds, and nothing parsed but the message."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medtech.dotnet import ticks
from medtech.jmespath import expression
from medtech.jsonpath import path
from medtech.mapping import device, template_reader
from medtech.mapping.device import DeviceMapping, load_device_mapping
from medtech.model import DeviceEvent, Normalized
from tests.conformance.compare import difference
from tests.conformance.observations import described_measurement
from tests.conformance.vectors import read

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
"""Published mappings, not ours to copy: where they lie beside a clone they are read, and `ward.json` is read always."""

JSONPATH = {
    "typeName": "heartRate",
    "typeMatchExpression": "$..[?(@heartRate)]",
    "deviceIdExpression": "$.matchedToken.deviceId",
    "timestampExpression": "$.matchedToken.endDate",
    "values": [{"valueName": "hr", "valueExpression": "$.matchedToken.heartRate", "required": True}],
}
READING = {"heartRate": "78", "endDate": "2019-02-01T22:46:01.875Z", "deviceId": "d"}


def _mapping(*templates: dict[str, Any], kind: str = "CalculatedContent") -> DeviceMapping:
    containers = [{"templateType": kind, "template": template} for template in templates]
    return load_device_mapping(json.dumps({"templateType": "CollectionContent", "template": containers}))


def _event(body: Any, properties: dict[str, Any] | None = None, system: dict[str, Any] | None = None) -> DeviceEvent:
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return DeviceEvent(encoded, properties or {}, system or {}, 7, "00000000", "3", 11)


def _values(outcome: Normalized) -> list[dict[str, str]]:
    assert not outcome.failures, [str(failure.error) for failure in outcome.failures]
    return [dict(measurement.properties) for measurement in outcome.measurements]


def test_a_measurement_carries_its_source() -> None:
    mapping = _mapping(JSONPATH, {**JSONPATH, "typeName": "again"})
    measurements, _ = mapping.normalize(_event([READING, {"x": 1}, READING]))
    assert [(each.type, each.template, each.match) for each in measurements] == [
        ("heartRate", 0, 0),
        ("heartRate", 0, 1),
        ("again", 1, 0),
        ("again", 1, 1),
    ]
    assert {(each.ingestion_time, each.partition, each.sequence_number) for each in measurements} == {(7, "3", 11)}
    assert ticks.format_iso(measurements[0].occurrence_time) == "2019-02-01T22:46:01.8750000Z"


def test_templates_and_matches_stand_alone() -> None:
    fails = {**JSONPATH, "typeMatchExpression": {"value": "abs('x')", "language": "JmesPath"}}
    mapping = _mapping(fails, JSONPATH)
    measurements, failures = mapping.normalize(_event([READING, {**READING, "deviceId": None}, READING]))
    assert [(failure.template, failure.match) for failure in failures] == [(0, -1), (1, 1)]
    assert [each.match for each in measurements] == [0, 2]
    assert "'typeMatchExpression'" in failures[0].error.message


@pytest.mark.parametrize("body", [b"{bad", b"\xff\xfe\xfd", b"[1,,2", b"{} {}", b"{" * 5000])
def test_a_body_that_is_no_json_is_one_failure_of_the_message(body: bytes) -> None:
    measurements, failures = _mapping(JSONPATH).normalize(_event(body))
    assert not measurements
    assert [(failure.template, failure.match, failure.error.name) for failure in failures] == [(-1, -1, "NotSupported")]


@pytest.mark.parametrize("body", [b"", b"null", b"5", b'"heartRate"', b"[]", b"{}", b"[[[]]]"])
def test_a_body_without_readings_matches_nothing(body: bytes) -> None:
    assert _mapping(JSONPATH).normalize(_event(body)) == Normalized([], [])


def test_a_document_200_deep() -> None:
    body: Any = READING
    for level in range(200):
        body = [body] if level % 2 else {"inner": body}
    assert _values(_mapping(JSONPATH).normalize(_event(body))) == [{"hr": "78"}]
    deep = {**JSONPATH, "typeMatchExpression": "$..heartRate", "deviceIdExpression": "$..deviceId"}
    mapping = _mapping({**deep, "timestampExpression": "$..endDate", "values": []})
    assert _values(mapping.normalize(_event(body))) == [{}]


def test_a_string_of_a_mebibyte_is_carried_and_blank_ones_are_none() -> None:
    mapping = _mapping(JSONPATH)
    text = "x" * 2**20
    assert _values(mapping.normalize(_event({**READING, "heartRate": text}))) == [{"hr": text}]
    _, failures = mapping.normalize(_event({**READING, "heartRate": " " * 2**20}))
    assert [failure.match for failure in failures] == [0]


def test_ten_thousand_matches_each_with_its_number() -> None:
    body = [{**READING, "heartRate": number, "deviceId": "" if number % 2 else "d"} for number in range(10_000)]
    measurements, failures = _mapping(JSONPATH).normalize(_event(body))
    assert [each.match for each in measurements] == list(range(0, 10_000, 2))
    assert [each.match for each in failures] == list(range(1, 10_000, 2))


def test_a_thousand_templates_find_theirs() -> None:
    templates = [
        {**JSONPATH, "typeName": f"t{number}", "typeMatchExpression": f"$..[?(@t{number} && @heartRate)]"}
        for number in range(1000)
    ]
    mapping = _mapping(*templates)
    measurements, failures = mapping.normalize(_event({**READING, "t7": 1, "t900": 2}))
    assert [(each.type, each.template) for each in measurements] == [("t7", 7), ("t900", 900)]
    assert not failures


def test_a_regular_expression_that_backtracks_is_stopped() -> None:
    slow = {**JSONPATH, "typeName": "slow", "typeMatchExpression": "$..[?(@heartRate =~ /(a|aa)+$/)]"}
    readings = [{**READING, "heartRate": "a" * 80 + "!"}] * 50
    measurements, failures = _mapping(slow, JSONPATH).normalize(_event(readings))
    assert not measurements
    assert [failure.error.name for failure in failures] == ["MessageTooCostly"]


def test_of_equal_names_the_last_counts() -> None:
    body = json.dumps(READING).replace("{", '{"heartRate": "1", "deviceId": {},', 1).encode()
    assert _values(_mapping(JSONPATH).normalize(_event(body))) == [{"hr": "78"}]


def test_half_characters_a_byte_order_mark_and_nul_in_names() -> None:
    mapping = _mapping(
        {
            **JSONPATH,
            "typeMatchExpression": "$..[?(@['nul\0'])]",
            "values": [
                {"valueName": "v\0", "valueExpression": "$.matchedToken['nul\0']"},
                {"valueName": "metadata", "valueExpression": "$.Properties.half"},
            ],
        }
    )
    body = b"\xef\xbb\xbf" + json.dumps({**READING, "nul\0": "\ud83d half"}).encode()
    (measurement,), failures = mapping.normalize(_event(body, {"half": "\ude00 other"}))
    assert measurement.properties == (("v\0", "\ufffd half"), ("metadata", "\ufffd other"))
    assert not failures
    repr(measurement).encode()


def test_metadata_stays_text_whether_it_is_read_or_matched() -> None:
    time_text = "2020-01-01T00:00:00Z"
    metadata = {"deviceId": time_text, "endDate": time_text, "heartRate": time_text}
    by_match = _mapping(JSONPATH)
    by_path = _mapping(
        {
            **JSONPATH,
            "typeMatchExpression": "$.Body",
            "deviceIdExpression": "$.Properties.deviceId",
            "timestampExpression": "$.SystemProperties.endDate",
            "values": [{"valueName": "hr", "valueExpression": "$.SystemProperties.heartRate"}],
        }
    )
    whole = _mapping(
        {
            "typeName": "heartRate",
            "typeMatchExpression": "$..[?(@Body)]",
            "values": [{"valueName": "hr", "valueExpression": "$.SystemProperties.heartRate"}],
        },
        kind="IotJsonPathContent",
    )
    assert _values(by_match.normalize(_event({}, metadata))) == [{"hr": time_text}]
    assert _values(by_match.normalize(_event({}, {}, {"nested": metadata}))) == [{"hr": "01/01/2020 00:00:00"}]
    assert _values(by_path.normalize(_event({}, metadata, metadata))) == [{"hr": time_text}]
    system = {**metadata, "iothub-connection-device-id": "d", "iothub-enqueuedtime": time_text}
    assert _values(whole.normalize(_event({}, {}, system))) == [{"hr": time_text}]


@pytest.fixture
def nothing_may_be_parsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[DeviceMapping, DeviceEvent]]]:
    """Every message of the vectors, with its mapping loaded; from then on whatever parses or compiles raises."""
    loaded = []
    for vector in read("normalize"):
        event = vector["event"]
        mapping = load_device_mapping(json.dumps(vector["mapping"]))
        loaded.append((mapping, _event(event["Body"].encode(), event["Properties"], event["SystemProperties"])))

    def refuse(*_: object) -> None:
        raise AssertionError("an expression was parsed while a message was read")

    for module, names in [
        (template_reader, ("compile_path", "compile_expression")),
        (device, ("compile_extraction",)),
        (path, ("parse_path", "compile_path")),
        (expression, ("parse", "compile_expression")),
    ]:
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    yield loaded


def test_traffic_passes_without_the_expression_parsers(
    nothing_may_be_parsed: list[tuple[DeviceMapping, DeviceEvent]],
) -> None:
    measured = sum(len(mapping.normalize(event).measurements) for mapping, event in nothing_may_be_parsed)
    assert measured > 300


def test_a_wards_messages_become_its_measurements() -> None:
    ward = json.loads((Path(__file__).parent / "ward.json").read_text(encoding="utf-8"))
    mapping = load_device_mapping(json.dumps(ward["mapping"]))
    outcomes = [
        mapping.normalize(_event(message["body"], system=message["systemProperties"])) for message in ward["messages"]
    ]
    assert [
        {
            "type": each.type,
            "device": each.device_id,
            "time": ticks.format_iso(each.occurrence_time),
            "patient": each.patient_id,
            "encounter": each.encounter_id,
            "values": dict(each.properties),
        }
        for outcome in outcomes
        for each in outcome.measurements
    ] == ward["measurements"]
    failures = [failure.error.message for outcome in outcomes for failure in outcome.failures]
    assert [message.partition(":")[0] for message in failures] == ward["failures"]


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the published samples are read in place, and are not there")
def test_published_mappings_give_the_measurements_that_their_messages_hold() -> None:
    vectors = list(read("pipeline", SAMPLES))
    assert vectors
    for vector in vectors:
        mapping = load_device_mapping(json.dumps(vector["device"]))
        outcomes = [
            mapping.normalize(_event(event["Body"].encode(), event["Properties"], event["SystemProperties"]))
            for event in vector["events"]
        ]
        measurements = [described_measurement(each) for outcome in outcomes for each in outcome.measurements]
        assert difference(vector["expected"]["measurements"], measurements) is None, vector["name"]
        assert [outcome.failures for outcome in outcomes] == [[] for _ in outcomes]


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the published samples are read in place, and are not there")
@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*/deviceMapping.json")), ids=lambda path: path.parent.name)
def test_published_mappings_load_and_take_any_of_the_vectors_messages(path: Path) -> None:
    mapping = load_device_mapping(path.read_text(encoding="utf-8"))
    assert mapping.templates
    for vector in read("normalize"):
        event = vector["event"]
        mapping.normalize(_event(event["Body"].encode(), event["Properties"], event["SystemProperties"]))
