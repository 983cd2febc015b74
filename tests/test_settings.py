"""The settings and their page for people say the same."""

import re
from pathlib import Path

import pytest

from medtech import application
from medtech.errors import SettingInvalid
from medtech.mapping.fhir import FhirOptions
from medtech.settings import ObservationEffective, ResolutionType, Settings, SingleValuePeriod, load

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"

# Read by the Functions host, by the declaration of a trigger, by the storage client or the app's identity.
OF_THE_PLATFORM = {
    "EventHubConnection",
    "EVENT_HUB_NAME",
    "EVENT_HUB_CONSUMER_GROUP",
    "BufferStorage",
    "AZURE_CLIENT_ID",
    "FLUSH_SCHEDULE",
}


def documented() -> dict[str, str]:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", PAGE.read_text(), re.MULTILINE)
    return {name: default.strip("`") for name, default in rows}


def test_every_setting_is_on_the_page() -> None:
    assert {name.upper() for name in Settings.model_fields} == set(documented()) - OF_THE_PLATFORM


def test_defaults_on_the_page_are_the_defaults() -> None:
    page = documented()
    for name, field in Settings.model_fields.items():
        if field.default != "":
            assert page[name.upper()].lower() == str(field.default).lower(), name


@pytest.fixture(autouse=True)
def fresh() -> None:
    load.cache_clear()


def test_unusable_settings_are_all_named_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDOW_SECONDS", "secret-text")
    monkeypatch.setenv("FHIR_BUNDLE_SIZE", "0")
    with pytest.raises(SettingInvalid) as caught:
        load()
    assert "WINDOW_SECONDS" in caught.value.message
    assert "FHIR_BUNDLE_SIZE" in caught.value.message
    assert "secret-text" not in caught.value.message


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
