"""The settings that the app itself reads: their values, and what is said of unusable ones."""

from enum import StrEnum
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, SecretStr

from medtech import application
from medtech.errors import SettingInvalid
from medtech.mapping.fhir import FhirOptions
from medtech.settings import (
    ObservationEffective,
    ResolutionType,
    Settings,
    SingleValuePeriod,
    allowed,
    faults_in,
    is_secret,
    load,
)

SECRET = "SECRET-text"


@pytest.fixture(autouse=True)
def fresh() -> None:
    load.cache_clear()


def test_unusable_settings_are_all_named_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDOW_SECONDS", SECRET)
    monkeypatch.setenv("FHIR_BUNDLE_SIZE", "0")
    with pytest.raises(SettingInvalid) as caught:
        load()
    assert caught.value.message.startswith("2 app settings are unusable. ")
    assert "WINDOW_SECONDS" in caught.value.message
    assert "FHIR_BUNDLE_SIZE" in caught.value.message
    assert SECRET not in caught.value.message


def test_choices_match_without_regard_to_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOURCE_IDENTITY_RESOLUTION_TYPE", "lookupwithencounter")
    monkeypatch.setenv("SINGLE_VALUE_PERIOD", "Group")
    monkeypatch.setenv("OBSERVATION_EFFECTIVE", "datetime")
    settings = load()
    assert settings.resource_identity_resolution_type is ResolutionType.LOOKUP_WITH_ENCOUNTER
    assert settings.single_value_period is SingleValuePeriod.GROUP
    assert settings.observation_effective is ObservationEffective.DATE_TIME


@pytest.mark.parametrize("name", ["SINGLE_VALUE_PERIOD", "OBSERVATION_EFFECTIVE", "OBSERVATION_LOOKUP"])
def test_anything_but_a_choice_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "often")
    with pytest.raises(SettingInvalid, match=name):
        load()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("FHIR_BUNDLE_SIZE", "501", "FHIR_BUNDLE_SIZE is too large. Allowed: a whole number from 1 to 500."),
        ("FHIR_BUNDLE_SIZE", "0", "FHIR_BUNDLE_SIZE is too small. Allowed: a whole number from 1 to 500."),
        ("FHIR_BUNDLE_SIZE", "1.5", "FHIR_BUNDLE_SIZE is not a whole number. Allowed: a whole number from 1 to 500."),
        ("DEAD_LETTER_DAYS", SECRET, "DEAD_LETTER_DAYS is not a whole number. Allowed: a whole number, 0 or more."),
        ("DEAD_LETTER_DAYS", "", "DEAD_LETTER_DAYS is empty. Allowed: a whole number, 0 or more."),
        ("KEEP_UNMATCHED", SECRET, "KEEP_UNMATCHED is neither true nor false. Allowed: true or false."),
        (
            "resource_identity_resolution_type",
            SECRET,
            "RESOURCE_IDENTITY_RESOLUTION_TYPE is none of its choices. Allowed: Lookup, Create or LookupWithEncounter.",
        ),
    ],
)
def test_a_fault_is_named_with_what_is_allowed_instead(name: str, value: str, told: str) -> None:
    [fault] = faults_in({name: value})
    assert (fault.name, fault.message) == (name.upper(), told)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("fhir.example.org", "is not an address"),
        ("ftp://fhir.example.org", "is not an address"),
        ("https://", "is not an address"),
        ("https://[fhir", "is not an address"),
        ("https://fhir.example.org/r4?code=SECRET", "is not an address"),
        (
            "/subscriptions/SECRET/resourceGroups/g/providers/Microsoft.HealthcareApis/workspaces/w/fhirservices/f",
            "fhirServiceResourceId",
        ),
    ],
)
def test_an_address_that_is_none_is_refused(address: str, told: str) -> None:
    [fault] = faults_in({"FHIR_SERVICE_URL": address})
    assert told in fault.message
    assert "SECRET" not in fault.message


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_whatever_a_setting_holds_its_fault_does_not(name: str) -> None:
    for fault in faults_in({name.upper(): SECRET}):
        assert SECRET not in fault.message


def test_the_settings_of_another_environment_are_not_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDOW_SECONDS", "abc")
    assert faults_in({}) == []


class _Level(StrEnum):
    LOW = "low"
    HIGH = "high"


class _Kinds(BaseModel):
    secret: SecretStr | None = None
    level: _Level | None = None
    share: Annotated[float, Field(le=1)] = 0.5
    text: str = ""


@pytest.mark.parametrize(
    ("name", "words", "secret"),
    [
        ("secret", "", True),
        ("level", "low or high", False),
        ("share", "a number, 1 or less", False),
        ("text", "", False),
    ],
)
def test_what_a_field_takes_is_read_from_its_type(name: str, words: str, secret: bool) -> None:
    field = _Kinds.model_fields[name]
    assert (allowed(field), is_secret(field)) == (words, secret)


@pytest.mark.parametrize(
    ("written", "options"),
    [
        ({}, FhirOptions()),
        ({"SINGLE_VALUE_PERIOD": "group"}, FhirOptions(group_single_values=True)),
        ({"OBSERVATION_EFFECTIVE": "dateTime"}, FhirOptions(effective_date_time=True)),
    ],
)
def test_settings_say_how_fhir_templates_are_applied(
    monkeypatch: pytest.MonkeyPatch, written: dict[str, str], options: FhirOptions
) -> None:
    for name, value in written.items():
        monkeypatch.setenv(name, value)
    assert application.fhir_options() == options


def test_the_address_of_the_fhir_server_may_end_with_a_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FHIR_SERVICE_URL", "https://fhir.example.org/r4/")
    assert load().fhir_service_url == "https://fhir.example.org/r4"
