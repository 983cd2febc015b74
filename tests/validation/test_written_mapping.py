"""Places in the text of a mapping, however it is written."""

import json
from typing import Any

import pytest

from medtech.validation.finding import Finding, Name
from medtech.validation.validator import read_mappings
from medtech.validation.written_mapping import WrittenMapping
from tests.validation import applying
from tests.validation.test_findings import changed, device_mapping, device_template, fhir_mapping, with_value

FHIR = fhir_mapping(with_value(code="count/min"))


def the_unit(text: str) -> Finding:
    [finding] = [each for each in read_mappings(None, text).findings if each.name == Name.VITAL_SIGN_UNIT]
    return finding


def wrapped(name: str, mapping: str) -> str:
    return json.dumps({"id": "/subscriptions/x", "properties": {name: {"content": json.loads(mapping)}}}, indent=2)


@pytest.mark.parametrize(
    "text",
    [
        FHIR,
        FHIR.replace("\n", "\r\n"),
        FHIR.replace("\n", "\r"),
        json.dumps(json.loads(FHIR)),
        "\ufeff" + FHIR,
        FHIR.replace('"code": "count/min"', '"code": /* per minute */ "count/min"'),
        FHIR.replace('"code": "count/min"', '"code":\n\n// per minute\n "count/min"'),
        FHIR.replace('"code": "count/min"', "code:'count/min'"),
        FHIR.replace('"code": "count/min"', '"CODE": "count/min"'),
        f'{{"content": {FHIR}}}',
        wrapped("fhirMapping", FHIR),
    ],
    ids=[
        "lines",
        "CRLF",
        "CR",
        "one line",
        "BOM",
        "comment",
        "lines between",
        "unquoted",
        "case",
        "content",
        "resource",
    ],
)
def test_a_range_covers_the_value_in_any_layout(text: str) -> None:
    fix = the_unit(text).fix
    assert fix is not None
    mended = applying.to_text(text.removeprefix("\ufeff"), fix)
    assert mended == text.removeprefix("\ufeff").replace("'count/min'", '"count/min"').replace('"count/min"', '"/min"')
    assert not [each for each in read_mappings(None, mended).findings if each.name == Name.VITAL_SIGN_UNIT]


def test_the_pointer_of_a_resource_starts_at_the_resource() -> None:
    pointer = the_unit(wrapped("fhirMapping", FHIR)).pointer
    assert pointer == "/properties/fhirMapping/content/template/0/template/value/code"


def test_both_mappings_are_taken_as_the_resource_manager_hands_them_out() -> None:
    device = wrapped("deviceMapping", device_mapping(changed(device_template, typeName="heartRte")))
    [first, *_] = read_mappings(device, wrapped("fhirMapping", FHIR)).findings
    assert first.name == Name.TYPE_WITHOUT_FHIR_TEMPLATE
    assert (first.line, first.position) == (-1, -1)
    assert first.range is not None
    assert '"heartRte"' in device.splitlines()[first.range.line - 1]


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"templateType": "CollectionFhir", "template": [1, {}, null]}'])
def test_what_is_no_mapping_has_no_places_and_no_fault(text: str) -> None:
    written = WrittenMapping("fhirMapping", text)
    assert written.type_names == frozenset()
    assert written.place(written.template_of("x").node).range is None
    assert written.at("/template/0/template/x") is None
    assert written.language_at("/template/0/template/x") is None


@pytest.mark.parametrize(
    "broken",
    [
        {"typeName": "x", "values": 1},
        {"typeName": "x", "values": [1, None, {"valueName": 1}]},
        {"typeName": 1, "codes": {}, "components": [{"value": []}, 7], "category": "x", "value": []},
        {"typeName": ["x"]},
        {},
    ],
)
def test_a_template_of_any_shape_gets_its_findings(broken: Any) -> None:
    findings = read_mappings(device_mapping(broken), fhir_mapping(broken)).findings
    assert {finding.name for finding in findings} >= {Name.MAPPING_INVALID}
