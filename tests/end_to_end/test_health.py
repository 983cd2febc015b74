"""`GET /api/health` and `python -m medtech status` over a running app."""

import json
import os
import subprocess
import sys
from typing import Any

import httpx

from dev.processes import ROOT
from tests.end_to_end.conftest import Wires
from tests.end_to_end.ward import pulse
from tests.faults import writes

PATH = "/api/health"


def test_health_takes_a_key(wires: Wires) -> None:
    stack = wires.ward.stack
    anonymous = stack.call("GET", PATH, headers={"x-functions-key": ""})
    assert (anonymous.status_code, anonymous.content) == (401, b"")
    answer = stack.call("GET", PATH, headers={"x-functions-key": stack.function_key})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"


def test_health_sees_what_the_app_did(wires: Wires, device: str) -> None:
    ward = wires.ward
    ward.admit(device)
    ward.deliver([pulse(device, "08:00:00", 71)])
    waiting = parts(ward.stack.call("GET", PATH))["oldestWindow"]
    assert (waiting["state"], waiting["start"]) == ("warning", "2026-03-02T08:00:00.0000000Z")
    ward.flush()
    answer = ward.stack.call("GET", PATH)
    found = parts(answer)
    assert answer.status_code == 200
    assert found["hub"]["lastEventEnqueued"] == "2026-03-02T08:00:30.0000000Z"
    assert (found["lastFlush"]["state"], found["lastFlush"]["measurements"]) == ("ok", 1)
    assert (found["oldestWindow"]["state"], found["oldestWindow"]["start"]) == ("ok", None)
    for name in ("storage", "deviceMapping", "fhirMapping", "identity", "fhirServer"):
        assert found[name]["state"] == "ok", name


def test_health_answers_503_while_the_fhir_server_is_away(wires: Wires, device: str) -> None:
    ward = wires.ward
    wires.fhir.answer(503, times=None)
    away = ward.stack.call("GET", PATH)
    assert (away.status_code, away.json()["state"], parts(away)["fhirServer"]["state"]) == (503, "down", "down")
    wires.fhir.clear()
    assert ward.stack.call("GET", PATH).status_code == 200


def test_a_flush_that_may_not_write_shows_in_health(wires: Wires, device: str) -> None:
    ward = wires.ward
    ward.admit(device)
    ward.deliver([pulse(device, "08:00:00", 71)])
    wires.fhir.answer(403, when=writes, times=None)
    ward.flush()
    found = parts(ward.stack.call("GET", PATH))
    assert (found["fhirServer"]["state"], found["lastFlush"]["state"]) == ("ok", "warning")
    assert "FHIR_AUTHENTICATION" in found["lastFlush"]["message"]
    wires.fhir.clear()
    ward.flush()
    assert ward.waiting(device) == []


def test_the_command_line_sees_what_the_app_sees(wires: Wires) -> None:
    stack = wires.ward.stack
    environment = {**os.environ, **stack.settings}
    command = [sys.executable, "-m", "medtech", "status"]
    as_json = subprocess.run(
        [*command, "--json"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    seen = {name: part["state"] for name, part in parts(stack.call("GET", PATH)).items()}
    assert {name: part["state"] for name, part in json.loads(as_json.stdout)["parts"].items()} == seen

    wires.fhir.answer(503, times=None)
    for_people = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (for_people.returncode, for_people.stderr) == (1, "")
    [line] = [line for line in for_people.stdout.split("\n") if "fhirServer" in line]
    assert line.split()[:2] == ["fhirServer", "down"]


def parts(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["parts"]
    return found
