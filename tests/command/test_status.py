"""`python -m medtech status` as an operator or a script calls it, with nothing there to be seen."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.azurite import ACCOUNT_KEY, free_ports

ROOT = Path(__file__).parents[2]


def status(*options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    [storage, fhir] = free_ports(2)
    address = f"http://127.0.0.1:{storage}/a"
    nowhere = f"AccountName=a;AccountKey={ACCOUNT_KEY};TableEndpoint={address};BlobEndpoint={address}"
    environment = os.environ | {"BufferStorage": nowhere, "FHIR_SERVICE_URL": f"http://127.0.0.1:{fhir}"} | settings
    command = [sys.executable, "-m", "medtech", "status", *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_what_is_down_is_a_row_and_exit_code_1() -> None:
    done = status()
    assert (done.returncode, done.stderr) == (1, "")
    rows = {line.split()[0]: line.split()[1] for line in done.stdout.split("\n") if len(line.split()) > 2}
    assert (rows["storage"], rows["fhirServer"], rows["hub"]) == ("down", "down", "unknown")
    assert ACCOUNT_KEY not in done.stdout


def test_for_programs_it_is_json() -> None:
    done = status("--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert (document["state"], document["parts"]["storage"]["state"]) == ("down", "down")


def test_settings_that_are_unusable_are_named_without_their_values() -> None:
    done = status("--json", WINDOW_SECONDS="SECRET")
    assert done.returncode == 1
    [(name, part)] = json.loads(done.stdout)["parts"].items()
    assert (name, part["state"]) == ("settings", "down")
    assert "WINDOW_SECONDS" in part["message"]
    assert "SECRET" not in done.stdout


def test_a_token_endpoint_that_is_away_is_the_identitys_row_and_no_secret_is_shown() -> None:
    [endpoint] = free_ports(1)
    done = status(
        "--json",
        FHIR_AUTHENTICATION="client_credentials",
        FHIR_TOKEN_URL=f"http://127.0.0.1:{endpoint}/token",
        FHIR_CLIENT_ID="app",
        FHIR_CLIENT_SECRET="SECRET",
    )
    parts = json.loads(done.stdout)["parts"]
    assert (parts["identity"]["state"], parts["fhirServer"]["state"]) == ("down", "unknown")
    assert "FHIR_TOKEN_URL" in parts["identity"]["message"]
    assert "SECRET" not in done.stdout + done.stderr
