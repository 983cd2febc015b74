"""Tables: entities by key, ranges of them, and transactions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from medtech.errors import StorageRefused
from medtech.filling import filled
from medtech.storage.faults import Fault, reaching

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


class Tables(Protocol):
    """Requests to the tables of an account. Each raises Fault when it did not do what it is for."""

    def create(self, table: str) -> None:
        """The table is there afterwards, made now or before."""

    def upsert(self, table: str, entity: Entity, *, merge: bool) -> None: ...

    def get(self, table: str, partition_key: str, row_key: str) -> Entity: ...

    def page(
        self, table: str, condition: str, select: Sequence[str], page_size: int | None, place: Place | None
    ) -> Page: ...

    def transact(self, table: str, operations: Sequence[Operation]) -> list[str]:
        """The new etags."""

    def close(self) -> None: ...


class Table:
    """One table, created when it is missing; with `creates` false, a missing table is left so and reads as empty.

    Whatever asks the service raises StorageUnavailable when the service is away; `query` does so while it is iterated.
    Writes raise StorageRefused when the service would not take them at any time.
    """

    def __init__(self, name: str, tables: Callable[[], Tables], *, creates: bool = True) -> None:
        self._name = name
        self._tables = tables
        self._creates = creates
        self._opened: Tables | None = None
        self._opening = threading.Lock()

    def upsert(self, entity: Entity, *, merge: bool = False) -> None:
        """Writes the entity whatever is there; `merge` keeps stored properties that `entity` does not name."""
        with self._reaching():
            self._open().upsert(self._name, entity, merge=merge)

    def get(self, partition_key: str, row_key: str) -> Entity | None:
        """The entity, with its etag under "etag"; None if it is not there."""
        with self._reaching():
            try:
                return self._open().get(self._name, partition_key, row_key)
            except Fault as fault:
                if fault.status != 404 or not fault.is_the_services_own or (self._creates and fault.table_missing):
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
        properties, following = tuple(select), place
        while True:
            with self._reaching():
                try:
                    page = self._open().page(self._name, condition, properties, page_size, following)
                except Fault as fault:
                    if self._creates or not fault.table_missing:
                        raise
                    return
            yield page
            following = page.following
            if following is None:
                return

    def first(self, condition: str, *, select: Iterable[str] = ()) -> Entity | None:
        return next(self.query(condition, select=select, page_size=1), None)

    def transact(self, operations: Sequence[Operation]) -> list[str]:
        """Does all operations (at most 100, of one PartitionKey, 4 MiB on the wire) or none; returns the new etags.

        Raises OperationFailed when one of them fails with 404, 409 or 412.
        """
        if not operations:
            return []
        with self._reaching():
            try:
                return self._open().transact(self._name, operations)
            except Fault as fault:
                if fault.status not in (404, 409, 412) or not fault.is_the_services_own or fault.table_missing:
                    raise
                index = 0 if len(operations) == 1 else fault.index
                known = index is not None and index < len(operations)
                raise OperationFailed(index if known else None, fault.status) from None

    def change(self, operations: Sequence[Operation]) -> list[OperationResult]:
        """Does operations of one PartitionKey, in as many transactions as they need; one outcome for each.

        An operation that fails does not hold up its neighbours: its transaction is sent again without it, or in halves
        if it is too large or the service does not say which operation failed.
        """
        return list(chain.from_iterable(self._change(run) for run in transactions(operations, lambda each: each)))

    def _change(self, operations: Sequence[Operation]) -> list[OperationResult]:
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

    def _open(self) -> Tables:
        with self._opening:
            if self._opened is None:
                tables = self._tables()
                if self._creates:
                    # The service answers 409 when the table exists; that is one request per process.
                    tables.create(self._name)
                self._opened = tables
            return self._opened

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        with reaching(f"table `{self._name}`", judged_inside=True):
            try:
                yield
            except Fault as fault:
                if fault.table_missing:
                    # Somebody deleted it. Nothing is lost that was not deleted with it: the next call creates it anew.
                    self._opened = None
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
