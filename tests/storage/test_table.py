"""Tables against a real Azurite: answers, absences, and a server that is away."""

import logging
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medtech.errors import StorageRefused, StorageUnavailable
from medtech.storage.connection import Storage, Timeouts
from medtech.storage.table import (
    TRANSACTION_BYTES,
    Operation,
    OperationFailed,
    quoted,
    transactions,
    wire_bytes,
)
from tests.azurite import ACCOUNT_KEY, Azurite, Wire, nobody
from tests.faults import Answer, Forward, ProxiedRequest


def _entity(row: str, **properties: object) -> dict[str, object]:
    return {"PartitionKey": "p", "RowKey": row, **properties}


def test_a_table_is_created_when_it_is_missing(storage: Storage) -> None:
    storage.table("made").upsert(_entity("a", value=1))
    stored = storage.table("made").get("p", "a")
    assert stored is not None and stored["value"] == 1 and stored["etag"]


def test_a_missing_entity_is_none(storage: Storage) -> None:
    assert storage.table("made").get("p", "absent") is None


def test_who_only_looks_sees_a_missing_table_as_empty_and_leaves_it_so(
    storage: Storage, azurite: str, through_library: bool
) -> None:
    onlooker = Storage(environment={"BufferStorage": azurite}, creates_tables=False, through_library=through_library)
    table = onlooker.table("absent")
    assert (table.get("p", "a"), list(table.query("PartitionKey eq 'p'"))) == (None, [])
    assert "absent" not in [each.name for each in onlooker.table_service().list_tables()]
    storage.table("absent").upsert(_entity("a"))
    assert table.get("p", "a") is not None
    onlooker.close()


def test_a_table_that_was_deleted_is_made_again(storage: Storage, azurite: str) -> None:
    from azure.data.tables import TableServiceClient

    table = storage.table("made")
    table.upsert(_entity("a"))
    with TableServiceClient.from_connection_string(azurite) as service:
        service.delete_table("made")
    with pytest.raises(StorageUnavailable, match="being deleted"):
        table.upsert(_entity("b"))
    table.upsert(_entity("b"))
    assert [row["RowKey"] for row in table.query("PartitionKey eq 'p'")] == ["b"]


def test_query_goes_on_past_a_page(storage: Storage) -> None:
    table = storage.table("paged")
    table.change([Operation("create", _entity(f"{n:03d}")) for n in range(7)])
    assert len(list(table.query("PartitionKey eq 'p'", page_size=2))) == 7


def test_query_goes_on_past_an_empty_page(wire: Wire) -> None:
    wire.storage.table("paged").upsert(_entity("a"))
    continuation = {"x-ms-continuation-NextPartitionKey": "p", "x-ms-continuation-NextRowKey": "a"}
    wire.tables.answer(
        200,
        b'{"value": []}',
        headers={"Content-Type": "application/json", **continuation},
        when=lambda request: request.method == "GET",
    )
    first = wire.storage.table("paged").first("PartitionKey eq 'p'")
    assert first is not None and first["RowKey"] == "a"
    assert sum(request.method == "GET" for request in wire.tables.requests) == 2


def test_a_condition_quotes_what_it_compares_with(storage: Storage) -> None:
    key = "it's"
    storage.table("made").upsert({"PartitionKey": key, "RowKey": "a"})
    assert storage.table("made").first(f"PartitionKey eq {quoted(key)}") is not None


def test_a_transaction_tells_which_operation_was_refused(storage: Storage) -> None:
    table = storage.table("made")
    table.upsert(_entity("b"))
    with pytest.raises(OperationFailed) as failed:
        table.transact([Operation("create", _entity(row)) for row in ("a", "b", "c")])
    assert (failed.value.index, failed.value.status) == (1, 409)
    assert table.get("p", "a") is None


def test_change_does_all_that_can_be_done(storage: Storage) -> None:
    table = storage.table("made")
    operations = [Operation("create", _entity(f"{n:03d}")) for n in range(250)]
    etags = [outcome.etag for outcome in table.change(operations)]
    table.upsert(_entity("007", changed=True))
    table.change([Operation("delete", _entity("120"), etags[120])])
    deletions = [Operation("delete", _entity(f"{n:03d}"), etags[n]) for n in range(250)]

    statuses = [outcome.status for outcome in table.change(deletions)]

    assert statuses == [412 if n == 7 else 404 if n == 120 else 204 for n in range(250)]
    assert [row["RowKey"] for row in table.query("PartitionKey eq 'p'")] == ["007"]


ODATA = "application/json;odata=minimalmetadata"

TOO_LARGE = {
    "a gateway's page": (413, b"<html>Request Entity Too Large</html>", "text/html"),
    "the service's 413": (413, b'{"odata.error": {"code": "RequestBodyTooLarge", "message": {"value": "-"}}}', ODATA),
    "an entity too large": (400, b'{"odata.error": {"code": "EntityTooLarge", "message": {"value": "0:-"}}}', ODATA),
}


def test_a_transaction_that_is_too_large_is_refused(storage: Storage) -> None:
    """By Azurite itself, as by the service."""
    operations = [Operation("create", _entity(str(n), value="\u20ac" * 30_000)) for n in range(40)]
    with pytest.raises(StorageRefused) as refused:
        storage.table("made").transact(operations)
    assert refused.value.too_large
    assert {outcome.status for outcome in storage.table("made").change(operations)} == {204}


@pytest.mark.parametrize("together", [True, False])
def test_a_property_that_is_too_large_is_refused(storage: Storage, together: bool) -> None:
    large, table = _entity("a", value="x" * 40_000), storage.table("made")
    with pytest.raises(StorageRefused) as refused:
        if together:
            table.transact([Operation("create", _entity("b")), Operation("create", large)])
        else:
            table.upsert(large)
    assert refused.value.too_large
    assert table.get("p", "b") is None
    neighbours = [Operation("create", entity) for entity in (_entity("b"), large, _entity("c"))]
    assert [outcome.status for outcome in table.change(neighbours)] == [204, 413, 204]


@pytest.mark.parametrize("answer", TOO_LARGE.values(), ids=TOO_LARGE)
def test_what_a_gateway_takes_only_in_parts_is_sent_in_parts(wire: Wire, answer: tuple[int, bytes, str]) -> None:
    wire.tables.refuse_over(20_000, *answer)
    table = wire.storage.table("made")
    sizes = {3: 30_000}
    operations = [Operation("create", _entity(f"{n:03d}", value="x" * sizes.get(n, 2_000))) for n in range(50)]
    statuses = [outcome.status for outcome in table.change(operations)]
    assert statuses == [413 if n == 3 else 204 for n in range(50)]
    assert len(list(table.query("PartitionKey eq 'p'"))) == 49
    with pytest.raises(StorageRefused) as refused:
        table.upsert(operations[3].entity)
    assert refused.value.too_large


def test_another_refusal_is_not_a_matter_of_size(storage: Storage) -> None:
    for write in (
        lambda table: table.upsert({"PartitionKey": "p", "RowKey": "k" * 2_000}),
        lambda table: table.transact([Operation("create", {"PartitionKey": "p", "RowKey": "k" * 2_000})]),
        lambda table: table.change([Operation("create", {"PartitionKey": "p", "RowKey": "k" * 2_000})]),
    ):
        with pytest.raises(StorageRefused) as refused:
            write(storage.table("made"))
        assert not refused.value.too_large


@pytest.mark.parametrize("text", ["x", "\u00e9", "\U0001f600", '"', "\n"])
@pytest.mark.parametrize("kind", ["create", "upsert", "merge", "delete"])
def test_a_transaction_takes_no_more_on_the_wire_than_is_counted(wire: Wire, kind: Any, text: str) -> None:
    table = wire.storage.table("a" * 63)
    keys = [{"PartitionKey": "p|'" * 20, "RowKey": f"{n:03d}" + "|\u20ac" * 60} for n in range(100)]
    for start in () if kind == "create" else (0, 50):
        table.transact([Operation("create", each) for each in keys[start : start + 50]])
    more = {"text": text * 3_000, "p00": bytes(range(256)) * 40, "count": 7, "parts": 1, "flag": True}
    etag = "*" if kind in ("merge", "delete") else None
    operations = [Operation(kind, each if kind == "delete" else each | more, etag) for each in keys]
    run = next(transactions(operations, lambda operation: operation))
    table.transact(run)
    on_the_wire = len(wire.tables.requests[-1].body)
    counted = sum(map(wire_bytes, run))
    assert on_the_wire <= counted <= TRANSACTION_BYTES < 4 * 1024 * 1024
    # Not much more either: transactions are for putting many together.
    assert counted < on_the_wire + 2_500 * len(run)


def test_a_failure_that_names_no_operation_is_found(wire: Wire) -> None:
    """Azure has been seen to leave the index out for the first operation of a transaction."""
    table = wire.storage.table("made")
    table.upsert(_entity("a"))

    def forget_the_index(request: ProxiedRequest, forward: Forward) -> Answer:
        answer = forward()
        return replace(answer, body=answer.body.replace(b'"0:', b'"'))

    wire.tables.rule(forget_the_index, lambda request: request.path.partition("?")[0].endswith("/$batch"), times=None)
    with pytest.raises(OperationFailed) as failed:
        table.transact([Operation("create", _entity(row)) for row in "ab"])
    assert failed.value.index is None
    outcomes = table.change([Operation("create", _entity(row)) for row in "abc"])
    assert [outcome.status for outcome in outcomes] == [409, 204, 204]


def test_a_server_that_is_away_is_told_in_one_sentence_without_the_key(through_library: bool) -> None:
    started = time.monotonic()
    with pytest.raises(StorageUnavailable) as away:
        nobody(through_library=through_library).table("made").upsert(_entity("a"))
    assert time.monotonic() - started < 30
    assert "cannot be reached" in away.value.message
    assert ACCOUNT_KEY not in away.value.message
    # The library's errors hold addresses, and an address may hold a signature: the chain ends here.
    assert away.value.__suppress_context__


def test_a_server_that_accepts_and_says_nothing_is_away(through_library: bool) -> None:
    at_once = Timeouts(connect_seconds=1, read_seconds=0.1, retries=0)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(StorageUnavailable):
        storage = nobody(silent.getsockname()[1], timeouts=at_once, through_library=through_library)
        storage.table("made").upsert(_entity("a"))


def test_a_wrong_key_is_a_denied_access(azurite: str, through_library: bool) -> None:
    wrong = ";".join(
        f"AccountKey={ACCOUNT_KEY}" if part.startswith("AccountKey") else part for part in azurite.split(";")
    )
    with pytest.raises(StorageUnavailable, match="denies access"):
        Storage(environment={"BufferStorage": wrong}, through_library=through_library).table("made").upsert(
            _entity("a")
        )


def test_storage_that_comes_back_serves_again(tmp_path: Path, through_library: bool) -> None:
    server = Azurite(tmp_path)
    server.start()
    try:
        environment = {"BufferStorage": server.connection_string}
        table = Storage(environment=environment, through_library=through_library).table("made")
        table.upsert(_entity("a"))
        server.stop()
        with pytest.raises(StorageUnavailable):
            table.upsert(_entity("b"))
        server.start()
        table.upsert(_entity("b"))
        assert [row["RowKey"] for row in table.query("PartitionKey eq 'p'")] == ["a", "b"]
    finally:
        server.stop()


def test_nothing_of_a_request_is_logged_at_debug(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        storage.table("made").upsert(_entity("row-of-ours", value="sentinel"))
        list(storage.table("made").query("PartitionKey eq 'p'"))
    assert "row-of-ours" not in caplog.text
    assert "sentinel" not in caplog.text
    assert "PartitionKey" not in caplog.text
