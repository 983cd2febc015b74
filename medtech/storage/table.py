"""Tables: entities by key, ranges of them, and transactions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from medtech.storage.faults import is_table_missing, reaching

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError
    from azure.data.tables import TableClient, TableServiceClient

TRANSACTION_OPERATIONS = 100
"""Table storage refuses a transaction of more."""

Entity = dict[str, Any]


class Operation(NamedTuple):
    """One write of a transaction. `create` fails with 409 if the entity is there; with an `etag` the others fail with
    412 if it has changed, and with 404 if it is gone."""

    kind: Literal["create", "upsert", "merge", "delete"]
    entity: Entity
    etag: str | None = None


class OperationFailed(Exception):
    """One operation (`index`) failed with `status` 404, 409 or 412, so the service refused the whole transaction."""

    def __init__(self, index: int, status: int) -> None:
        super().__init__(f"operation {index} failed with {status}")
        self.index = index
        self.status = status


class OperationResult(NamedTuple):
    """What became of one operation: 204 with the entity's new etag, else 404, 409 or 412."""

    status: int
    etag: str


class Table:
    """One table, created when it is missing.

    Whatever asks the service raises StorageUnavailable when the service is away; `query` does so while it is iterated.
    """

    def __init__(self, name: str, service: Callable[[], TableServiceClient]) -> None:
        self._name = name
        self._service = service
        self._client: TableClient | None = None
        self._opening = threading.Lock()

    def upsert(self, entity: Entity, *, merge: bool = False) -> None:
        """Writes the entity whatever is there; `merge` keeps stored properties that `entity` does not name."""
        from azure.data.tables import UpdateMode

        with self._reaching():
            self._open().upsert_entity(entity, mode=UpdateMode.MERGE if merge else UpdateMode.REPLACE)

    def get(self, partition_key: str, row_key: str) -> Entity | None:
        """The entity, with its etag under "etag"; None if it is not there."""
        from azure.core.exceptions import ResourceNotFoundError

        with self._reaching():
            try:
                return _with_etag(self._open().get_entity(partition_key, row_key))
            except ResourceNotFoundError as error:
                if is_table_missing(error):
                    raise
                return None

    def query(self, condition: str, *, select: Iterable[str] = (), page_size: int | None = None) -> Iterator[Entity]:
        """Entities in order of their keys, each with its etag under "etag".

        An empty page with a continuation is not the end; the next page is asked for.
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
        """Does all operations (at most 100, of one PartitionKey, 4 MiB on the wire) or none; returns the new etags.

        Raises OperationFailed when one of them fails with 404, 409 or 412.
        """
        from azure.data.tables import TableTransactionError

        with self._reaching():
            try:
                answers = self._open().submit_transaction([_sdk_operation(operation) for operation in operations])
            except TableTransactionError as error:
                index = _failed_index(error)
                if error.status_code not in (404, 409, 412) or index is None or is_table_missing(error):
                    raise
                raise OperationFailed(index, error.status_code) from None
        return [str(answer.get("etag", "")) for answer in answers]

    def change(self, operations: Sequence[Operation]) -> list[OperationResult]:
        """Does operations of one PartitionKey, in as many transactions as they need; one outcome for each.

        An operation that fails does not hold up its neighbours: its transaction is sent again without it.
        """
        results: dict[int, OperationResult] = {}
        for start in range(0, len(operations), TRANSACTION_OPERATIONS):
            pending = list(range(start, min(start + TRANSACTION_OPERATIONS, len(operations))))
            while pending:
                try:
                    etags = self.transact([operations[index] for index in pending])
                except OperationFailed as failed:
                    results[pending.pop(failed.index)] = OperationResult(failed.status, "")
                else:
                    results.update(
                        (index, OperationResult(204, etag)) for index, etag in zip(pending, etags, strict=True)
                    )
                    break
        return [results[index] for index in range(len(operations))]

    def _open(self) -> TableClient:
        with self._opening:
            if self._client is None:
                # The service answers 409 when the table exists; that is one request per process.
                self._client = self._service().create_table_if_not_exists(self._name)
            return self._client

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        from azure.core.exceptions import AzureError

        with reaching(f"table `{self._name}`"):
            try:
                yield
            except AzureError as error:
                if is_table_missing(error):
                    # Somebody deleted it. Nothing is lost that was not deleted with it: the next call creates it anew.
                    self._client = None
                raise


def quoted(text: str) -> str:
    """A text as a literal of a query's condition."""
    return "'{}'".format(text.replace("'", "''"))


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


def _failed_index(error: HttpResponseError) -> int | None:
    # The service writes "3:The update condition …". The library's `index` is 0 where the service names none, which
    # would blame the first operation for a failure of the whole.
    index, colon, _ = (error.message or "").partition(":")
    return int(index) if colon and index.isdigit() else None
