"""The whole way of a message, from the trigger to the FHIR server, with each `FHIR_AUTHENTICATION`.

The FHIR server stands behind a proxy that answers 401 to whoever it does not know. The app runs in a process of its
own, as Functions starts it, with nothing but settings. test_entra.py has every kind of identity.
"""

import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from joserfc.jwk import ECKey, RSAKey

from medtech.client_key import ClientKey
from medtech.storage.connection import Storage
from tests.certificate import Certificate, make_certificate
from tests.faults import FaultProxy
from tests.identity_endpoint import SYSTEM_ASSIGNED, IdentityEndpoint
from tests.oauth2_endpoint import OAuth2Endpoint
from tests.persist.samples import Server, unique
from tests.usable_settings import USABLE_SETTINGS

ROOT = Path(__file__).parents[1]
SECRET = "SECRET+/= 1"
SCOPE = "system/Observation.crus system/Device.crus system/Patient.crus"

RUN = """
import json, os, sys
from types import SimpleNamespace
from medtech import application
from tests.ingest.delivery import Sent, deliver
device = os.environ["DEVICE"]
message = {"deviceId": device, "patientId": device, "endDate": "2026-03-02T08:00:00Z", "heartRate": 71}
context = SimpleNamespace(trace_context=SimpleNamespace(trace_parent=""), retry_context=None)
application.ingest(deliver([Sent(json.dumps(message).encode(), 1)]), context)
print([name for name in os.environ["HEAVY"].split() if name in sys.modules])
application.flush(context)
print([name for name in os.environ["HEAVY"].split() if name in sys.modules])
health = application.look_at_health()
print({part.name: part.state.value for part in health.parts})
"""

HEAVY = ("authlib", "fhir.resources", "httpx", "lark", "opentelemetry.sdk", "pint", "ucumvert")
"""What takes long to load, and neither ingest nor a flush by Entra has a use for; but for the flush's HTTP client."""


class Place(NamedTuple):
    """What a way of authentication finds around it."""

    fhir: FaultProxy
    certificate: Certificate
    opened: ExitStack


Way = Callable[[Place], dict[str, str]]


def entra(place: Place) -> dict[str, str]:
    endpoint = place.opened.enter_context(IdentityEndpoint())
    endpoint.assigned = [SYSTEM_ASSIGNED]
    place.fhir.guard(lambda authorization: (authorization or "").startswith("Bearer ey"))
    return endpoint.environment()


def none(place: Place) -> dict[str, str]:
    place.fhir.guard(lambda authorization: authorization is None)
    return {"FHIR_AUTHENTICATION": "none"}


def basic(place: Place) -> dict[str, str]:
    known = f"Basic {b64encode(f'app:{SECRET}'.encode()).decode()}"
    place.fhir.guard(lambda authorization: authorization == known)
    return {"FHIR_AUTHENTICATION": "basic", "FHIR_USERNAME": "app", "FHIR_PASSWORD": SECRET}


def by_secret(place: Place) -> dict[str, str]:
    endpoint = _token_endpoint(place)
    endpoint.secrets["app"] = SECRET
    return _client(endpoint) | {"FHIR_CLIENT_SECRET": SECRET}


def by_rsa_key(place: Place) -> dict[str, str]:
    return _by_key(place, RSAKey.generate_key(2048).as_pem(private=True).decode())


def by_ec_key(place: Place) -> dict[str, str]:
    return _by_key(place, ECKey.generate_key("P-384").as_pem(private=True).decode().replace("\n", "\\n"))


def _by_key(place: Place, key: str) -> dict[str, str]:
    endpoint = _token_endpoint(place)
    endpoint.keys["app"] = [ClientKey.read(key).public_jwk()]
    return _client(endpoint) | {"FHIR_CLIENT_KEY": key, "FHIR_SCOPE": SCOPE}


def _token_endpoint(place: Place) -> OAuth2Endpoint:
    endpoint = place.opened.enter_context(OAuth2Endpoint(place.certificate.server_context()))
    place.fhir.guard(endpoint.accepts)
    return endpoint


def _client(endpoint: OAuth2Endpoint) -> dict[str, str]:
    return {
        "FHIR_AUTHENTICATION": "client_credentials",
        "FHIR_TOKEN_URL": endpoint.token_url,
        "FHIR_CLIENT_ID": "app",
    }


WAYS: list[Way] = [entra, none, basic, by_secret, by_rsa_key, by_ec_key]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def place(fhir: str, certificate: Certificate) -> Iterator[Place]:
    address = urlsplit(fhir)
    proxy = FaultProxy(f"{address.scheme}://{address.netloc}", certificate.server_context())
    with ExitStack() as opened:
        yield Place(opened.enter_context(proxy), certificate, opened)


@pytest.fixture
def server(fhir: str) -> Iterator[Server]:
    """The FHIR server without the proxy before it."""
    server = Server(fhir)
    yield server
    server.close()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_message_becomes_an_observation(way: Way, place: Place, storage: Storage, server: Server) -> None:
    device = unique("device")
    settings = {
        **USABLE_SETTINGS,
        **place.certificate.trusted(),
        "BufferStorage": storage._connection_string or "",
        "FHIR_SERVICE_URL": f"{place.fhir.url}/fhir/R4",
        "RESOURCE_IDENTITY_RESOLUTION_TYPE": "Create",
        "DEVICE": device,
        "HEAVY": " ".join(HEAVY),
        **way(place),
    }
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AZURE_", "FHIR_"))}
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN],
        cwd=ROOT,
        env=inherited | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    [known] = server.get(f"Device?identifier={device}")["entry"]
    [written] = server.get(f"Observation?device=Device/{known['resource']['id']}")["entry"]
    assert written["resource"]["valueQuantity"]["value"] == 71
    assert {request.answer_status for request in place.fhir.requests} == {200}
    by_ingest, by_flush, states = answer.stdout.splitlines()
    assert by_ingest == "[]"
    assert by_flush == str(["authlib", "httpx"] if way in (by_secret, by_rsa_key, by_ec_key) else ["httpx"])
    assert "'identity': 'ok', 'fhirServer': 'ok'" in states
    assert SECRET not in answer.stdout + answer.stderr
