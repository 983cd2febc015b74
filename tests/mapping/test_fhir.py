import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.errors import ErrorType, MappingInvalid
from medtech.mapping.fhir import (
    Code,
    CodeableConceptValue,
    Component,
    Concept,
    FhirOptions,
    Interval,
    QuantityValue,
    SampledDataValue,
    StringValue,
    load_fhir_mapping,
)

SERIES = {"valueType": "SampledData", "valueName": "v", "defaultPeriod": 1000, "unit": "/min"}


def text_of(*templates: Any) -> str:
    containers = [{"templateType": "CodeValueFhir", "template": template} for template in templates]
    return json.dumps({"templateType": "CollectionFhir", "template": containers}, indent=1)


GROUPED = FhirOptions(group_single_values=True)


def loaded(options: FhirOptions = GROUPED, **properties: Any) -> Any:
    mapping = load_fhir_mapping(text_of({"typeName": "x", "codes": [], **properties}), options)
    template = mapping.template("X")
    assert template is not None
    return template


def refused(text: str) -> list[tuple[str, str]]:
    with pytest.raises(MappingInvalid) as raised:
        load_fhir_mapping(text)
    assert raised.value.type is ErrorType.FHIR_TEMPLATE
    assert all(issue.message.endswith(".") for issue in raised.value.issues)
    return [(issue.pointer, issue.message) for issue in raised.value.issues]


def test_every_part_of_a_template_is_read() -> None:
    code = {"system": "s", "code": "c", "display": "d"}
    template = loaded(
        periodInterval=1440,
        codes=[code],
        category=[{"text": "V", "codes": [code]}],
        value={"valueType": "Quantity", "valueName": "v", "unit": "u", "code": "c", "system": "s"},
        components=[{"codes": [code], "value": {"valueType": "String", "valueName": "n"}}],
    )
    assert template.interval is Interval.DAILY
    assert template.codes == (Code("s", "c", "d"),)
    assert template.category == (Concept("V", (Code("s", "c", "d"),)),)
    assert template.value == QuantityValue("v", "u", "c", "s")
    assert template.components[0].value == StringValue("n")


def test_texts_for_observations_lose_the_blanks_around_them() -> None:
    template = loaded(
        codes=[{"system": " s", "code": "c\n", "display": "a  d\u00a0"}],
        category=[{"text": " V "}],
        value={"valueType": "Quantity", "valueName": "v", "unit": " ", "code": " c", "system": "s "},
        components=[{"codes": [], "value": {**SERIES, "unit": "/min "}}],
    )
    assert template.codes == (Code("s", "c", "a  d"),)
    assert template.category == (Concept("V", ()),)
    assert template.value == QuantityValue("v", "", "c", "s")
    assert template.components[0].value.unit == "/min"


def test_what_is_absent_has_the_services_defaults() -> None:
    template = loaded()
    assert template.interval is Interval.SINGLE
    assert (template.category, template.value, template.components) == ((), None, ())
    assert loaded(category=None, components=None).category == ()
    assert loaded(category="", components="").components == ()


@pytest.mark.parametrize(
    ("written", "interval"),
    [
        (-1, -1),
        (0, 0),
        (60, 60),
        (1440, 1440),
        ("60", 60),
        ("-1", -1),
        ("hourly", 60),
        ("CORRELATIONID", -1),
        ("Daily", 1440),
    ],
)
def test_intervals_are_numbers_or_names(written: Any, interval: int) -> None:
    assert loaded(periodInterval=written).interval == interval


@pytest.mark.parametrize("written", list(Interval))
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("has_series", [False, True])
def test_single_values_have_no_period_unless_they_are_grouped(
    written: Interval, grouped: bool, has_series: bool
) -> None:
    single = {"valueType": "Quantity", "valueName": "q"}
    components = [{"value": SERIES}] if has_series else []
    options = FhirOptions(group_single_values=grouped)
    template = loaded(options, periodInterval=written, value=single, components=components)
    applied = written if grouped or has_series or written is Interval.CORRELATION_ID else Interval.SINGLE
    assert (template.interval, template.written_interval) == (applied, written)


def test_an_event_without_values_has_no_period_either() -> None:
    assert loaded(FhirOptions(), periodInterval=60).interval is Interval.SINGLE
    assert loaded(FhirOptions(), periodInterval=60, value=SERIES).interval is Interval.HOURLY


@pytest.mark.parametrize("written", list(Interval))
def test_only_a_single_reading_has_a_time_instead_of_a_period(written: Interval) -> None:
    options = FhirOptions(group_single_values=True, effective_date_time=True)
    assert loaded(options, periodInterval=written).effective_date_time is (written is Interval.SINGLE)
    assert not loaded(FhirOptions(), periodInterval=written).effective_date_time


@pytest.mark.parametrize(
    ("written", "period", "ticks"),
    [
        (30000, "30000", 300_000_000),
        (60000.5, "60000.5", 600_005_000),
        (1000.0, "1000", 10_000_000),
        (1e3, "1000", 10_000_000),
        (1000 / 30, "33.3333333333333", 333_333),
        ("250", "250", 2_500_000),
        (" 250.0 ", "250.0", 2_500_000),
        (0.0001, "0.0001", 1),
        ("1." + "0" * 100_000 + "1", "1." + "0" * 27, 10_000),
    ],
)
def test_periods_have_the_digits_that_the_service_writes(written: Any, period: str, ticks: int) -> None:
    value = loaded(value={**SERIES, "defaultPeriod": written}).value
    assert value == SampledDataValue("v", Decimal(period), ticks, "/min")
    assert str(value.period_ms) == period


TOO_LARGE = ("1e1000000", "-1e1000000", "1e-1000000", "1e999999", f"1e{'9' * 30}")
"""What only just fits in a Decimal, or no longer does."""


@pytest.mark.parametrize(
    "period",
    [None, 0, -5, True, "", "x", "NaN", "Infinity", [], 0.00001, 10**379, "1e99", "1_000", "１２", *TOO_LARGE],
)
def test_a_series_needs_a_positive_period(period: Any) -> None:
    ((pointer, message),) = refused(
        text_of({"typeName": "x", "codes": [], "value": {**SERIES, "defaultPeriod": period}})
    )
    assert pointer == "/template/0/template/value/defaultPeriod"
    assert "milliseconds" in message


def test_inside_a_value_the_service_ignores_what_it_does_not_know() -> None:
    value = loaded(value={"valueType": "codeableconcept", "valueName": "v", "codes": [{"x": 1}], "unit": 5}).value
    assert value == CodeableConceptValue("v", Concept(None, (Code(None, None, None),)))


@pytest.mark.parametrize("name", [{}, {"valueName": None}])
def test_a_concept_without_a_name_is_an_event_of_which_no_value_is_written(name: dict[str, None]) -> None:
    concept = {"valueType": "CodeableConcept", "text": "Fall", "codes": [{"code": "fall"}], **name}
    template = loaded(value=concept, components=[{"codes": [], "value": concept}])
    assert (template.value, template.components) == (None, ())


@pytest.mark.parametrize("kind", ["SampledData", "Quantity", "String"])
def test_any_other_value_needs_a_name(kind: str) -> None:
    value = {"valueType": kind, "defaultPeriod": 1}
    ((pointer, message),) = refused(text_of({"typeName": "x", "codes": [], "value": value}))
    assert pointer == "/template/0/template/value/valueName"
    assert "'valueName' is absent" in message


@pytest.mark.parametrize("codes", [{}, {"codes": None}, {"codes": ""}, {"codes": []}])
def test_a_component_may_lack_codes(codes: dict[str, Any]) -> None:
    (component,) = loaded(components=[{**codes, "value": {"valueType": "String", "valueName": "n"}}]).components
    assert component == Component((), StringValue("n"))


def test_what_to_do_about_a_value_that_is_null_depends_on_where_it_is() -> None:
    text = text_of({"typeName": "x", "codes": [], "value": None, "components": [{"codes": [], "value": None}]})
    (_, of_template), (_, of_component) = refused(text)
    assert "or leave it out" in of_template
    assert "or remove the component" in of_component


@pytest.mark.parametrize("spelling", ["ValueType", "valueType"])
def test_the_value_type_has_two_spellings_only(spelling: str) -> None:
    assert loaded(value={spelling: "string", "valuename": "v"}).value == StringValue("v")
    assert refused(text_of({"typeName": "x", "codes": [], "value": {"VALUETYPE": "String", "valueName": "v"}}))


@pytest.mark.parametrize(
    "template",
    [
        {"typeName": "x", "codes": [], "unknown": 1},
        {"typeName": "x", "codes": [{"code": "c", "unknown": 1}]},
        {"typeName": "x", "codes": [None]},
        {"typeName": "x", "codes": ["c"]},
        {"typeName": "x", "codes": [{"code": []}]},
        {"typeName": "x", "codes": [], "category": {}},
        {"typeName": "x", "codes": [], "category": [{"unknown": 1}]},
        {"typeName": "x", "codes": [], "category": [{"codes": [{"unknown": 1}]}]},
        {"typeName": "x", "codes": [], "components": [{"codes": []}]},
        {"typeName": "x", "codes": [], "components": [{"codes": [], "value": None}]},
        {"typeName": "x", "codes": [], "components": [{"codes": [], "value": SERIES, "unknown": 1}]},
        {"typeName": "x", "codes": [], "components": [5]},
        {"typeName": "x", "codes": [], "value": {"valueType": "String", "valueName": " "}},
        {"typeName": "x", "codes": [], "value": {"valueType": "CodeableConcept", "valueName": " "}},
        {"typeName": "x", "codes": [], "components": [{"codes": {}, "value": SERIES}]},
        {"typeName": " ", "codes": []},
    ],
)
def test_what_can_never_work_is_refused(template: Any) -> None:
    assert len(refused(text_of(template))) == 1


def test_every_fault_is_reported_at_once_in_order_of_place() -> None:
    text = text_of(
        {"typeName": "a", "periodInterval": 5, "value": {"valueType": "Nope", "valueName": ""}},
        {"codes": [], "components": [{"value": {}}]},
        {"typeName": "A", "codes": []},
        {"typeName": "a", "codes": []},
    )
    with pytest.raises(MappingInvalid) as raised:
        load_fhir_mapping(text)
    issues = raised.value.issues
    assert [issue.template for issue in issues] == sorted(issue.template or 0 for issue in issues)
    assert {issue.pointer for issue in issues} >= {
        "/template/0/template/codes",
        "/template/0/template/periodInterval",
        "/template/0/template/value/valueType",
        "/template/0/template/value/valueName",
        "/template/1/template/typeName",
        "/template/1/template/components/0/value",
        "/template/2/template/typeName",
        "/template/3/template/typeName",
    }
    assert all(issue.line > 1 for issue in issues)


def test_a_mapping_of_a_thousand_templates_is_read() -> None:
    mapping = load_fhir_mapping(text_of(*({"typeName": f"type {number}", "codes": []} for number in range(1000))))
    assert len(mapping.templates) == 1000
    assert mapping.template("TYPE 999") is not None
    assert mapping.template("type 1000") is None


properties = ["typeName", "periodInterval", "codes", "category", "value", "components", "templateType", "template"]
parts = ["valueType", "valueName", "defaultPeriod", "unit", "code", "system", "display", "text", "other"]
names = st.sampled_from(properties + parts)
scalars = st.sampled_from(
    ["CollectionFhir", "CodeValueFhir", "SampledData", "Quantity", "String", "CodeableConcept", "", "60"]
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | scalars | st.text(max_size=4),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(names, children, max_size=6),
    max_leaves=25,
)


@given(documents, documents)
def test_any_mapping_is_read_or_refused(template: Any, value: Any) -> None:
    for properties in (template, {"typeName": "x", "codes": [], "value": value, "components": [template]}):
        try:
            load_fhir_mapping(text_of(properties))
        except MappingInvalid as error:
            assert error.issues


@given(st.text(max_size=200) | documents.map(json.dumps))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        load_fhir_mapping(text)
    except MappingInvalid as error:
        assert error.issues
