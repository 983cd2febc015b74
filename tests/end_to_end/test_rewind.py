"""A rewind on the whole stack: what is read again changes nothing that was written."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from dev.processes import ROOT
from dev.stack import LocalStack
from medtech.command.line import app
from tests.end_to_end.ward import DAY, QUIET, Ward, pulse, steps
from tests.event_hubs_client import LEAVES_SOCKETS

pytestmark = LEAVES_SOCKETS

STOPPED = "AzureWebJobs.normalize.Disabled"
"""In Azure the app is stopped and the hub goes on. Here the host holds the hub, so the function that reads it stops."""
SAMPLES = json.loads((ROOT / "mappings" / "sampleMessages.json").read_text())


@pytest.fixture
def ward(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ward]:
    settings = QUIET | {"SINGLE_VALUE_PERIOD": request.param, "FHIR_MAPPING": str(_hourly(tmp_path))}
    with LocalStack(tmp_path / "stack", settings=settings) as stack, Ward(stack) as made:
        yield made


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """The command leaves in the environment what its settings file says, which must not outlast the test."""
    with patch.dict(os.environ):
        yield


def _hourly(folder: Path) -> Path:
    """The start mapping, in which a heart rate also belongs to its hour."""
    document = json.loads((ROOT / "mappings" / "fhirDestinationMapping.json").read_text())
    for template in document["template"]:
        if template["template"]["typeName"] == "heartRate":
            template["template"]["periodInterval"] = 60
    path = folder / "fhir.json"
    path.write_text(json.dumps(document))
    return path


def rewind(ward: Ward, *arguments: str, code: int = 0) -> dict[str, Any]:
    """The command as it is called with the settings file of the run."""
    file = str(ward.stack.data_folder / "local.settings.json")
    result = CliRunner().invoke(app, ["--settings", file, "rewind", *arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout) if code == 0 else {"said": result.stderr}
    return found


def start(ward: Ward, *, stopped: bool) -> None:
    ward.stack.change_settings({STOPPED: str(int(stopped))})
    ward.stack.restart_host()


def stored(ward: Ward, devices: list[str]) -> dict[str, Any]:
    """Every Observation as it is, with its version."""
    return {each["id"]: each for device in devices for each in ward.observations(device)}


@pytest.mark.parametrize("ward", ["instant", "group"], indirect=True)
def test_what_is_read_again_changes_nothing(ward: Ward) -> None:
    devices = ["rewound", *{each["deviceId"] for each in SAMPLES}]
    for device in devices:
        ward.admit(device)
    ward.deliver([json.dumps(each) for each in SAMPLES])
    ward.deliver([steps("rewound", f"08:{minute:02}:00", minute) for minute in range(0, 30, 7)], "1")
    ward.deliver([pulse("rewound", f"08:00:0{second}", 70 + second) for second in range(5)], "2")
    ward.flush()
    ward.deliver([steps("rewound", f"08:{minute:02}:00", minute) for minute in range(31, 60, 7)], "1")
    ward.deliver([pulse("rewound", f"08:10:0{second}", 80 + second) for second in range(5)], "2")
    ward.flush()
    before = stored(ward, devices)
    assert {each["code"]["text"] for each in before.values()} >= {"heartRate", "steps", "bloodPressure"}
    events = sum(each["lastSequenceNumber"] + 1 for each in ward.stack.hub_state().values())

    assert "hold partitions" in rewind(ward, "--to", f"{DAY}T08:00:00Z", code=1)["said"]
    # The app reads $Default itself, and the hub lets nobody else do so meanwhile.
    assert "nobody beside the app" in rewind(ward, "--to", f"{DAY}T08:00:00Z", "--dry-run", code=1)["said"]
    start(ward, stopped=True)
    assert rewind(ward, "--to", f"{DAY}T08:00:00Z", "--dry-run")["events"] == events
    assert rewind(ward, "--to", f"{DAY}T08:00:00Z")["events"] == events
    start(ward, stopped=False)

    ward.stack.wait_until_read()
    assert ward.stack.invocations("normalize")["succeeded"] >= 3
    ward.flush()
    assert stored(ward, devices) == before


@pytest.mark.parametrize("ward", ["group"], indirect=True)
def test_the_single_value_of_an_hour_is_the_last_one_once_the_app_has_caught_up(ward: Ward) -> None:
    """A flush amid it writes an earlier reading, and the next one the last again."""
    ward.admit("late")
    for partition, minute in (("0", 0), ("1", 20)):
        ward.deliver([pulse("late", f"08:{minute:02}:00", 70 + minute)], partition)
        ward.flush()
    assert [value for _, value, _ in ward.stored("late")] == [90]
    for partition, held in (("0", 70), ("1", 90)):
        start(ward, stopped=True)
        rewind(ward, "--to", f"{DAY}T08:00:00Z", "--partition", partition)
        start(ward, stopped=False)
        ward.stack.wait_until_read()
        ward.flush()
        assert [value for _, value, _ in ward.stored("late")] == [held]
