"""Azurite for tests: Microsoft's storage emulator, the real protocol of Table and Blob storage on a free port.

The fixture `azurite` gives one server to the whole run, as a connection string; `storage` is that server as the app
opens it, emptied before the test; `wire` is the same account over proxies that make the faults of a network. A test
that takes the server away starts its own with `Azurite`, or uses `nobody`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from dev import processes
from dev.ports import choose_ports
from medtech.storage.connection import TIMEOUTS, Storage, Timeouts
from tests.faults import FaultProxy

ACCOUNT_KEY = "c2VjcmV0LWFjY291bnQta2V5LW9mLW91cnM="
"""A key that opens nothing."""


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback address that nobody listens on."""
    return choose_ports({str(number): None for number in range(count)})


class Azurite:
    """One server with its data under `location`; `start` after `stop` finds the data and the ports again."""

    def __init__(self, location: Path) -> None:
        ports = free_ports(3)
        self.connection_string = processes.storage_connection_string(*ports)
        self._server = processes.azurite(location, location / "logs", *ports)

    def start(self) -> None:
        self._server.start()
        self._server.wait_until_ready()

    def stop(self) -> None:
        self._server.stop()


@contextmanager
def running(location: Path) -> Iterator[str]:
    """The connection string of a server that runs meanwhile."""
    server = Azurite(location)
    server.start()
    try:
        yield server.connection_string
    finally:
        server.stop()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The connection string of an Azurite that lives as long as the test run."""
    with running(tmp_path_factory.mktemp("azurite")) as connection_string:
        yield connection_string


@pytest.fixture
def through_library() -> bool:
    """Whether tables and leases are asked for through the Azure packages; the tests of storage run on both."""
    return False


@pytest.fixture
def storage(azurite: str, through_library: bool) -> Iterator[Storage]:
    """The account as the app opens it, empty."""
    with TableServiceClient.from_connection_string(azurite) as tables:
        for table in tables.list_tables():
            tables.delete_table(table.name)
    with BlobServiceClient.from_connection_string(azurite) as blobs:
        for container in blobs.list_containers():
            blobs.delete_container(container.name)
    with QueueServiceClient.from_connection_string(azurite) as queues:
        for queue in queues.list_queues():
            queues.delete_queue(queue.name)
    storage = Storage(environment={"BufferStorage": azurite}, through_library=through_library)
    yield storage
    storage.close()


class Wire(NamedTuple):
    """The account of `storage`, its tables and blobs each reached through a proxy."""

    storage: Storage
    tables: FaultProxy
    blobs: FaultProxy


@pytest.fixture
def wire(storage: Storage, azurite: str, through_library: bool) -> Iterator[Wire]:
    """The empty account over a wire that can break."""
    settings = dict(part.split("=", 1) for part in azurite.split(";") if part)
    tables, blobs = urlsplit(settings["TableEndpoint"]), urlsplit(settings["BlobEndpoint"])
    with (
        FaultProxy(f"http://{tables.netloc}") as table_proxy,
        FaultProxy(f"http://{blobs.netloc}") as blob_proxy,
    ):
        settings["TableEndpoint"] = f"{table_proxy.url}{tables.path}"
        settings["BlobEndpoint"] = f"{blob_proxy.url}{blobs.path}"
        connection = ";".join(f"{name}={value}" for name, value in settings.items())
        wired = Storage(environment={"BufferStorage": connection}, through_library=through_library)
        yield Wire(wired, table_proxy, blob_proxy)
        wired.close()


def nobody(port: int | None = None, *, timeouts: Timeouts = TIMEOUTS, through_library: bool = False) -> Storage:
    """An account at a port where nobody listens, or at `port`, where it is not storage that listens."""
    address = f"http://127.0.0.1:{port or free_ports(1)[0]}/account"
    connection = f"AccountName=account;AccountKey={ACCOUNT_KEY};TableEndpoint={address};BlobEndpoint={address}"
    return Storage(environment={"BufferStorage": connection}, timeouts=timeouts, through_library=through_library)
