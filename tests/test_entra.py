"""One identity opens storage, mapping blobs and the FHIR server; asked for at a stand-in of the platform's endpoint.

Storage is a real Azurite that takes no request without a token for its audience; the FHIR server stands behind TLS, as
neither package sends a token over plain http.
"""

import ast
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
from azure.storage.blob import BlobServiceClient

from dev import processes
from medtech import entra
from medtech.entra import AppIdentity
from medtech.errors import FhirAccessDenied, FhirServerUnavailable, StorageUnavailable
from medtech.persist.credentials import EntraCredentials
from medtech.storage.connection import Storage
from tests.azurite import free_ports
from tests.certificate import Certificate, make_certificate
from tests.faults import FaultProxy
from tests.identity_endpoint import SYSTEM_ASSIGNED, IdentityEndpoint
from tests.usable_settings import USABLE_SETTINGS

ROOT = Path(__file__).parents[1]
STORAGE_AUDIENCE = "https://storage.azure.com"

CLIENT_ID = "11111111-1111-1111-1111-111111111111"
ANOTHER_CLIENT_ID = "22222222-2222-2222-2222-222222222222"
RESOURCE_ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"

BY_MANAGED_IDENTITY = {"BufferStorage__credential": "managedidentity"}
IDENTITIES = {
    "system-assigned": ({}, SYSTEM_ASSIGNED),
    "system-assigned, as the connection says": (BY_MANAGED_IDENTITY, SYSTEM_ASSIGNED),
    "AZURE_CLIENT_ID": ({"AZURE_CLIENT_ID": CLIENT_ID}, {"client_id": CLIENT_ID}),
    "clientId of the connection": (
        BY_MANAGED_IDENTITY | {"BufferStorage__clientId": CLIENT_ID},
        {"client_id": CLIENT_ID},
    ),
    "clientId alone": ({"BufferStorage__clientId": CLIENT_ID}, {"client_id": CLIENT_ID}),
    "managedIdentityResourceId of the connection": (
        BY_MANAGED_IDENTITY | {"BufferStorage__managedIdentityResourceId": RESOURCE_ID},
        {"mi_res_id": RESOURCE_ID},
    ),
    "AZURE_CLIENT_ID before the connection's": (
        {"AZURE_CLIENT_ID": CLIENT_ID, "BufferStorage__clientId": ANOTHER_CLIENT_ID},
        {"client_id": CLIENT_ID},
    ),
    "AZURE_CLIENT_ID before the resource id": (
        {"AZURE_CLIENT_ID": CLIENT_ID, "BufferStorage__managedIdentityResourceId": RESOURCE_ID},
        {"client_id": CLIENT_ID},
    ),
}
"""By a name: what is set, and what the endpoint must be asked for."""

RUN = """
import json
from types import SimpleNamespace
from medtech import application
from tests.ingest.delivery import Sent, deliver
message = json.load(open("mappings/sampleMessages.json"))[0]
context = SimpleNamespace(trace_context=SimpleNamespace(trace_parent=""), retry_context=None)
application.ingest(deliver([Sent(json.dumps(message).encode(), 1)]), context)
application.flush(context)
"""


class Account(NamedTuple):
    """Storage behind TLS, with the device mapping in a blob; `settings` name it as a connection."""

    settings: dict[str, str]
    mapping: str


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Account]:
    folder = tmp_path_factory.mktemp("azurite-tls")
    blob, queue, table = free_ports(3)
    tls = ["--oauth", "basic", "--cert", str(certificate.certificate), "--key", str(certificate.key)]
    server = processes.azurite(folder, folder / "logs", blob, queue, table, *tls)
    server.start()
    server.wait_until_ready()
    blobs, tables = (f"https://127.0.0.1:{port}/{processes.STORAGE_ACCOUNT}" for port in (blob, table))
    try:
        with BlobServiceClient(
            blobs, credential=processes.STORAGE_KEY, connection_verify=str(certificate.certificate)
        ) as service:
            container = service.create_container("mappings")
            container.upload_blob("device.json", (ROOT / "mappings/deviceMapping.json").read_bytes())
        settings = {"BufferStorage__blobServiceUri": blobs, "BufferStorage__tableServiceUri": tables}
        yield Account(settings, f"{blobs}/mappings/device.json")
    finally:
        server.stop()


@pytest.fixture
def identity_endpoint() -> Iterator[IdentityEndpoint]:
    with IdentityEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
def fhir_over_tls(fhir: str, certificate: Certificate) -> Iterator[FaultProxy]:
    address = urlsplit(fhir)
    proxy = FaultProxy(f"{address.scheme}://{address.netloc}", certificate.server_context())
    with proxy:
        yield proxy


@pytest.mark.parametrize("name", IDENTITIES)
def test_storage_mapping_blobs_and_fhir_are_opened_by_one_identity(
    name: str,
    account: Account,
    identity_endpoint: IdentityEndpoint,
    fhir_over_tls: FaultProxy,
    certificate: Certificate,
) -> None:
    chosen, asked = IDENTITIES[name]
    identity_endpoint.assigned = [asked]
    settings = {
        **USABLE_SETTINGS,
        **identity_endpoint.environment(),
        **certificate.trusted(),
        **account.settings,
        **chosen,
        "AzureWebJobsStorage__accountName": "the-hosts-own",
        "EventHubConnection__fullyQualifiedNamespace": "localhost",
        "EVENT_HUB_NAME": "devicedata",
        "DEVICE_MAPPING": account.mapping,
        "FHIR_SERVICE_URL": f"{fhir_over_tls.url}/fhir/R4",
        "FHIR_AUDIENCE": "https://workspace-service.fhir.azurehealthcareapis.com",
        "RESOURCE_IDENTITY_RESOLUTION_TYPE": "Create",
    }
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AZURE_", "BufferStorage"))}
    answer = subprocess.run(
        [sys.executable, "-c", RUN], cwd=ROOT, env=inherited | settings, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert any(b"Observation" in request.body for request in fhir_over_tls.requests)
    assert all(request.headers["Authorization"].startswith("Bearer ") for request in fhir_over_tls.requests)
    assert identity_endpoint.resources == {STORAGE_AUDIENCE, settings["FHIR_AUDIENCE"]}
    assert identity_endpoint.asked == [asked] * len(identity_endpoint.asked)


@pytest.fixture
def in_azure(identity_endpoint: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch) -> IdentityEndpoint:
    """This process has the platform's identity endpoint, which has an identity that nobody asks for."""
    for key, value in identity_endpoint.environment().items():
        monkeypatch.setenv(key, value)
    identity_endpoint.assigned = [{"client_id": ANOTHER_CLIENT_ID}]
    return identity_endpoint


def test_an_identity_that_is_not_assigned_is_a_fault_of_the_settings(in_azure: IdentityEndpoint) -> None:
    credential = AppIdentity.of({**os.environ, "AZURE_CLIENT_ID": CLIENT_ID}).credential
    with pytest.raises(FhirAccessDenied, match="AZURE_CLIENT_ID"):
        EntraCredentials("https://fhir.example.org", credential).authorization()


def test_storage_says_which_setting_names_the_identity(in_azure: IdentityEndpoint) -> None:
    settings = {**in_azure.environment(), "BufferStorage__accountName": "account"}
    with pytest.raises(StorageUnavailable, match="AZURE_CLIENT_ID"):
        Storage(environment=settings).table("made").get("p", "a")


def test_an_answer_that_is_none_is_an_outage_of_the_token_service(in_azure: IdentityEndpoint) -> None:
    in_azure.failing = (502, "<html>Bad gateway</html>")
    with pytest.raises(FhirServerUnavailable):
        EntraCredentials("https://fhir.example.org").authorization()


def test_storage_waits_while_the_token_service_gives_no_answer(in_azure: IdentityEndpoint) -> None:
    in_azure.failing = (502, "<html>Bad gateway</html>")
    settings = {**in_azure.environment(), "BufferStorage__accountName": "account"}
    with pytest.raises(StorageUnavailable):
        Storage(environment=settings).table("made").get("p", "a")


def test_a_token_service_that_never_answers_is_given_up(
    in_azure: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(entra._PIPELINE, "read_timeout", 0.2)
    in_azure.silent = True
    started = time.monotonic()
    with pytest.raises(FhirServerUnavailable):
        EntraCredentials("https://fhir.example.org").authorization()
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, DefaultAzureCredential),
        ({"IDENTITY_ENDPOINT": "http://127.0.0.1:1"}, ManagedIdentityCredential),
        ({"IDENTITY_ENDPOINT": "http://127.0.0.1:1", "AZURE_CLIENT_SECRET": "s"}, DefaultAzureCredential),
    ],
)
def test_in_azure_it_is_a_managed_identity_unless_a_service_principal_is_set(
    environment: dict[str, str], kind: type
) -> None:
    assert isinstance(AppIdentity.of(environment).credential().issuer, kind)


def test_credentials_are_made_in_one_place() -> None:
    makers = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "medtech").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("azure.identity")
    ]
    assert makers == ["medtech/entra.py"]
