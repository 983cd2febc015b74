"""The request of a transaction and its answer: a batch of one changeset ("Performing entity group transactions").

Either all of its operations are done, and the answer has a part for each, or none, and it has one part, which says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from uuid import uuid4

import orjson

from medtech.storage.direct import entity as entities
from medtech.storage.faults import Fault
from medtech.storage.table import Operation

_METHODS = {"create": "POST", "upsert": "PUT", "replace": "PUT", "merge": "PATCH", "delete": "DELETE"}

_BOUNDARY = re.compile(rb'boundary="?([^\s";]+)')
_ETAG = b"\netag:"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})\b")
_XML_CODE = re.compile(rb"<(?:\w+:)?[Cc]ode>\s*([A-Za-z0-9]+)\s*</")
"""Of an error of the service's own that is not JSON, as some are that it finds before it looks at what was asked."""

CUT_OFF = "DecodeError"
"""azure-core's name for an answer that cannot be read."""


def request(operations: Sequence[Operation], table: str, address: Callable[[str], str]) -> tuple[str, bytes]:
    """The content type and the body. `table` is the table's address, `address` gives that of a RowKey of the partition.

    Raises ValueError if they are of several partitions.
    """
    if len({operation.entity["PartitionKey"] for operation in operations}) > 1:
        raise ValueError("a transaction of several partitions")
    batch, changeset = f"batch_{uuid4()}", f"changeset_{uuid4()}"
    pieces = [f"--{batch}\r\nContent-Type: multipart/mixed; boundary={changeset}\r\n\r\n".encode()]
    for number, (kind, entity, etag) in enumerate(operations):
        at = table if kind == "create" else address(entity["RowKey"])
        body = b"" if kind == "delete" else entities.to_json(entity)
        # Without a condition an upsert would make what "merge", "replace" and "delete" must find.
        condition = "" if kind in ("create", "upsert") else f"If-Match: {'*' if etag is None else _header(etag)}\r\n"
        preference = "Prefer: return-no-content\r\n" if kind == "create" else ""
        content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        pieces.append(
            f"--{changeset}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
            f"Content-ID: {number}\r\n\r\n{_METHODS[kind]} {at} HTTP/1.1\r\n{content}x-ms-version: 2019-02-02\r\n"
            f"DataServiceVersion: 3.0\r\nAccept: application/json;odata=minimalmetadata\r\n{preference}{condition}"
            "\r\n".encode()
        )
        pieces.append(body)
        pieces.append(b"\r\n")
    pieces.append(f"--{changeset}--\r\n\r\n--{batch}--\r\n".encode())
    return f"multipart/mixed; boundary={batch}", b"".join(pieces)


def results(content_type: str, body: bytes, operations: int) -> list[str]:
    """The new etag of each operation, "" for a deletion.

    Raises Fault: for the operation that failed, or if the answer is not one for each of them, and so proves nothing.
    """
    etags: list[str] = []
    for part in _parts(content_type.encode(), body):
        status = _STATUS.match(part)
        if status is None:
            raise Fault(CUT_OFF)
        head, content = _halves(part)
        code = int(status[1])
        if not 200 <= code < 300:
            raise refusal(code, content)
        at = head.lower().find(_ETAG)
        etag = head[at + len(_ETAG) :].partition(b"\n")[0].strip() if at >= 0 else b""
        etags.append(etag.decode("latin-1"))
    if len(etags) != operations:
        raise Fault(CUT_OFF)
    return etags


def refusal(status: int, body: bytes, code: str = "") -> Fault:
    """What an answer says that is not a success. `code` is the one of its headers."""
    index = None
    try:
        error = orjson.loads(body)["odata.error"]
        code = str(error["code"])
        # "3:The update condition …"
        number, colon, _ = str(error["message"]["value"]).partition(":")
        index = int(number) if colon and number.isdecimal() else None
    except (ValueError, KeyError, TypeError):
        # Without any it is a gateway's own page: the status has to do.
        if not code and (found := _XML_CODE.search(body)) is not None:
            code = found[1].decode()
    # Codes are words. Whatever else stands there may be anything, and goes to a log.
    return Fault("HttpResponseError", status, code if code.isalnum() and code.isascii() else "", index=index)


def _parts(head: bytes, body: bytes, *, within: bool = False) -> Iterator[bytes]:
    """The HTTP answers in a multipart body, and in one within it."""
    boundary = _BOUNDARY.search(head)
    if boundary is None:
        raise Fault(CUT_OFF)
    _, *pieces = body.split(b"--" + boundary[1])
    if not pieces or not pieces[-1].startswith(b"--"):
        raise Fault(CUT_OFF)
    for piece in pieces[:-1]:
        inner, content = _halves(piece)
        if b"multipart/" in inner.lower() and not within:
            yield from _parts(inner, content, within=True)
        else:
            yield content


def _halves(text: bytes) -> tuple[bytes, bytes]:
    """What is before the first blank line, and what is after."""
    head, blank, content = text.partition(b"\r\n\r\n")
    if not blank:
        head, _, content = text.partition(b"\n\n")
    return head, content


def _header(value: str) -> str:
    """Raises ValueError for what would end the header, and for nothing, which would lift the condition."""
    if not value or not value.isprintable():
        raise ValueError("an etag that is none")
    return value
