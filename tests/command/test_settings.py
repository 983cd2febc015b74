"""`python -m medtech settings` as an operator or a script calls it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medtech.command.line import app
from tests.setup.test_check import USABLE

ROOT = Path(__file__).parents[2]
SECRET = "hunter2-value"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in USABLE.items():
        if name != "PATH":
            monkeypatch.setenv(name, value)
    return monkeypatch


def shown(*options: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["settings", "--json", *options])
    assert SECRET not in result.output
    return result.exit_code, json.loads(result.output)


def row(document: dict[str, Any], name: str) -> tuple[str | None, str]:
    [found] = [each for each in document["settings"] if each["name"] == name]
    return found["value"], found["source"]


def test_each_setting_has_its_value_and_where_that_comes_from(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WINDOW_SECONDS", "60")
    exit_code, document = shown()
    assert (exit_code, document["faults"], document["hints"]) == (0, [], [])
    assert row(document, "WINDOW_SECONDS") == ("60", "environment")
    assert row(document, "DEAD_LETTER_DAYS") == ("30", "default")
    assert row(document, "AZURE_CLIENT_ID") == (None, "default")
    assert row(document, "EventHubConnection__fullyQualifiedNamespace") == (
        "ns-1.servicebus.windows.net",
        "environment",
    )


def test_secrets_are_not_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DEVICE_MAPPING", f"https://acct.blob.core.windows.net/m/d.json?sp=r&sig={SECRET}")
    environment.setenv("FHIR_SERVICE_URL", f"https://user:{SECRET}@fhir.example/r4")
    environment.setenv("EventHubConnection__clientSecret", SECRET)
    environment.setenv("BufferStorage__furtherAccounts", f"AccountName=two;AccountKey={SECRET}")
    environment.setenv("FHIR_AUDIENCE", f"https://[{SECRET}")
    _, document = shown()
    assert row(document, "FHIR_AUDIENCE")[0] == "(not an address)"
    assert row(document, "AzureWebJobsStorage")[0] == "(set, not shown)"
    assert row(document, "EventHubConnection__clientSecret")[0] == "(set, not shown)"
    assert row(document, "BufferStorage__furtherAccounts")[0] == "(set, not shown)"
    assert row(document, "DEVICE_MAPPING")[0] == "https://acct.blob.core.windows.net/m/d.json?…"
    assert row(document, "FHIR_SERVICE_URL")[0] == "(unusable)"


def test_faults_and_hints_are_told_without_the_values(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WINDOW_SECONDS", SECRET)
    environment.setenv("FLUSH_SHEDULE", SECRET)
    environment.delenv("EVENT_HUB_NAME")
    environment.setenv("FHIR_MAPPING", "none.json")
    exit_code, document = shown()
    assert exit_code == 1
    assert [fault["name"] for fault in document["faults"]] == ["EVENT_HUB_NAME", "WINDOW_SECONDS", "FHIR_MAPPING"]
    assert document["hints"] == ["FLUSH_SHEDULE is not a setting. If FLUSH_SCHEDULE is meant, rename it."]
    assert row(document, "WINDOW_SECONDS") == ("(unusable)", "environment")
    assert row(document, "EVENT_HUB_NAME") == (None, "missing")


def test_what_azure_lists_is_looked_at_in_place_of_the_environment(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("WINDOW_SECONDS", "abc")
    reference = f"@Microsoft.KeyVault(SecretUri=https://{SECRET}.vault.azure.net/secrets/a)"
    listed = USABLE | {"EventHubConnection": reference, "BUFFER_SHARDS": reference, "EVENT_HUB_NAME": "iot"}
    file = tmp_path / "listed.json"
    file.write_text(
        json.dumps([{"name": name, "value": value, "slotSetting": False} for name, value in listed.items()])
    )
    exit_code, document = shown("--file", str(file))
    assert (exit_code, document["faults"]) == (0, [])
    assert row(document, "EVENT_HUB_NAME") == ("iot", str(file))
    assert row(document, "EventHubConnection") == ("(reference to a secret)", str(file))


@pytest.mark.parametrize("text", ["{", "[1]", "[{}]", '{"Values": 1}', "{}", "null"])
def test_a_file_that_holds_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "listed.json"
    file.write_text(text)
    result = CliRunner().invoke(app, ["settings", "--file", str(file)])
    assert result.exit_code == 2
    assert "is not a file of settings" in result.stderr.replace("\n", " ").replace("│", "").replace("  ", " ")


def test_any_command_takes_its_settings_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"WINDOW_SECONDS": "60"}
    monkeypatch.setattr("os.environ", environment)
    file = tmp_path / "local.settings.json"
    file.write_text(json.dumps({"Values": {"WINDOW_SECONDS": "120", "BUFFER_SHARDS": 2}}))
    result = CliRunner().invoke(app, ["--settings", str(file), "settings", "--json"])
    document = json.loads(result.output)
    assert row(document, "WINDOW_SECONDS") == ("120", "environment")
    assert row(document, "BUFFER_SHARDS") == ("2", "environment")
    file.write_text("{}")
    assert "is not a file of settings" in " ".join(
        CliRunner().invoke(app, ["--settings", str(file), "status"]).stderr.replace("│", "").split()
    )


def test_people_get_a_table_and_the_faults_below_it() -> None:
    command = [sys.executable, "-m", "medtech", "settings"]
    environment = {"WINDOW_SECONDS": SECRET, "FHIR_SERVICE_URI": "https://f.example"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert any(line.split() == ["WINDOW_SECONDS", "(unusable)", "environment"] for line in lines)
    assert "WINDOW_SECONDS is not a whole number. Allowed: a whole number from 1 to 86400." in lines
    assert "FHIR_SERVICE_URI is not a setting. If FHIR_SERVICE_URL is meant, rename it." in lines
    assert SECRET not in done.stdout
