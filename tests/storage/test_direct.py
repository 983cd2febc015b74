"""Requests of the app's own to tables and leases: answers that are none, tokens, bounds, and what they import."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessTokenInfo
from azure.core.exceptions import ClientAuthenticationError
from urllib3 import HTTPConnectionPool

from medtech.entra import Credential
from medtech.errors import SettingInvalid, StorageUnavailable
from medtech.storage.connection import TIMEOUTS, Storage, Timeouts
from medtech.storage.direct import sender
from medtech.storage.direct.authorization import SCOPE, AccessToken, SharedAccessSignature
from medtech.storage.direct.connection_string import signed_endpoint
from medtech.storage.direct.leases import DirectLeases
from medtech.storage.direct.tables import DirectTables
from medtech.storage.lease import Lease, LeasedBlob, acquire
from medtech.storage.table import Operation, Table
from tests.azurite import Wire
from tests.faults import Answer, Cut, FaultProxy, Forward, ProxiedRequest
from tests.scripted import Scripted, answer, dripping

ROOT = Path(__file__).parents[2]
JSON = {"Content-Type": "application/json;odata=minimalmetadata"}
ROW = {"PartitionKey": "p", "RowKey": "a"}
CREATES = [Operation("create", {"PartitionKey": "p", "RowKey": row}) for row in "ab"]


@pytest.fixture
def through_library() -> bool:
    return False


def _entity(**properties: Any) -> dict[str, Any]:
    return {"odata.etag": 'W/"1"', **ROW, **properties}


NO_ENTITIES: dict[str, Any] = {
    "a list": [1],
    "an object": {},
    "a text of nothing": "",
    "a text": "entity",
    "nothing": None,
    "no etag": ROW,
    "an etag that is none": _entity() | {"odata.etag": 1},
    "a binary that is a number": _entity(**{"v@odata.type": "Edm.Binary", "v": 1}),
    "a binary that is cut": _entity(**{"v@odata.type": "Edm.Binary", "v": "YWI"}),
    "a time that is none": _entity(**{"v@odata.type": "Edm.DateTime", "v": "2022-13-01T00:00:00Z"}),
    "a time that is a list": _entity(Timestamp=[]),
    "a number that is none": _entity(**{"v@odata.type": "Edm.Int64", "v": "x"}),
    "a type that is none": _entity(**{"v@odata.type": [], "v": "x"}),
    "a double that is none": _entity(**{"v@odata.type": "Edm.Double", "v": None}),
}


@pytest.mark.parametrize("stored", NO_ENTITIES.values(), ids=NO_ENTITIES)
def test_what_is_no_entity_is_an_answer_that_cannot_be_read(wire: Wire, stored: Any) -> None:
    table = wire.storage.table("made")
    table.upsert(ROW)
    for content in (stored, {"value": stored}, {"value": [stored]}):
        wire.tables.answer(200, json.dumps(content).encode(), JSON)
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            assert list(table.query("PartitionKey eq 'p'")) == ["never, not even an empty page"]
    wire.tables.answer(200, json.dumps(stored).encode(), JSON)
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        table.get("p", "a")


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b'{"value":', b"[" * 100_000, b'{"value":[]}]'])
def test_what_is_no_json_is_an_answer_that_cannot_be_read(wire: Wire, body: bytes) -> None:
    table = wire.storage.table("made")
    table.upsert(ROW)
    for ask in (lambda: table.get("p", "a"), lambda: table.first("PartitionKey eq 'p'")):
        wire.tables.answer(200, body, JSON)
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            ask()


@pytest.mark.parametrize("status", [200, 201, 202, 206, 302])
def test_a_page_of_a_gateway_does_not_pass_for_a_write(wire: Wire, status: int) -> None:
    table = wire.storage.table("made")
    table.upsert(ROW)
    writes: list[Callable[[], object]] = [
        lambda: table.upsert(ROW),
        lambda: table.upsert(ROW, merge=True),
        lambda: table.transact(CREATES),
    ]
    for write in writes:
        wire.tables.answer(status, b"<html>Sign in</html>", {"Content-Type": "text/html", "Location": "/elsewhere"})
        with pytest.raises(StorageUnavailable):
            write()


def _part(status: str = "204 No Content") -> str:
    return f'--c\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {status}\r\nETag: W/"1"\r\n\r\n\r\n'


HEAD = "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n"
TAIL = "--c--\r\n--b--\r\n"
NO_RESULTS = {
    "one part for two operations": HEAD + _part() + TAIL,
    "three parts for two operations": HEAD + _part() * 3 + TAIL,
    "no part": HEAD + TAIL,
    "cut before the last part": HEAD + _part(),
    "cut in the end": HEAD + _part() * 2 + "--c",
    "cut after the changeset": HEAD + _part() * 2 + "--c--\r\n",
    "nothing": "",
    "no status": HEAD + _part("2o4 None") + _part() + TAIL,
    "deeper and deeper": "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 5_000 + TAIL,
    "JSON": '{"value": []}',
}


@pytest.mark.parametrize("body", NO_RESULTS.values(), ids=NO_RESULTS)
def test_an_answer_that_does_not_speak_of_each_operation_proves_none(wire: Wire, body: str) -> None:
    table = wire.storage.table("made")
    table.upsert(ROW)
    for content_type in ("multipart/mixed; boundary=b", 'multipart/mixed; boundary="b"'):
        wire.tables.answer(202, body.encode(), {"Content-Type": content_type})
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            table.transact(CREATES)


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
def test_an_answer_for_each_operation_gives_their_etags(wire: Wire, line_end: str) -> None:
    table = wire.storage.table("made")
    table.upsert(ROW)
    body = (HEAD + _part() + _part("201 Created") + TAIL).replace("\r\n", line_end)
    wire.tables.answer(202, body.encode(), {"Content-Type": "multipart/mixed; boundary=b"})
    assert table.transact(CREATES) == ['W/"1"'] * 2


def test_an_operation_that_is_none_of_those_sent_is_not_blamed(wire: Wire) -> None:
    """Else its neighbours would be sent again without it for ever."""
    table = wire.storage.table("made")
    table.upsert(ROW)

    def another(request: ProxiedRequest, forward: Forward) -> Answer:
        answer = forward()
        return Answer(answer.status, answer.headers, answer.body.replace(b'"0:', b'"7:').replace(b'"1:', b'"7:'))

    wire.tables.rule(another, lambda request: request.path.endswith("/$batch"), times=None)
    assert [result.status for result in table.change(CREATES)] == [409, 204]


def test_what_is_created_is_not_sent_back(wire: Wire) -> None:
    """A row of the buffer is up to 1 MiB."""
    table = wire.storage.table("made")
    table.upsert(ROW)
    wire.tables.clear()
    table.transact([Operation("create", {"PartitionKey": "p", "RowKey": row, "text": "sentinel"}) for row in "bc"])
    (request,) = wire.tables.requests
    assert request.body.count(b"Prefer: return-no-content") == request.body.count(b"POST ") == 2


def test_what_is_asked_for_is_asked_once(wire: Wire) -> None:
    """One request a call, and one more for the table in the life of a process."""
    table = wire.storage.table("made")
    for call in (
        lambda: table.upsert(ROW),
        lambda: table.get("p", "a"),
        lambda: list(table.query("PartitionKey eq 'p'")),
        lambda: table.change([Operation("upsert", {"PartitionKey": "p", "RowKey": f"{n}"}) for n in range(100)]),
    ):
        call()
    asked = [request.path.partition("/made")[0].rpartition("/")[2] for request in wire.tables.requests]
    assert asked == ["Tables", "local", "local", "local", "$batch"]


def test_a_condition_of_nothing_is_no_condition_and_is_not_sent(wire: Wire) -> None:
    table = wire.storage.table("made")
    table.upsert(ROW)
    wire.tables.clear()
    for etag in ("", 'W/"1"\r\nIf-Match: *'):
        with pytest.raises(ValueError, match="etag"):
            table.transact([Operation("delete", ROW, etag)])
    assert wire.tables.requests == []


def test_a_transaction_of_two_partitions_is_not_sent(wire: Wire) -> None:
    table = wire.storage.table("made")
    table.upsert(ROW)
    wire.tables.clear()
    with pytest.raises(ValueError, match="partitions"):
        table.transact([Operation("delete", ROW), Operation("delete", {"PartitionKey": "q", "RowKey": "a"})])
    assert wire.tables.requests == []


def test_half_an_answer_is_none(wire: Wire) -> None:
    table = wire.storage.table("made")
    table.upsert(ROW | {"text": "x" * 1_000})
    wire.tables.cut_after(half=True, times=None)
    for ask in (lambda: table.get("p", "a"), lambda: table.transact(CREATES)):
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            ask()


def test_an_answer_has_a_bound(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    table = wire.storage.table("made")
    table.upsert(ROW | {"text": "x" * 10_000})
    monkeypatch.setattr(sender, "MAX_ANSWER_BYTES", 10_000)
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        table.get("p", "a")


def test_an_answer_that_drips_is_given_up(azurite: str) -> None:
    with FaultProxy("http://127.0.0.1:1") as account:
        account.rule(lambda request, forward: Answer(404, [], b"x" * 1_000, seconds_a_byte=0.1), times=None)
        connection = f"AccountName=a;AccountKey=c2VjcmV0;TableEndpoint={account.url}/a"
        impatient = Timeouts(connect_seconds=1, read_seconds=0.5, retries=0)
        storage = Storage(environment={"BufferStorage": connection}, timeouts=impatient, creates_tables=False)
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            storage.table("made").get("p", "a")
        storage.close()


def test_a_connection_that_the_server_has_closed_is_not_used_again(wire: Wire) -> None:
    """A merge is not sent a second time, so the connections' ends must be seen before it is sent."""
    table = wire.storage.table("made")
    table.upsert(ROW)

    def close(request: ProxiedRequest, forward: Forward) -> Answer:
        raise Cut(forward())

    wire.tables.rule(close)
    table.get("p", "a")
    table.upsert(ROW, merge=True)


@pytest.mark.parametrize(
    ("origin", "place"),
    [
        ("https://a.table.core.windows.net", ("https", "a.table.core.windows.net", 443)),
        ("https://a.table.core.windows.net:8443", ("https", "a.table.core.windows.net", 8443)),
        ("http://127.0.0.1:10002", ("http", "127.0.0.1", 10002)),
        ("http://[::1]", ("http", "::1", 80)),
    ],
)
def test_an_endpoint_is_reached_where_its_address_says(origin: str, place: tuple[str, str, int]) -> None:
    pool = sender._pool(origin)
    assert isinstance(pool, HTTPConnectionPool)
    assert (pool.scheme, pool.host, pool.port) == place
    pool.close()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


def _table_at(server: Scripted) -> Table:
    connection = f"AccountName=a;AccountKey=c2VjcmV0;TableEndpoint={server.url}/a"
    return Storage(environment={"BufferStorage": connection}, creates_tables=False).table("made")


EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
NOT_FOUND = answer(b"", "404 Not Found", x_ms_error_code="ResourceNotFound")
DONE = b"HTTP/1.1 204 No Content\r\n\r\n"
DONE_CHUNKED = b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"
"""As gateways leave it: there is no chunk."""


def test_interim_answers_are_passed_over(scripted: Scripted) -> None:
    scripted.then(EARLY_HINTS * 2 + NOT_FOUND, EARLY_HINTS + DONE_CHUNKED, NOT_FOUND)
    table = _table_at(scripted)
    assert table.get("p", "a") is None
    table.upsert(ROW, merge=True)
    assert table.get("p", "a") is None
    assert scripted.connections == 1


@pytest.mark.parametrize("head", [b"HTTP/1.1 404 Not Found\r\nX: " + b"x" * 1_000, EARLY_HINTS * 16])
def test_a_head_that_drips_is_given_up(head: bytes) -> None:
    """With a byte now and then the caller would wait for many times as long as it is to."""
    server = Scripted(dripping(head))
    connection = f"AccountName=a;AccountKey=c2VjcmV0;TableEndpoint={server.url}/a"
    impatient = Timeouts(connect_seconds=1, read_seconds=0.3, retries=0)
    storage = Storage(environment={"BufferStorage": connection}, timeouts=impatient, creates_tables=False)
    with pytest.raises(StorageUnavailable, match="ServiceResponseTimeoutError"):
        storage.table("made").get("p", "a")
    storage.close()
    server.close()


def test_what_follows_a_change_of_protocol_is_not_taken_for_another_answer(scripted: Scripted) -> None:
    """It would tell of a write that it was done, or give one row for another."""
    scripted.then(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + DONE, DONE).then(NOT_FOUND)
    table = _table_at(scripted)
    with pytest.raises(StorageUnavailable):
        table.upsert(ROW, merge=True)
    assert table.get("p", "a") is None


def test_an_answer_that_ends_in_its_head_is_none(scripted: Scripted) -> None:
    """Of a table that is missing it would say that a row is."""
    scripted.then(b"HTTP/1.1 404 Not Found\r\nContent-Len").then(NOT_FOUND)
    assert _table_at(scripted).get("p", "a") is None
    assert scripted.connections == 2


NO_ROW = {"x-ms-error-code": "ResourceNotFound"}


class Issuer:
    """Tokens that last `seconds`; `asked` has the options of each that was asked for."""

    def __init__(self, seconds: float = 3_600) -> None:
        self.seconds = seconds
        self.asked: list[dict[str, Any]] = []

    def get_token_info(self, *scopes: str, options: dict[str, Any]) -> AccessTokenInfo:
        assert scopes == (SCOPE,)
        self.asked.append(options)
        return AccessTokenInfo(f"token-{len(self.asked)}", int(time.time() + self.seconds))


def _by_token(account: FaultProxy, issuer: object) -> Table:
    """Over plain http, which `Storage` refuses to send a token by."""
    tables = DirectTables(account.url, AccessToken(lambda: Credential(issuer)), TIMEOUTS)
    return Table("made", lambda: tables, creates=False)


def test_a_token_is_kept_until_shortly_before_it_ends() -> None:
    lasting, ending = Issuer(3_600), Issuer(200)
    with FaultProxy("http://127.0.0.1:1") as account:
        account.answer(404, headers=NO_ROW, times=None)
        for issuer in (lasting, ending):
            table = _by_token(account, issuer)
            for _ in range(3):
                table.get("p", "a")
        authorizations = [request.headers["Authorization"] for request in account.requests]
    assert (len(lasting.asked), len(ending.asked)) == (1, 3)
    assert authorizations == ["Bearer token-1"] * 3 + [f"Bearer token-{number}" for number in (1, 2, 3)]


CHALLENGE = (
    "Bearer authorization_uri=https://login.microsoftonline.com/the-tenant/oauth2/authorize "
    "resource_id=https://storage.azure.com"
)


def test_a_challenge_is_met_once_with_a_token_of_the_accounts_tenant() -> None:
    issuer = Issuer()
    with FaultProxy("http://127.0.0.1:1") as account:
        account.answer(
            401,
            headers={"WWW-Authenticate": CHALLENGE},
            when=lambda request: request.headers["Authorization"] != "Bearer token-2",
            times=None,
        )
        account.answer(404, headers=NO_ROW, times=None)
        table = _by_token(account, issuer)
        assert table.get("p", "a") is None
        assert table.get("p", "a") is None
        assert issuer.asked == [{}, {"tenant_id": "the-tenant"}]
        account.clear()
        account.answer(401, headers={"WWW-Authenticate": CHALLENGE}, times=None)
        with pytest.raises(StorageUnavailable, match="denies access"):
            table.get("p", "a")
        assert len(account.requests) == 2


def test_a_token_that_is_denied_is_not_kept() -> None:
    issuer = Issuer()
    with FaultProxy("http://127.0.0.1:1") as account:
        account.answer(401)
        account.answer(404, headers=NO_ROW, times=None)
        table = _by_token(account, issuer)
        with pytest.raises(StorageUnavailable, match="denies access"):
            table.get("p", "a")
        assert table.get("p", "a") is None
        assert [request.headers["Authorization"] for request in account.requests] == [
            "Bearer token-1",
            "Bearer token-2",
        ]


def test_a_token_that_is_refused_is_told_and_nothing_is_sent() -> None:
    class Refusing:
        def get_token_info(self, *scopes: str, options: dict[str, Any]) -> AccessTokenInfo:
            raise ClientAuthenticationError("secret")

    with FaultProxy("http://127.0.0.1:1") as account:
        with pytest.raises(StorageUnavailable, match="There is no token") as told:
            _by_token(account, Refusing()).get("p", "a")
        assert "secret" not in told.value.message
        assert account.requests == []


def test_a_lease_is_asked_for_with_a_token() -> None:
    blob = LeasedBlob("leases", "work", "an id")
    with FaultProxy("http://127.0.0.1:1") as account:
        account.answer(401, headers={"WWW-Authenticate": CHALLENGE})
        account.answer(201, times=None)
        issuer = Issuer()
        DirectLeases(account.url, AccessToken(lambda: Credential(issuer)), TIMEOUTS).acquire(blob, 60)
        assert issuer.asked == [{}, {"tenant_id": "the-tenant"}]
        assert [request.headers["Authorization"] for request in account.requests] == [
            "Bearer token-1",
            "Bearer token-2",
        ]


def test_no_token_travels_unencrypted() -> None:
    settings = {f"BufferStorage__{kind}ServiceUri": "http://account.example" for kind in ("table", "blob")}
    storage = Storage(environment=settings)
    with pytest.raises(SettingInvalid, match=r"tableServiceUri .* https://"):
        storage.table("made").get("p", "a")
    with pytest.raises(SettingInvalid, match=r"blobServiceUri .* https://"):
        storage.leases()
    with pytest.raises(SettingInvalid, match="https://"):
        storage.check()


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("AccountName=a;AccountKey=c2VjcmV0", "https://a.table.core.windows.net"),
        (
            "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;EndpointSuffix=core.chinacloudapi.cn;",
            "http://a.table.core.chinacloudapi.cn",
        ),
        ("accountname = a ; ACCOUNTKEY=c2VjcmU=;TableEndpoint=https://t.example/?sv=1", "https://t.example/"),
        ("TableEndpoint=t.example;SharedAccessSignature=sv=1&sig=a%3D", "https://t.example"),
        ("UseDevelopmentStorage=true;", "http://127.0.0.1:10002/devstoreaccount1"),
    ],
)
def test_a_connection_string_says_where_tables_are(text: str, endpoint: str) -> None:
    assert signed_endpoint(text, "table")[0] == endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("AccountName=a;AccountKey=c2VjcmV0", "https://a.blob.core.windows.net"),
        ("AccountName=a;AccountKey=c2VjcmV0;BlobEndpoint=https://b.example/a?sv=1", "https://b.example/a"),
        ("UseDevelopmentStorage=true;", "http://127.0.0.1:10000/devstoreaccount1"),
    ],
)
def test_a_connection_string_says_where_blobs_are(text: str, endpoint: str) -> None:
    assert signed_endpoint(text, "blob")[0] == endpoint


@pytest.mark.parametrize("signature", ["sv=1&sig=a%3D", "?sv=1&sig=a%3D"])
def test_a_signature_ends_the_address(signature: str) -> None:
    authorization = SharedAccessSignature(signature)
    assert authorization.sign("GET", "/t()", {}) == "/t()?sv=1&sig=a%3D"
    assert authorization.sign("GET", "/t()?$top=1", {}) == "/t()?$top=1&sv=1&sig=a%3D"


def _acquired(storage: Storage) -> Lease:
    lease = acquire(storage, "work")
    assert lease is not None
    return lease


def test_no_package_of_azure_is_imported_to_read_and_write(storage: Storage, azurite: str) -> None:
    with _acquired(storage):
        pass  # only the blob itself is made by a package, once
    code = (
        "import sys\n"
        "from medtech.storage.connection import Storage\n"
        "from medtech.storage.table import Operation\n"
        "from medtech.storage import lease\n"
        f"storage = Storage(environment={{'BufferStorage': {azurite!r}}})\n"
        "table = storage.table('made')\n"
        "keys = {'PartitionKey': 'p', 'RowKey': 'a'}\n"
        "table.upsert(keys)\n"
        "table.change([Operation('create', keys), Operation('delete', keys)])\n"
        "assert table.get('p', 'a') is None and list(table.query(\"PartitionKey eq 'p'\")) == []\n"
        "with lease.acquire(storage, 'work'):\n"
        "    assert lease.acquire(storage, 'work') is None\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'azure', 'requests', 'httpx', 'pydantic'}))"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
