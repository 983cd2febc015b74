"""`python -m medtech import` from resources to an app that can run."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from medtech.command.line import app
from medtech.mapping.device import load_device_mapping
from medtech.mapping.fhir import load_fhir_mapping
from tests.importing.resources import DEVICE_MAPPING, destination, endpoint, service, template, written
from tests.importing.test_connector import KEY, container, listed

__all__ = ["container"]

FILES = {
    "deviceMapping.json",
    "fhirDestinationMapping.json",
    "local.settings.json",
    "main.parameters.json",
    "report.md",
    "roles.sh",
}


@pytest.fixture
def given(tmp_path: Path) -> list[Path]:
    return [written(tmp_path, "service.json", service()), written(tmp_path, "destination.json", destination())]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


def test_what_is_imported_runs(given: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "new" / "imported"
    result = run(*given, "--out", out)
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == FILES
    load_device_mapping((out / "deviceMapping.json").read_text())
    load_fhir_mapping((out / "fhirDestinationMapping.json").read_text())
    settings = CliRunner().invoke(app, ["settings", "--json", "--file", str(out / "local.settings.json")])
    assert settings.exit_code == 0
    assert json.loads(settings.output)["faults"] == []
    assert CliRunner().invoke(app, ["validate", str(out)]).exit_code == 0


def test_the_report_is_told_three_ways(given: list[Path], tmp_path: Path) -> None:
    shown = run(*given, "--out", tmp_path / "a").output
    page = (tmp_path / "a" / "report.md").read_text()
    document = json.loads(run(*given, "--out", tmp_path / "b", "--json").output)
    assert document["settings"]["EVENT_HUB_CONSUMER_GROUP"] == "medtech"
    assert document["faults"] == []
    assert [each["number"] for each in document["divergences"]] == [20]
    for text in (shown, page):
        assert "EVENT_HUB_NAME = telemetry (eventHubName)" in text
        assert "two readers of one group" in text
        assert "20. Create mode" in text
        assert "outages of the FHIR server (27)" in text
    assert page.startswith("# Import of the MedTech service ward7/monitors\n")


def test_faults_of_the_setup_and_of_validation_are_told_and_give_exit_code_1(tmp_path: Path) -> None:
    broken = json.loads(json.dumps(DEVICE_MAPPING).replace("$.deviceId", "$.["))
    first = written(
        tmp_path,
        "s.json",
        service(
            deviceMapping={"content": broken},
            ingestionEndpointConfiguration=endpoint(fullyQualifiedEventHubNamespace="none"),
        ),
    )
    result = run(first, written(tmp_path, "d.json", destination()), "--out", tmp_path / "out", "--json")
    assert result.exit_code == 1
    document = json.loads(result.output)
    assert [each["name"] for each in document["faults"]] == ["fullyQualifiedEventHubNamespace", "deviceMapping"]
    assert document["faults"][0]["pointer"].endswith("/fullyQualifiedEventHubNamespace")
    [error] = [each for each in document["findings"] if each["level"] == "error"]
    assert error["file"] == str(tmp_path / "out" / "deviceMapping.json")
    settings = json.loads((tmp_path / "out" / "local.settings.json").read_text())["Values"]
    assert "EventHubConnection__fullyQualifiedNamespace" not in settings


def test_what_validation_finds_is_not_told_again(container: Path, tmp_path: Path) -> None:
    file = container / "fhirmapping.json"
    text = file.read_text().replace('"periodInterval"', '"periodInterval": 0, "periodInterval"')
    file.write_text(text.replace('"defaultPeriod": 5000', '"defaultPeriod": 5'))
    result = run(container, "--out", tmp_path / "out", "--json")
    document = json.loads(result.output)
    told = ["DuplicateProperty", "SeriesNeverFits"]
    assert sorted(each["name"] for each in document["findings"] if each["name"] in told) == told
    assert not [each for each in document["byHand"] if "in its object" in each]
    assert 22 not in [each["number"] for each in document["divergences"]]


def test_nothing_is_overwritten_without_force(given: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    elsewhere = written(tmp_path, "elsewhere.json", "{}")
    (out / "local.settings.json").symlink_to(elsewhere)
    result = run(*given, "--out", out)
    assert result.exit_code == 2
    assert "local.settings.json already" in " ".join(result.output.replace("│", "").split())
    assert [path.name for path in out.iterdir()] == ["local.settings.json"]
    assert run(*given, "--out", out, "--force").exit_code == 0
    assert elsewhere.read_text() == "{}"
    assert not (out / "local.settings.json").is_symlink()


def test_a_folder_that_cannot_be_made_is_refused(given: list[Path]) -> None:
    result = run(*given, "--out", given[0] / "out")
    assert result.exit_code == 2
    assert "cannot be written there" in result.output


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', "[]", "\x00", json.dumps({"error": {"code": "x"}})])
def test_a_broken_file_gives_exit_code_2_and_writes_nothing(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, "broken.json", content)
    result = run(path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "broken.json" in result.output
    assert not (tmp_path / "out").exists()


def test_a_refusal_names_nothing_that_moves_the_cursor(tmp_path: Path) -> None:
    result = run(written(tmp_path, "a.json", {"type": "\x1b[2J"}), "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "\\x1b" in result.output
    assert "\x1b" not in result.output


def test_files_nested_beyond_measure_are_refused(tmp_path: Path) -> None:
    nested: Any = "x"
    for _ in range(490):
        nested = [nested]
    variables = {"v0": nested}
    for number in range(1, 20):
        held: Any = f"[variables('v{number - 1}')]"
        for _ in range(490):
            held = [held]
        variables[f"v{number}"] = held
    declared = {
        "type": "Microsoft.HealthcareApis/workspaces/iotconnectors",
        "name": "a/b",
        "properties": {"deviceMapping": {"content": {"a": "[variables('v19')]"}}},
    }
    path = written(tmp_path, "deep.json", json.dumps(template(declared, variables=variables)))
    result = run(path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "nested too deeply" in result.output


def test_a_connector_is_imported_without_its_keys(container: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(container, listed(tmp_path), "--out", out)
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == FILES
    assert KEY not in result.output + "".join(path.read_text() for path in out.iterdir())
    assert "holds a key" in result.output
    settings = CliRunner().invoke(app, ["settings", "--file", str(out / "local.settings.json")])
    assert settings.exit_code == 0, settings.output


def test_names_of_a_resource_are_text_on_the_page_and_the_terminal(tmp_path: Path) -> None:
    name = "</li><script>alert(1)</script>![x](https://x.example)\x1b[2J\u202e`a`\nTaken over"
    identity = {"type": "UserAssigned", "userAssignedIdentities": {name: {}}}
    first = written(tmp_path, "s.json", service() | {"name": name, "identity": identity})
    result = run(first, written(tmp_path, "d.json", destination()), "--out", tmp_path / "out")
    page = (tmp_path / "out" / "report.md").read_text()
    assert "\\<script\\>" in page
    assert "<script>" not in page.replace("\\<", "")
    assert "![x](" not in page
    assert result.output.count("\nTaken over") == 1
    for text in (page, result.output):
        assert "\x1b" not in text
        assert "\u202e" not in text


@pytest.mark.parametrize(
    ("option", "value"), [("--subscription", "mine"), ("--resource-group", "a/b"), ("--resource-group", "a'b")]
)
def test_a_deployment_is_named_by_names_of_azure(given: list[Path], tmp_path: Path, option: str, value: str) -> None:
    assert run(*given, "--out", tmp_path / "out", option, value).exit_code == 2
