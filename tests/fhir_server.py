"""The FHIR servers that tests run against: the local one with each of its profiles, or a given one.

The fixture `fhir` is the strict server's base URL, `fhir_profile` gives that of the server with a named profile. Each
of these starts at its first use and lives as long as the test run; `own_fhir` is one test's own. With FHIR_SERVICE_URL
set (`make fhir-check`) the strict server is the one at that address.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev import processes
from tests.azurite import free_ports


class FhirServer:
    """One local FHIR server, with its log in `folder`. It is in memory: `stop` forgets all but a `data` file."""

    def __init__(self, folder: Path, profile: str = "strict", data: Path | None = None) -> None:
        (port,) = free_ports(1)
        self.origin = f"http://127.0.0.1:{port}"
        self.url = f"{self.origin}/fhir/R4"
        keeping = ("--data", str(data)) if data else ()
        self._server = processes.fhir_server(folder, port, "--profile", profile, *keeping)

    def start(self) -> None:
        self._server.start()
        self._server.wait_until_ready()

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def own_fhir(tmp_path: Path) -> Iterator[FhirServer]:
    """A strict server that holds nothing, for one test."""
    server = FhirServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def fhir_profile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Returns the base URL of the server with a profile."""
    servers: dict[str, FhirServer] = {}

    def url_of(profile: str) -> str:
        given = os.environ.get("FHIR_SERVICE_URL")
        if given and profile == "strict":
            return given.rstrip("/")
        if profile not in servers:
            server = FhirServer(tmp_path_factory.mktemp("fhir"), profile)
            server.start()
            servers[profile] = server
        return servers[profile].url

    try:
        yield url_of
    finally:
        for server in servers.values():
            server.stop()


@pytest.fixture(scope="session")
def fhir(fhir_profile: Callable[[str], str]) -> str:
    """Base URL of the strict server."""
    return fhir_profile("strict")
