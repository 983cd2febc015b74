"""Tables by azure-data-tables.

The package takes any 200 for an entity or a page, and any 202 for the answer to a transaction, and fails on a gateway's
in as many ways as there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError
from azure.data.tables import RequestTooLargeError, TableTransactionError, UpdateMode

from medtech.storage.faults import Fault
from medtech.storage.table import Entity, Operation, Page, Place

if TYPE_CHECKING:
    from azure.data.tables import TableClient, TableServiceClient

_CUT_OFF = "DecodeError"
"""azure-core's name for an answer that cannot be read."""


class LibraryTables:
    """The tables of an account, as `Tables` has them."""

    def __init__(self, service: TableServiceClient) -> None:
        self._service = service
        self._clients: dict[str, TableClient] = {}

    def create(self, table: str) -> None:
        with _translated():
            self._service.create_table_if_not_exists(table)

    def upsert(self, table: str, entity: Entity, *, merge: bool) -> None:
        with _translated():
            self._client(table).upsert_entity(entity, mode=UpdateMode.MERGE if merge else UpdateMode.REPLACE)

    def get(self, table: str, partition_key: str, row_key: str) -> Entity:
        with _translated(), _understood():
            return _with_etag(self._client(table).get_entity(partition_key, row_key))

    def page(
        self, table: str, condition: str, select: Sequence[str], page_size: int | None, place: Place | None
    ) -> Page:
        with _translated(), _understood():
            found = self._client(table).query_entities(
                condition, select=list(select) or None, results_per_page=page_size
            )
            # The package's types say text, and leave out what its pages know of themselves.
            pages: Any = found.by_page(place)  # type: ignore[arg-type]
            entities = [_with_etag(entity) for entity in next(pages)]
        return Page(entities, pages.continuation_token or None)

    def transact(self, table: str, operations: Sequence[Operation]) -> list[str]:
        with _translated():
            try:
                answers = self._client(table).submit_transaction([_operation(operation) for operation in operations])
            except (ValueError, AttributeError):
                raise Fault(_CUT_OFF) from None
        if len(answers) != len(operations):
            raise Fault(_CUT_OFF)
        return [str(answer.get("etag", "")) for answer in answers]

    def close(self) -> None:
        self._service.close()

    def _client(self, table: str) -> TableClient:
        client = self._clients.get(table)
        if client is None:
            client = self._clients[table] = self._service.get_table_client(table)
        return client


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RequestTooLargeError as error:
        # The package raises this one for a part of a transaction, with the status of the whole.
        raise Fault(type(error).__name__, 413, Fault.of(error).code) from None
    except TableTransactionError as error:
        fault = Fault.of(error)
        # The service writes "3:The update condition …". The package's `index` is 0 where the service names none, which
        # would blame the first operation for a failure of the whole.
        index, colon, _ = (error.message or "").partition(":")
        fault.index = int(index) if colon and index.isdigit() else None
        raise fault from None
    except AzureError as error:
        raise Fault.of(error) from None
    except OSError:
        # The package reads the parts of a transaction's answer itself, and lets what `requests` raises for them pass.
        raise Fault("ServiceResponseError") from None


@contextmanager
def _understood() -> Iterator[None]:
    """Raises Fault where the package fails on what it has read. For reads: of a write, some of these errors would be
    those of an entity of ours."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Fault(_CUT_OFF) from None


def _with_etag(entity: Any) -> Entity:
    """Raises TypeError if it has none, and so is no entity."""
    if type(entity.metadata["etag"]) is not str:
        raise TypeError("an entity without an etag")
    return {**entity, "etag": entity.metadata["etag"], "timestamp": entity.metadata["timestamp"]}


def _operation(operation: Operation) -> tuple[Any, ...]:
    kind, entity, etag = operation
    verb = "update" if kind in ("merge", "replace") else kind
    options: dict[str, Any] = {"mode": kind} if verb == "update" else {}
    if kind == "upsert":
        options["mode"] = "replace"
    if etag is not None:
        options |= {"etag": etag, "match_condition": MatchConditions.IfNotModified}
    return verb, entity, options
