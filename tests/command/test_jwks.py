"""`python -m medtech jwks` as an operator calls it, to register the app's key."""

import json
from pathlib import Path

import jwt
import pytest
from joserfc.jwk import ECKey, RSAKey
from typer.testing import CliRunner

from medtech.client_key import ClientKey
from medtech.command.line import app


@pytest.mark.parametrize("key", [RSAKey.generate_key(2048), ECKey.generate_key("P-384")], ids=["RSA", "EC"])
def test_what_is_printed_is_a_key_set_by_the_id_that_assertions_name(tmp_path: Path, key: RSAKey | ECKey) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(key.as_pem(private=True))
    done = CliRunner().invoke(app, ["jwks", str(path)])
    assert done.exit_code == 0
    [registered] = jwt.PyJWKSet.from_json(done.stdout).keys
    assert registered.key_id == ClientKey.read(path.read_text()).key_id
    assert set(json.loads(done.stdout)["keys"][0]) & {"d", "p", "q", "dp", "dq", "qi"} == set()


@pytest.mark.parametrize("content", [b"SECRET", b"\xff", None])
def test_what_is_no_key_is_refused_without_being_shown(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    done = CliRunner().invoke(app, ["jwks", str(path)])
    assert done.exit_code == 2
    assert "key.pem" in done.stderr
    assert "SECRET" not in done.output
