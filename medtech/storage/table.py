"""Tables: entities by key, ranges of them, and transactions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from medtech.errors import StorageRefused
from medtech.filling import filled
from medtech.storage.faults import is_table_missing, reaching

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError
    from azure.data.tables import TableClient, TableServiceClient

TRANSACTION_OPERATIONS = 100
"""Table storage refuses a transaction of more."""

TRANSACTION_BYTES = 4 * 1024 * 1024 - 64 * 1024
"""Table storage refuses a request of more than 4 MiB; the margin is for what `wire_bytes` does not count."""

# Measured: an operation's headers and address take 750 bytes without its keys.
_PART_BYTES = 1024
_PROPERTY_BYTES = 48

Entity = dict[str, Any]
Item = TypeVar("Item")


class Operation(NamedTuple):
    """One write of a transaction. `create` fails with 409 if the entity is there; with an `etag` the others fail with
    412 if it has changed, and with 404 if it is gone."""

    kind: Literal["create", "upsert", "replace", "merge", "delete"]
    entity: Entity
    etag: str | None = None


class OperationFailed(Exception):
    """One operation failed with `status` 404, 409 or 412, so the service refused the whole transaction.

    `index` is the operation's; None if the service does not say which it was. Azure's has been seen to leave it out for
    the first one.
    """

    def __init__(self, index: int | None, status: int) -> None:
        super().__init__(f"operation {index} failed with {status}")
        self.index = index
        self.status = status


class OperationResult(NamedTuple):
    """What became of one operation: 204 with the entity's new etag, else 404, 409, 412, or 413 if it is too large."""

    status: int
    etag: str


Place = dict[str, str | None]
"""Where a query goes on: the service's own words, which JSON can hold."""


class Page(NamedTuple):
    """Part of what a query finds; `following` is the place of the next page, None after the last one."""

    entities: list[Entity]
    following: Place | None


class Table:
    """One table, created when it is missing; with `creates` false, a missing table is left so and reads as empty.

    Whatever asks the service raises StorageUnavailable when the service is away; `query` does so while it is iterated.
    Writes raise StorageRefused when the service would not take them at any time.
    """

    def __init__(self, name: str, service: Callable[[], TableServiceClient], *, creates: bool = True) -> None:
        self._name = name
        self._service = service
        self._creates = creates
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
                if self._creates and is_table_missing(error):
                    raise
                return None

    def query(self, condition: str, *, select: Iterable[str] = (), page_size: int | None = None) -> Iterator[Entity]:
        """Entities in order of their keys, each with its etag under "etag".

        If `select` is empty or names "Timestamp", the time of their last write is under "timestamp", as a datetime.
        An empty page with a continuation is not the end; the next page is asked for.
        """
        for page in self.pages(condition, select=select, page_size=page_size):
            yield from page.entities

    def pages(
        self,
        condition: str,
        *,
        select: Iterable[str] = (),
        page_size: int | None = None,
        place: Place | None = None,
    ) -> Iterator[Page]:
        """As `query`, page by page from a `place` on. What few entities meet has many pages without any."""
        with self._reaching():
            found = self._open().query_entities(condition, select=list(select) or None, results_per_page=page_size)
            # The package's types say text, and leave out what its pages know of themselves.
            pages: Any = found.by_page(place)  # type: ignore[arg-type]
        while True:
            with self._reaching():
                page = self._next(pages)
                if page is None:
                    return
                entities = [_with_etag(entity) for entity in page]
            yield Page(entities, pages.continuation_token or None)

    def _next(self, found: Iterator[Any]) -> Any:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            return next(found, None)
        except ResourceNotFoundError as error:
            if self._creates or not is_table_missing(error):
                raise
            return None

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
                if error.status_code not in (404, 409, 412) or is_table_missing(error):
                    raise
                index = 0 if len(operations) == 1 else _failed_index(error)
                raise OperationFailed(index, error.status_code) from None
        return [str(answer.get("etag", "")) for answer in answers]

    def change(self, operations: Sequence[Operation]) -> list[OperationResult]:
        """Does operations of one PartitionKey, in as many transactions as they need; one outcome for each.

        An operation that fails does not hold up its neighbours: its transaction is sent again without it, or in halves
        if it is too large or the service does not say which operation failed.
        """
        return list(chain.from_iterable(self._change(run) for run in transactions(operations, lambda each: each)))

    def _change(self, operations: Sequence[Operation]) -> list[OperationResult]:
        if not operations:
            return []
        try:
            return [OperationResult(204, etag) for etag in self.transact(operations)]
        except OperationFailed as failed:
            if (index := failed.index) is not None:
                rest = self._change([*operations[:index], *operations[index + 1 :]])
                return [*rest[:index], OperationResult(failed.status, ""), *rest[index:]]
        except StorageRefused as refused:
            if not refused.too_large:
                raise
            if len(operations) == 1:
                return [OperationResult(413, "")]
        half = len(operations) // 2
        return self._change(operations[:half]) + self._change(operations[half:])

    def _open(self) -> TableClient:
        with self._opening:
            if self._client is None:
                service = self._service()
                # The service answers 409 when the table exists; that is one request per process.
                self._client = (
                    service.create_table_if_not_exists(self._name)
                    if self._creates
                    else service.get_table_client(self._name)
                )
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


def transactions(items: Iterable[Item], operation: Callable[[Item], Operation]) -> Iterator[list[Item]]:
    """The items, in order, in runs whose operations one transaction takes."""
    return filled(
        items,
        lambda item: wire_bytes(operation(item)),
        most=TRANSACTION_OPERATIONS,
        most_bytes=TRANSACTION_BYTES,
    )


def wire_bytes(operation: Operation) -> int:
    """What an operation takes of a transaction's request at most.

    On the wire an entity is JSON in ASCII: a binary is base64, a character takes up to twelve bytes. The keys are in
    the address once more, where a byte takes up to three.
    """
    entity = operation.entity
    address = 3 * (len(entity["PartitionKey"].encode()) + len(entity["RowKey"].encode()))
    return _PART_BYTES + address + sum(2 * len(name) + _value_bytes(value) for name, value in entity.items())


def _value_bytes(value: Any) -> int:
    if isinstance(value, bytes):
        return _PROPERTY_BYTES + 4 * -(-len(value) // 3)
    return _PROPERTY_BYTES + len(json.dumps(value))


def quoted(text: str) -> str:
    """A text as a literal of a query's condition."""
    return "'{}'".format(text.replace("'", "''"))


def _with_etag(entity: Any) -> Entity:
    return {**entity, "etag": entity.metadata["etag"], "timestamp": entity.metadata["timestamp"]}


def _sdk_operation(operation: Operation) -> tuple[Any, ...]:
    from azure.core import MatchConditions

    kind, entity, etag = operation
    verb = "update" if kind in ("merge", "replace") else kind
    options: dict[str, Any] = {"mode": kind} if verb == "update" else {}
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
