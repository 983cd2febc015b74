"""Tokens asked for at a real endpoint, and what becomes of its answers."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from joserfc.jwk import ECKey, RSAKey

from medtech.client_key import ClientKey
from medtech.deadline import Deadline, within
from medtech.declared_settings import SecretStr
from medtech.errors import FhirAccessDenied, FhirServerUnavailable, MedTechError, OutOfTime
from medtech.persist import token_endpoint
from medtech.persist.token_endpoint import DEFAULT_SECONDS, LONGEST_SECONDS, MAX_ANSWER_BYTES, TokenEndpoint
from tests.azurite import free_ports
from tests.certificate import make_certificate
from tests.oauth2_endpoint import OAuth2Endpoint, TokenAnswer

KEYS = {
    algorithm: ClientKey.read(key.as_pem(private=True).decode())
    for algorithm, key in {"RS384": RSAKey.generate_key(2048), "ES384": ECKey.generate_key("P-384")}.items()
}
SCOPE = "system/Observation.crus system/Device.crus"


@pytest.fixture
def server() -> Iterator[OAuth2Endpoint]:
    with OAuth2Endpoint() as server:
        server.secrets["app"] = "SECRET+/="
        yield server


def by_secret(server: OAuth2Endpoint, secret: str = "SECRET+/=", scope: str = SCOPE) -> TokenEndpoint:
    return TokenEndpoint(server.token_url, "app", scope, secret=SecretStr(secret))


def by_key(server: OAuth2Endpoint, algorithm: str, *, registered: bool = True) -> TokenEndpoint:
    server.keys["app"] = [KEYS[algorithm if registered else "ES384"].public_jwk()]
    return TokenEndpoint(server.token_url, "app", SCOPE, key=KEYS[algorithm])


def test_a_secret_is_shown_as_user_and_password_and_never_in_the_form(server: OAuth2Endpoint) -> None:
    assert by_secret(server).ask() == ("token-1", 300.0)
    assert server.asked == [{"grant_type": "client_credentials", "scope": SCOPE}]
    assert server.headers[0]["User-Agent"].startswith("medtech/")


def test_no_scope_is_asked_for_unless_it_is_set(server: OAuth2Endpoint) -> None:
    by_secret(server, scope="").ask()
    assert server.asked == [{"grant_type": "client_credentials"}]


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_key_signs_an_assertion_as_smart_backend_services_wants_it(server: OAuth2Endpoint, algorithm: str) -> None:
    before = int(time.time())
    assert by_key(server, algorithm).ask() == ("token-1", 300.0)
    [form] = server.asked
    assert (form["grant_type"], form["scope"]) == ("client_credentials", SCOPE)
    assert "Authorization" not in server.headers[0]
    header = jwt.get_unverified_header(form["client_assertion"])
    assert header == {"typ": "JWT", "alg": algorithm, "kid": KEYS[algorithm].key_id}
    claims = jwt.decode(form["client_assertion"], options={"verify_signature": False})
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("app", "app", server.token_url)
    assert claims["iat"] < before < claims["exp"] <= time.time() + 300
    assert claims["exp"] - claims["iat"] <= 300


def test_no_assertion_is_used_twice(server: OAuth2Endpoint) -> None:
    endpoint = by_key(server, "ES384")
    assert [endpoint.ask().text for _ in range(3)] == ["token-1", "token-2", "token-3"]
    ids = {jwt.decode(form["client_assertion"], options={"verify_signature": False})["jti"] for form in server.asked}
    assert len(ids) == 3


def test_the_endpoint_refuses_what_a_test_would_otherwise_not_notice(server: OAuth2Endpoint) -> None:
    """That it verifies at all: another key under the registered id, and an assertion that was seen before."""
    by_key(server, "ES384").ask()
    used = {name: server.asked[0][name] for name in ("client_assertion_type", "client_assertion")}
    other = ECKey.generate_key("P-384", parameters={"kid": KEYS["ES384"].key_id})
    with pytest.raises(FhirAccessDenied, match="invalid_client"):
        TokenEndpoint(server.token_url, "app", key=ClientKey.read(json.dumps(other.as_dict(private=True)))).ask()
    again = httpx.post(server.token_url, data={"grant_type": "client_credentials", **used})
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")


def test_it_is_asked_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    with OAuth2Endpoint(certificate.server_context()) as server:
        server.secrets["app"] = "SECRET"
        with pytest.raises(FhirServerUnavailable, match="ConnectError"):
            by_secret(server, "SECRET").ask()
        for name, value in certificate.trusted().items():
            monkeypatch.setenv(name, value)
        assert by_secret(server, "SECRET").ask().text == "token-1"


class TestRefusals:
    def test_a_wrong_secret(self, server: OAuth2Endpoint) -> None:
        with pytest.raises(FhirAccessDenied, match=r"invalid_client.*FHIR_CLIENT_ID and FHIR_CLIENT_SECRET") as caught:
            by_secret(server, "SECRET2").ask()
        assert_tells_no_secret(caught.value)

    def test_a_key_that_is_not_registered(self, server: OAuth2Endpoint) -> None:
        with pytest.raises(FhirAccessDenied, match="public key of FHIR_CLIENT_KEY is registered"):
            by_key(server, "RS384", registered=False).ask()

    def test_a_scope_that_is_not_allowed(self, server: OAuth2Endpoint) -> None:
        with pytest.raises(FhirAccessDenied, match="FHIR_SCOPE"):
            by_secret(server, scope="system/*.cruds").ask()

    @pytest.mark.parametrize(
        ("status", "body", "said"),
        [
            (400, b'{"error": "unauthorized_client"}', "grant"),
            (403, b'{"error": "access_denied"}', "allowed"),
            (400, b'{"error": "SECRET"}', "an error that OAuth 2 does not have"),
            (400, b'{"error": {"SECRET": 1}}', "400"),
            (400, b'{"error": "invalid_client", "error_description": "\\"SECRET\\" \xc3\xbc"}', "invalid_client"),
            (200, b'{"error": "invalid_client"}', "invalid_client"),
            (401, b"<html>SECRET</html>", "401"),
            (400, b"[]", "400"),
            (403, b"", "403"),
            (404, b"SECRET", "404.*FHIR_TOKEN_URL"),
            (405, b"", "405"),
            (400, b"[" * 100_000, "400"),
            (200, b'{"access_token": "t", "token_type": "mac"}', "Bearer"),
        ],
    )
    def test_what_somebody_must_fix(self, server: OAuth2Endpoint, status: int, body: bytes, said: str) -> None:
        server.answers.append(TokenAnswer(status, body))
        with pytest.raises(FhirAccessDenied, match=said) as caught:
            by_secret(server).ask()
        assert_tells_no_secret(caught.value)

    def test_a_redirect_is_not_followed(self, server: OAuth2Endpoint) -> None:
        server.answers.append(TokenAnswer(307, b"", {"Location": server.token_url}))
        with pytest.raises(FhirAccessDenied, match="redirect"):
            by_secret(server).ask()
        assert len(server.asked) == 1


class TestOutages:
    def test_nobody_listens(self) -> None:
        (port,) = free_ports(1)
        with pytest.raises(FhirServerUnavailable, match="does not answer") as caught:
            TokenEndpoint(f"http://127.0.0.1:{port}/token", "app", secret=SecretStr("SECRET")).ask()
        assert_tells_no_secret(caught.value)

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
    def test_it_is_away_or_busy(self, server: OAuth2Endpoint, status: int) -> None:
        server.answers.append(TokenAnswer(status, b'{"error": "invalid_client"}', {"Retry-After": "7"}))
        with pytest.raises(FhirServerUnavailable, match=str(status)) as caught:
            by_secret(server).ask()
        assert caught.value.retry_after_seconds == 7.0

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>SECRET</html>",
            b"\xff\xfe",
            b"null",
            b"[]",
            b"{}",
            b"[" * 100_000,
            b'{"access_token": null}',
            b'{"access_token": ""}',
            b'{"access_token": 5}',
            b'{"access_token": "a b"}',
            b'{"access_token": "a\\r\\nX-Injected: SECRET"}',
            b'{"access_token": "\xc3\xbc"}',
            b'{"access_token": "t", "expires_in": "soon"}',
            b'{"access_token": "t", "expires_in": [1]}',
            b'{"access_token": "t", "expires_in": Infinity}',
            b'{"access_token": "t", "filling": "' + b"x" * MAX_ANSWER_BYTES + b'"}',
        ],
    )
    def test_an_answer_that_is_none(self, server: OAuth2Endpoint, body: bytes) -> None:
        server.answers.append(TokenAnswer(200, body))
        with pytest.raises(FhirServerUnavailable, match="no answer that can be understood") as caught:
            by_secret(server).ask()
        assert_tells_no_secret(caught.value)

    def test_an_endpoint_that_is_silent_is_given_up_at_the_deadline(self, server: OAuth2Endpoint) -> None:
        server.silent = True
        started = time.monotonic()
        with within(Deadline(2.5)), pytest.raises(OutOfTime):
            by_secret(server).ask()
        assert time.monotonic() - started < 30

    def test_it_is_not_asked_shortly_before_the_deadline(self, server: OAuth2Endpoint) -> None:
        with within(Deadline(1.0, lambda: 0.0)), pytest.raises(OutOfTime):
            by_secret(server).ask()
        assert server.asked == []

    def test_an_answer_that_comes_byte_by_byte_is_given_up_and_its_thread_ends(
        self, server: OAuth2Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(token_endpoint, "ASKING_SECONDS", 0.5)
        server.answers.append(TokenAnswer(200, b" " * 10_000, seconds_a_byte=0.1))
        with pytest.raises(FhirServerUnavailable, match="in time"):
            by_secret(server).ask()
        for thread in threading.enumerate():
            if thread.name == "fhir-token":
                thread.join(60)
                assert not thread.is_alive()


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(None, DEFAULT_SECONDS), (3599, 3599.0), ("120", 120.0), (0, 0.0), (-5, 0.0), (1e15, LONGEST_SECONDS)],
)
def test_how_long_a_token_lasts(server: OAuth2Endpoint, said: Any, seconds: float) -> None:
    server.seconds = said
    assert by_secret(server).ask().seconds == seconds


def test_nothing_secret_is_shared_with_other_clients_of_the_library(server: OAuth2Endpoint) -> None:
    """Authlib's clients share their default headers."""
    from authlib.oauth2.client import DEFAULT_HEADERS

    by_secret(server).ask()
    assert "Authorization" not in DEFAULT_HEADERS


def assert_tells_no_secret(error: MedTechError) -> None:
    assert "SECRET" not in error.message.replace("FHIR_CLIENT_SECRET", "")
    assert error.__cause__ is None
