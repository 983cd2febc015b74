import copy
import itertools
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.dotnet.ticks import format_iso
from medtech.errors import (
    ConversionError,
    FhirResourceError,
    ObservationMismatch,
    ObservationWithdrawn,
    PeriodTooLong,
    UnitMismatch,
)
from medtech.mapping.fhir import FhirOptions
from medtech.model import Measurement, ResourceIdentity
from medtech.transform.effective import read_effective
from medtech.transform.identifier import SYSTEM
from medtech.transform.merge import merge
from medtech.transform.observation import ObservationDraft, convert, create, fold
from tests.transform.measurements import (
    CONCEPT,
    DATE_TIME,
    GROUPED,
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

VALUES = [SERIES, QUANTITY, STRING, CONCEPT]
NOTE = component({**STRING, "valueName": "note"})
LATER = 1


def stored_of(draft: ObservationDraft, **changes: Any) -> dict[str, Any]:
    """What a server holds of a draft, with what others made of it; None takes a property away."""
    observation = sent(create(draft, IDENTITY, issued=0))
    observation.update(changes)
    return {name: value for name, value in observation.items() if value is not None}


def merged_once(stored: dict[str, Any], draft: ObservationDraft, **options: Any) -> dict[str, Any]:
    """Merges, and shows that a second time changes nothing and that what was stored is left alone."""
    before = copy.deepcopy(stored)
    first = merge(stored, draft, IDENTITY, LATER, **options)
    assert stored == before
    again = merge(sent(first.resource), draft, IDENTITY, LATER, **options)
    assert not again.changed
    assert first.changed or first.resource is stored
    return sent(first.resource)


def five_past(value: dict[str, Any], text: str = "61") -> ObservationDraft:
    return draft_of(mapping_of(value=value), measured("10:00:05", hr=text))


def ten_o_clock(value: dict[str, Any], text: str = "60") -> ObservationDraft:
    return draft_of(mapping_of(value=value), measured("10:00:00", hr=text))


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("interval", [-1, 0, 60, 1440])
def test_the_same_group_changes_nothing(value: dict[str, Any], interval: int) -> None:
    mapping = mapping_of(
        interval, value=value, components=[NOTE], category=[{"text": "Vital Signs", "codes": [{"code": "v"}]}]
    )
    draft = draft_of(mapping, measured("10:00:00", "c", hr="60", note="n"))
    assert not merge(stored_of(draft), draft, IDENTITY, LATER).changed


def test_what_others_added_stays() -> None:
    added = {
        "extension": [{"url": "http://x", "valueDecimal": Decimal("1.50")}],
        "note": [{"text": "checked"}],
        "performer": [{"reference": "Practitioner/1"}],
        "identifier": [{"system": "http://other", "value": "7"}],
        "meta": {"versionId": "3", "tag": [{"code": "t"}]},
    }
    merged = merged_once(stored_of(ten_o_clock(QUANTITY), **added), five_past(QUANTITY))
    assert {name: merged[name] for name in added} == added
    assert merged["valueQuantity"]["value"] == 61
    assert merged["issued"] == format_iso(LATER)


@pytest.mark.parametrize(
    ("before", "after"),
    [("final", "amended"), ("preliminary", "amended"), ("amended", "amended"), ("corrected", "corrected")],
)
def test_status_says_that_something_changed(before: str, after: str) -> None:
    stored = stored_of(ten_o_clock(QUANTITY), status=before)
    assert merged_once(stored, five_past(QUANTITY))["status"] == after
    assert merged_once(stored, five_past(QUANTITY, "60"))["status"] == before


SAME_BY_MEANING: list[dict[str, Any]] = [
    {"effectivePeriod": {"start": "2024-02-29T10:00:00Z", "end": "2024-02-29T10:59:59.999Z"}},
    {"effectivePeriod": {"start": "2024-02-29T11:00:00+01:00", "end": "2024-02-29T09:59:59-01:00"}},
    {"issued": "2030-01-01T00:00:00Z", "meta": {"versionId": "9"}, "text": {"status": "generated", "div": "<div/>"}},
    {"valueQuantity": {"value": Decimal("60.0"), "unit": "/min", "code": "/min", "system": QUANTITY["system"]}},
    {"valueQuantity": {"id": "q", "value": 60, "unit": "/min", "code": "/min", "system": QUANTITY["system"]}},
    {"_valueQuantity": {"extension": [{"url": "http://x"}]}},
    {"category": [{"id": "c", "text": "V", "coding": [{"code": "v", "userSelected": False}]}]},
]


@pytest.mark.parametrize("changes", SAME_BY_MEANING, ids=lambda changes: next(iter(changes)))
def test_the_form_in_which_a_server_returns_it_changes_nothing(changes: dict[str, Any]) -> None:
    mapping = mapping_of(value=QUANTITY, category=[{"text": "V", "codes": [{"code": "v"}]}])
    draft = draft_of(mapping, measured("10:00:00", hr="60"))
    assert not merge(stored_of(draft, **changes), draft, IDENTITY, LATER).changed


OTHER_BY_MEANING: list[dict[str, Any]] = [
    {"valueQuantity": {"value": 60, "unit": "/h", "code": "/min", "system": QUANTITY["system"]}},
    {"valueQuantity": {"value": 60, "comparator": "<", "unit": "/min", "code": "/min", "system": QUANTITY["system"]}},
    {"valueQuantity": "60"},
    {"valueQuantity": {"value": "60"}},
    {"valueQuantity": None},
    {"valueQuantity": None, "valueString": "60"},
    {"dataAbsentReason": {"text": "unknown"}},
    {"category": [{"text": "V", "coding": [{"code": "w"}]}]},
    {"category": [{"text": "W", "coding": [{"code": "v"}]}]},
    {"category": [{"text": "V", "coding": [{"code": "v"}]}, {"text": "V2"}]},
    {"category": "V"},
    {"category": None},
    {"effectivePeriod": {"start": "2024-02-29T10:00:01Z", "end": "2024-02-29T10:59:59.999Z"}},
    {"effectivePeriod": {"start": "2024-02-29T10:00:00Z", "end": "2024-02-29T10:59:58Z"}},
    {"effectivePeriod": {"start": "2024-02-29T10:00:00Z"}},
    {"effectivePeriod": {"end": "2024-02-29T10:59:59.9999999Z"}},
    {"effectivePeriod": None},
    {"effectivePeriod": None, "effectiveInstant": "2024-02-29T10:00:00Z"},
]


@pytest.mark.parametrize("changes", OTHER_BY_MEANING, ids=lambda changes: json.dumps(changes, default=str)[:60])
def test_what_the_mapping_owns_is_brought_up_to_date(changes: dict[str, Any]) -> None:
    mapping = mapping_of(value=QUANTITY, category=[{"text": "V", "codes": [{"code": "v"}]}])
    draft = draft_of(mapping, measured("10:00:00", hr="60"))
    merged = merged_once(stored_of(draft, **changes), draft)
    assert merged["status"] == "amended"
    assert tick(merged["effectivePeriod"]["start"]) == tick("10:00:00")
    assert tick(merged["effectivePeriod"]["end"]) >= tick("10:59:59")
    fresh = stored_of(draft)
    assert merged["valueQuantity"] == fresh["valueQuantity"]
    assert [entry["text"] for entry in merged["category"]] == ["V"]
    assert not {"dataAbsentReason", "valueString", "effectiveInstant"} & merged.keys()


def test_a_template_without_category_removes_it() -> None:
    draft = ten_o_clock(QUANTITY)
    assert "category" not in merged_once(stored_of(draft, category=[{"text": "V"}]), draft)


def moment(text: str) -> str:
    return f"2024-02-29T10:00:{text}Z"


def spot(text: str, reading: str = "60", options: FhirOptions = GROUPED, **properties: Any) -> ObservationDraft:
    """An Observation of a single reading, at a second after ten o'clock."""
    return draft_of(mapping_of(0, options, value=QUANTITY, **properties), measured(moment(text), hr=reading))


both_settings = pytest.mark.parametrize("options", [GROUPED, DATE_TIME], ids=["period", "dateTime"])


@both_settings
@pytest.mark.parametrize("form", ["effectiveDateTime", "effectiveInstant"])
def test_a_stored_time_keeps_its_form(options: FhirOptions, form: str) -> None:
    stored = stored_of(spot("00.5"), effectivePeriod=None, **{form: moment("00.5000000")})
    assert merged_once(stored, spot("00.5", options=options)) == stored
    merged = merged_once(stored, spot("00.5", "61", options=options))
    assert merged[form] == moment("00.5000000")
    assert merged["valueQuantity"]["value"] == 61
    assert "effectivePeriod" not in merged


@both_settings
def test_a_stored_period_keeps_its_form(options: FhirOptions) -> None:
    merged = merged_once(stored_of(spot("00.5")), spot("00.7", options=options))
    assert merged["effectivePeriod"] == {"start": moment("00.5000000"), "end": moment("00.7000000")}
    assert "effectiveDateTime" not in merged


@both_settings
@pytest.mark.parametrize(("second", "time"), [("00.7", "00.7000000"), ("00.3", "00.5000000"), ("00.5", "00.5000000")])
def test_a_stored_time_becomes_that_of_the_later_reading(options: FhirOptions, second: str, time: str) -> None:
    extended = {"_effectiveDateTime": {"extension": [{"url": "http://x"}]}}
    stored = stored_of(spot("00.5", options=DATE_TIME), **extended)
    merged = merged_once(stored, spot(second, "61", options=options))
    assert merged["effectiveDateTime"] == moment(time)
    assert ("_effectiveDateTime" in merged) is (time == "00.5000000")
    assert merged["valueQuantity"]["value"] == 61


@pytest.mark.parametrize("text", [moment("00.500"), "2024-02-29T11:00:00.5+01:00", moment("00"), "2024-02-29"])
def test_a_stored_time_says_the_same_in_whatever_form(text: str) -> None:
    stored = stored_of(spot("00.5", options=DATE_TIME), effectiveDateTime=text)
    assert not merge(stored, spot("00.5", options=DATE_TIME), IDENTITY, LATER).changed


@both_settings
def test_without_a_stored_time_the_form_is_the_one_in_force(options: FhirOptions) -> None:
    merged = merged_once(stored_of(spot("00.5"), effectivePeriod=None), spot("00.5", options=options))
    fresh = stored_of(spot("00.5", options=options))
    assert [merged.get(name) for name in EFFECTIVE] == [fresh.get(name) for name in EFFECTIVE]


EFFECTIVE = ("effectiveDateTime", "effectivePeriod")


@both_settings
@pytest.mark.parametrize("interval", [-1, 60, 1440])
def test_a_stored_time_of_another_interval_becomes_the_period(options: FhirOptions, interval: int) -> None:
    mapping = mapping_of(interval, options, value=SERIES)
    draft = draft_of(mapping, measured("10:00:01", "c", hr="60"), measured("10:00:05", "c", hr="61"))
    stored = stored_of(draft, effectivePeriod=None, effectiveDateTime=moment("05"))
    stored["valueSampledData"]["data"] = "61"
    merged = merged_once(stored, draft)
    assert merged["effectivePeriod"]["start"] == stored_of(draft)["effectivePeriod"]["start"]
    assert "effectiveDateTime" not in merged


@pytest.mark.parametrize(
    ("period_ms", "second", "effective", "data"),
    [
        (1000, "00.7", {"effectiveDateTime": moment("00.7000000")}, "61"),
        (1000, "00.3", {"effectiveDateTime": moment("00.5000000")}, "61"),
        (100, "00.5", {"effectiveDateTime": moment("00.5000000")}, "61"),
        (100, "00.7", {"effectivePeriod": {"start": moment("00.5000000"), "end": moment("00.7000000")}}, "60 E 61"),
        (100, "00.3", {"effectivePeriod": {"start": moment("00.3000000"), "end": moment("00.5000000")}}, "61 E 60"),
    ],
)
def test_a_time_becomes_a_period_only_where_samples_would_move(
    period_ms: int, second: str, effective: dict[str, Any], data: str
) -> None:
    mapping = mapping_of(0, DATE_TIME, value={**SERIES, "defaultPeriod": period_ms})
    stored = stored_of(draft_of(mapping, measured(moment("00.5"), hr="60")))
    assert stored["effectiveDateTime"] == moment("00.5000000")
    merged = merged_once(stored, draft_of(mapping, measured(moment(second), hr="61")))
    assert {name: merged[name] for name in EFFECTIVE if name in merged} == effective
    assert merged["valueSampledData"]["data"] == data


@pytest.mark.parametrize("second", ["00.3", "00.7"])
def test_a_series_that_others_added_does_not_move(second: str) -> None:
    ecg = {"origin": {"value": 0}, "period": 100, "dimensions": 1, "data": "1 2 3"}
    stored = stored_of(spot("00.5", options=DATE_TIME), component=[{"code": {"text": "ecg"}, "valueSampledData": ecg}])
    assert merged_once(stored, spot("00.5", "61", options=DATE_TIME))["effectiveDateTime"] == moment("00.5000000")
    merged = merged_once(stored, spot(second, "61", options=DATE_TIME))
    assert "effectiveDateTime" not in merged
    start, points = tick(merged["effectivePeriod"]["start"]), merged["component"][0]["valueSampledData"]["data"].split()
    assert start + points.index("1") * SECOND // 10 == tick(moment("00.5"))


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(VALUES, 2)))
def test_a_value_of_another_type_is_replaced(before: dict[str, Any], after: dict[str, Any]) -> None:
    merged = merged_once(stored_of(ten_o_clock(before)), five_past(after))
    assert [name for name in merged if name.startswith("value")] == [f"value{after['valueType']}"]


def test_components_are_found_by_their_code_and_added_when_missing() -> None:
    both = mapping_of(components=[NOTE, component(QUANTITY)])
    foreign = [{"valueString": "x"}, {"code": {"text": "note"}}, {"code": {"coding": "note"}}, "not a component"]
    stored = stored_of(draft_of(both, measured("10:00:00", note="old")))
    stored["component"] = [*foreign, *stored["component"]]
    merged = merged_once(stored, draft_of(both, measured("10:00:01", note="new", hr="60")))
    assert merged["component"][:4] == foreign
    assert merged["component"][4]["valueString"] == "new"
    assert merged["component"][5]["code"]["coding"][-1] == {"system": SYSTEM, "code": "hr", "display": "hr"}
    assert merged["component"][5]["valueQuantity"]["value"] == 60


def test_a_components_reason_for_no_value_goes_when_there_is_one() -> None:
    mapping = mapping_of(components=[NOTE])
    draft = draft_of(mapping, measured("10:00:00", note="n"))
    stored = stored_of(draft)
    stored["component"][0] = {"code": stored["component"][0]["code"], "dataAbsentReason": {"text": "unknown"}}
    merged = merged_once(stored, draft)
    assert merged["component"][0].keys() == {"code", "valueString"}


def test_two_components_of_one_name_are_each_their_own() -> None:
    mapping = mapping_of(components=[component(QUANTITY), component(STRING)])
    merged = merged_once(
        stored_of(draft_of(mapping, measured("10:00:00", hr="60"))), draft_of(mapping, measured("10:00:01", hr="61"))
    )
    assert [entry.get("valueString") for entry in merged["component"]] == [None, "61"]
    assert len(merged["component"]) == 2


def data_of(observation: dict[str, Any]) -> str:
    data = observation["valueSampledData"]["data"]
    assert isinstance(data, str)
    return data.removesuffix(" E" * (len(data.split()) - 10))


def test_new_samples_replace_old_ones() -> None:
    assert data_of(merged_once(stored_of(ten_o_clock(SERIES)), five_past(SERIES))) == "60 E E E E 61 E E E E"


def test_samples_of_another_period_keep_their_times() -> None:
    stored = stored_of(draft_of(mapping_of(value=SERIES), measured("10:00:04", hr="60"), measured("10:00:05", hr="62")))
    merged = merged_once(stored, five_past({**SERIES, "defaultPeriod": 2000}, "61"))
    assert data_of(merged) == "E E 61 E E E E E E E"
    assert merged["valueSampledData"]["period"] == 2000


def test_an_earlier_start_moves_no_series_in_time() -> None:
    mapping = mapping_of(-1, value=SERIES, components=[component({**SERIES, "valueName": "other"})])
    late = draft_of(mapping, measured("10:00:05", "c", hr="1", other="2"), measured("10:00:07", "c", hr="3"))
    stored = stored_of(late)
    foreign = {
        "code": {"text": "ecg"},
        "valueSampledData": {"origin": {"value": 5}, "factor": 2, "period": 500, "dimensions": 2, "data": "1 2 3 4"},
    }
    stored["component"].append(foreign)
    merged = merged_once(stored, draft_of(mapping, measured("10:00:03", "c", hr="0")))
    assert merged["valueSampledData"]["data"] == "0 E 1 E 3"
    assert merged["component"][0]["valueSampledData"]["data"] == "E E 2 E E"
    assert merged["component"][1]["valueSampledData"] == {
        **foreign["valueSampledData"],
        "data": "E E E E E E E E 1 2 3 4 E E E E E E",
    }


def test_a_series_without_new_readings_stands_while_the_start_does() -> None:
    mapping = mapping_of(-1, value=SERIES, components=[NOTE])
    stored = stored_of(draft_of(mapping, measured("10:00:05", "c", hr="1")))
    merged = merged_once(stored, draft_of(mapping, measured("10:00:09", "c", note="n")))
    assert merged["valueSampledData"] == stored["valueSampledData"]
    assert merged["effectivePeriod"]["end"] == "2024-02-29T10:00:09.0000000Z"


@pytest.mark.parametrize(("text", "data"), [("E", "1 E E E E"), ("L", "1 E E E L")])
def test_a_series_with_new_readings_reaches_to_the_new_end(text: str, data: str) -> None:
    mapping = mapping_of(-1, value=SERIES)
    stored = stored_of(draft_of(mapping, measured("10:00:05", "c", hr="1")))
    merged = merged_once(stored, draft_of(mapping, measured("10:00:09", "c", hr=text)))
    assert merged["valueSampledData"]["data"] == data


def test_no_sample_where_there_is_none_changes_nothing() -> None:
    stored = stored_of(ten_o_clock(SERIES))
    stored["valueSampledData"]["data"] = "60 E"
    assert merged_once(stored, five_past(SERIES, "E")) == stored


def test_factor_and_origin_are_applied() -> None:
    stored = stored_of(ten_o_clock(SERIES))
    stored["valueSampledData"].update(
        origin={"value": Decimal("32.0"), "unit": "/min", "code": "/min"},
        factor=Decimal("0.5"),
        data="60 U 3",
        lowerLimit=1,
    )
    series = merged_once(stored, five_past(SERIES))["valueSampledData"]
    assert series["data"].startswith("62.0 U 33.5 E E 61 E")
    assert series["origin"] == {"value": 0, "unit": "/min", "code": "/min"}
    assert "factor" not in series
    assert series["lowerLimit"] == 1


@pytest.mark.parametrize("stored_unit", ["bpm", None])
@pytest.mark.parametrize("mapped_unit", ["/min", None])
def test_another_unit_is_refused_unless_only_the_label_changed(
    stored_unit: str | None, mapped_unit: str | None
) -> None:
    stored = stored_of(ten_o_clock({**SERIES, "unit": stored_unit}))
    draft = five_past({**SERIES, "unit": mapped_unit})
    if stored_unit == mapped_unit:
        assert merge(stored, draft, IDENTITY, LATER).changed
        return
    with pytest.raises(UnitMismatch, match="relabel-unit"):
        merge(stored, draft, IDENTITY, LATER)
    origin = merged_once(stored, draft, relabel_unit=True)["valueSampledData"]["origin"]
    assert origin.get("unit") == mapped_unit


def test_an_empty_unit_is_none() -> None:
    stored = stored_of(ten_o_clock({**SERIES, "unit": ""}))
    del stored["valueSampledData"]["origin"]["unit"]
    assert not merge(stored, ten_o_clock({**SERIES, "unit": ""}), IDENTITY, LATER).changed


UNREADABLE: list[dict[str, Any]] = [
    {"period": 0},
    {"period": None},
    {"period": "1000"},
    {"period": Decimal("1E+999999999")},
    {"period": Decimal("0.00001")},
    {"data": 5},
    {"factor": "2"},
    {"origin": {"value": "1", "unit": "/min"}},
    {"factor": Decimal("1E+999999999")},
    {"factor": 2, "data": "60 x"},
    {"dimensions": 0},
    {"dimensions": "1"},
]


@pytest.mark.parametrize("changes", UNREADABLE, ids=str)
def test_a_series_that_cannot_be_read_is_an_error_that_names_the_observation(changes: dict[str, Any]) -> None:
    stored = stored_of(ten_o_clock(SERIES))
    stored["valueSampledData"].update(changes)
    with pytest.raises(ConversionError, match=f"Observation/{stored['id']}"):
        merge(stored, five_past(SERIES), IDENTITY, LATER)


def test_a_series_without_a_time_cannot_be_merged() -> None:
    with pytest.raises(ConversionError, match="no time"):
        merge(stored_of(ten_o_clock(SERIES), effectivePeriod=None), five_past(SERIES), IDENTITY, LATER)


def test_a_series_without_data_is_as_good_as_none() -> None:
    stored = stored_of(ten_o_clock(SERIES), effectivePeriod=None)
    stored["valueSampledData"] = {"data": "", "origin": {"unit": "/min"}}
    assert data_of(merged_once(stored, five_past(SERIES))) == "E E E E E 61 E E E E"


def test_a_series_of_several_dimensions_is_refused() -> None:
    stored = stored_of(ten_o_clock(SERIES))
    stored["valueSampledData"].update(dimensions=2, data="1 2 3 4")
    with pytest.raises(UnitMismatch, match="dimensions"):
        merge(stored, five_past(SERIES), IDENTITY, LATER)


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
def test_a_withdrawn_observation_is_not_revived(status: str) -> None:
    with pytest.raises(ObservationWithdrawn, match=status):
        merge(stored_of(ten_o_clock(QUANTITY), status=status), five_past(QUANTITY), IDENTITY, LATER)


@pytest.mark.parametrize("name", ["subject", "device"])
@pytest.mark.parametrize(
    "reference",
    [
        None,
        "x",
        {},
        {"reference": None},
        {"reference": "Patient/other"},
        {"reference": "dev-1"},
        {"reference": "#pat-1"},
        {"identifier": {"value": "1"}},
    ],
)
def test_an_observation_of_another_patient_or_device_is_not_touched(name: str, reference: Any) -> None:
    with pytest.raises(ObservationMismatch, match=name):
        merge(stored_of(ten_o_clock(QUANTITY), **{name: reference}), five_past(QUANTITY), IDENTITY, LATER)


@pytest.mark.parametrize("base", ["", "https://fhir.example.com/r4/"])
@pytest.mark.parametrize("version", ["", "/_history/7"])
def test_references_in_every_form_are_the_same(base: str, version: str) -> None:
    draft = ten_o_clock(QUANTITY)
    stored = stored_of(
        draft,
        subject={"reference": f"{base}Patient/pat-1{version}"},
        device={"reference": f"{base}Device/dev-1{version}"},
    )
    assert not merge(stored, draft, IDENTITY, LATER).changed


def test_only_an_observation_is_merged_into() -> None:
    with pytest.raises(ObservationMismatch):
        merge({"resourceType": "OperationOutcome"}, ten_o_clock(QUANTITY), IDENTITY, LATER)


@pytest.mark.parametrize(
    ("stored", "differs"), [(None, True), ({"reference": "Encounter/1"}, True), ({"reference": "Encounter/2"}, False)]
)
def test_the_stored_encounter_stays_and_another_one_is_reported(stored: Any, differs: bool) -> None:
    observation = stored_of(ten_o_clock(QUANTITY), encounter=stored)
    merged = merge(observation, five_past(QUANTITY), ResourceIdentity("dev-1", "pat-1", "2"), LATER)
    assert merged.resource.get("encounter") == stored
    assert merged.other_encounter is differs
    assert not merge(observation, five_past(QUANTITY), IDENTITY, LATER).other_encounter


@pytest.mark.parametrize(
    ("time", "start", "end"),
    [
        ({"start": "0001-01-01T00:00:00+01:00"}, "0001-01-01T00:00:00.0000000Z", None),
        ({"end": "9999-12-31T23:59:59-01:00"}, None, "9999-12-31T23:59:59.9999999Z"),
    ],
)
def test_a_stored_time_past_the_calendar_is_its_first_or_last_tick(
    time: dict[str, str], start: str | None, end: str | None
) -> None:
    draft = draft_of(mapping_of(-1, value=QUANTITY), measured("10:00:05", "c", hr="61"))
    earlier = draft_of(mapping_of(-1, value=QUANTITY), measured("10:00:00", "c", hr="60"))
    stored = stored_of(earlier)
    stored["effectivePeriod"] |= time
    period = read_effective(merged_once(stored, draft), "Observation/1")
    assert start is None or format_iso(period.start or 0) == start
    assert end is None or format_iso(period.end or 0) == end
    moment = {"effectivePeriod": None, "effectiveDateTime": next(iter(time.values()))}
    assert "effectivePeriod" in merged_once(stored_of(earlier, **moment), draft)


def test_a_period_that_would_be_too_long_is_refused() -> None:
    mapping = mapping_of(-1, value=SERIES)
    stored = stored_of(draft_of(mapping, measured("10:00:00", "c", hr="1")))
    with pytest.raises(PeriodTooLong):
        merge(stored, draft_of(mapping, measured("1970-01-01T00:00:00Z", "c", hr="1")), IDENTITY, LATER)


def test_errors_reveal_no_readings_or_patients() -> None:
    stored = stored_of(ten_o_clock({**SERIES, "unit": "bpm"}))
    with pytest.raises(UnitMismatch) as raised:
        merge(stored, five_past(SERIES, "6177"), IDENTITY, LATER)
    assert "6177" not in raised.value.message
    assert "pat-1" not in raised.value.message


# Properties, over every value type and interval.

readings = st.lists(
    st.tuples(st.integers(0, 7300), st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,2})?", fullmatch=True)),
    min_size=1,
    max_size=12,
)
mappings = st.builds(
    lambda interval, options, value, other: mapping_of(
        interval, options, value=value, components=[component({**other, "valueName": "b"})]
    ),
    st.sampled_from([-1, 0, 60, 1440]),
    st.sampled_from([GROUPED, replace(GROUPED, effective_date_time=True)]),
    st.sampled_from(VALUES),
    st.sampled_from(VALUES),
)


def at(second: int, **values: str) -> Measurement:
    return measured(tick("10:00:00") + second * SECOND, "c", **values)


@given(mappings, mappings, readings, readings)
def test_merging_twice_is_merging_once(before: Any, after: Any, first: list[Any], second: list[Any]) -> None:
    stored = create(
        convert(before, group_of(*(at(time, hr=text) for time, text in first))).drafts[0], IDENTITY, issued=0
    )
    for draft in convert(after, group_of(*(at(time, hr=text, b=text) for time, text in second))).drafts:
        merged_once(sent(stored), draft)


tenths = st.lists(st.tuples(st.integers(0, 9), st.from_regex(r"[0-9]{1,3}", fullmatch=True)), min_size=1, max_size=5)
period_or_time = st.sampled_from([{}, {"effectivePeriod": None, "effectiveDateTime": moment("00.4")}])


@given(
    st.sampled_from([GROUPED, DATE_TIME]),
    st.sampled_from([GROUPED, DATE_TIME]),
    st.sampled_from([*VALUES, {**SERIES, "defaultPeriod": 200}]),
    st.sampled_from([*VALUES, {**SERIES, "defaultPeriod": 200}]),
    period_or_time,
    tenths,
    tenths,
)
def test_merging_twice_is_merging_once_within_a_second(
    then: FhirOptions, now: FhirOptions, value: Any, other: Any, changes: Any, first: list[Any], second: list[Any]
) -> None:
    """Readings of one second meet in one Observation, whichever form of its time was in force before."""

    def drafted(options: FhirOptions, series: list[Any]) -> ObservationDraft:
        mapping = mapping_of(0, options, value=value, components=[component({**other, "valueName": "b"})])
        measurements = [measured(moment(f"00.{tenth}"), hr=text, b=text) for tenth, text in series]
        return fold(convert(mapping, group_of(*measurements)).drafts)

    stored = stored_of(drafted(then, first), **changes)
    draft = drafted(now, second)
    merged = merged_once(stored, draft)
    had, has = read_effective(stored, "stored"), read_effective(merged, "merged")
    assert has.end == max(had.end or 0, draft.end)
    assert ("effectivePeriod" in merged) or ("effectiveDateTime" in stored)
    assert not {"effectivePeriod", "effectiveDateTime"} <= merged.keys()


@given(
    st.sampled_from([60, 1440]),
    st.lists(
        st.tuples(st.integers(0, 3599), st.integers(0, 999)),
        min_size=2,
        max_size=8,
        unique_by=lambda reading: reading[0],
    ),
    st.randoms(),
)
def test_order_of_arrival_of_separate_readings_does_not_matter(interval: int, series: list[Any], random: Any) -> None:
    """Each reading in a slot of its own; one by one, in groups, or all at once."""
    mapping = mapping_of(interval, value=SERIES)
    measurements = [at(time, hr=str(value)) for time, value in series]
    at_once = sent(create(draft_of(mapping, *measurements), IDENTITY, issued=0))
    random.shuffle(measurements)
    cut = random.randint(1, len(measurements))
    observation = sent(create(draft_of(mapping, *measurements[:cut]), IDENTITY, issued=0))
    for measurement in measurements[cut:]:
        observation = sent(merge(observation, draft_of(mapping, measurement), IDENTITY, LATER).resource)
    assert observation["valueSampledData"] == at_once["valueSampledData"]


@given(st.lists(st.integers(0, 300), min_size=2, max_size=8, unique=True), st.randoms())
def test_order_of_arrival_does_not_matter_in_a_correlation_group_of_whole_periods(
    times: list[int], random: Any
) -> None:
    mapping = mapping_of(-1, value=SERIES)
    measurements = [at(time, hr=str(time)) for time in times]
    at_once = sent(create(draft_of(mapping, *measurements), IDENTITY, issued=0))
    random.shuffle(measurements)
    observation = sent(create(draft_of(mapping, measurements[0]), IDENTITY, issued=0))
    for measurement in measurements[1:]:
        observation = sent(merge(observation, draft_of(mapping, measurement), IDENTITY, LATER).resource)
    assert observation["valueSampledData"] == at_once["valueSampledData"]
    assert observation["effectivePeriod"] == at_once["effectivePeriod"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(["coding", "code", "value", "unit", "start", "x"]), children, max_size=3)
    ),
    max_leaves=5,
)


@given(mappings, readings, st.data())
def test_whatever_a_server_holds_is_merged_or_refused_clearly(
    mapping: Any, series: list[Any], data: st.DataObject
) -> None:
    drafts = convert(mapping, group_of(*(at(time, hr=text, b=text) for time, text in series))).drafts
    stored = stored_of(drafts[0])
    holder = stored
    for _ in range(data.draw(st.integers(0, 3))):
        inner = [value for value in holder.values() if isinstance(value, dict)]
        lists = [
            value[0] for value in holder.values() if isinstance(value, list) and value and isinstance(value[0], dict)
        ]
        if not inner + lists:
            break
        holder = data.draw(st.sampled_from(inner + lists))
    if holder:
        holder[data.draw(st.sampled_from(sorted(holder)))] = data.draw(json_values)
    try:
        merged_once(stored, drafts[-1])
    except (ConversionError, FhirResourceError) as error:
        assert "Observation/" in error.message
