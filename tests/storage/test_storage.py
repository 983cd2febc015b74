"""Storage against a real Azurite: answers, absences, and a server that is away."""

import logging
import socket
import time
from pathlib import Path

import pytest

from medtech.errors import SettingInvalid, StorageUnavailable
from medtech.storage import (
    PAYLOAD_BYTES,
    PROPERTY_BYTES,
    Operation,
    OperationFailed,
    Storage,
    join_payload,
    split_payload,
)
from tests.azurite import Azurite, free_ports

_KEY = "c2VjcmV0LWFjY291bnQta2V5LW9mLW91cnM="


def _entity(row: str, **properties: object) -> dict[str, object]:
    return {"PartitionKey": "p", "RowKey": row, **properties}


def _nobody(port: int) -> Storage:
    connection = f"AccountName=account;AccountKey={_KEY};TableEndpoint=http://127.0.0.1:{port}/account"
    return Storage(environment={"BufferStorage": connection})


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


def test_query_goes_on_past_an_empty_page(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.core.paging import ItemPaged
    from azure.data.tables import TableClient, TableEntity

    entity = TableEntity(_entity("a"))
    entity._metadata = {"etag": "1"}
    pages = {None: ("next", []), "next": (None, [entity])}
    monkeypatch.setattr(
        TableClient, "query_entities", lambda *_, **__: ItemPaged(lambda token: pages[token], lambda page: page)
    )
    first = storage.table("paged").first("PartitionKey eq 'p'")
    assert first is not None and first["RowKey"] == "a"


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
    [port] = free_ports(1)
    started = time.monotonic()
    with pytest.raises(StorageUnavailable) as away:
        _nobody(port).table("made").upsert(_entity("a"))
    assert time.monotonic() - started < 30
    assert "cannot be reached" in away.value.message
    assert _KEY not in away.value.message
    # The library's errors hold addresses, and an address may hold a signature: the chain ends here.
    assert away.value.__suppress_context__


def test_a_server_that_accepts_and_says_nothing_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "medtech.storage._TABLE_PATIENCE", {"connection_timeout": 1, "read_timeout": 1, "retry_total": 0}
    )
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(StorageUnavailable):
        _nobody(silent.getsockname()[1]).table("made").upsert(_entity("a"))


def test_a_wrong_key_is_a_denied_access(azurite: str) -> None:
    wrong = ";".join(f"AccountKey={_KEY}" if part.startswith("AccountKey") else part for part in azurite.split(";"))
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


@pytest.mark.parametrize(
    ("settings", "table_address"),
    [
        ({"BufferStorage__accountName": "acct"}, "https://acct.table.core.windows.net"),
        (
            {
                "BufferStorage__tableServiceUri": "https://t.example",
                "AzureWebJobsStorage": "UseDevelopmentStorage=true",
            },
            "https://t.example",
        ),
        (
            {"AzureWebJobsStorage__accountName": "acct", "AzureWebJobsStorage__credential": "managedidentity"},
            "https://acct.table.core.windows.net",
        ),
        ({"AzureWebJobsStorage": "UseDevelopmentStorage=true"}, "http://127.0.0.1:10002/devstoreaccount1"),
    ],
)
def test_a_connection_is_named_as_functions_names_it(settings: dict[str, str], table_address: str) -> None:
    with Storage(environment=settings)._tables_of_account() as service:
        assert service.url.rstrip("/") == table_address


def test_a_managed_identity_is_opened_by_its_client_id() -> None:
    from azure.identity import ManagedIdentityCredential

    settings = {"BufferStorage__accountName": "a", "BufferStorage__credential": "managedidentity"}
    credential = Storage(environment=settings | {"BufferStorage__clientId": "identity"}).credential()
    assert isinstance(credential, ManagedIdentityCredential)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "No storage is set"),
        ({"AzureWebJobsStorage": "nonsense"}, "no storage connection string"),
        ({"BufferStorage__blobServiceUri": "https://b.example"}, "BufferStorage__tableServiceUri"),
    ],
)
def test_an_unusable_connection_says_what_to_set(settings: dict[str, str], told: str) -> None:
    with pytest.raises(SettingInvalid, match=told):
        Storage(environment=settings).table("made").get("p", "a")


@pytest.mark.parametrize("size", [0, 1, PROPERTY_BYTES, PROPERTY_BYTES + 1, PAYLOAD_BYTES])
def test_a_payload_is_taken_apart_and_joined(storage: Storage, size: int) -> None:
    payload = bytes(n % 251 for n in range(size))
    storage.table("made").upsert(_entity("a", **split_payload(payload)))
    stored = storage.table("made").get("p", "a")
    assert stored is not None and join_payload(stored) == payload


def test_a_shorter_payload_merged_over_a_longer_one_has_no_tail(storage: Storage) -> None:
    storage.table("made").upsert(_entity("a", **split_payload(b"x" * 200_000)), merge=True)
    storage.table("made").upsert(_entity("a", **split_payload(b"short")), merge=True)
    stored = storage.table("made").get("p", "a")
    assert stored is not None and join_payload(stored) == b"short"


@pytest.mark.parametrize("entity", [{}, {"parts": 2, "p00": b"a"}, {"parts": 1, "p00": "text"}])
def test_a_payload_with_a_part_missing_is_refused(entity: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="missing"):
        join_payload(entity)
