from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.errors import (
    ConversionError,
    CorrelationIdNotDefined,
    PeriodTooLong,
    ReadingInvalid,
    Stage,
    TemplateNotFound,
)
from medtech.group.groups import group_measurements
from medtech.mapping.fhir import FhirMapping, FhirOptions
from medtech.model import Measurement, MeasurementGroup, ResourceIdentity
from medtech.transform.fhir_json import dump_resource
from medtech.transform.identifier import SYSTEM
from medtech.transform.observation import ObservationDraft, convert, create, fold
from medtech.transform.pattern import pattern_of
from tests.conformance.observations import fhir_mapping_of
from tests.conformance.observations import group_of as group_of_vector
from tests.conformance.vectors import read
from tests.transform.measurements import (
    CONCEPT,
    DATE_TIME,
    IDENTITY,
    QUANTITY,
    SECOND,
    SERIES,
    STRING,
    component,
    draft_of,
    group_of,
    mapping_of,
    measured,
    sent,
    tick,
)


def test_observations_are_valid_fhir_r4() -> None:
    from fhir.resources.R4B.observation import Observation

    checked = 0
    for vector in [*read("fhir"), *read("merge")]:
        if "error" not in vector["expected"]:
            mapping = fhir_mapping_of(vector["mapping"])
            for draft in convert(mapping, group_of_vector(vector["group"])).drafts:
                Observation.model_validate_json(dump_resource(create(draft, IDENTITY, issued=0)))
                checked += 1
    assert checked > 500


def test_an_encounter_is_referred_to() -> None:
    observation = create(
        draft_of(mapping_of(value=QUANTITY), measured("10:00:00", hr="1")),
        ResourceIdentity("d", "p", "e"),
        tick("11:00:00"),
    )
    assert observation["encounter"] == {"reference": "Encounter/e"}
    assert observation["subject"] == {"reference": "Patient/p"}
    assert observation["device"] == {"reference": "Device/d"}
    assert observation["issued"] == "2024-02-29T11:00:00.0000000Z"


@pytest.mark.parametrize("type_name", ["heartRate", 'heart"rate\\', "heart\trate", "сердце"])
@pytest.mark.parametrize("correlation_id", [None, 'c"1\n'])
def test_an_identifier_keeps_every_character(type_name: str, correlation_id: str | None) -> None:
    mapping = mapping_of(0 if correlation_id is None else -1, value=QUANTITY, typeName=type_name)
    measurement = measured("10:00:00", correlation_id, hr="1")
    group = MeasurementGroup(type_name, "device", None, None, correlation_id, [measurement])
    (draft,) = convert(mapping, group).drafts
    observation = create(draft, IDENTITY, issued=0)
    assert (observation["identifier"][0]["value"], observation["id"]) == draft.identify(IDENTITY)


def test_identity_is_the_connectors() -> None:
    draft = draft_of(mapping_of(-1, value=QUANTITY), measured("10:00:00", "c1", hr="1"))
    assert draft.identify(ResourceIdentity("devId", "patId", None)) == (
        "patId.devId.heartRate.c1",
        "d92978cb82610b0cf6292c46cb0f1c5a616226468055887776fa1936068572d5",
    )


def test_of_a_type_without_template_every_measurement_fails() -> None:
    group = group_of(measured("10:00:00", hr="1"), measured("10:00:01", hr="2"))
    drafts, failures = convert(mapping_of(typeName="steps"), group)
    assert not drafts
    assert [failure.measurement for failure in failures] == group.measurements
    assert all(isinstance(failure.error, TemplateNotFound) for failure in failures)
    assert failures[0].error.stage is Stage.FHIR_CONVERSION


@pytest.mark.parametrize("correlation_id", [None, "", " \t"])
def test_without_a_correlation_id_every_measurement_fails(correlation_id: str | None) -> None:
    group = group_of(measured("10:00:00", correlation_id, hr="1"))
    drafts, failures = convert(mapping_of(-1, value=QUANTITY), group)
    assert not drafts
    assert [type(failure.error) for failure in failures] == [CorrelationIdNotDefined]


@pytest.mark.parametrize("value", [QUANTITY, SERIES])
def test_a_bad_reading_fails_alone_and_widens_no_period(value: dict[str, Any]) -> None:
    good, bad = measured("10:00:00", "c", hr="60"), measured("10:09:00", "c", hr="secret")
    conversion = convert(mapping_of(-1, value=value), group_of(good, bad))
    (draft,), (failure,) = conversion
    assert draft.measurements == [good]
    assert draft.end == tick("10:00:00")
    assert failure.measurement == bad
    assert isinstance(failure.error, ReadingInvalid)
    assert "secret" not in failure.error.message
    assert "'hr'" in failure.error.message


def test_other_readings_of_a_measurement_with_a_bad_one_are_written() -> None:
    mapping = mapping_of(-1, value=QUANTITY, components=[component({**STRING, "valueName": "note"})])
    half = measured("10:00:00", "c", hr="?", note="sitting")
    (draft,), (failure,) = convert(mapping, group_of(half))
    assert draft.measurements == [half]
    assert failure.measurement == half
    observation = create(draft, IDENTITY, issued=0)
    assert "valueQuantity" not in observation
    assert observation["component"][0]["valueString"] == "sitting"


def test_without_a_good_reading_there_is_no_observation() -> None:
    drafts, failures = convert(
        mapping_of(value=QUANTITY), group_of(measured("10:00:00", hr="?"), measured("11:00:00", hr="1"))
    )
    assert [draft.start for draft in drafts] == [tick("11:00:00")]
    assert len(failures) == 1


@pytest.mark.parametrize("interval", [-1, 0, 60])
def test_a_group_without_measurements_makes_nothing(interval: int) -> None:
    group = MeasurementGroup("heartRate", "device", None, None, "c", [])
    assert convert(mapping_of(interval, value=QUANTITY), group) == ([], [])


def test_of_equal_times_a_bad_reading_gives_way_to_a_good_one() -> None:
    draft = convert(
        mapping_of(value=QUANTITY), group_of(measured("10:00:00", hr="?"), measured("10:00:00", hr="7"))
    ).drafts[0]
    assert create(draft, IDENTITY, issued=0)["valueQuantity"]["value"] == 7


def test_of_equal_times_the_first_stands_value_by_value() -> None:
    mapping = mapping_of(value=QUANTITY, components=[component({**STRING, "valueName": "note"})])
    draft = draft_of(mapping, measured("10:00:00", hr="1"), measured("10:00:00", hr="2", note="n"))
    observation = create(draft, IDENTITY, issued=0)
    assert observation["valueQuantity"]["value"] == 1
    assert observation["component"][0]["valueString"] == "n"
    assert draft.superseded == 1


def test_a_text_is_written_without_blanks_around_it() -> None:
    observation = create(
        draft_of(mapping_of(value=STRING), measured("10:00:00", hr="\u00a0at  rest\n")), IDENTITY, issued=0
    )
    assert observation["valueString"] == "at  rest"


def test_a_blank_text_is_not_a_value() -> None:
    observation = create(
        draft_of(mapping_of(value=STRING), measured("10:00:00", hr="sitting"), measured("10:00:01", hr=" ")),
        IDENTITY,
        issued=0,
    )
    assert observation["valueString"] == "sitting"


@pytest.mark.parametrize(("value", "superseded"), [(QUANTITY, 2), (STRING, 2), (CONCEPT, 2), (SERIES, 0)])
def test_superseded_single_values_are_counted(value: dict[str, Any], superseded: int) -> None:
    draft = draft_of(mapping_of(value=value), *(measured(f"10:00:0{second}", hr="1") for second in range(3)))
    assert draft.superseded == superseded


def test_one_wrong_year_in_a_correlation_group_is_counted_before_it_is_built() -> None:
    right, wrong = measured("10:00:00", "c", hr="60"), measured("1970-01-01T00:00:00Z", "c", hr="61")
    drafts, failures = convert(mapping_of(-1, value=SERIES), group_of(right, wrong))
    assert not drafts
    assert sorted(failure.measurement for failure in failures) == [wrong, right]
    assert all(isinstance(failure.error, PeriodTooLong) for failure in failures)


def test_drafts_that_meet_in_one_id_are_one_write_in_time_order() -> None:
    mapping = mapping_of(0, value=QUANTITY, components=[component({**SERIES, "valueName": "s"})])
    late, early = measured("10:00:00.7", hr="2", s="20"), measured("10:00:00.2", hr="1", s="10")
    drafts = convert(mapping, group_of(late, early)).drafts
    assert drafts[0].identify(IDENTITY) == drafts[1].identify(IDENTITY)
    folded = fold(drafts)
    assert folded.identify(IDENTITY) == drafts[0].identify(IDENTITY)
    assert folded.measurements == [early, late]
    assert folded.superseded == 1
    observation = create(folded, IDENTITY, issued=0)
    assert observation["valueQuantity"]["value"] == 2
    assert observation["effectivePeriod"] == {
        "start": "2024-02-29T10:00:00.2000000Z",
        "end": "2024-02-29T10:00:00.7000000Z",
    }
    assert observation["component"][0]["valueSampledData"]["data"] == "20"


SINGLE_VALUES = [QUANTITY, STRING, CONCEPT]


@pytest.mark.parametrize("value", [*SINGLE_VALUES, SERIES])
def test_readings_of_one_second_have_the_time_of_the_last(value: dict[str, Any]) -> None:
    drafts = convert(
        mapping_of(0, DATE_TIME, value=value), group_of(measured("10:00:00.7", hr="2"), measured("10:00:00.2", hr="1"))
    ).drafts
    alone = create(drafts[0], IDENTITY, issued=0)
    assert (alone["effectiveDateTime"], "effectivePeriod" in alone) == ("2024-02-29T10:00:00.7000000Z", False)
    together = create(fold(drafts[::-1]), IDENTITY, issued=0)
    assert together["effectiveDateTime"] == "2024-02-29T10:00:00.7000000Z"
    assert together["id"] == alone["id"]


def test_samples_at_several_times_of_a_second_need_a_period() -> None:
    mapping = mapping_of(0, DATE_TIME, value={**SERIES, "defaultPeriod": 100})
    measurements = measured("10:00:00.2", hr="1"), measured("10:00:00.4", hr="2")
    observation = create(fold(convert(mapping, group_of(*measurements)).drafts), IDENTITY, issued=0)
    assert observation["effectivePeriod"]["start"] == "2024-02-29T10:00:00.2000000Z"
    assert observation["valueSampledData"]["data"] == "1 E 2"


@pytest.mark.parametrize("interval", [-1, 60, 1440])
def test_only_a_single_reading_has_a_time_instead_of_a_period(interval: int) -> None:
    draft = draft_of(mapping_of(interval, DATE_TIME, value=SERIES), measured("10:00:00", "c", hr="1"))
    observation = create(draft, IDENTITY, issued=0)
    assert "effectivePeriod" in observation
    assert "effectiveDateTime" not in observation


@pytest.mark.parametrize("value", SINGLE_VALUES)
@pytest.mark.parametrize("interval", [60, 1440])
def test_single_values_of_a_period_are_an_observation_each_unless_they_are_grouped(
    value: dict[str, Any], interval: int
) -> None:
    group = group_of(*(measured(f"10:0{minute}:00", hr=str(minute)) for minute in range(3)))
    each = convert(mapping_of(interval, FhirOptions(), value=value), group).drafts
    assert [(draft.start, draft.end) for draft in each] == [(tick(f"10:0{minute}:00"),) * 2 for minute in range(3)]
    assert len(convert(mapping_of(interval, value=value), group).drafts) == 1


def test_an_event_is_an_observation_without_a_value() -> None:
    event = {"valueType": "CodeableConcept", "text": "Fall", "codes": [{"code": "fall"}]}
    observation = create(draft_of(mapping_of(0, value=event), measured("10:00:00")), IDENTITY, issued=0)
    assert [code["code"] for code in observation["code"]["coding"]] == ["8867-4", "heartRate"]
    assert not [name for name in observation if name.startswith("value") or name == "component"]


def test_a_component_without_codes_has_the_code_of_its_value() -> None:
    mapping = mapping_of(0, components=[{"value": QUANTITY}])
    observation = create(draft_of(mapping, measured("10:00:00", hr="1")), IDENTITY, issued=0)
    assert observation["component"][0]["code"] == {
        "coding": [{"system": SYSTEM, "code": "hr", "display": "hr"}],
        "text": "hr",
    }


def test_folding_keeps_the_period_of_correlation_groups_and_passes_over_bad_readings() -> None:
    mapping = mapping_of(-1, value=QUANTITY, components=[component({**STRING, "valueName": "note"})])
    first = convert(mapping, group_of(measured("10:00:00", "c", hr="?", note="a"))).drafts
    second = convert(mapping, group_of(measured("10:05:00", "c", hr="5"))).drafts
    folded = fold([*second, *first])
    assert (folded.start, folded.end) == (tick("10:00:00"), tick("10:05:00"))
    assert folded.segment == "c"
    assert folded.superseded == 0


def test_one_draft_is_folded_into_itself() -> None:
    draft = draft_of(mapping_of(value=QUANTITY), measured("10:00:00", hr="1"))
    assert fold([draft]) is draft


def test_different_types_are_never_folded() -> None:
    drafts = [draft_of(mapping_of(value=value), measured("10:00:00", hr="1")) for value in (QUANTITY, STRING)]
    with pytest.raises(ConversionError):
        fold(drafts)


def test_a_value_and_a_component_may_read_the_same_name() -> None:
    mapping = mapping_of(value=QUANTITY, components=[component(STRING)])
    observation = create(draft_of(mapping, measured("10:00:00", hr="1.50")), IDENTITY, issued=0)
    assert sent(observation)["valueQuantity"]["value"].as_tuple().digits == (1, 5, 0)
    assert observation["component"][0]["valueString"] == "1.50"


def test_what_would_be_empty_is_left_out() -> None:
    mapping = mapping_of(
        value={"valueType": "CodeableConcept", "valueName": "hr", "text": "Worn"}, category=[{"codes": []}]
    )
    observation = create(draft_of(mapping, measured("10:00:00", hr="x")), IDENTITY, issued=0)
    assert observation["valueCodeableConcept"] == {"text": "Worn"}
    assert "category" not in observation
    assert "component" not in observation


@pytest.mark.parametrize("concept", [{}, {"codes": []}, {"codes": [{}]}])
def test_a_concept_that_says_nothing_is_not_a_value(concept: dict[str, Any]) -> None:
    value = {"valueType": "CodeableConcept", "valueName": "hr", **concept}
    mapping = mapping_of(value=value, components=[component(value)])
    observation = create(draft_of(mapping, measured("10:00:00", hr="x")), IDENTITY, issued=0)
    assert observation.keys().isdisjoint({"valueCodeableConcept", "component"})


@pytest.mark.parametrize(
    ("value", "has_empties"),
    [(QUANTITY, False), (QUANTITY | {"unit": ""}, True), ({"valueName": "hr", "valueType": "String"}, False)],
    ids=["Quantity", "without a unit", "String"],
)
def test_a_pattern_knows_whether_its_template_holds_what_fhir_has_not(
    value: dict[str, Any], *, has_empties: bool
) -> None:
    mapping = mapping_of(value=value)
    template = mapping.template("heartRate")
    assert template is not None
    assert pattern_of(mapping, template).has_empties is has_empties


@pytest.mark.parametrize(("period_ms", "fits"), [(10, True), (6.875, True), (6.85, False)])
def test_a_series_is_as_long_as_its_interval_allows(period_ms: float, *, fits: bool) -> None:
    """An Observation holds 524,288 samples, and an hour has as many of 6.8665 ms."""
    conversion = convert(
        mapping_of(60, value=SERIES | {"defaultPeriod": period_ms}), group_of(measured("10:00:00", hr="1"))
    )
    assert len(conversion.drafts) == fits
    assert [type(failure.error) for failure in conversion.failures] == ([] if fits else [PeriodTooLong])


def test_spellings_of_a_type_are_not_kept_without_bound() -> None:
    mapping = mapping_of(value=QUANTITY)
    template = mapping.template("heartRate")
    assert template is not None
    pattern = pattern_of(mapping, template)
    assert pattern_of(mapping, template) is pattern
    first = pattern.opening("type 0")
    assert pattern.opening("type 0") is first
    for number in range(1000):
        assert f'"text":"type {number}"' in pattern.opening(f"type {number}")
    assert pattern.opening("type 0") is not first


texts = st.text(max_size=12) | st.from_regex(r"[-+ ]?[0-9]{0,29}\.?[0-9]{0,5}([eE]-?[0-9]{1,3})?", fullmatch=True)
some_readings = st.lists(st.tuples(st.integers(0, 7300), texts), min_size=1, max_size=8)
intervals = st.sampled_from([-1, 0, 60, 1440])


def mapping_of_all(interval: int) -> FhirMapping:
    """All four value types, each reading the same value."""
    return mapping_of(interval, value=SERIES, components=[component(value) for value in (QUANTITY, STRING, CONCEPT)])


def measured_at(second: int, text: str, sequence_number: int) -> Measurement:
    return measured(tick("10:00:00") + second * SECOND, "c", hr=text)._replace(sequence_number=sequence_number)


@given(intervals, some_readings)
def test_whatever_is_read_can_be_written_and_every_measurement_is_accounted_for(
    interval: int, series: list[Any]
) -> None:
    measurements = [measured_at(time, text, number) for number, (time, text) in enumerate(series)]
    drafts, failures = convert(mapping_of_all(interval), group_of(*measurements))
    for draft in drafts:
        sent(create(draft, IDENTITY, issued=0))
    settled = [measurement for draft in drafts for measurement in draft.measurements]
    assert {*settled, *(failure.measurement for failure in failures)} == set(measurements)


@given(intervals, some_readings)
def test_folding_parts_is_converting_the_whole(interval: int, series: list[Any]) -> None:
    mapping = mapping_of_all(interval)
    (group,) = group_measurements(measured_at(time, text, number) for number, (time, text) in enumerate(series))
    parts = [group_of(*part) for part in (group.measurements[::2], group.measurements[1::2]) if part]
    whole = _folded(convert(mapping, group).drafts)
    assert _folded([draft for part in parts for draft in convert(mapping, part).drafts]) == whole


def _folded(drafts: list[ObservationDraft]) -> dict[str, dict[str, Any]]:
    by_id: dict[str, list[ObservationDraft]] = {}
    for draft in drafts:
        by_id.setdefault(draft.identify(IDENTITY)[1], []).append(draft)
    return {resource_id: create(fold(meeting), IDENTITY, issued=0) for resource_id, meeting in by_id.items()}
