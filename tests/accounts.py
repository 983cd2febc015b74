"""Two storage accounts, as two real Azurites, and an app that opens them under one list after the other."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from medtech.group.accounts import PARTITION_KEY, TABLE
from medtech.group.buffer import Buffer
from medtech.storage.connection import Storage
from medtech.storage.further import SETTING
from tests.azurite import running
from tests.faults import FaultProxy


@pytest.fixture(scope="session")
def second_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The connection string of another account than `azurite`'s."""
    with running(tmp_path_factory.mktemp("second")) as connection_string:
        yield connection_string


@pytest.fixture
def wire_to_second(second_account: str) -> Iterator[tuple[FaultProxy, str]]:
    """A wire to the second account that can break, and the connection string by which it is reached so."""
    settings = dict(part.split("=", 1) for part in second_account.split(";") if part)
    tables = urlsplit(settings["TableEndpoint"])
    with FaultProxy(f"http://{tables.netloc}") as proxy:
        settings["TableEndpoint"] = f"{proxy.url}{tables.path}"
        yield proxy, ";".join(f"{name}={value}" for name, value in settings.items())


class Lists:
    """An app's storage under one list of accounts after the other."""

    def __init__(self, first: str, second: str) -> None:
        self.first, self.second_account = first, second

    def storage(self, further: str = "") -> Storage:
        return Storage(environment={"BufferStorage": self.first, SETTING: further})

    def one(self) -> Buffer:
        return Buffer(self.storage())

    def both(self) -> Buffer:
        return Buffer(self.storage(self.second_account))

    def emptying(self) -> Buffer:
        return Buffer(self.storage(f"-{self.second_account}"))

    def keys(self, connection: str) -> set[str]:
        """The partition keys of the buffer's rows in an account."""
        table = Storage(environment={"BufferStorage": connection}).table(TABLE)
        return {row["PartitionKey"] for row in table.query("PartitionKey ne ''")} - {PARTITION_KEY}


@pytest.fixture
def lists(storage: Storage, azurite: str, second_account: str) -> Lists:
    other = Storage(environment={"BufferStorage": second_account})
    for row in list(other.table(TABLE).query("PartitionKey ne ''")):
        other.table_service().get_table_client(TABLE).delete_entity(row["PartitionKey"], row["RowKey"])
    return Lists(azurite, second_account)
