"""Tables against a real Azurite: answers, absences, and a server that is away."""

import logging
import socket
import time
from pathlib import Path

import pytest

from medtech.errors import StorageUnavailable
from medtech.storage.connection import Storage, Timeouts
from medtech.storage.table import Operation, OperationFailed, quoted
from tests.azurite import ACCOUNT_KEY, Azurite, Wire, nobody


def _entity(row: str, **properties: object) -> dict[str, object]:
    return {"PartitionKey": "p", "RowKey": row, **properties}


def test_a_table_is_created_when_it_is_missing(storage: Storage) -> None:
    storage.table("made").upsert(_entity("a", value=1))
    stored = storage.table("made").get("p", "a")
    assert stored is not None and stored["value"] == 1 and stored["etag"]


def test_a_missing_entity_is_none(storage: Storage) -> None:
    assert storage.table("made").get("p", "absent") is None


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


def test_a_server_that_is_away_is_told_in_one_sentence_without_the_key() -> None:
    started = time.monotonic()
    with pytest.raises(StorageUnavailable) as away:
        nobody().table("made").upsert(_entity("a"))
    assert time.monotonic() - started < 30
    assert "cannot be reached" in away.value.message
    assert ACCOUNT_KEY not in away.value.message
    # The library's errors hold addresses, and an address may hold a signature: the chain ends here.
    assert away.value.__suppress_context__


def test_a_server_that_accepts_and_says_nothing_is_away() -> None:
    at_once = Timeouts(connect_seconds=1, read_seconds=0.1, retries=0)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(StorageUnavailable):
        nobody(silent.getsockname()[1], timeouts=at_once).table("made").upsert(_entity("a"))


def test_a_wrong_key_is_a_denied_access(azurite: str) -> None:
    wrong = ";".join(
        f"AccountKey={ACCOUNT_KEY}" if part.startswith("AccountKey") else part for part in azurite.split(";")
    )
    with pytest.raises(StorageUnavailable, match="denies access"):
        Storage(environment={"BufferStorage": wrong}).table("made").upsert(_entity("a"))


def test_storage_that_comes_back_serves_again(tmp_path: Path) -> None:
    server = Azurite(tmp_path)
    server.start()
    try:
        table = Storage(environment={"BufferStorage": server.connection_string}).table("made")
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
