"""The tables of an account, by requests of the app's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import orjson

from medtech.storage.direct import entity as entities
from medtech.storage.direct import transaction
from medtech.storage.direct.authorization import Authorization
from medtech.storage.direct.sender import Answer, Sender, Timeouts
from medtech.storage.faults import Fault
from medtech.storage.table import Entity, Operation, Page, Place

Read = TypeVar("Read")

_PARTITION_KEY, _ROW_KEY = "x-ms-continuation-NextPartitionKey", "x-ms-continuation-NextRowKey"

_COMMON = {"x-ms-version": "2019-02-02", "DataServiceVersion": "3.0", "User-Agent": "medtech"}
# With the types of properties, without which a binary would be read as text.
_READ = {**_COMMON, "Accept": "application/json;odata=minimalmetadata"}
_WRITE = {**_COMMON, "Accept": "application/json", "Content-Type": "application/json"}
_CREATE = {**_WRITE, "Prefer": "return-no-content"}
_BATCH = {**_COMMON, "Accept": "application/json", "MaxDataServiceVersion": "3.0;NetFx"}


class DirectTables:
    """The tables of an account, as `Tables` has them."""

    def __init__(self, endpoint: str, authorization: Authorization, timeouts: Timeouts) -> None:
        """`endpoint` is the account's address for tables, without a query; in Azurite's, the account is its path."""
        address = urlsplit(endpoint)
        self._origin = f"{address.scheme}://{address.netloc}"
        self._path = address.path.rstrip("/")
        self._sender = Sender(self._origin, authorization, timeouts)

    def create(self, table: str) -> None:
        answer = self._sender.send("POST", f"{self._path}/Tables", dict(_CREATE), orjson.dumps({"TableName": table}))
        if answer.status not in (201, 204):
            fault = _refusal(answer)
            if fault.code != "TableAlreadyExists":
                raise fault

    def upsert(self, table: str, entity: Entity, *, merge: bool) -> None:
        target = self._path + _entity(table, entity["PartitionKey"], entity["RowKey"])
        answer = self._sender.send("PATCH" if merge else "PUT", target, dict(_WRITE), entities.to_json(entity))
        if answer.status != 204:
            raise _refusal(answer)

    def get(self, table: str, partition_key: str, row_key: str) -> Entity:
        answer = self._sender.send("GET", self._path + _entity(table, partition_key, row_key), dict(_READ))
        if answer.status != 200:
            raise _refusal(answer)
        return _understood(answer, entities.of_json)

    def page(
        self, table: str, condition: str, select: Sequence[str], page_size: int | None, place: Place | None
    ) -> Page:
        place = place or {}
        options = {
            "$top": None if page_size is None else str(page_size),
            "$select": ",".join(select) or None,
            "$filter": condition,
            "NextPartitionKey": place.get("PartitionKey"),
            "NextRowKey": place.get("RowKey"),
        }
        query = "&".join(f"{name}={quote(text, safe='')}" for name, text in options.items() if text is not None)
        answer = self._sender.send("GET", f"{self._path}/{table}()?{query}", dict(_READ))
        if answer.status != 200:
            raise _refusal(answer)
        rows = _understood(answer, _rows)
        following = {"PartitionKey": answer.headers.get(_PARTITION_KEY), "RowKey": answer.headers.get(_ROW_KEY)}
        return Page(rows, following if any(following.values()) else None)

    def transact(self, table: str, operations: Sequence[Operation]) -> list[str]:
        at = f"{self._origin}{self._path}/{table}"
        partition = f"{at}(PartitionKey='{_key(operations[0].entity['PartitionKey'])}',RowKey='"
        content_type, body = transaction.request(operations, at, lambda row_key: f"{partition}{_key(row_key)}')")
        headers = {**_BATCH, "Content-Type": content_type}
        answer = self._sender.send("POST", f"{self._path}/$batch", headers, body)
        if answer.status != 202:
            raise _refusal(answer)
        return transaction.results(answer.headers.get("Content-Type", ""), answer.body, len(operations))

    def close(self) -> None:
        self._sender.close()


def _entity(table: str, partition_key: str, row_key: str) -> str:
    return f"/{table}(PartitionKey='{_key(partition_key)}',RowKey='{_key(row_key)}')"


def _key(text: str) -> str:
    return quote(text.replace("'", "''"), safe="")


def _understood(answer: Answer, read: Callable[[Any], Read]) -> Read:
    """What `read` makes of the answer's JSON. Raises Fault if it makes nothing of it."""
    try:
        return read(_json(answer.body))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise Fault(transaction.CUT_OFF) from None


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # Half a surrogate pair, which is written and kept: one such row would make its whole page unreadable.
        return json.loads(body)


def _rows(found: Any) -> list[Entity]:
    rows = found["value"]
    if not isinstance(rows, list):
        raise TypeError("a page that is no list")
    return list(map(entities.of_json, rows))


def _refusal(answer: Answer) -> Fault:
    return transaction.refusal(answer.status, answer.body, answer.headers.get("x-ms-error-code", ""))
