"""Every finding of the validator: a mapping or messages that have it, and that its fix mends it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from medtech.dotnet import ticks
from medtech.mapping.fhir import DEFAULT_OPTIONS, FhirOptions
from medtech.validation.finding import Finding, Level, Name
from medtech.validation.message import read_message
from medtech.validation.validator import Outcome, read_mappings, validate
from tests.validation import applying

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
VITAL_SIGNS = {
    "codes": [{"code": "vital-signs", "system": "http://terminology.hl7.org/CodeSystem/observation-category"}]
}
MESSAGE = {"deviceId": "d1", "time": "2026-03-02T08:00:00Z", "heartRate": 71}

Change = Callable[[dict[str, Any]], None]


def device_template() -> dict[str, Any]:
    return {
        "typeName": "heartRate",
        "typeMatchExpression": "$..[?(@heartRate)]",
        "deviceIdExpression": "$.matchedToken.deviceId",
        "timestampExpression": "$.matchedToken.time",
        "values": [{"valueName": "rate", "valueExpression": "$.matchedToken.heartRate", "required": True}],
    }


def fhir_template() -> dict[str, Any]:
    return {
        "typeName": "heartRate",
        "periodInterval": 0,
        "category": [VITAL_SIGNS],
        "codes": [{"code": "8867-4", "system": LOINC}],
        "value": {
            "valueName": "rate",
            "valueType": "Quantity",
            "unit": "beats/minute",
            "code": "/min",
            "system": UCUM,
        },
    }


def device_mapping(*templates: dict[str, Any]) -> str:
    contained = [{"templateType": "CalculatedContent", "template": template} for template in templates]
    return json.dumps({"templateType": "CollectionContent", "template": contained}, indent=2)


def fhir_mapping(*templates: dict[str, Any]) -> str:
    contained = [{"templateType": "CodeValueFhir", "template": template} for template in templates]
    return json.dumps({"templateType": "CollectionFhir", "template": contained}, indent=2)


def jmespath(expression: str) -> dict[str, str]:
    return {"value": expression, "language": "JmesPath"}


def changed(make: Callable[[], dict[str, Any]], **properties: Any) -> dict[str, Any]:
    return {**make(), **properties}


def with_value(**properties: Any) -> dict[str, Any]:
    """The FHIR template with another value; a property that is None is left out."""
    value = {**fhir_template()["value"], **properties}
    return changed(fhir_template, value={name: text for name, text in value.items() if text is not None})


def reading(expression: Any, name: str = "rate") -> list[dict[str, Any]]:
    return [{"valueName": name, "valueExpression": expression}]


@dataclass(frozen=True)
class Case:
    """Mappings and messages with the finding `name`; `marked` is the text that its range covers, None for no range.

    `fixed` is a text that stands in the mapping when the fix is applied, None where there is no fix.
    """

    name: Name | str
    marked: str | None = None
    fixed: str | None = None
    device: list[dict[str, Any]] = field(default_factory=lambda: [device_template()])
    fhir: list[dict[str, Any]] = field(default_factory=lambda: [fhir_template()])
    messages: list[Any] = field(default_factory=list)
    options: FhirOptions = DEFAULT_OPTIONS

    @property
    def texts(self) -> tuple[str, str]:
        return device_mapping(*self.device), fhir_mapping(*self.fhir)

    def outcome(self, device: str, fhir: str) -> Outcome:
        mappings = read_mappings(device, fhir, self.options)
        events = [read_message(message, number) for number, message in enumerate(self.messages)]
        return validate(mappings, events, aggregate=False, issued=ticks.now())


def all_findings(outcome: Outcome) -> list[Finding]:
    of_messages = [finding for result in outcome.results for finding in result.findings]
    of_observations = [finding for stored in outcome.stored for finding in stored.findings]
    return [*outcome.findings, *of_messages, *of_observations]


SERIES = {"valueName": "rate", "valueType": "SampledData", "defaultPeriod": 1000, "unit": "/min"}
STEPS = {"codes": [{"code": "55423-8", "system": LOINC}], "category": []}
EVENT = {"valueType": "CodeableConcept", "text": "worn", "codes": []}


def series_template(interval: int, *periods_ms: float) -> dict[str, Any]:
    """A FHIR template of series; the first is of the value that the device template gives."""
    values = [{**SERIES, "defaultPeriod": each, "valueName": f"rate{'b' * at}"} for at, each in enumerate(periods_ms)]
    return {
        **changed(fhir_template, **STEPS, periodInterval=interval),
        "value": values[0],
        "components": [{"codes": [], "value": value} for value in values[1:]],
    }


CASES = {
    "a number without backquotes": Case(
        Name.MAPPING_INVALID,
        '"add(matchedToken.heartRate, 5)"',
        "add(matchedToken.heartRate, `5`)",
        [changed(device_template, values=reading(jmespath("add(matchedToken.heartRate, 5)")))],
    ),
    "several numbers without backquotes, in the default language": Case(
        Name.MAPPING_INVALID,
        '"add(multiply(matchedToken.heartRate, -1.5), 2e1)"',
        "add(multiply(matchedToken.heartRate, `-1.5`), `2e1`)",
        [
            changed(
                device_template,
                defaultExpressionLanguage="JmesPath",
                typeMatchExpression={"value": "$..[?(@heartRate)]", "language": "JsonPath"},
                deviceIdExpression="matchedToken.deviceId",
                timestampExpression="matchedToken.time",
                values=reading("add(multiply(matchedToken.heartRate, -1.5), 2e1)"),
            )
        ],
    ),
    "an unknown property": Case(Name.MAPPING_INVALID, '"x"', None, [changed(device_template, typename2="x")]),
    "a text for a number": Case(
        Name.TEXT_FOR_NUMBER,
        "\"add(matchedToken.heartRate, '5')\"",
        "add(matchedToken.heartRate, `5`)",
        [changed(device_template, values=reading(jmespath("add(matchedToken.heartRate, '5')")))],
    ),
    "a quoted name for a number": Case(
        Name.TEXT_FOR_NUMBER,
        '"divide(matchedToken.heartRate, \\"10\\")"',
        "divide(matchedToken.heartRate, `10`)",
        [changed(device_template, values=reading(jmespath('divide(matchedToken.heartRate, "10")')))],
    ),
    "a name for a literal": Case(
        Name.NAME_FOR_LITERAL,
        '"Body[?worn == true]"',
        "Body[?worn == `true`]",
        [changed(device_template, typeMatchExpression=jmespath("Body[?worn == true]"))],
    ),
    "a type that FHIR does not have": Case(
        Name.TYPE_WITHOUT_FHIR_TEMPLATE, '"heartRte"', '"heartRate"', [changed(device_template, typeName="heartRte")]
    ),
    "a type that no device has": Case(
        Name.TYPE_WITHOUT_DEVICE_TEMPLATE,
        '"heartRte"',
        '"heartRate"',
        fhir=[changed(fhir_template, typeName="heartRte")],
    ),
    "a type that is like nothing": Case(
        Name.TYPE_WITHOUT_FHIR_TEMPLATE,
        '"steps"',
        None,
        [device_template(), changed(device_template, typeName="steps", typeMatchExpression="$..[?(@steps)]")],
    ),
    "a value that FHIR does not use": Case(
        Name.VALUE_NOT_USED,
        '"rates"',
        '"rate"',
        [changed(device_template, values=reading("$.matchedToken.heartRate", "rates"))],
    ),
    "a value that no device gives": Case(
        Name.VALUE_NEVER_GIVEN, '"Rate"', '"rate"', fhir=[with_value(valueName="Rate")]
    ),
    "a concept without text and codes": Case(
        Name.VALUE_NEVER_WRITTEN,
        '"rate"',
        None,
        fhir=[changed(fhir_template, value={**EVENT, "valueName": "rate", "text": ""})],
    ),
    "a concept without a reading": Case(
        Name.VALUE_NEVER_WRITTEN, "{", None, fhir=[changed(fhir_template, value=EVENT)]
    ),
    "no correlation id": Case(
        Name.CORRELATION_ID_NEVER_GIVEN, "{", None, fhir=[changed(fhir_template, periodInterval=-1)]
    ),
    "a period for single values": Case(
        Name.PERIOD_WITHOUT_EFFECT, "60", '"periodInterval": 0', fhir=[changed(fhir_template, periodInterval=60)]
    ),
    "a day of more samples than an Observation holds": Case(
        Name.SERIES_NEVER_FITS, "1440", '"periodInterval": 60', fhir=[series_template(1440, 100)]
    ),
    "an hour of more samples than an Observation holds": Case(
        Name.SERIES_NEVER_FITS, "60", None, fhir=[series_template(60, 5)]
    ),
    "a property in upper and lower case": Case(
        Name.DUPLICATE_PROPERTY, "-1", None, fhir=[changed(fhir_template, PERIODINTERVAL=-1)]
    ),
    "the same template twice": Case(Name.DUPLICATE_TEMPLATE, "{", None, [device_template(), device_template()]),
    "a code without a system": Case(
        Name.CODE_WITHOUT_SYSTEM, '"8867-4"', None, fhir=[changed(fhir_template, codes=[{"code": "8867-4"}])]
    ),
    "a unit of a series": Case(
        Name.UNIT_NOT_UCUM,
        '"count"',
        '"{count}"',
        fhir=[changed(fhir_template, **STEPS, value={**SERIES, "unit": "count"})],
    ),
    "a code of a quantity": Case(
        Name.UNIT_NOT_UCUM, '"dB(SPL)"', '"dB[SPL]"', fhir=[{**with_value(code="dB(SPL)"), **STEPS}]
    ),
    "a unit without code and system": Case(
        Name.UNIT_NOT_UCUM, '"degC"', '"Cel"', fhir=[{**with_value(code=None, system=None, unit="degC"), **STEPS}]
    ),
    "a unit that nobody knows": Case(
        Name.UNIT_NOT_UCUM, '"furlongs"', None, fhir=[{**with_value(code="furlongs"), **STEPS}]
    ),
    "another unit for a heart rate": Case(
        Name.VITAL_SIGN_UNIT, '"count/min"', '"code": "/min"', fhir=[with_value(code="count/min")]
    ),
    "a heart rate without a code": Case(
        Name.VITAL_SIGN_UNIT, "{", '"code": "/min"', fhir=[with_value(code=None, unit="/min")]
    ),
    "a heart rate without a system": Case(
        Name.VITAL_SIGN_UNIT, "{", f'"system": "{UCUM}"', fhir=[with_value(system=None)]
    ),
    "a heart rate in millimetres of mercury": Case(
        Name.VITAL_SIGN_UNIT, '"mm[Hg]"', None, fhir=[with_value(code="mm[Hg]")]
    ),
    "a vital sign without a category": Case(
        Name.VITAL_SIGN_CATEGORY,
        "{",
        '"code": "vital-signs"',
        fhir=[{name: value for name, value in fhir_template().items() if name != "category"}],
    ),
    "a vital sign of another category": Case(
        Name.VITAL_SIGN_CATEGORY, "[", None, fhir=[changed(fhir_template, category=[{"text": "Vital signs"}])]
    ),
    "a series for a heart rate": Case(
        Name.VITAL_SIGN_VALUE, '"SampledData"', None, fhir=[changed(fhir_template, value=SERIES)]
    ),
    "a quantity for a panel": Case(
        Name.VITAL_SIGN_VALUE,
        '"Quantity"',
        None,
        fhir=[changed(fhir_template, codes=[{"code": "85354-9", "system": LOINC}])],
    ),
    "an additional code alone": Case(
        Name.VITAL_SIGN_CODE,
        "[",
        '"code": "2708-6"',
        fhir=[{**with_value(code="%"), "codes": [{"code": "59408-5", "system": LOINC}]}],
    ),
    "a match with a slip": Case(
        Name.EXPRESSION_NEVER_MATCHES,
        '"$..[?(@hartRate)]"',
        '"$..[?(@heartRate)]"',
        [changed(device_template, typeMatchExpression="$..[?(@hartRate)]")],
        messages=[MESSAGE],
    ),
    "a match of a value that is not there": Case(
        Name.EXPRESSION_NEVER_MATCHES,
        "\"$.Body[?(@kind == 'pulse')]\"",
        None,
        [changed(device_template, typeMatchExpression="$.Body[?(@kind == 'pulse')]")],
        messages=[[{**MESSAGE, "kind": "rate"}]],
    ),
    "a time with a slip": Case(
        Name.EXPRESSION_NEVER_MATCHES,
        '"$.matchedToken.Time"',
        '"$.matchedToken.time"',
        [changed(device_template, timestampExpression="$.matchedToken.Time")],
        messages=[MESSAGE],
    ),
    "a value with a slip, in JMESPath": Case(
        Name.EXPRESSION_NEVER_MATCHES,
        '"matchedToken.hartRate"',
        '"matchedToken.heartRate"',
        [changed(device_template, values=reading(jmespath("matchedToken.hartRate")))],
        messages=[MESSAGE],
    ),
    "a local time": Case(
        Name.TIME_WITHOUT_OFFSET,
        '"$.matchedToken.time"',
        None,
        messages=[{**MESSAGE, "time": "2026-03-02T08:00:00"}],
    ),
    "milliseconds": Case(
        Name.TIME_IS_A_NUMBER,
        '"$.matchedToken.time"',
        "fromUnixTimestampMs(matchedToken.time)",
        messages=[{**MESSAGE, "time": 1772438400000}],
    ),
    "seconds as a text": Case(
        Name.TIME_IS_A_NUMBER,
        '"$.matchedToken.time"',
        "fromUnixTimestamp(to_number(matchedToken.time))",
        messages=[{**MESSAGE, "time": "1772438400"}],
    ),
    "24:46": Case(
        Name.TIME_OUT_OF_RANGE,
        '"$.matchedToken.time"',
        None,
        messages=[{**MESSAGE, "time": "2026-03-02T24:46:00Z"}],
    ),
    "seconds for milliseconds": Case(
        Name.TIME_NOT_PLAUSIBLE,
        '"fromUnixTimestampMs(matchedToken.time)"',
        '"fromUnixTimestamp(matchedToken.time)"',
        [changed(device_template, timestampExpression=jmespath("fromUnixTimestampMs(matchedToken.time)"))],
        messages=[{**MESSAGE, "time": 1772438400}],
    ),
    "a year to come": Case(
        Name.TIME_NOT_PLAUSIBLE,
        '"$.matchedToken.time"',
        None,
        messages=[{**MESSAGE, "time": "2226-03-02T08:00:00Z"}],
    ),
    "a date for a device": Case(
        Name.DEVICE_ID_NOT_PLAUSIBLE,
        '"$.matchedToken.time"',
        None,
        [changed(device_template, deviceIdExpression="$.matchedToken.time")],
        messages=[MESSAGE],
    ),
    "a blank around a device id": Case(
        Name.DEVICE_ID_NOT_PLAUSIBLE,
        '"$.matchedToken.deviceId"',
        None,
        messages=[{**MESSAGE, "deviceId": "d1 "}],
    ),
    "an empty unit": Case(Name.OBSERVATION_NOT_R4, "{", None, fhir=[with_value(unit="")], messages=[MESSAGE]),
    "two readings of one second": Case(
        Name.READINGS_MEET,
        "{",
        None,
        messages=[{**MESSAGE, "time": f"2026-03-02T08:00:00.{fraction}Z"} for fraction in (100, 700)],
    ),
    "two readings of one hour": Case(
        Name.READING_SUPERSEDED,
        "{",
        None,
        fhir=[changed(fhir_template, periodInterval=60)],
        messages=[{**MESSAGE, "time": f"2026-03-02T08:{minute}:00Z"} for minute in (10, 20)],
        options=FhirOptions(group_single_values=True),
    ),
    "a message for nothing": Case(Name.NO_TEMPLATE_MATCHED, None, None, messages=[MESSAGE, {"other": 1}]),
    "a reading that is no number": Case("ReadingInvalid", None, None, messages=[{**MESSAGE, "heartRate": "fast"}]),
}

OF_THE_APP = {Name.MAPPING_HELD_BACK, Name.MAPPING_UNAVAILABLE}
"""Findings about the mappings in force, which test_http has."""


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_found_at_its_place_and_its_fix_mends_it(case: Case) -> None:
    device, fhir = case.texts
    found = [finding for finding in all_findings(case.outcome(device, fhir)) if finding.name == case.name]
    assert found, f"{case.name} is not found"
    finding = found[0]
    text = device if finding.mapping == "deviceMapping" else fhir
    if case.marked is None:
        assert finding.range is None
    else:
        assert finding.range is not None
        assert finding.range.line == finding.range.end_line
        line = text.splitlines()[finding.range.line - 1]
        assert line[finding.range.position : finding.range.end_position] == case.marked
    assert (case.fixed is None) == (finding.fix is None)
    if finding.fix is None or case.fixed is None:
        return
    mended = applying.to_text(text, finding.fix)
    assert json.loads(mended) == applying.to_document(text, finding.fix)
    assert case.fixed in mended
    after = case.outcome(mended, fhir) if text is device else case.outcome(device, mended)
    assert finding.message not in [each.message for each in all_findings(after)]
    assert not [each.name for each in all_findings(after) if each.name == case.name]


def test_every_finding_has_a_case() -> None:
    assert {case.name for case in CASES.values()} >= set(Name) - OF_THE_APP


def test_mappings_without_a_fault_have_no_finding() -> None:
    case = Case("nothing", messages=[MESSAGE])
    assert all_findings(case.outcome(*case.texts)) == []


def test_warnings_do_not_hide_errors() -> None:
    """A fault of one template, and what is worth a look in the others, come together; errors are first."""
    case = Case(
        Name.MAPPING_INVALID,
        device=[device_template(), changed(device_template, typeName="x", values=reading("$."))],
        fhir=[with_value(code="count/min")],
    )
    findings = case.outcome(*case.texts).findings
    assert [finding.level for finding in findings] == [Level.ERROR, Level.WARNING]
    assert findings[1].name == Name.VITAL_SIGN_UNIT


def test_a_template_with_a_fault_counts_as_there() -> None:
    """Its type is known, so the other mapping is not told that it lacks one."""
    case = Case(Name.MAPPING_INVALID, device=[changed(device_template, values=reading("$."))])
    assert {finding.name for finding in case.outcome(*case.texts).findings} == {Name.MAPPING_INVALID}


def found_in(name: Name, fhir: str, device: str = "") -> list[Finding]:
    findings = read_mappings(device or device_mapping(device_template()), fhir).findings
    return [finding for finding in findings if finding.name == name]


@pytest.mark.parametrize(
    ("interval", "periods_ms", "pointer", "proposed"),
    [
        (60, (6.8664,), "value", None),
        (60, (6.8665,), None, None),
        (1440, (164.7949,), "value", "60"),
        (1440, (164.7950,), None, None),
        (1440, (27.5,), "value", "60"),
        (1440, (27.4,), "value", None),
        (1440, (1000, 100), "value", "60"),
        (1440, (100, 10), "value", None),
        (0, (0.0001,), None, None),
        (-1, (0.0001,), None, None),
    ],
)
def test_a_series_that_never_fits_is_told_to_the_tick(
    interval: int, periods_ms: tuple[float, ...], pointer: str | None, proposed: str | None
) -> None:
    """And only as messages show: one reading, at whatever time, fits or does not."""
    fhir = fhir_mapping(series_template(interval, *periods_ms))
    found = found_in(Name.SERIES_NEVER_FITS, fhir)
    assert len(found) == (0 if pointer is None else 1)
    assert [each.fix and each.fix.value for each in found] == [proposed] * len(found)
    template = changed(
        device_template,
        correlationIdExpression="$.matchedToken.deviceId",
        values=[*reading("$.matchedToken.heartRate"), *reading("$.matchedToken.heartRate", "rateb")],
    )
    outcome = Case("nothing", messages=[MESSAGE]).outcome(device_mapping(template), fhir)
    errors = {finding.name for finding in outcome.results[0].findings}
    assert errors == ({"PeriodTooLong"} if found else set())


def test_one_series_of_several_that_never_fits_is_named_alone() -> None:
    [found] = found_in(Name.SERIES_NEVER_FITS, fhir_mapping(series_template(1440, 1000, 100)))
    assert "can hold rateb: a sample every 100 ms is 864,000 in each day" in found.message


def test_a_property_that_is_twice_in_its_object_is_told_where_the_values_differ() -> None:
    fhir = fhir_mapping(fhir_template())
    twice = fhir.replace('"periodInterval": 0', '"periodInterval": 60,\n"periodInterval": -1,\n"periodInterval": 0')
    [found] = found_in(Name.DUPLICATE_PROPERTY, twice)
    assert found.pointer == "/template/0/template/periodInterval"
    assert found.fix is None
    assert "what stands in lines 8, 9 does not" in found.message
    assert found.range is not None
    assert found.range.line == 10
    same = fhir.replace('"periodInterval": 0', '"periodInterval": 0, "PeriodInterval": 0, "periodInterval": 0')
    assert found_in(Name.DUPLICATE_PROPERTY, same) == []


@pytest.mark.parametrize(
    ("old", "new", "pointer"),
    [
        # The service knows two spellings of this one, and the first of them counts wherever it stands.
        ('"valueType"', '"ValueType": "Quantity", "valueType": "String", "x"', "value/ValueType"),
        ('"valueType"', '"valueType": "String", "valueType"', "value/valueType"),
        ('"valueType"', '"VALUETYPE": "String", "valueType"', None),
        ('"unit"', '"Unit": "bpm", "unit"', "value/unit"),
        # A Quantity has no such properties, and what is unknown in a value is not read.
        ('"unit"', '"defaultPeriod": 1, "defaultPeriod": 2, "note": "a", "note": "b", "unit"', None),
        ('"value": {', '"value": {"valueName": "another"}, "value": {', "value"),
        ('"codes": [{"code"', '"codes": [{"code": "1", "code"', None),
    ],
)
def test_only_a_property_that_is_read_is_told(old: str, new: str, pointer: str | None) -> None:
    text = fhir_mapping(fhir_template()).replace(old, new, 1)
    found = found_in(Name.DUPLICATE_PROPERTY, text)
    assert [each.pointer for each in found] == ([] if pointer is None else [f"/template/0/template/{pointer}"])


def test_the_value_that_is_told_to_count_is_the_one_that_is_used() -> None:
    """Json.NET leaves a property in the place of its first value, and the last place counts whatever its case."""
    text = fhir_mapping(fhir_template()).replace('"typeName": "heartRate"', '"typeName": "a", "TypeName": "heartRate"')
    text = text.replace('"TypeName": "heartRate"', '"TypeName": "heartRate", "typeName": "c"')
    mappings = read_mappings(device_mapping(device_template()), text)
    assert [each.name for each in mappings.findings] == [Name.DUPLICATE_PROPERTY]
    assert mappings.findings[0].pointer == "/template/0/template/TypeName"
    assert [each.type_name for each in mappings.pair.fhir_templates] == ["heartRate"]


def test_a_device_mapping_and_what_is_around_it_are_looked_at() -> None:
    text = device_mapping(device_template())
    twice = text.replace('"required": true', '"required": false, "required": true').replace(
        '"typeMatchExpression"', '"typeMatchExpression": "$..[?(@a)]", "typeMatchExpression"'
    )
    resource = (
        '{"tags": {"a": 1, "a": 2}, "properties": {"deviceMapping": {"content": {}},'
        f'"deviceMapping": {{"content": {twice}}}}}}}'
    )
    found = found_in(Name.DUPLICATE_PROPERTY, fhir_mapping(fhir_template()), resource)
    assert [each.pointer for each in found] == [
        "/properties/deviceMapping",
        "/properties/deviceMapping/content/template/0/template/typeMatchExpression",
        "/properties/deviceMapping/content/template/0/template/values/0/required",
    ]


def test_a_value_that_is_512_levels_deep_is_compared() -> None:
    one, other = ("[" * 500 + number + "]" * 500 for number in "12")
    text = fhir_mapping(fhir_template()).replace('"category"', f'"category": {one}, "category": {other}, "x"')
    [found] = found_in(Name.DUPLICATE_PROPERTY, text)
    assert found.pointer == "/template/0/template/category"


@pytest.mark.parametrize("unit", ["%", "/min", "{beats}/min", "kg/m2", "10*3/uL", "mm[Hg]", "Cel", "m/s2", "1"])
def test_a_code_of_ucum_is_no_finding(unit: str) -> None:
    case = Case("nothing", fhir=[{**with_value(code=unit), **STEPS}])
    assert all_findings(case.outcome(*case.texts)) == []


def test_a_few_messages_need_not_be_for_every_template() -> None:
    steps = changed(device_template, typeName="steps", typeMatchExpression="$..[?(@steps)]")
    other = changed(fhir_template, typeName="steps", **STEPS)
    case = Case("nothing", device=[device_template(), steps], fhir=[fhir_template(), other], messages=[MESSAGE])
    assert all_findings(case.outcome(*case.texts)) == []


def test_each_observation_that_is_not_r4_has_its_finding() -> None:
    """Only one of those that differ in numbers is looked at; the others have its findings."""
    messages = [{**MESSAGE, "time": f"2026-03-02T08:0{minute}:00Z", "heartRate": 70 + minute} for minute in range(3)]
    case = Case(Name.OBSERVATION_NOT_R4, fhir=[with_value(unit="")], messages=messages)
    stored = case.outcome(*case.texts).stored
    assert [[finding.name for finding in each.findings] for each in stored] == [[Name.OBSERVATION_NOT_R4]] * 3
