"""The storage account of a Functions connection: which one, by whose identity, and how long a call waits for it.

A connection is named as Functions names it: `NAME` holds a connection string, or `NAME__accountName`,
`NAME__tableServiceUri`, `NAME__blobServiceUri` and `NAME__queueServiceUri` name the account, which is then opened by
the app's identity (`NAME__credential`, `NAME__clientId`, `NAME__managedIdentityResourceId`; see `entra`).
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from medtech.entra import AppIdentity, Credential
from medtech.errors import SettingInvalid
from medtech.storage import further as further_accounts
from medtech.storage.queue import Queue
from medtech.storage.table import Table, Tables

if TYPE_CHECKING:
    from azure.data.tables import TableServiceClient
    from azure.storage.blob import BlobClient, BlobServiceClient, ContainerClient
    from azure.storage.queue import QueueServiceClient

    from medtech.storage.direct.authorization import Authorization
    from medtech.storage.direct.connection_string import Service
    from medtech.storage.lease import Leases
    from medtech.storage.transport import BoundedTransport

# At INFO and DEBUG these print each address they call, and an address can hold a shared access signature.
_TALKATIVE_LOGGERS = {
    "azure.core": logging.WARNING,
    "azure.data": logging.WARNING,
    "azure.storage": logging.WARNING,
    "azure.identity": logging.WARNING,
    "urllib3": logging.ERROR,
}


_BLOB_SERVICE = re.compile(
    r"https://[a-z0-9-]+(?:\.[a-z0-9]+)?\.blob\."
    r"(?:core\.(?:windows\.net|usgovcloudapi\.net|chinacloudapi\.cn)|storage\.azure\.net)/"
)
"""Hosts of Azure's blob service. https://learn.microsoft.com/azure/storage/common/storage-account-overview"""


class Timeouts(NamedTuple):
    """How long one call waits for a connection and for the answer, and how often it is sent again."""

    connect_seconds: float
    read_seconds: float
    retries: int

    def options(self) -> dict[str, Any]:
        """As the storage packages name them, of a client or of one call."""
        return {
            "connection_timeout": self.connect_seconds,
            "read_timeout": self.read_seconds,
            "retry_total": self.retries,
            "retry_connect": self.retries,
            "retry_read": self.retries,
            "retry_status": self.retries,
        }


_FURTHER = "FurtherBufferStorage"
"""The name of the connection to a further account, in an environment made for it."""

_IDENTITY_PARTS = ("credential", "clientid", "managedidentityresourceid")

TIMEOUTS = Timeouts(connect_seconds=5, read_seconds=30, retries=2)
"""A function that waits for storage holds a batch and a thread: three attempts within seconds, then the batch goes back
to the hub, or the rows wait for the next tick of the flush."""


class FurtherAccount(NamedTuple):
    """An account that has a part of the buffer, and nothing else; `retired`: it is only emptied."""

    place: str
    storage: Storage
    retired: bool


class Storage:
    """The storage account of a Functions connection name."""

    def __init__(
        self,
        connection: str = "BufferStorage",
        environment: Mapping[str, str] = os.environ,
        timeouts: Timeouts = TIMEOUTS,
        *,
        creates_tables: bool = True,
        through_library: bool = False,
    ) -> None:
        """`creates_tables` is false for who only looks: a missing table is then left so, and reads as empty.
        `through_library`: tables and leases are asked for through the Azure packages (`STORAGE_CLIENT`).

        Raises SettingInvalid when neither `connection` nor `AzureWebJobsStorage` is set.
        """
        name = setting_in_use(connection, environment)
        if name is None:
            raise SettingInvalid(
                f"No storage is set. Set {connection} or AzureWebJobsStorage to a connection string, "
                f"or {connection}__accountName to a storage account that the app's identity may use."
            )
        self._name = name
        self._settings = {
            key.removeprefix(f"{name}__").lower(): value
            for key, value in environment.items()
            if key.startswith(f"{name}__")
        }
        self.identity = AppIdentity.of(environment, self._settings)
        self._connection_string = environment.get(name, "").strip()
        self._timeouts = timeouts
        self._table_options = {**timeouts.options(), "retry_backoff_factor": 0.5, "retry_backoff_max": 5}
        self._blob_options = {
            **timeouts.options(),
            "initial_backoff": 0,
            "increment_base": 1,
            "random_jitter_range": 1,
        }
        self._creates_tables = creates_tables
        self._through_library = through_library
        self._environment = dict(environment)
        self._further: tuple[FurtherAccount, ...] | None = None
        self._tables: dict[str, Table] = {}
        self._lock = threading.RLock()
        self._opened_tables: Tables | None = None
        self._opened_leases: Leases | None = None
        self._table_service: TableServiceClient | None = None
        self._blob_service: BlobServiceClient | None = None
        self._queue_service: QueueServiceClient | None = None
        self._credential: Credential | None = None
        for logger, level in _TALKATIVE_LOGGERS.items():
            logging.getLogger(logger).setLevel(level)

    @property
    def name(self) -> str:
        """Of the setting that the connection is taken from."""
        return self._name

    def check(self, *, queues: bool = False) -> None:
        """Opens nothing. Raises SettingInvalid when the connection does not say where tables and blobs are, or not by
        https, and with `queues`, where queues are, or names further accounts of which one is none."""
        if self._connection_string:
            if not _is_connection_string(self._connection_string):
                raise self._malformed()
            if queues and not _has_queues(self._connection_string):
                raise self._placeless("queue")
        else:
            for kind in ("table", "blob"):
                self._encrypted_address(kind)
            if queues:
                self._address("queue")
        self.further()

    @property
    def place(self) -> str:
        """The host and path of the account's tables, by which one account is known from another. Raises SettingInvalid
        as `check` does."""
        if self._connection_string:
            return further_accounts.place_of_connection_string(self._connection_string)
        return further_accounts.place_of_address(self._address("table"))

    def further(self) -> tuple[FurtherAccount, ...]:
        """The accounts beside this one that have a part of the buffer. Raises SettingInvalid if they are misnamed."""
        with self._lock:
            if self._further is None:
                named = next((text for key, text in self._environment.items() if further_accounts.is_list(key)), "")
                entries = further_accounts.read(named, self.place) if named.strip() else []
                self._further = tuple(map(self._opens, entries))
            return self._further

    def _opens(self, entry: further_accounts.Entry) -> FurtherAccount:
        # By the same identity, and without a list of its own.
        own = {key: value for key, value in self._environment.items() if not further_accounts.is_list(key)}
        identity = {f"{_FURTHER}__{part}": value for part, value in self._settings.items() if part in _IDENTITY_PARTS}
        named = {_FURTHER: entry.connection_string, f"{_FURTHER}__tableServiceUri": entry.table_address}
        account = Storage(
            _FURTHER,
            {**own, **identity, **named},
            self._timeouts,
            creates_tables=self._creates_tables,
            through_library=self._through_library,
        )
        return FurtherAccount(entry.place, account, entry.retired)

    def table(self, name: str) -> Table:
        with self._lock:
            return self._tables.setdefault(name, Table(name, self.tables, creates=self._creates_tables))

    def tables(self) -> Tables:
        """Raises SettingInvalid when the connection does not say where the account's tables are."""
        with self._lock:
            if self._opened_tables is None:
                self._opened_tables = self._library_tables() if self._through_library else self._direct_tables()
            return self._opened_tables

    def leases(self) -> Leases:
        """Raises SettingInvalid when the connection does not say where the account's blobs are."""
        with self._lock:
            if self._opened_leases is None:
                self._opened_leases = self._library_leases() if self._through_library else self._direct_leases()
            return self._opened_leases

    def queue(self, name: str) -> Queue:
        return Queue(name, self.queue_service)

    def container(self, name: str) -> ContainerClient:
        """The client of a blob container, which may not exist yet; call it inside `faults.reaching`."""
        return self.blob_service().get_container_client(name)

    def blob_at(self, address: str) -> BlobClient:
        """A blob anywhere: by its shared access signature, the connection string's key, or the app's identity."""
        from azure.storage.blob import BlobClient

        options = self._blob_options | {"transport": self._transport()}
        anonymous: BlobClient = BlobClient.from_blob_url(address, **options)
        if "sig=" in address.partition("?")[2]:
            return anonymous
        if self._connection_string:
            account = self.blob_service()
            if address.startswith(f"{account.url.rstrip('/')}/"):
                return account.get_blob_client(anonymous.container_name, anonymous.blob_name)
        return BlobClient.from_blob_url(address, credential=self.credential(), **options)

    def container_at(self, address: str) -> ContainerClient:
        """A container: of the account by its name, or anywhere by its address, as `blob_at` opens a blob."""
        from azure.storage.blob import ContainerClient

        if not address.startswith(("https://", "http://")):
            return self.container(address)
        options = self._blob_options | {"transport": self._transport()}
        anonymous: ContainerClient = ContainerClient.from_container_url(address, **options)
        if "sig=" in address.partition("?")[2]:
            return anonymous
        if self._connection_string:
            account = self.blob_service()
            if address.startswith(f"{account.url.rstrip('/')}/"):
                return account.get_container_client(anonymous.container_name)
        if _BLOB_SERVICE.match(address) is None:
            raise SettingInvalid(
                f"The app's identity opens no container at {address.partition('?')[0]!a:.200}: its token would go to "
                "whoever answers there. Use https://ACCOUNT.blob.core.windows.net/CONTAINER, or an address with a "
                "shared access signature."
            )
        return ContainerClient.from_container_url(address, credential=self.credential(), **options)

    def table_service(self) -> TableServiceClient:
        """Raises SettingInvalid when the connection does not say where the account's tables are."""
        from azure.data.tables import TableServiceClient

        with self._lock:
            if self._table_service is None:
                self._table_service = self._opened("table", TableServiceClient, "endpoint", self._table_options)
            return self._table_service

    def blob_service(self) -> BlobServiceClient:
        """Raises SettingInvalid when the connection does not say where the account's blobs are."""
        from azure.storage.blob import BlobServiceClient

        with self._lock:
            if self._blob_service is None:
                self._blob_service = self._opened("blob", BlobServiceClient, "account_url", self._blob_options)
            return self._blob_service

    def queue_service(self) -> QueueServiceClient:
        """Raises SettingInvalid when the connection does not say where the account's queues are."""
        from azure.storage.queue import QueueServiceClient

        with self._lock:
            if self._queue_service is None:
                self._queue_service = self._opened("queue", QueueServiceClient, "account_url", self._blob_options)
            return self._queue_service

    def credential(self) -> Credential:
        """Of the app's identity, for the account, for mapping blobs in other accounts, and for the FHIR server."""
        with self._lock:
            if self._credential is None:
                self._credential = self.identity.credential()
            return self._credential

    def close(self) -> None:
        """Gives the connections back; the app itself keeps them as long as it lives."""
        with self._lock:
            services = (self._table_service, self._blob_service, self._queue_service)
            for opened in (self._opened_tables, self._opened_leases, *services):
                if opened is not None:
                    opened.close()
            for account in self._further or ():
                account.storage.close()

    def _transport(self) -> BoundedTransport:
        from medtech.storage.transport import BoundedTransport

        connect_seconds, read_seconds, _ = self._timeouts
        return BoundedTransport(connection_timeout=connect_seconds, read_timeout=read_seconds)

    def _opened(self, kind: str, client: Any, address_argument: str, options: dict[str, Any]) -> Any:
        options = options | {"transport": self._transport()}
        if self._connection_string:
            try:
                return client.from_connection_string(self._connection_string, **options)
            except ValueError:
                raise self._malformed() from None
        return client(**{address_argument: self._address(kind)}, credential=self.credential(), **options)

    def _library_tables(self) -> Tables:
        from medtech.storage.library.tables import LibraryTables

        return LibraryTables(self.table_service())

    def _library_leases(self) -> Leases:
        from medtech.storage.library.leases import LibraryLeases

        return LibraryLeases(self.blob_service())

    def _direct_tables(self) -> Tables:
        from medtech.storage.direct.tables import DirectTables

        return DirectTables(*self._signed_endpoint("table"), self._timeouts)

    def _direct_leases(self) -> Leases:
        from medtech.storage.direct.leases import DirectLeases

        return DirectLeases(*self._signed_endpoint("blob"), self._timeouts)

    def _signed_endpoint(self, service: Service) -> tuple[str, Authorization]:
        from medtech.storage.direct.authorization import AccessToken
        from medtech.storage.direct.connection_string import signed_endpoint

        if self._connection_string:
            try:
                return signed_endpoint(self._connection_string, service)
            except ValueError:
                raise self._malformed() from None
        return self._encrypted_address(service).partition("?")[0], AccessToken(self.credential)

    def _encrypted_address(self, kind: str) -> str:
        address = self._address(kind)
        if not address.lower().startswith("https://"):
            raise SettingInvalid(
                f"{self._name}__{kind}ServiceUri does not begin with https://, and the app's identity opens no other "
                "address: its token would travel unencrypted."
            )
        return address

    def _address(self, kind: str) -> str:
        address = self._settings.get(f"{kind}serviceuri")
        if address:
            return address
        if self._settings.get("accountname"):
            return f"https://{self._settings['accountname']}.{kind}.core.windows.net"
        raise self._placeless(kind)

    def _placeless(self, kind: str) -> SettingInvalid:
        return SettingInvalid(
            f"{self._name} does not say where the account's {kind}s are. Set {self._name}__accountName or "
            f"{self._name}__{kind}ServiceUri."
        )

    def _malformed(self) -> SettingInvalid:
        return SettingInvalid(
            f"{self._name} is not a storage connection string. Copy it again from the storage account, or set "
            f"{self._name}__accountName instead."
        )


def setting_in_use(connection: str = "BufferStorage", environment: Mapping[str, str] = os.environ) -> str | None:
    """The name of the setting that the app's storage is taken from; None if there is none."""
    return next((name for name in (connection, "AzureWebJobsStorage") if _is_set(name, environment)), None)


def _is_connection_string(text: str) -> bool:
    """Whether it has what the packages for tables and blobs both need."""
    parts = _parts(text)
    if _is_emulator(parts):
        return True
    placed = bool(parts.get("accountname")) or bool(parts.get("tableendpoint") and parts.get("blobendpoint"))
    return placed and bool(parts.get("accountkey") or parts.get("sharedaccesssignature"))


def _has_queues(text: str) -> bool:
    parts = _parts(text)
    return _is_emulator(parts) or bool(parts.get("accountname") or parts.get("queueendpoint"))


def _is_emulator(parts: Mapping[str, str]) -> bool:
    return parts.get("usedevelopmentstorage", "").lower() == "true"


def _parts(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip().lower(): value for name, _, value in pairs}


def _is_set(name: str, environment: Mapping[str, str]) -> bool:
    """A blank value is none: so people take a setting back where they cannot remove it. The list of further accounts
    names none for the rest."""
    return any(
        text.strip() and not further_accounts.is_list(key) and (key == name or key.startswith(f"{name}__"))
        for key, text in environment.items()
    )
