"""Azure Table and Blob storage: where the app keeps what must outlive an instance.

A connection is named as Functions names it: `NAME` holds a connection string, or `NAME__accountName`,
`NAME__tableServiceUri` and `NAME__blobServiceUri` tell the account, which is then opened with a managed identity
(`NAME__clientId`, `NAME__credential`).

The storage packages cost 0.2 s to import, so they are imported where the first call needs them.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from medtech.errors import SettingInvalid, StorageUnavailable

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.exceptions import AzureError, HttpResponseError
    from azure.data.tables import TableClient, TableServiceClient
    from azure.storage.blob import BlobClient, BlobServiceClient, ContainerClient

PROPERTY_BYTES = 64 * 1024
"""Table storage refuses a longer binary property."""
PAYLOAD_BYTES = 11 * PROPERTY_BYTES
"""An entity holds 1 MiB with its keys and names. The service would take 15 such properties; Azurite counts the request
body, in which they are base64, and takes 11."""
TRANSACTION_OPERATIONS = 100

# A function that waits for storage holds a batch and a thread: three attempts within seconds, then the batch goes
# back to the hub, or the rows wait for the next tick of the flush.
_PATIENCE: dict[str, Any] = {
    "connection_timeout": 5,
    "read_timeout": 30,
    "retry_total": 2,
    "retry_connect": 2,
    "retry_read": 2,
    "retry_status": 2,
}
_TABLE_PATIENCE = {**_PATIENCE, "retry_backoff_factor": 0.5, "retry_backoff_max": 5}
_BLOB_PATIENCE = {**_PATIENCE, "initial_backoff": 0, "increment_base": 1, "random_jitter_range": 1}

# At INFO and DEBUG these print each address they call, and an address can hold a shared access signature.
_TALKATIVE_LOGGERS = {
    "azure.core": logging.WARNING,
    "azure.data": logging.WARNING,
    "azure.storage": logging.WARNING,
    "azure.identity": logging.WARNING,
    "urllib3": logging.ERROR,
}

_DENIED = (401, 403)
_AWAY = (408, 429)

Entity = dict[str, Any]


class Operation(NamedTuple):
    """One write of a transaction. `create` fails with 409 if the entity is there; with an `etag` the others fail with
    412 if it has changed, and with 404 if it is gone."""

    kind: Literal["create", "upsert", "merge", "delete"]
    entity: Entity
    etag: str | None = None


class OperationFailed(Exception):
    """A transaction was refused as a whole because of one operation; `status` is 404, 409 or 412."""

    def __init__(self, index: int, status: int) -> None:
        super().__init__(f"operation {index} was answered {status}")
        self.index = index
        self.status = status


class Outcome(NamedTuple):
    """What became of one operation: 204 with the entity's new etag, else 404, 409 or 412."""

    status: int
    etag: str


class Table:
    """One table, created when it is missing. Every method raises StorageUnavailable when the service is away."""

    def __init__(self, name: str, service: Callable[[], TableServiceClient]) -> None:
        self._name = name
        self._service = service
        self._client: TableClient | None = None
        self._opening = threading.Lock()

    def upsert(self, entity: Entity, *, merge: bool = False) -> None:
        """Writes the entity whatever is there; `merge` leaves stored properties that `entity` does not name."""
        from azure.data.tables import UpdateMode

        with self._reaching():
            self._open().upsert_entity(entity, mode=UpdateMode.MERGE if merge else UpdateMode.REPLACE)

    def get(self, partition_key: str, row_key: str) -> Entity | None:
        from azure.core.exceptions import ResourceNotFoundError

        with self._reaching():
            try:
                return _with_etag(self._open().get_entity(partition_key, row_key))
            except ResourceNotFoundError as error:
                if _code(error) == "TableNotFound":
                    raise
                return None

    def query(self, condition: str, *, select: Iterable[str] = (), page_size: int | None = None) -> Iterator[Entity]:
        """Entities in order of their keys; an empty page with a continuation is passed over, it is not the end.

        An entity holds its etag under "etag".
        """
        with self._reaching():
            client = self._open()
            found = iter(client.query_entities(condition, select=list(select) or None, results_per_page=page_size))
        while True:
            with self._reaching():
                entity = next(found, None)
            if entity is None:
                return
            yield _with_etag(entity)

    def first(self, condition: str, *, select: Iterable[str] = ()) -> Entity | None:
        return next(self.query(condition, select=select, page_size=1), None)

    def transact(self, operations: Sequence[Operation]) -> list[str]:
        """All operations (at most 100, of one PartitionKey, 4 MiB on the wire) or none; gives the new etags.

        Raises OperationFailed when one of them is answered 404, 409 or 412.
        """
        from azure.data.tables import TableTransactionError

        with self._reaching():
            try:
                answers = self._open().submit_transaction([_sdk_operation(operation) for operation in operations])
            except TableTransactionError as error:
                index = _failed_index(error)
                if error.status_code not in (404, 409, 412) or index is None or _code(error) == "TableNotFound":
                    raise
                raise OperationFailed(index, error.status_code) from None
        return [str(answer.get("etag", "")) for answer in answers]

    def change(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Operations of one PartitionKey in as many transactions as they need.

        An operation that fails by itself keeps none of its neighbours from being done: its transaction is sent again
        without it.
        """
        outcomes: dict[int, Outcome] = {}
        for start in range(0, len(operations), TRANSACTION_OPERATIONS):
            pending = list(range(start, min(start + TRANSACTION_OPERATIONS, len(operations))))
            while pending:
                try:
                    etags = self.transact([operations[index] for index in pending])
                except OperationFailed as failed:
                    outcomes[pending.pop(failed.index)] = Outcome(failed.status, "")
                else:
                    outcomes.update((index, Outcome(204, etag)) for index, etag in zip(pending, etags, strict=True))
                    break
        return [outcomes[index] for index in range(len(operations))]

    def _open(self) -> TableClient:
        with self._opening:
            if self._client is None:
                # The call is answered 409 when the table exists; that is one request a process.
                self._client = self._service().create_table_if_not_exists(self._name)
            return self._client

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        from azure.core.exceptions import AzureError

        try:
            yield
        except AzureError as error:
            if _code(error) == "TableNotFound":
                # Somebody deleted it. Nothing is lost that was not deleted with it: the next call makes a new one.
                self._client = None
            unavailable = _unavailable(f"table `{self._name}`", error)
            if unavailable is None:
                raise
            # The library's own text and its cause can hold the address with its signature.
            raise unavailable from None


class Storage:
    """The storage account behind a Functions connection name."""

    def __init__(self, connection: str = "BufferStorage", environment: Mapping[str, str] = os.environ) -> None:
        """Raises SettingInvalid when neither `connection` nor `AzureWebJobsStorage` is set."""
        names = (connection, "AzureWebJobsStorage")
        name = next((name for name in names if _is_set(name, environment)), None)
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
        self._connection_string = environment.get(name, "")
        self._tables: dict[str, Table] = {}
        self._lock = threading.RLock()
        self._table_service: TableServiceClient | None = None
        self._blob_service: BlobServiceClient | None = None
        self._credential: TokenCredential | None = None
        for logger, level in _TALKATIVE_LOGGERS.items():
            logging.getLogger(logger).setLevel(level)

    def table(self, name: str) -> Table:
        with self._lock:
            return self._tables.setdefault(name, Table(name, self._tables_of_account))

    def close(self) -> None:
        """Gives the connections back; the app itself keeps them as long as it lives."""
        with self._lock:
            for service in (self._table_service, self._blob_service):
                if service is not None:
                    service.close()

    def container(self, name: str) -> ContainerClient:
        """The client of a blob container, which may not exist yet. Its failures go through `reaching_blobs`."""
        return self._blobs_of_account().get_container_client(name)

    def blob_at(self, address: str) -> BlobClient:
        """A blob anywhere: by its shared access signature, the connection string's key, or the app's identity."""
        from azure.storage.blob import BlobClient

        anonymous: BlobClient = BlobClient.from_blob_url(address, **_BLOB_PATIENCE)
        if "sig=" in address.partition("?")[2]:
            return anonymous
        if self._connection_string:
            account = self._blobs_of_account()
            if address.startswith(f"{account.url.rstrip('/')}/"):
                return account.get_blob_client(anonymous.container_name, anonymous.blob_name)
        return BlobClient.from_blob_url(address, credential=self.credential(), **_BLOB_PATIENCE)

    def credential(self) -> TokenCredential:
        """The app's identity: the managed one that the connection names, else whatever this machine is signed in as."""
        from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

        with self._lock:
            if self._credential is None:
                client_id = self._settings.get("clientid")
                if self._settings.get("credential", "").lower() == "managedidentity":
                    self._credential = ManagedIdentityCredential(client_id=client_id)
                else:
                    self._credential = DefaultAzureCredential(managed_identity_client_id=client_id)
            return self._credential

    def _tables_of_account(self) -> TableServiceClient:
        from azure.data.tables import TableServiceClient

        with self._lock:
            if self._table_service is None:
                self._table_service = self._client_of("table", TableServiceClient, "endpoint", _TABLE_PATIENCE)
            return self._table_service

    def _blobs_of_account(self) -> BlobServiceClient:
        from azure.storage.blob import BlobServiceClient

        with self._lock:
            if self._blob_service is None:
                self._blob_service = self._client_of("blob", BlobServiceClient, "account_url", _BLOB_PATIENCE)
            return self._blob_service

    def _client_of(self, kind: str, client: Any, address_argument: str, patience: dict[str, Any]) -> Any:
        if self._connection_string:
            try:
                return client.from_connection_string(self._connection_string, **patience)
            except ValueError:
                raise SettingInvalid(
                    f"{self._name} is no storage connection string. Copy it again from the storage account, "
                    f"or set {self._name}__accountName instead."
                ) from None
        address = self._settings.get(f"{kind}serviceuri")
        if address is None and "accountname" in self._settings:
            address = f"https://{self._settings['accountname']}.{kind}.core.windows.net"
        if address is None:
            raise SettingInvalid(f"{self._name}__accountName or {self._name}__{kind}ServiceUri must be set.")
        return client(**{address_argument: address}, credential=self.credential(), **patience)


@contextmanager
def reaching_blobs(what: str) -> Iterator[None]:
    """Turns a blob service that is away into StorageUnavailable; other answers (404, 409, 412) stay as they are."""
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        unavailable = _unavailable(what, error)
        if unavailable is None:
            raise
        raise unavailable from None


def split_payload(payload: bytes) -> Entity:
    """The properties (`parts`, `p00`, `p01` …) that hold up to PAYLOAD_BYTES in one entity."""
    starts = range(0, len(payload), PROPERTY_BYTES)
    properties: Entity = {f"p{n:02d}": payload[start : start + PROPERTY_BYTES] for n, start in enumerate(starts)}
    # Counted, so that a shorter payload merged over a longer one does not end in the longer one's tail.
    properties["parts"] = len(starts)
    return properties


def join_payload(entity: Mapping[str, Any]) -> bytes:
    """What `split_payload` took apart. Raises ValueError if a part is missing or not binary."""
    parts = entity.get("parts")
    if not isinstance(parts, int):
        raise ValueError("the number of payload properties is missing")
    pieces = [entity.get(f"p{n:02d}") for n in range(parts)]
    if not all(isinstance(piece, bytes) for piece in pieces):
        raise ValueError("a payload property is missing or not binary")
    return b"".join(pieces)  # type: ignore[arg-type]  # checked above


def _is_set(name: str, environment: Mapping[str, str]) -> bool:
    return bool(environment.get(name)) or any(key.startswith(f"{name}__") for key in environment)


def _with_etag(entity: Any) -> Entity:
    return {**entity, "etag": entity.metadata["etag"]}


def _sdk_operation(operation: Operation) -> tuple[Any, ...]:
    from azure.core import MatchConditions

    kind, entity, etag = operation
    verb = "update" if kind == "merge" else kind
    options: dict[str, Any] = {"mode": "merge"} if kind == "merge" else {}
    if kind == "upsert":
        options["mode"] = "replace"
    if etag is not None:
        options |= {"etag": etag, "match_condition": MatchConditions.IfNotModified}
    return verb, entity, options


def _code(error: AzureError) -> str:
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


def _failed_index(error: HttpResponseError) -> int | None:
    # The service writes "3:The update condition …". The library's `index` is 0 where there is none, which would
    # blame the first operation for a failure of the whole.
    index, colon, _ = (error.message or "").partition(":")
    return int(index) if colon and index.isdigit() else None


def _unavailable(what: str, error: AzureError) -> StorageUnavailable | None:
    """The error to raise when `error` means that the service is away or closed to us; None for other answers."""
    from azure.core.exceptions import ClientAuthenticationError, DecodeError, HttpResponseError

    if not isinstance(error, HttpResponseError) or isinstance(error, DecodeError):
        return StorageUnavailable(
            f"Storage ({what}) cannot be reached ({type(error).__name__}). Data stays where it is and is tried again; "
            "check that the account exists and that its network rules admit the app."
        )
    status, code = error.status_code, _code(error)
    if status in _DENIED or isinstance(error, ClientAuthenticationError):
        return StorageUnavailable(
            f"Storage ({what}) denies access ({status} {code}). Give the app's identity the roles "
            "Storage Table Data Contributor and Storage Blob Data Contributor, or mend the connection string."
        )
    if code == "TableNotFound" or "BeingDeleted" in code:
        return StorageUnavailable(f"Storage ({what}) is being deleted ({status} {code}). It is made anew when it can.")
    if status is None or status >= 500 or status in _AWAY:
        return StorageUnavailable(f"Storage ({what}) is away ({status} {code}). It is tried again.")
    return None
