"""The open-source connector: a folder of files, and its app settings."""

import json
from pathlib import Path
from typing import Any

import pytest

from medtech.importing import sources
from medtech.importing.document import Refused
from medtech.importing.expression import Deployment
from medtech.importing.old_service import OldService
from tests.importing.resources import DEVICE_MAPPING, FHIR_MAPPING, service, written

KEY = "c2VjcmV0LWtleS12YWx1ZQ=="
CONNECTION = (
    "Endpoint=sb://ward7-hub.servicebus.windows.net/;SharedAccessKeyName=reader;"
    f"SharedAccessKey={KEY};EntityPath=devicedata"
)
SETTINGS = {
    "InputEventHub": CONNECTION,
    "FhirService:Url": "https://fhir.example.org/r4/",
    "ResourceIdentity:ResourceIdentityServiceType": "R4DeviceAndPatientCreateIdentityService",
    "ResourceIdentity:DefaultDeviceIdentifierSystem": "https://example.org/devices",
    "AzureWebJobsStorage": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={KEY}",
}


@pytest.fixture
def container(tmp_path: Path) -> Path:
    folder = tmp_path / "template"
    folder.mkdir()
    written(folder, "devicecontent.json", "// ward 7\n" + json.dumps(DEVICE_MAPPING))
    written(folder, "fhirmapping.json", FHIR_MAPPING)
    return folder


def listed(folder: Path, **changed: str | None) -> Path:
    settings: dict[str, str | None] = SETTINGS | changed
    found = [{"name": name, "slotSetting": False, "value": value} for name, value in settings.items()]
    return written(folder, "listed.json", found)


def read(*paths: Path) -> OldService:
    return sources.read_all(paths, Deployment())


def test_the_container_and_the_settings_are_read(container: Path, tmp_path: Path) -> None:
    old = read(container, listed(tmp_path))
    assert old.faults == []
    assert (old.hub_namespace, old.hub) == ("ward7-hub.servicebus.windows.net", "devicedata")
    assert old.fhir_url == "https://fhir.example.org/r4"
    assert (old.resolution_type, old.device_identifier_system) == ("Create", "https://example.org/devices")
    assert (old.device_mapping or "").startswith("// ward 7\n")
    assert any("holds a key" in each for each in old.by_hand)
    assert KEY not in repr(old)


def test_the_files_of_the_container_may_be_named_one_by_one(container: Path, tmp_path: Path) -> None:
    device, fhir = container / "devicecontent.json", container / "fhirmapping.json"
    assert read(fhir, listed(tmp_path), device) == read(container, listed(tmp_path))
    [fault] = read(fhir).faults
    assert (fault.name, fault.place.path) == ("deviceMapping", fhir)
    with pytest.raises(Refused, match="second CollectionContent"):
        read(device, fhir, written(tmp_path, "another.json", DEVICE_MAPPING))
    with pytest.raises(Refused, match="Beside the open-source connector's mappings"):
        read(device, written(tmp_path, "service.json", service()))
    with pytest.raises(Refused, match="Beside the open-source connector's mappings"):
        read(container, device)


def test_a_name_that_is_twice_in_a_mapping_is_left_to_validation(container: Path) -> None:
    file = container / "fhirmapping.json"
    file.write_text(file.read_text().replace('"periodInterval": 60', '"periodInterval": 0, "periodInterval": 60'))
    for old in (read(container), read(file)):
        assert old.fhir_mapping == file.read_text()
        assert not [each for each in old.by_hand if "this name is in its object before" in each]


def test_without_the_settings_they_are_left_to_people(container: Path) -> None:
    old = read(container)
    assert old.faults == []
    assert "app settings were not given" in old.by_hand[0]


def test_linux_names_and_other_files_are_read(container: Path, tmp_path: Path) -> None:
    (container / "devicecontent.json").rename(container / "ward7.json")
    settings = {name.replace(":", "__"): value for name, value in SETTINGS.items()} | {
        "Template__DeviceContent": "../elsewhere/ward7.json"
    }
    path = written(tmp_path, "l.json", [{"name": name, "value": value} for name, value in settings.items()])
    old = read(container, path)
    assert (old.faults, old.resolution_type) == ([], "Create")
    assert old.device_mapping is not None


@pytest.mark.parametrize("domain", ["servicebus.usgovcloudapi.net", "servicebus.chinacloudapi.cn"])
def test_a_hub_of_another_cloud_is_read(container: Path, tmp_path: Path, domain: str) -> None:
    old = read(container, listed(tmp_path, InputEventHub=CONNECTION.replace("servicebus.windows.net", domain)))
    assert (old.faults, old.hub_namespace) == ([], f"ward7-hub.{domain}")


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"InputEventHub": ""}, ["fullyQualifiedEventHubNamespace", "eventHubName"]),
        ({"InputEventHub": "Endpoint=sb://ward7-hub.servicebus.windows.net/"}, ["eventHubName"]),
        ({"InputEventHub": "@Microsoft.KeyVault(SecretUri=https://v)"}, ["fullyQualifiedEventHubNamespace"]),
        ({"FhirService:Url": "http://fhir.example.org"}, ["FhirService:Url"]),
        ({"FhirService:Url": f"https://u:{KEY}@fhir.example.org"}, ["FhirService:Url"]),
        ({"FhirService:Url": None}, ["FhirService:Url"]),
        ({"ResourceIdentity:ResourceIdentityServiceType": "Mine"}, ["resourceIdentityResolutionType"]),
    ],
)
def test_a_setting_that_is_wrong_is_a_fault(
    container: Path, tmp_path: Path, changed: dict[str, str | None], name: list[str]
) -> None:
    old = read(container, listed(tmp_path, **changed))
    assert [each.name for each in old.faults] == name
    assert KEY not in repr(old.faults)


def test_a_client_of_its_own_and_an_iot_hub_need_a_hand(container: Path, tmp_path: Path) -> None:
    endpoint = CONNECTION.replace("ward7-hub", "ihsuproddbres019dednamespace")
    changed = {"FhirService:ClientSecret": KEY, "InputEventHub": endpoint}
    told = " ".join(read(container, listed(tmp_path, **changed)).by_hand)
    assert "FHIR_AUTHENTICATION=client_credentials" in told
    assert "built-in endpoint of an IoT hub" in told
    assert KEY not in told


def test_a_folder_with_one_mapping_is_a_fault_and_one_with_none_is_refused(container: Path) -> None:
    (container / "fhirmapping.json").unlink()
    assert [each.name for each in read(container).faults] == ["fhirMapping"]
    (container / "devicecontent.json").unlink()
    with pytest.raises(Refused, match="neither"):
        read(container)


@pytest.mark.parametrize("other", [service(), [], {"a": 1}])
def test_nothing_else_is_read_beside_a_folder(container: Path, tmp_path: Path, other: Any) -> None:
    with pytest.raises(Refused):
        read(container, written(tmp_path, "other.json", other))


def test_swapped_and_broken_mappings_are_refused(container: Path) -> None:
    written(container, "devicecontent.json", FHIR_MAPPING)
    with pytest.raises(Refused, match="Swap them"):
        read(container)
    written(container, "devicecontent.json", "{\n  broken")
    with pytest.raises(Refused, match=r"devicecontent\.json:2: The file is not JSON"):
        read(container)
