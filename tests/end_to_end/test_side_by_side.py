"""Two apps on one hub, for good: each has its own mappings or FHIR server, and neither takes from the other."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dev.processes import ROOT
from dev.running_host import RunningHost
from dev.stack import LocalStack
from tests.end_to_end.ward import ENQUEUED, QUIET, Ward, pulse, steps
from tests.fhir_server import FhirServer

SNOMED = {"code": "364075005", "system": "http://snomed.info/sct", "display": "Heart rate"}
OTHER_TYPE = "pulse-2027"


def with_other_names(folder: Path) -> dict[str, str]:
    """Settings with mappings that have heart rates under another type, with another code, and nothing else."""
    mappings = ROOT / "mappings"
    device = json.loads((mappings / "deviceMapping.json").read_text(encoding="utf-8"))
    fhir = json.loads((mappings / "fhirDestinationMapping.json").read_text(encoding="utf-8"))
    for document in (device, fhir):
        document["template"] = [each for each in document["template"] if each["template"]["typeName"] == "heartRate"]
        [template] = document["template"]
        template["template"]["typeName"] = OTHER_TYPE
    fhir["template"][0]["template"]["codes"] = [SNOMED]
    paths = {"DEVICE_MAPPING": folder / "device.json", "FHIR_MAPPING": folder / "fhir.json"}
    for path, document in zip(paths.values(), (device, fhir), strict=True):
        path.write_text(json.dumps(document), encoding="utf-8")
    return {name: str(path) for name, path in paths.items()}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    folder = tmp_path_factory.mktemp("side-by-side")
    with LocalStack(folder, settings=QUIET, apps=["codes", "research"]) as running:
        yield running


@pytest.fixture(scope="module")
def ward(stack: LocalStack) -> Iterator[Ward]:
    with Ward(stack) as opened:
        yield opened


@pytest.fixture(scope="module")
def codes(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    """An app with other mappings, which writes to the same FHIR server."""
    names = with_other_names(tmp_path_factory.mktemp("codes"))
    with stack.app("codes", {"EVENT_HUB_CONSUMER_GROUP": "codes", **names}) as running:
        yield running


@pytest.fixture(scope="module")
def research_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirServer]:
    server = FhirServer(tmp_path_factory.mktemp("research-server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def research(stack: LocalStack, research_server: FhirServer) -> Iterator[RunningHost]:
    """An app with the same mappings, which writes to another FHIR server."""
    settings = {"EVENT_HUB_CONSUMER_GROUP": "research", "FHIR_SERVICE_URL": research_server.url}
    with stack.app("research", settings | {"RESOURCE_IDENTITY_RESOLUTION_TYPE": "Create"}) as running:
        yield running


def flush(*apps: RunningHost) -> None:
    for app in apps:
        app.wait_until_read()
        assert app.run_timer("flush")


def stored(server_url: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{server_url}/Observation?_count=1000")
    answer.raise_for_status()
    return [entry["resource"] for entry in answer.json().get("entry", [])]


def test_two_mappings_make_observations_of_their_own_on_one_server(
    stack: LocalStack, ward: Ward, codes: RunningHost, device: str
) -> None:
    ward.admit(device)
    ward.send([pulse(device, "08:00:00", 70), pulse(device, "08:01:00", 71), steps(device, "08:01:00", 9)])
    flush(stack, codes)
    expected = [("heartRate", 70, 1), ("heartRate", 71, 1), (OTHER_TYPE, 70, 1), (OTHER_TYPE, 71, 1)]
    found = ward.stored(device)
    assert [each for each in found if each[0] != "steps"] == expected
    assert len(found) == 5
    coded = [each["code"]["coding"][0] for each in ward.observations(device) if each["code"]["text"] == OTHER_TYPE]
    assert coded == [SNOMED, SNOMED]
    flush(codes, stack)
    assert ward.stored(device) == found


def test_two_servers_hold_the_same_readings(
    stack: LocalStack, ward: Ward, research: RunningHost, research_server: FhirServer, device: str
) -> None:
    ward.admit(device)
    ward.send([{**pulse(device, "08:00:00", 70), "patientId": "x"}, {**steps(device, "08:01:00", 9), "patientId": "x"}])
    flush(stack, research)
    there = {(each["code"]["text"], each["effectivePeriod"]["start"]) for each in stored(research_server.url)}
    here = {(each["code"]["text"], each["effectivePeriod"]["start"]) for each in ward.observations(device)}
    assert len(here) == 2
    assert here <= there


def test_an_app_that_stands_still_holds_up_nothing_of_the_other(
    stack: LocalStack, ward: Ward, codes: RunningHost, device: str
) -> None:
    ward.admit(device)
    stack.host.stop()
    codes.post_events([{"body": pulse(device, "08:00:00", 70), "partition": "0", "enqueuedTime": ENQUEUED}])
    flush(codes)
    assert ward.stored(device) == [(OTHER_TYPE, 70, 1)]
    stack.start_host()
    flush(stack)
    assert ward.stored(device) == [("heartRate", 70, 1), (OTHER_TYPE, 70, 1)]
