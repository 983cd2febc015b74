"""What is stored of several messages: the Observations that a flush would write."""

from typing import Any

from medtech.dotnet import ticks
from medtech.mapping.fhir import DEFAULT_OPTIONS, FhirOptions
from medtech.validation.message import read_message
from medtech.validation.validator import Outcome, read_mappings, validate
from tests.validation.test_findings import (
    MESSAGE,
    SERIES,
    STEPS,
    changed,
    device_mapping,
    device_template,
    fhir_mapping,
    fhir_template,
)

HOURLY_SERIES = changed(fhir_template, **STEPS, periodInterval=60, value={**SERIES, "defaultPeriod": 600_000})
GROUPED = FhirOptions(group_single_values=True)


def stored(messages: list[Any], fhir: dict[str, Any], options: FhirOptions = DEFAULT_OPTIONS, **change: Any) -> Outcome:
    device = changed(device_template, **change)
    mappings = read_mappings(device_mapping(device), fhir_mapping(fhir), options)
    events = [read_message(message, number) for number, message in enumerate(messages)]
    return validate(mappings, events, aggregate=False, issued=ticks.now())


def at(time: str, rate: Any = 70, **others: Any) -> dict[str, Any]:
    return {**MESSAGE, "time": f"2026-03-02T{time}Z", "heartRate": rate, **others}


def test_three_readings_of_an_hour_are_one_series() -> None:
    messages = [at("08:00:00", 70), at("08:20:00", 72), at("08:10:00", 71)]
    outcome = stored(messages, HOURLY_SERIES)
    assert [len(result.observations) for result in outcome.results] == [1, 1, 1]
    [one] = outcome.stored
    assert one.messages == (0, 1, 2)
    assert one.observation["valueSampledData"]["data"] == "70 71 72 E E E"
    assert {result.observations[0]["id"] for result in outcome.results} == {one.observation["id"]}


def test_readings_of_two_hours_are_two_observations() -> None:
    outcome = stored([at("08:59:59"), at("09:00:00"), at("08:00:00")], HOURLY_SERIES)
    assert [each.messages for each in outcome.stored] == [(0, 2), (1,)]


def test_single_values_have_the_period_that_is_in_force() -> None:
    messages = [at("08:00:00", 70), at("08:20:00", 72), at("08:10:00", 71)]
    hourly = changed(fhir_template, periodInterval=60)
    assert [each.messages for each in stored(messages, hourly).stored] == [(0,), (2,), (1,)]
    [one] = stored(messages, hourly, GROUPED).stored
    assert one.observation["valueQuantity"]["value"] == 72
    assert one.draft.superseded == 2


def test_readings_of_one_second_meet_in_one_observation() -> None:
    [one] = stored([at("08:00:00.700", 71), at("08:00:00.100", 70)], fhir_template()).stored
    assert one.messages == (0, 1)
    assert one.observation["valueQuantity"]["value"] == 71


def test_of_readings_of_one_time_the_last_message_stands() -> None:
    [one] = stored([at("08:00:00", 70), at("08:00:00", 71)], fhir_template()).stored
    assert one.observation["valueQuantity"]["value"] == 71


def test_readings_of_two_devices_never_meet() -> None:
    outcome = stored([at("08:00:00"), at("08:00:00", deviceId="d2")], fhir_template())
    assert [each.device_id for each in outcome.stored] == ["d1", "d2"]
    first, second = (each.observation for each in outcome.stored)
    assert first["id"] != second["id"]
    assert [first["device"]["reference"], second["device"]["reference"]] == ["Device/devId", "Device/devId-2"]


def test_readings_of_two_encounters_of_a_device_meet() -> None:
    messages = [at("08:00:00", encounter="a"), at("08:10:00", encounter="b")]
    [one] = stored(messages, HOURLY_SERIES, encounterIdExpression="$.matchedToken.encounter").stored
    assert one.messages == (0, 1)


def test_a_bad_reading_is_a_finding_of_its_message_once() -> None:
    outcome = stored([at("08:00:00", "fast"), at("08:10:00")], HOURLY_SERIES)
    assert [[finding.name for finding in result.findings] for result in outcome.results] == [["ReadingInvalid"], []]
    assert [each.messages for each in outcome.stored] == [(1,)]


def test_what_only_shows_with_all_messages_is_a_finding_of_each() -> None:
    """A correlation group that lasts too long for its samples: by itself each message is an Observation."""
    session = changed(fhir_template, **STEPS, periodInterval=-1, value={**SERIES, "defaultPeriod": 1})
    messages = [{**MESSAGE, "time": f"20{year}-03-02T08:00:00Z", "session": "s"} for year in (20, 25)]
    outcome = stored(messages, session, correlationIdExpression="$.matchedToken.session")
    assert [[finding.name for finding in result.findings] for result in outcome.results] == [["PeriodTooLong"]] * 2
    assert [len(result.observations) for result in outcome.results] == [1, 1]
    assert outcome.stored == []


def test_aggregated_findings_of_observations_have_a_count_and_an_example() -> None:
    messages = [at(f"08:00:0{second // 2}.{second % 2}00") for second in range(6)]
    mappings = read_mappings(device_mapping(device_template()), fhir_mapping(fhir_template()))
    events = [read_message(message, number) for number, message in enumerate(messages)]
    outcome = validate(mappings, events, aggregate=True, issued=ticks.now())
    assert outcome.results == []
    [one] = outcome.stored
    assert one.aggregated_count == 3
    assert one.messages == (0, 1)
    assert one.observation["resourceType"] == "Observation"
