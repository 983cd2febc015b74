"""`python -m medtech validate`, as people, CI and editors call it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from medtech.command import mapping_files
from medtech.command.line import app

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "mappings"

DEVICE = {
    "templateType": "CollectionContent",
    "template": [
        {
            "templateType": "JsonPathContent",
            "template": {
                "typeName": "glucose",
                "typeMatchExpression": "$..[?(@glucose)]",
                "deviceIdExpression": "$.device",
                "timestampExpression": "$.time",
                "values": [{"valueName": "glucose", "valueExpression": "$.glucose", "required": True}],
            },
        }
    ],
}
FHIR = """{
  "templateType": "CollectionFhir",
  "template": [{
    "templateType": "CodeValueFhir",
    "template": {
      "typeName": "glucose",
      "periodInterval": 60,
      "codes": [{"code": "2339-0", "system": "http://loinc.org", "display": "Glucose"}],
      "value": {"valueName": "glucose", "valueType": "SampledData", "defaultPeriod": 900000, "unit": "dB(SPL)"}
    }
  }]
}
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["validate", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pair whose FHIR mapping has a unit that is no UCUM code."""
    (tmp_path / "device.json").write_text(json.dumps(DEVICE))
    (tmp_path / "fhir.json").write_text(FHIR)
    return tmp_path


def reading(minute: int, value: Any = 95, device: str = "sensor-1") -> dict[str, Any]:
    return {"device": device, "time": f"2026-03-02T08:{minute:02d}:00Z", "glucose": value}


def broken(folder: Path) -> None:
    (folder / "fhir.json").write_text(FHIR.replace("periodInterval", "interval"))


def test_the_start_mappings_are_clean_and_take_the_sample_messages() -> None:
    result = run(SAMPLES, "--messages", SAMPLES / "sampleMessages.json", "--strict")
    assert result.exit_code == 0
    assert result.stdout.startswith("2 files, 4 messages: 0 errors, 0 warnings")


def test_an_error_is_exit_code_1_and_has_file_line_and_column(folder: Path) -> None:
    broken(folder)
    result = run(folder)
    assert result.exit_code == 1
    assert re.search(r"fhir\.json:7:\d+: error MappingInvalid: There is no property 'interval' here\.", result.stdout)


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--strict"], 1)])
def test_a_warning_fails_only_where_it_is_asked_to(folder: Path, options: list[str], code: int) -> None:
    result = run(folder, *options)
    assert "fhir.json:9:102: warning UnitNotUcum" in result.stdout
    assert 'fix: Write "dB[SPL]"' in result.stdout
    assert result.exit_code == code


@pytest.mark.parametrize(
    "arguments",
    [["nowhere.json"], [], ["--format", "xml", "."], ["--watch", "--fix", "."], ["docs"]],
)
def test_what_cannot_be_understood_is_exit_code_2(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert run(*arguments).exit_code == 2


def test_a_file_that_is_named_and_is_no_mapping_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("{}")
    result = run(file)
    assert result.exit_code == 1
    assert "neither of the two mappings" in result.stdout
    file.write_bytes(b"\xff")
    assert "not UTF-8 (byte 0)" in run(file).stdout


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"templateType": "CollectionContent"}', "deviceMapping"),
        ('// a comment\n{"TEMPLATETYPE": "collectionfhirtemplate"}', "fhirMapping"),
        ('{"content": {"templateType": "CollectionFhir"}}', "fhirMapping"),
        ('{"properties": {"deviceMapping": {"content": {"templateType": "?"}}}}', "deviceMapping"),
        ('{"fhirMapping": {"content": {"templateType": "?"}}}', "fhirMapping"),
        ('{"templateType": "JsonPathContentTemplate", "template": {}}', "deviceMapping"),
        ('{"templateType": "CollectionFhir", ', "fhirMapping"),
        ('{"templateType": "Other"}', None),
        ('{"heartRate": 71}', None),
        ("templateType", None),
        ("[]", None),
    ],
)
def test_which_mapping_a_file_is_its_template_type_tells(text: str, name: str | None) -> None:
    assert mapping_files.which(text) == name


def test_a_folder_is_searched_and_what_is_no_mapping_left_alone(folder: Path) -> None:
    below = folder / "node_modules"
    below.mkdir()
    shutil.copy(folder / "device.json", below)
    (folder / "package.json").write_text("{}")
    assert run(folder).stdout.splitlines()[-2].startswith("2 files: ")


def test_mappings_are_paired_by_their_folder(tmp_path: Path) -> None:
    for number, type_name in enumerate(("glucose", "sugar")):
        each = tmp_path / str(number)
        each.mkdir()
        (each / "device.json").write_text(json.dumps(DEVICE).replace('"glucose"', f'"{type_name}"'))
        (each / "fhir.json").write_text(FHIR.replace('"glucose"', f'"{type_name}"').replace("dB(SPL)", "mg/dL"))
    result = run(tmp_path, "--strict")
    assert (result.exit_code, result.stdout) == (0, "4 files: 0 errors, 0 warnings.\n")
    (tmp_path / "1" / "fhir.json").write_text(FHIR.replace("dB(SPL)", "mg/dL"))
    assert "1/device.json:1:" in run(tmp_path).stdout


def test_messages_are_tried_together_as_they_would_be_stored(folder: Path) -> None:
    lines = folder / "messages.jsonl"
    lines.write_text("\n".join(json.dumps(reading(minute)) for minute in (0, 15, 30)))
    result = run(folder, "--messages", lines, "--format", "json")
    document = json.loads(result.stdout)
    [stored] = document["storedObservations"]
    assert stored["observation"]["valueSampledData"]["data"] == "95 95 95 E"
    assert [len(each["measurements"]) for each in document["messages"]] == [1, 1, 1]
    assert [each["fileLine"] for each in document["messages"]] == [1, 2, 3]


def test_messages_come_as_a_list_one_a_file_and_in_folders(folder: Path) -> None:
    messages = folder / "messages"
    messages.mkdir()
    (messages / "a.json").write_text(json.dumps([reading(0), reading(1)]))
    (messages / "b.json").write_text(json.dumps(reading(2), indent=2))
    (messages / "c.ndjson").write_text(f"{json.dumps(reading(3))}\n\n{json.dumps(reading(4))}\n")
    assert len(json.loads(run(folder, "--messages", messages, "--json").stdout)["messages"]) == 5
    # Mappings that lie beside messages are none.
    assert len(json.loads(run(folder, "--messages", folder, "--json").stdout)["messages"]) == 5


def test_what_fails_is_told_once_at_its_first_line_and_without_readings(folder: Path) -> None:
    lines = folder / "m.jsonl"
    lines.write_text("\n".join(json.dumps(each) for each in (reading(0), reading(1, "SECRET"), reading(2, "SECRET"))))
    result = run(folder, "--messages", lines)
    assert result.exit_code == 1
    assert re.search(r"m\.jsonl:2: error ReadingInvalid: .*\(2 times\)", result.stdout)
    assert "SECRET" not in result.stdout


@pytest.mark.parametrize("text", ["{", '{"a": 1}\n{', '{"Body": {}, "Properties": 5}'])
def test_messages_that_cannot_be_read_are_exit_code_2(folder: Path, text: str) -> None:
    (folder / "m.json").write_text(text)
    assert run(folder / "device.json", "--messages", folder / "m.json").exit_code == 2


def test_messages_need_one_device_mapping(folder: Path) -> None:
    (folder / "m.jsonl").write_text(json.dumps(reading(0)))
    assert run(folder / "fhir.json", "--messages", folder / "m.jsonl").exit_code == 2


def test_fixes_are_written_only_if_asked_for_and_change_nothing_else(folder: Path) -> None:
    file = folder / "fhir.json"
    written = "\ufeff" + FHIR.replace("\n", "\r\n")
    file.write_bytes(written.encode())
    run(folder)
    assert file.read_bytes().decode() == written
    result = run(folder, "--fix", "--strict")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "1 fix written.")
    assert file.read_bytes().decode() == written.replace("dB(SPL)", "dB[SPL]")


def test_of_two_mappings_that_could_follow_each_other_one_does(folder: Path) -> None:
    (folder / "fhir.json").write_text(FHIR.replace('"glucose"', '"glucos"').replace("dB(SPL)", "mg/dL"))
    assert run(folder, "--strict").exit_code == 1
    assert run(folder, "--fix", "--strict").exit_code == 0


def test_a_resource_of_azure_is_mended_in_place(folder: Path) -> None:
    file = folder / "fhir.json"
    file.write_text(json.dumps({"properties": {"fhirMapping": {"content": json.loads(FHIR)}}}, indent=1))
    assert run(folder, "--fix", "--strict").exit_code == 0
    content = json.loads(file.read_text())["properties"]["fhirMapping"]["content"]
    assert content["template"][0]["template"]["value"]["unit"] == "dB[SPL]"


def test_sarif_has_a_rule_a_place_and_a_fix_for_each_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "m.jsonl").write_text(json.dumps(reading(0, "x")))
    result = run(".", "--messages", "m.jsonl", "--format", "sarif")
    document = json.loads(result.stdout)
    check_sarif(document)
    [finding] = document["runs"]
    by_rule = {each["ruleId"]: each for each in finding["results"]}
    unit = by_rule["UnitNotUcum"]
    assert unit["level"] == "warning"
    place = unit["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "fhir.json", "uriBaseId": "%SRCROOT%"}
    region = {"startLine": 9, "startColumn": 102, "endLine": 9, "endColumn": 111}
    assert place["region"] == region
    [replacement] = unit["fixes"][0]["artifactChanges"][0]["replacements"]
    assert replacement == {"deletedRegion": region, "insertedContent": {"text": '"dB[SPL]"'}}
    line = FHIR.splitlines()[region["startLine"] - 1]
    assert line[region["startColumn"] - 1 : region["endColumn"] - 1] == '"dB(SPL)"'
    assert by_rule["ReadingInvalid"]["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}


def check_sarif(document: dict[str, Any]) -> None:
    """What SARIF 2.1.0 demands of the objects that are written (its sections 3.13 to 3.57)."""
    assert document.keys() == {"$schema", "version", "runs"}
    assert document["version"] == "2.1.0"
    [found] = document["runs"]
    assert found.keys() == {"tool", "columnKind", "results"}
    assert found["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    driver = found["tool"]["driver"]
    assert driver.keys() == {"name", "version", "rules"}
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids)
    for rule in driver["rules"]:
        assert rule.keys() == {"id", "name", "shortDescription", "fullDescription", "help"}
        assert all(isinstance(rule[name]["text"], str) for name in ("shortDescription", "fullDescription", "help"))
    assert found["results"]
    for result in found["results"]:
        assert result.keys() <= {"ruleId", "ruleIndex", "level", "message", "locations", "occurrenceCount", "fixes"}
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"].keys() == {"text"}
        assert result["occurrenceCount"] >= 1
        for location in result["locations"]:
            assert location.keys() <= {"physicalLocation", "logicalLocations"}
            place = location["physicalLocation"]
            assert place.keys() <= {"artifactLocation", "region"}
            assert not place["artifactLocation"]["uri"].startswith("/")
            _check_region(place.get("region", {"startLine": 1}))
        for fix in result.get("fixes", ()):
            assert fix.keys() == {"description", "artifactChanges"}
            for change in fix["artifactChanges"]:
                assert change.keys() == {"artifactLocation", "replacements"}
                for replacement in change["replacements"]:
                    assert replacement.keys() == {"deletedRegion", "insertedContent"}
                    _check_region(replacement["deletedRegion"])


def _check_region(region: dict[str, int]) -> None:
    assert region.keys() <= {"startLine", "startColumn", "endLine", "endColumn"}
    assert all(isinstance(value, int) and value >= 1 for value in region.values())
    if "endLine" in region:
        start, end = (region["startLine"], region["startColumn"]), (region["endLine"], region["endColumn"])
        assert start <= end


def test_it_watches_until_it_is_interrupted(folder: Path) -> None:
    command = [sys.executable, "-m", "medtech", "validate", str(folder), "--watch"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        try:
            assert "UnitNotUcum" in watching.stdout.readline()
            while not watching.stdout.readline().startswith("1 with a known fix"):
                pass
            (folder / "fhir.json").write_text(FHIR.replace("dB(SPL)", "mg/dL") + "\n")
            assert watching.stdout.readline() == "2 files: 0 errors, 0 warnings.\n"
            watching.send_signal(signal.SIGINT)
            assert watching.wait(60) == 130
        finally:
            watching.kill()
        assert watching.stderr is not None
        assert watching.stderr.read() == ""


def test_settings_that_are_unusable_are_named(folder: Path) -> None:
    command = [sys.executable, "-m", "medtech", "validate", str(folder)]
    environment = os.environ | {"SINGLE_VALUE_PERIOD": "sometimes"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "SINGLE_VALUE_PERIOD" in done.stderr
