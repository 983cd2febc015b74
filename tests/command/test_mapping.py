"""`python -m medtech mapping accept` as an operator or a script calls it, against a real Azurite."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medtech.command.line import app
from medtech.mapping.device import load_device_mapping
from medtech.mapping.in_force import MappingStore
from medtech.storage.connection import Storage
from tests.azurite import free_ports

ROOT = Path(__file__).parents[2]
GOOD = (ROOT / "mappings" / "deviceMapping.json").read_text()
NEWER = GOOD.replace('"heartRate"', '"pulse"')


def accept(connection: str, device: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BufferStorage": connection, "DEVICE_MAPPING": str(device)}
    command = [sys.executable, "-m", "medtech", "mapping", "accept", *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def device(storage: Storage, tmp_path: Path) -> Path:
    """The file of a deployment that a newer one has displaced."""
    newer, older = tmp_path / "newer.json", tmp_path / "older.json"
    newer.write_text(NEWER)
    older.write_text(GOOD)
    os.utime(older, (1_700_000_000, 1_700_000_000))
    assert MappingStore("device", str(newer), load_device_mapping, storage).in_force()
    return older


def in_force(storage: Storage, device: Path) -> str | None:
    return MappingStore("device", str(device), load_device_mapping, storage).current().state.in_force


def test_an_older_mapping_is_put_in_force(storage: Storage, azurite: str, device: Path) -> None:
    assert in_force(storage, device) == hashlib.sha256(NEWER.encode()).hexdigest()
    done = accept(azurite, device, "--kind", "device")
    assert (done.returncode, done.stderr) == (0, "")
    before, after = (hashlib.sha256(text.encode()).hexdigest() for text in (NEWER, GOOD))
    replaced = f"The device mapping {after[:12]} is in force, in place of {before[:12]}."
    assert done.stdout == f"{replaced} Instances take it within 30 seconds.\n"
    assert in_force(storage, device) == after
    again = accept(azurite, device, "--kind", "device")
    assert (again.returncode, again.stdout) == (0, f"The device mapping {after[:12]} was in force already.\n")


def test_without_a_kind_both_are_accepted_as_far_as_they_are_good(storage: Storage, azurite: str, device: Path) -> None:
    device.write_text("{}")
    done = accept(azurite, device, "--json")
    assert done.returncode == 1
    broken, fhir = json.loads(done.stdout)
    assert (broken["kind"], broken["accepted"], fhir["kind"], fhir["accepted"]) == ("device", False, "fhir", True)
    assert "templateType" in broken["error"]
    assert in_force(storage, device) == hashlib.sha256(NEWER.encode()).hexdigest()


def test_storage_that_is_away_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    [port] = free_ports(1)
    nowhere = f"AccountName=a;AccountKey=YQ==;TableEndpoint=http://127.0.0.1:{port}/a"
    done = accept(nowhere, ROOT / "mappings" / "deviceMapping.json", "--kind", "device")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The device mapping is not accepted, and nothing has changed: Storage")
    assert done.stderr.count("\n") == 1


def test_another_kind_is_refused() -> None:
    result = CliRunner().invoke(app, ["mapping", "accept", "--kind", "both"])
    assert result.exit_code == 2
    assert "neither device nor fhir" in result.stderr
