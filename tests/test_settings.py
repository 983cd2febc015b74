"""The settings that the app itself reads: their values, and what is said of unusable ones."""

from enum import StrEnum
from typing import Annotated

import pytest
from joserfc.jwk import ECKey

from medtech import parts
from medtech.declared_settings import DeclaredSettings, Field, SecretStr
from medtech.errors import SettingInvalid
from medtech.mapping.fhir import FhirOptions
from medtech.settings import (
    FhirAuthentication,
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
        ("https://fhir.example.org:SECRET/r4", "is not an address"),
        ("https://user:SECRET@fhir.example.org/r4", "FHIR_USERNAME and FHIR_PASSWORD"),
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


class _Kinds(DeclaredSettings):
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
    assert parts.fhir_options() == options


def test_the_address_of_the_fhir_server_may_end_with_a_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FHIR_SERVICE_URL", "https://fhir.example.org/r4/")
    assert load().fhir_service_url == "https://fhir.example.org/r4"


KEY = ECKey.generate_key("P-384").as_pem(private=True).decode()
BASIC = {"FHIR_AUTHENTICATION": "basic", "FHIR_USERNAME": "app", "FHIR_PASSWORD": "SECRET"}
CLIENT = {
    "FHIR_AUTHENTICATION": "client_credentials",
    "FHIR_TOKEN_URL": "https://login.example.org/token",
    "FHIR_CLIENT_ID": "app",
}
BY_SECRET = CLIENT | {"FHIR_CLIENT_SECRET": "SECRET"}
BY_KEY = CLIENT | {"FHIR_CLIENT_KEY": KEY}


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"FHIR_AUTHENTICATION": "Entra", "FHIR_AUDIENCE": "https://fhir.example.org"},
        {"FHIR_AUTHENTICATION": "NONE"},
        BASIC,
        {"FHIR_AUTHENTICATION": "none", "FHIR_ALLOW_PLAIN_HTTP": "true", "FHIR_SERVICE_URL": "http://10.0.0.4/fhir"},
        BASIC | {"FHIR_USERNAME": "Jürgen", "FHIR_PASSWORD": "p:ä ß"},
        BY_SECRET,
        BY_SECRET | {"FHIR_SCOPE": "system/*.cruds", "FHIR_CLIENT_KEY": ""},
        BY_KEY,
        BY_KEY | {"FHIR_TOKEN_URL": "http://127.0.0.1:8080/token"},
        BY_KEY | {"FHIR_CLIENT_KEY": KEY.replace("\n", "\\n")},
    ],
)
def test_ways_of_authentication(monkeypatch: pytest.MonkeyPatch, written: dict[str, str]) -> None:
    for name, value in written.items():
        monkeypatch.setenv(name, value)
    settings = load()
    assert settings.fhir_authentication is FhirAuthentication(written.get("FHIR_AUTHENTICATION", "entra").lower())
    assert "SECRET" not in repr(settings)
    assert "BEGIN" not in repr(settings)


@pytest.mark.parametrize(
    ("written", "faults"),
    [
        ({"FHIR_AUTHENTICATION": "oauth"}, {"FHIR_AUTHENTICATION": "entra"}),
        ({"FHIR_AUTHENTICATION": "basic"}, {"FHIR_USERNAME": "is missing", "FHIR_PASSWORD": "is missing"}),
        ({"FHIR_SERVICE_URL": "http://10.0.0.4/fhir"}, {"FHIR_ALLOW_PLAIN_HTTP": "is not true"}),
        (
            {"FHIR_SERVICE_URL": "http://10.0.0.4/fhir", "FHIR_ALLOW_PLAIN_HTTP": "true"},
            {"FHIR_ALLOW_PLAIN_HTTP": "passwords and tokens"},
        ),
        (BASIC | {"FHIR_USERNAME": "a:SECRET"}, {"FHIR_USERNAME": "colon"}),
        (BASIC | {"FHIR_PASSWORD": "SECRET\n"}, {"FHIR_PASSWORD": "line break"}),
        ({"FHIR_PASSWORD": "SECRET"}, {"FHIR_PASSWORD": "belongs to FHIR_AUTHENTICATION=basic"}),
        (BASIC | {"FHIR_AUDIENCE": "https://a"}, {"FHIR_AUDIENCE": "belongs to FHIR_AUTHENTICATION=entra"}),
        (BASIC | {"FHIR_SCOPE": "s"}, {"FHIR_SCOPE": "belongs to FHIR_AUTHENTICATION=client_credentials"}),
        (
            {"FHIR_AUTHENTICATION": "client_credentials"},
            {"FHIR_TOKEN_URL": "is missing", "FHIR_CLIENT_ID": "is missing", "FHIR_CLIENT_KEY": "FHIR_CLIENT_SECRET"},
        ),
        (BY_SECRET | {"FHIR_CLIENT_KEY": KEY}, {"FHIR_CLIENT_KEY": "so is FHIR_CLIENT_SECRET"}),
        (BY_SECRET | {"FHIR_CLIENT_SECRET": "SECRET\n"}, {"FHIR_CLIENT_SECRET": "printable ASCII"}),
        (BY_SECRET | {"FHIR_CLIENT_ID": "äpp"}, {"FHIR_CLIENT_ID": "printable ASCII"}),
        (BY_KEY | {"FHIR_CLIENT_KEY": KEY[:99] + "SECRET"}, {"FHIR_CLIENT_KEY": "neither PEM"}),
        (BY_KEY | {"FHIR_TOKEN_URL": "http://10.0.0.4/token"}, {"FHIR_TOKEN_URL": "plain http"}),
        (
            BY_KEY | {"FHIR_TOKEN_URL": "http://10.0.0.4/token", "FHIR_ALLOW_PLAIN_HTTP": "true"},
            {"FHIR_TOKEN_URL": "plain http"},
        ),
        *(
            (BY_KEY | {"FHIR_TOKEN_URL": url}, {"FHIR_TOKEN_URL": "is not an address"})
            for url in ("login", "https://", "https://[::1", "https://h:99999/", "https://a:SECRET@h/", "https://h/#x")
        ),
    ],
)
def test_settings_of_authentication_that_contradict_or_miss_each_other(
    monkeypatch: pytest.MonkeyPatch, written: dict[str, str], faults: dict[str, str]
) -> None:
    for name, value in written.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingInvalid):
        load()
    found = {fault.name: fault.message for fault in faults_in(written)}
    assert set(found) == set(faults)
    assert all(said in found[name] for name, said in faults.items())
    assert "SECRET" not in "".join(found.values()).replace("FHIR_CLIENT_SECRET", "")
