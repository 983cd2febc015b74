"""Azurite for tests: Microsoft's storage emulator, the real protocol of Table and Blob storage on a free port.

The fixture `azurite` gives one server to the whole run, as a connection string; `storage` is that server as the app
opens it, emptied before the test. A test that takes the server away starts its own with `Azurite`.
"""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient

from medtech.storage import Storage

_PROGRAM = Path(__file__).parents[1] / "dev" / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
# The account and key that every copy of Azurite documents and accepts; they open nothing else.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_START_SECONDS = 60


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback address that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


class Azurite:
    """One server with its data under `location`; `start` after `stop` finds the data and the ports again."""

    def __init__(self, location: Path) -> None:
        self._location = location
        self._ports = free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def connection_string(self) -> str:
        blob, queue, table = (f"http://127.0.0.1:{port}/{_ACCOUNT}" for port in self._ports)
        return (
            f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};"
            f"BlobEndpoint={blob};QueueEndpoint={queue};TableEndpoint={table};"
        )

    def start(self) -> None:
        blob, queue, table = map(str, self._ports)
        command = ["node", str(_PROGRAM), "--location", str(self._location), "--silent", "--disableTelemetry"]
        command += ["--blobPort", blob, "--queuePort", queue, "--tablePort", table, "--skipApiVersionCheck"]
        if not _PROGRAM.exists():
            raise RuntimeError("Azurite is not installed: run `make setup`, or `npm ci` in dev/.")
        # A session of its own, so that Ctrl-C reaches the tests first and Azurite is ended by them.
        self._process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS
        for port in self._ports:
            while not _accepts(port):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError("Azurite did not start.")
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends the server by SIGINT: any other signal loses up to five seconds of acknowledged writes."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=30)
        self._process = None


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The connection string of an Azurite that lives as long as the test run."""
    server = Azurite(tmp_path_factory.mktemp("azurite"))
    server.start()
    try:
        yield server.connection_string
    finally:
        server.stop()


@pytest.fixture
def storage(azurite: str) -> Iterator[Storage]:
    """The account as the app opens it, empty."""
    with TableServiceClient.from_connection_string(azurite) as tables:
        for table in tables.list_tables():
            tables.delete_table(table.name)
    with BlobServiceClient.from_connection_string(azurite) as blobs:
        for container in blobs.list_containers():
            blobs.delete_container(container.name)
    storage = Storage(environment={"BufferStorage": azurite})
    yield storage
    storage.close()
