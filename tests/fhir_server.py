"""The FHIR servers that tests run against: the local one under each of its profiles, or a given one.

`fhir` gives the strict server's base URL to the whole run; `fhir_profile` the server of a named profile, started at its
first use. With FHIR_SERVICE_URL set (`make fhir-check`) the strict server is the one at that address.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer

import pytest

from tests.azurite import free_ports

_PROGRAM = Path(__file__).parents[1] / "dev" / "fhir" / "server.mjs"
_START_SECONDS = 60


class FhirServer:
    """One local FHIR server; in memory, so that `stop` forgets everything unless it keeps a `data` file."""

    def __init__(self, profile: str = "strict", data: Path | None = None) -> None:
        self.profile = profile
        self._data = data
        (self._port,) = free_ports(1)
        self._process: subprocess.Popen[str] | None = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/fhir/R4"

    def start(self) -> None:
        if not (_PROGRAM.parents[1] / "node_modules").exists():
            raise RuntimeError("The FHIR server's packages are not installed: run `make setup`, or `npm ci` in dev/.")
        command = ["node", str(_PROGRAM), "--port", str(self._port), "--profile", self.profile]
        command += ["--data", str(self._data)] if self._data else []
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        impatience = Timer(_START_SECONDS, self._process.kill)
        impatience.start()
        try:
            assert self._process.stdout is not None
            if not self._process.stdout.readline().startswith("ready"):
                raise RuntimeError(f"The FHIR server (profile {self.profile}) did not start.")
        finally:
            impatience.cancel()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            assert self._process.stdout is not None
            self._process.stdout.close()
        self._process = None


@pytest.fixture(scope="session")
def fhir_profile() -> Iterator[Callable[[str], str]]:
    """Base URL of the local server with that profile."""
    servers: dict[str, FhirServer] = {}

    def url_of(profile: str) -> str:
        given = os.environ.get("FHIR_SERVICE_URL")
        if given and profile == "strict":
            return given.rstrip("/")
        if profile not in servers:
            server = FhirServer(profile)
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
