"""docs/fhir-servers.md gives settings that the app takes, and commands that run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from medtech.client_key import ClientKey
from medtech.persist.client import FhirClient
from medtech.settings import FhirAuthentication, Settings
from tests.docs.markdown import ROOT, read

PAGE = read(ROOT / "docs" / "fhir-servers.md")
EXAMPLES = [dict(json.loads(f"{{{block}}}")) for block in PAGE.code("json")]


def test_every_way_of_authentication_has_an_example() -> None:
    assert {each.get("FHIR_AUTHENTICATION", "entra") for each in EXAMPLES} == set(FhirAuthentication)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(list(example)[-1]))
def test_settings_are_those_of_the_app(example: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    key = ECKey.generate_key("P-384").as_pem(private=True).decode()
    for name, value in example.items():
        assert name.lower() in Settings.model_fields
        reference = value.startswith("@Microsoft.KeyVault(SecretUri=")
        assert reference == (name in ("FHIR_PASSWORD", "FHIR_CLIENT_SECRET", "FHIR_CLIENT_KEY"))
        monkeypatch.setenv(name, key if reference else value)
    if "FHIR_PASSWORD" in example:
        monkeypatch.setenv("FHIR_PASSWORD", "one line")
    if "FHIR_CLIENT_SECRET" in example:
        monkeypatch.setenv("FHIR_CLIENT_SECRET", "one line")
    FhirClient.of(Settings()).close()


def test_its_commands_make_a_key_that_the_app_signs_with(tmp_path: Path) -> None:
    [commands] = [block for block in PAGE.code("sh") if "medtech jwks" in block]
    made = subprocess.run(
        ["sh", "-ec", commands.replace(".venv/bin/python", sys.executable)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    [registered] = json.loads((tmp_path / "jwks.json").read_text())["keys"]
    assert registered == ClientKey.read((tmp_path / "fhir-client.pem").read_text()).public_jwk()
