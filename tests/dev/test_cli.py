"""Settings of a local run."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dev.cli import app, read_settings
from dev.demo import QUICK_SETTINGS
from dev.local_run import local_settings
from dev.processes import LocalRunFailed


def test_values_of_the_settings_file_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text('{"IsEncrypted": false, "Values": {"WINDOW_SECONDS": 5, "EVENT_HUB_NAME": "hub"}}')
    assert read_settings(path) == {"WINDOW_SECONDS": "5", "EVENT_HUB_NAME": "hub"}


def test_no_settings_file_is_no_settings(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "local.settings.json") == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"Values": [1]}'])
def test_a_broken_settings_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text(text)
    with pytest.raises(LocalRunFailed, match=r"local\.settings\.json is not a settings file"):
        read_settings(path)


def test_what_runs_locally_is_not_looked_for_elsewhere() -> None:
    settings = {
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "BufferStorage__accountName": "account",
        "EventHubConnection__fullyQualifiedNamespace": "ns.servicebus.windows.net",
        "EVENT_HUB_NAME": "hub",
        "FHIR_SERVICE_URL": "https://fhir.example",
        "FHIR_AUDIENCE": "https://fhir.example",
        "FHIR_AUTHENTICATION": "client_credentials",
        "FHIR_ALLOW_PLAIN_HTTP": "true",
        "FHIR_TOKEN_URL": "https://login.example/token",
        "FHIR_CLIENT_ID": "app",
        "FHIR_CLIENT_SECRET": "SECRET",
        "FHIR_SCOPE": "system/*.cruds",
        "FHIR_MAPPING": "mine.json",
        "WINDOW_SECONDS": "9",
    }
    assert local_settings(settings) == QUICK_SETTINGS | {"FHIR_MAPPING": "mine.json", "WINDOW_SECONDS": "9"}


@pytest.mark.parametrize("arguments", [["host", "--port", "65536"], ["run", "--fhir-port", "0"]])
def test_a_number_that_is_no_port_is_refused(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert arguments[1] in result.stderr


def test_a_token_is_one_line_that_a_header_takes() -> None:
    result = CliRunner().invoke(app, ["token", "myhub"])
    assert result.exit_code == 0
    assert result.stdout.startswith("SharedAccessSignature sr=http%3A%2F%2F127.0.0.1%2Fmyhub&sig=")
    assert result.stdout.count("\n") == 1


def test_a_retention_in_the_past_is_refused() -> None:
    result = CliRunner().invoke(app, ["host", "--retention", "-1"])
    assert result.exit_code == 2
    assert "--retention" in result.stderr


@pytest.mark.parametrize("command", ["run", "demo"])
def test_an_app_that_cannot_run_is_told_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    monkeypatch.setenv("FHIR_BUNDLE_SIZE", "SECRET")
    monkeypatch.setenv("FLUSH_SHEDULE", "SECRET")
    result = CliRunner().invoke(app, [command, "--data", str(tmp_path / "data")])
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "The app cannot run.",
        "FHIR_BUNDLE_SIZE is not a whole number. Allowed: a whole number from 1 to 500.",
        "FLUSH_SHEDULE is not a setting. If FLUSH_SCHEDULE is meant, rename it.",
    ]
    assert not (tmp_path / "data").exists()


def test_the_environment_overrides_what_a_run_would_take_by_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WINDOW_SECONDS", "SECRET")
    result = CliRunner().invoke(app, ["run", "--data", str(tmp_path / "data")])
    assert result.exit_code == 1
    assert "WINDOW_SECONDS is not a whole number." in result.stderr
