"""What is written: settings, parameters and commands, held against infra/ and the app's own checks."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from medtech.importing import app_settings, parameters, remaining, roles, sources
from medtech.importing.expression import Deployment
from medtech.importing.old_service import FhirService, OldService
from medtech.setup.check import faults, missing_mappings, misspelt
from tests.importing.resources import FHIR_SERVICE_ID, destination, endpoint, service, written
from tests.infra.bicep import template

HOSTILE = ("$(touch x)", "`touch x`", "a'b", 'a"b', "a b", "a\nrm -rf /", "-rf", "${HOME}", "../..", "<script>")


@pytest.fixture
def old(tmp_path: Path) -> OldService:
    paths = [written(tmp_path, "s.json", service()), written(tmp_path, "d.json", destination())]
    return sources.read_all(paths, Deployment())


def values(old: OldService, folder: Path) -> dict[str, Any]:
    return dict(app_settings.local_settings(old, folder)["Values"])  # type: ignore[call-overload]


def test_the_settings_have_no_fault(old: OldService, tmp_path: Path) -> None:
    written(tmp_path, app_settings.DEVICE_MAPPING_FILE, old.device_mapping)
    written(tmp_path, app_settings.FHIR_MAPPING_FILE, old.fhir_mapping)
    found = values(old, tmp_path)
    assert (faults(found), missing_mappings(found), misspelt(found)) == ([], [], [])
    assert found["FHIR_SERVICE_URL"] == "https://ward7-records.fhir.azurehealthcareapis.com"


def test_a_mapping_in_the_app_is_named_from_there(old: OldService) -> None:
    folder = Path(app_settings.__file__).parents[2] / "mappings"
    assert values(old, folder)["DEVICE_MAPPING"] == "mappings/deviceMapping.json"


@pytest.mark.parametrize("theirs", [None, "$Default", "medtech", "MEDTECH", "medtech-app"])
def test_the_consumer_group_is_never_that_of_the_service(old: OldService, theirs: str | None) -> None:
    old.consumer_group = theirs
    assert app_settings.consumer_group(old).lower() != (theirs or "").lower()


def test_every_parameter_is_one_of_the_template(old: OldService) -> None:
    document: Any = parameters.main_parameters(old)
    declared = set(template("main.bicep").parameters)
    assert document["parameters"].keys() <= declared
    azd = json.loads((Path(__file__).parents[2] / "infra" / "main.parameters.json").read_text())["parameters"]
    for name in ("environmentName", "location", "eventHubNamespaceId"):
        assert document["parameters"][name] == azd[name]
    for name, variable, value in (
        ("eventHubName", "EVENT_HUB_NAME", "telemetry"),
        ("eventHubConsumerGroup", "EVENT_HUB_CONSUMER_GROUP", "medtech"),
        ("fhirServiceId", "FHIR_SERVICE_ID", FHIR_SERVICE_ID),
    ):
        assert document["parameters"][name]["value"] == f"${{{variable}={value}}}"
        assert azd[name]["value"].startswith(f"${{{variable}")
    ours, theirs = document["parameters"]["settings"]["value"], azd["settings"]["value"]
    assert ours.keys() == theirs.keys()
    assert ours["RESOURCE_IDENTITY_RESOLUTION_TYPE"] == "Create"
    of_azd = {name for name, value in theirs.items() if "${" in value}
    assert {name for name in of_azd if ours[name] != theirs[name]} == {"FHIR_WRITE"}


def test_what_could_not_be_read_is_taken_from_azd() -> None:
    """Without it azd's values would be ignored, and a new FHIR service made in place of the one that it names."""
    document: Any = parameters.main_parameters(OldService("MedTech service"))
    azd = json.loads((Path(__file__).parents[2] / "infra" / "main.parameters.json").read_text())["parameters"]
    assert document["parameters"].keys() == azd.keys()
    for name in azd.keys() - {"settings"}:
        assert document["parameters"][name] == azd[name]


def test_an_imported_app_compares_until_it_is_told_to_write(old: OldService, tmp_path: Path) -> None:
    document: Any = parameters.main_parameters(old)
    assert document["parameters"]["settings"]["value"]["FHIR_WRITE"] == "${FHIR_WRITE=compare}"
    assert values(old, tmp_path)["FHIR_WRITE"] == "compare"
    assert any("FHIR_WRITE is compare" in each for each in remaining.by_hand(old))


def test_the_page_says_how_to_fill_in_the_values_without_azd(old: OldService) -> None:
    page = (Path(__file__).parents[2] / "docs" / "migrate.md").read_text()
    [written] = re.findall(r"^sed .*(?= \S+ > )", page, re.MULTILINE)
    content = json.dumps(parameters.main_parameters(old))
    filled = subprocess.run(shlex.split(written), input=content, capture_output=True, text=True, check=True).stdout
    found = {name: each["value"] for name, each in json.loads(filled)["parameters"].items()}
    assert (found["fhirServiceId"], found["settings"]["FHIR_WRITE"]) == (FHIR_SERVICE_ID, "compare")
    left = {name for name, value in found.items() if "${" in json.dumps(value)}
    assert left == {"environmentName", "location", "eventHubNamespaceId"}
    assert all(f"{name}=" in page for name in left)


def test_what_azd_would_replace_is_not_among_the_parameters(old: OldService) -> None:
    old.device_identifier_system = "${HOME}"
    document: Any = parameters.main_parameters(old)
    assert "DEFAULT_DEVICE_IDENTIFIER_SYSTEM" not in document["parameters"]["settings"]["value"]


def assignments(script: str) -> list[tuple[str, str]]:
    """Role and scope of each assignment, as the shell reads them."""
    found = []
    for line in script.splitlines():
        words = shlex.split(line, comments=True)
        if words[:4] == ["az", "role", "assignment", "create"]:
            options = dict(zip(words[4::2], words[5::2], strict=True))
            assert options["--assignee-object-id"] == "$PRINCIPAL_ID"
            assert options["--assignee-principal-type"] == "ServicePrincipal"
            found.append((options["--role"], options["--scope"]))
    return found


def test_the_commands_give_the_roles_of_infra_on_what_the_service_uses(old: OldService) -> None:
    bicep = (Path(__file__).parents[2] / "infra" / "roles.bicep").read_text()
    ids = dict(re.findall(r"^  (\w+): '([0-9a-f-]{36})'", bicep, re.MULTILINE))
    assert assignments(roles.commands(old)) == [
        (ids["eventHubsDataReceiver"], "$EVENT_HUB_NAMESPACE_ID/eventhubs/telemetry"),
        (ids["fhirDataWriter"], FHIR_SERVICE_ID),
        (ids["storageBlobDataOwner"], "$STORAGE_ACCOUNT_ID"),
        (ids["storageTableDataContributor"], "$STORAGE_ACCOUNT_ID"),
    ]


def run(script: str, folder: Path, **environment: str) -> tuple[int, list[list[str]]]:
    """Runs the script with an az that writes down what it is called with."""
    az = folder / "az"
    az.write_text(
        '#!/bin/sh\nprintf "%s\\0" "$@" >> "$CALLS"; printf "\\n" >> "$CALLS"\n'
        '[ "$1 $2" = "resource list" ] && echo /subscriptions/s/resourceGroups/g/providers/p/namespaces/n\nexit 0\n'
    )
    az.chmod(0o755)
    calls = folder / "calls"
    calls.write_text("")
    shell = shutil.which("sh")
    assert shell is not None
    given = {"PATH": f"{folder}:/usr/bin:/bin", "CALLS": str(calls)} | environment
    done = subprocess.run([shell], input=script, text=True, cwd=folder, env=given, check=False, capture_output=True)
    return done.returncode, [line.split("\0")[:-1] for line in calls.read_text().splitlines()]


def test_the_commands_run_in_a_shell(old: OldService, tmp_path: Path) -> None:
    script = roles.commands(old)
    code, calls = run(script, tmp_path)
    assert (code != 0, calls) == (True, [])
    code, calls = run(script, tmp_path, PRINCIPAL_ID="p", STORAGE_ACCOUNT_ID="/storage")
    assert code == 0
    assert [call[0] for call in calls] == ["resource", "eventhubs", *["role"] * 4]
    group = dict(zip(calls[1][4::2], calls[1][5::2], strict=True))
    assert (group["--subscription"], group["--resource-group"], group["--name"]) == ("s", "g", "medtech")
    assert calls[2][-1] == "/subscriptions/s/resourceGroups/g/providers/p/namespaces/n/eventhubs/telemetry"
    _, calls = run(script, tmp_path, PRINCIPAL_ID="p", STORAGE_ACCOUNT_ID="/s", EVENT_HUB_NAMESPACE_ID="/a/b/c/d/e")
    assert ["resource", "list"] not in [call[:2] for call in calls]


def test_the_built_in_endpoint_of_an_iot_hub_has_neither_roles_nor_a_resource_of_a_namespace(
    old: OldService, tmp_path: Path
) -> None:
    old.hub_namespace = "ihsuproddbres019dednamespace.servicebus.windows.net"
    code, calls = run(roles.commands(old), tmp_path, PRINCIPAL_ID="p", STORAGE_ACCOUNT_ID="/storage")
    assert (code, [call[0] for call in calls]) == (0, ["role"] * 3)
    assert "az iot hub consumer-group create" in roles.commands(old)
    assert not any("EVENT_HUB_NAMESPACE_ID" in each for each in remaining.by_hand(old))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_reaches_no_command(tmp_path: Path, name: str) -> None:
    changed = endpoint(eventHubName=name, fullyQualifiedEventHubNamespace=f"{name}.servicebus.windows.net")
    hostile = destination(fhirServiceResourceId=FHIR_SERVICE_ID.replace("records", name)) | {"name": name}
    paths = [
        written(tmp_path, "s.json", service(ingestionEndpointConfiguration=changed) | {"name": name}),
        written(tmp_path, "d.json", hostile),
    ]
    old = sources.read_all(paths, Deployment())
    assert name not in roles.commands(old)
    assert len(assignments(roles.commands(old))) == 2
    assert name not in json.dumps(parameters.main_parameters(old))


def test_names_are_quoted_even_if_they_got_so_far(tmp_path: Path) -> None:
    hostile = OldService(
        "MedTech service",
        hub_namespace="ward7-hub.servicebus.windows.net",
        hub="$(touch x)'\n",
        fhir_service=FhirService("/$(touch x)", "w", "n"),
    )
    run(roles.commands(hostile), tmp_path, PRINCIPAL_ID="p", STORAGE_ACCOUNT_ID="/storage")
    assert not (tmp_path / "x").exists()
