"""The settings and their page for people say the same."""

import re
from pathlib import Path

import pytest
from joserfc.jwk import ECKey
from pydantic import SecretStr

from medtech import application
from medtech.errors import SettingInvalid
from medtech.mapping.fhir import FhirOptions
from medtech.settings import FhirAuthentication, ObservationEffective, ResolutionType, Settings, SingleValuePeriod, load

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
        if field.default not in ("", SecretStr("")):
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
        ({"FHIR_AUTHENTICATION": "basic"}, {"FHIR_USERNAME": "Is missing", "FHIR_PASSWORD": "Is missing"}),
        (BASIC | {"FHIR_USERNAME": "a:SECRET"}, {"FHIR_USERNAME": "colon"}),
        (BASIC | {"FHIR_PASSWORD": "SECRET\n"}, {"FHIR_PASSWORD": "line break"}),
        (
            BASIC | {"FHIR_PASSWORD": "@Microsoft.KeyVault(SecretUri=SECRET)"},
            {"FHIR_PASSWORD": "Key Vault Secrets User"},
        ),
        (
            BY_KEY | {"FHIR_CLIENT_KEY": "@Microsoft.KeyVault(SecretUri=SECRET)"},
            {"FHIR_CLIENT_KEY": "Key Vault Secrets User"},
        ),
        ({"FHIR_PASSWORD": "SECRET"}, {"FHIR_PASSWORD": "Belongs to FHIR_AUTHENTICATION=basic"}),
        (BASIC | {"FHIR_AUDIENCE": "https://a"}, {"FHIR_AUDIENCE": "Belongs to FHIR_AUTHENTICATION=entra"}),
        (BASIC | {"FHIR_SCOPE": "s"}, {"FHIR_SCOPE": "Belongs to FHIR_AUTHENTICATION=client_credentials"}),
        (
            {"FHIR_AUTHENTICATION": "client_credentials"},
            {"FHIR_TOKEN_URL": "Is missing", "FHIR_CLIENT_ID": "Is missing", "FHIR_CLIENT_KEY": "FHIR_CLIENT_SECRET"},
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
            (BY_KEY | {"FHIR_TOKEN_URL": url}, {"FHIR_TOKEN_URL": "Is not an address"})
            for url in ("login", "https://", "https://[::1", "https://h:99999/", "https://a:SECRET@h/", "https://h/#x")
        ),
    ],
)
def test_settings_of_authentication_that_contradict_or_miss_each_other(
    monkeypatch: pytest.MonkeyPatch, written: dict[str, str], faults: dict[str, str]
) -> None:
    for name, value in written.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingInvalid) as caught:
        load()
    found = dict(re.findall(r"(\b[A-Z_]+): ([^;]+)", caught.value.message))
    assert set(found) == set(faults)
    assert all(said in found[name] for name, said in faults.items())
    assert "SECRET" not in caught.value.message.replace("FHIR_CLIENT_SECRET", "")
