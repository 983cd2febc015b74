"""What is sent, kept and sent again is the same by requests of the app's own and through azure-data-tables."""

import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables import AccountSasPermissions, ResourceTypes, TableServiceClient, generate_account_sas
from hypothesis import given, settings
from hypothesis import strategies as st

from medtech.errors import SettingInvalid, StorageRefused, StorageUnavailable
from medtech.storage import kept_connections
from medtech.storage.connection import Storage
from medtech.storage.table import Operation, OperationFailed, Table, quoted
from tests.azurite import Wire
from tests.certificate import make_certificate
from tests.faults import FaultProxy, ProxiedRequest

VALUES: dict[str, Any] = {
    "text": "x\u20ac\u2028\U0001f600 \"'\\\n\0",
    "half": "x\ud800",
    "empty": "",
    "number": -(2**31),
    "double": 1.0,
    "tiny": 5e-324,
    "infinite": math.inf,
    "binary": bytes(range(256)),
    "nothing": b"",
    "flag": False,
    "time": datetime(2022, 3, 12, 12, 0, 0, 123456, tzinfo=UTC),
    "guid": UUID("00000000-0000-0000-0000-00000000000a"),
    "absent": None,
}
KEYS = ["it's", "a b", "002|20220312", "\u00e9\u20ac\U0001f600", "~-._!*()", "a+b&c=d;e,f:@$", ""]


@pytest.fixture
def both(storage: Storage, azurite: str) -> Iterator[list[Table]]:
    """The same table, through either."""
    opened = [Storage(environment={"BufferStorage": azurite}, through_library=library) for library in (False, True)]
    yield [each.table("both") for each in opened]
    for each in opened:
        each.close()


@pytest.mark.parametrize("write", ["upsert", "merge", "transact"])
def test_what_one_writes_both_read_alike(both: list[Table], write: str) -> None:
    for writer, row in zip(both, "ab", strict=True):
        entity = {"PartitionKey": "p", "RowKey": row, **VALUES}
        if write == "transact":
            writer.transact([Operation("create", entity)])
        else:
            writer.upsert(entity, merge=write == "merge")
    kept = [
        {name: value for name, value in row.items() if name not in ("RowKey", "etag", "timestamp")}
        for reader in both
        for row in (reader.get("p", "a"), *reader.query("PartitionKey eq 'p'"))
        if row is not None
    ]
    assert len(kept) == 6
    assert all(each == kept[0] for each in kept)
    types = [{name: type(value) for name, value in each.items() if name != "time"} for each in kept]
    assert all(each == types[0] for each in types)
    assert kept[0] == {"PartitionKey": "p"} | {name: value for name, value in VALUES.items() if value is not None}


def test_a_number_of_64_bits_is_read_alike(both: list[Table], azurite: str) -> None:
    with TableServiceClient.from_connection_string(azurite) as service:
        client = service.create_table_if_not_exists("both")
        client.create_entity({"PartitionKey": "p", "RowKey": "a", "large": (2**40, "Edm.Int64")})
    direct, library = (table.get("p", "a") for table in both)
    assert direct is not None
    assert direct == library
    assert direct["large"] == (2**40, "Edm.Int64")


@pytest.mark.parametrize("key", KEYS)
def test_any_key_is_the_same_row_to_both(both: list[Table], key: str) -> None:
    for writer, reader in permutations(both):
        writer.upsert({"PartitionKey": key, "RowKey": key, "by": "upsert"})
        found = reader.get(key, key)
        assert found is not None
        assert reader.first(f"PartitionKey eq {quoted(key)} and RowKey eq {quoted(key)}") == found
        reader.transact([Operation("merge", {"PartitionKey": key, "RowKey": key, "by": "merge"}, found["etag"])])
        with pytest.raises(OperationFailed):
            writer.transact([Operation("delete", {"PartitionKey": key, "RowKey": key}, found["etag"])])
        writer.transact([Operation("delete", {"PartitionKey": key, "RowKey": key})])
        assert reader.get(key, key) is None


def test_a_place_of_one_is_a_place_of_the_other(both: list[Table]) -> None:
    both[0].change([Operation("create", {"PartitionKey": "p", "RowKey": f"{n:03d}"}) for n in range(7)])
    for first, second in permutations(both):
        page = next(first.pages("PartitionKey eq 'p'", page_size=3))
        place = json.loads(json.dumps(page.following))
        rest = [row["RowKey"] for each in second.pages("PartitionKey eq 'p'", place=place) for row in each.entities]
        assert [row["RowKey"] for row in page.entities] + rest == [f"{n:03d}" for n in range(7)]


ANY_KEY = {"PartitionKey": "a/b\\c%20#?d'\u00e9 ~", "RowKey": "%/..?#"}
CALLS: dict[str, Callable[[Table], object]] = {
    "upsert": lambda table: table.upsert({**ANY_KEY, **VALUES}),
    "merge": lambda table: table.upsert({**ANY_KEY, **VALUES}, merge=True),
    "get": lambda table: table.get(*ANY_KEY.values()),
    "query": lambda table: table.first(f"PartitionKey eq {quoted(ANY_KEY['PartitionKey'])}", select=["a", "b"]),
    "transact": lambda table: table.transact(
        [
            Operation("create", {**ANY_KEY, **VALUES}),
            Operation("upsert", {**ANY_KEY, **VALUES}),
            Operation("replace", {**ANY_KEY, **VALUES}, "W/\"datetime'2022-03-12T12%3A00%3A00.0000000Z'\""),
            Operation("merge", {**ANY_KEY, **VALUES}),
            Operation("delete", ANY_KEY),
            Operation("delete", ANY_KEY, 'W/"1"'),
        ]
    ),
}


def _meaning(request: ProxiedRequest) -> list[Any]:
    """What a request says, without what may differ: times, boundaries, spaces, and types that are none."""
    operations = request.body.split(b"--changeset_")[1:-1] if request.path.endswith("/$batch") else [request.body]
    said: list[Any] = [request.method, request.path, request.headers.get("If-Match")]
    for operation in operations:
        head, brace, body = operation.partition(b"{")
        lines = sorted(line for line in head.decode().splitlines() if " http://" in line or line.startswith("If-Match"))
        properties = json.loads(brace + body) if brace else {}
        said += [lines, {name: value for name, value in properties.items() if value != "Edm.String"}]
    return said


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_same_is_sent(call: Callable[[Table], object]) -> None:
    """Also of keys that Azurite cannot keep: the address is what is signed."""
    said = []
    with FaultProxy("http://127.0.0.1:1") as account:
        account.answer(400, times=None)
        connection = f"AccountName=a;AccountKey=c2VjcmV0;TableEndpoint={account.url}/a"
        for library in (False, True):
            storage = Storage(environment={"BufferStorage": connection}, through_library=library, creates_tables=False)
            with pytest.raises(StorageRefused):
                call(storage.table("made"))
            said.append(_meaning(account.requests[-1]))
            storage.close()
    assert said[0] == said[1]


_values = (
    st.text()
    | st.integers(-(2**31), 2**31 - 1)
    | st.booleans()
    | st.floats()
    | st.binary(max_size=20)
    | st.datetimes(timezones=st.just(UTC))
    | st.uuids()
    | st.none()
)
_keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_etags = st.none() | st.from_regex(r'(W/)?"[ -z]{0,20}"', fullmatch=True)


@settings(max_examples=100)
@given(_keys, _keys, st.dictionaries(st.from_regex(r"[a-z_]{1,5}", fullmatch=True), _values, max_size=4), _etags)
def test_of_any_row_the_same_is_sent(
    sent_by_both: Callable[[Callable[[Table], object]], list[Any]],
    partition_key: str,
    row_key: str,
    properties: dict[str, Any],
    etag: str | None,
) -> None:
    keys = {"PartitionKey": partition_key, "RowKey": row_key}
    entity = keys | properties
    calls: list[Callable[[Table], object]] = [
        lambda table: table.upsert(entity),
        lambda table: table.get(partition_key, row_key),
        lambda table: table.first(f"PartitionKey eq {quoted(partition_key)} and RowKey gt {quoted(row_key)}"),
        lambda table: table.transact([Operation("replace", entity, etag), Operation("delete", keys, etag)]),
    ]
    for call in calls:
        direct, library = sent_by_both(call)
        assert direct == library


@pytest.fixture(scope="module")
def sent_by_both() -> Iterator[Callable[[Callable[[Table], object]], list[Any]]]:
    """What a call sends to an account that refuses everything, by requests of the app's own and by the package."""
    with FaultProxy("http://127.0.0.1:1") as account:
        account.answer(400, times=None)
        environment = {"BufferStorage": f"AccountName=a;AccountKey=c2VjcmV0;TableEndpoint={account.url}/a"}
        opened = [
            Storage(environment=environment, through_library=each, creates_tables=False) for each in (False, True)
        ]

        def sent(call: Callable[[Table], object]) -> list[Any]:
            account.requests.clear()
            for storage in opened:
                with pytest.raises(StorageRefused):
                    call(storage.table("made"))
            return [repr(_meaning(request)) for request in account.requests]

        yield sent
        for storage in opened:
            storage.close()


XML = (
    b'<?xml version="1.0" encoding="utf-8" standalone="yes"?>'
    b'<error xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">'
    b'<code>%s</code><message xml:lang="en-US">Sorry.</message></error>'
)
CODES = {
    "TableNotFound": (404, StorageUnavailable, "being deleted"),
    "EntityTooLarge": (400, StorageRefused, "too large"),
    "AuthenticationFailed": (400, StorageUnavailable, "denies access"),
}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("what", ["upsert", "merge", "transact"])
def test_an_error_in_xml_means_what_it_means_in_json(wire: Wire, through_library: bool, what: str, code: str) -> None:
    status, error, told = CODES[code]
    table = wire.storage.table("made")
    table.upsert(ROW)
    wire.tables.answer(status, XML % code.encode(), {"Content-Type": "application/xml"})
    with pytest.raises(error, match=told):
        SIMPLE[what](table)
    SIMPLE[what](table)


AGAIN = {
    # What is asked, what goes wrong at first, and how often it is sent.
    "a replacement is cut": ("upsert", "cut", 2),
    "a merge is cut": ("merge", "cut", 1),
    "a transaction is cut": ("transact", "cut", 1),
    "a page is cut": ("query", "cut", 2),
    "a row is cut": ("get", "cut", 2),
    "a replacement, 500": ("upsert", 500, 2),
    "a merge, 500": ("merge", 500, 2),
    "a transaction, 500": ("transact", 500, 2),
    "a transaction, 502": ("transact", 502, 1),
    "a transaction, 503": ("transact", 503, 2),
    "a transaction, 504": ("transact", 504, 2),
    "a replacement, 408": ("upsert", 408, 2),
    "a merge, 408": ("merge", 408, 1),
    "a row, 429": ("get", 429, 2),
    "a transaction, 429": ("transact", 429, 1),
    "a row, 501": ("get", 501, 1),
    "a row, 505": ("get", 505, 1),
    "a row, 507": ("get", 507, 2),
    "a row, 403": ("get", 403, 1),
}
ROW = {"PartitionKey": "p", "RowKey": "a"}
SIMPLE: dict[str, Callable[[Table], object]] = {
    "upsert": lambda table: table.upsert(ROW),
    "merge": lambda table: table.upsert(ROW, merge=True),
    "get": lambda table: table.get("p", "a"),
    "query": lambda table: table.first("PartitionKey eq 'p'"),
    "transact": lambda table: table.transact([Operation("upsert", ROW)]),
}


@pytest.mark.parametrize("name", AGAIN)
def test_what_is_sent_again(wire: Wire, name: str) -> None:
    what, fault, times = AGAIN[name]
    table = wire.storage.table("made")
    table.upsert(ROW)
    wire.tables.clear()
    if isinstance(fault, int):
        wire.tables.answer(fault)
    else:
        wire.tables.cut_before()
    if times == 1:
        with pytest.raises(StorageUnavailable):
            SIMPLE[what](table)
    else:
        SIMPLE[what](table)
    assert len(wire.tables.requests) == times


PAGE = b"<html>Not here</html>"


@pytest.mark.parametrize("status", [404, 405, 409, 410, 412, 431])
@pytest.mark.parametrize("what", SIMPLE)
def test_a_refusal_that_is_not_the_services_own_is_an_outage(wire: Wire, what: str, status: int) -> None:
    """The service gives each of its errors a code. A gateway's 404 says nothing of a row, its 409 and 412 nothing of
    its version."""
    table = wire.storage.table("made")
    table.upsert(ROW)
    wire.tables.answer(status, PAGE, {"Content-Type": "text/html"}, times=None)
    with pytest.raises(StorageUnavailable, match=rf"table `made`\) is away \({status} "):
        SIMPLE[what](table)


@pytest.mark.parametrize(
    "body", [PAGE, b"", b"[]", b'"text"', b"5", b"null", b"{}", b'{"value": 5}', b'{"value": ["x"]}']
)
@pytest.mark.parametrize("kind", ["text/html", "application/json;odata=minimalmetadata"])
@pytest.mark.parametrize("what", ["get", "query"])
def test_what_is_no_answer_of_the_service_tells_of_no_row(wire: Wire, what: str, kind: str, body: bytes) -> None:
    table = wire.storage.table("made")
    table.upsert(ROW)
    wire.tables.answer(200, body, {"Content-Type": kind}, times=None)
    with pytest.raises(StorageUnavailable):
        SIMPLE[what](table)


@pytest.mark.parametrize("what", ["get", "query", "transact"])
def test_half_an_answer_is_none(wire: Wire, what: str) -> None:
    table = wire.storage.table("made")
    table.upsert(ROW)
    wire.tables.cut_after(half=True, times=None)
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        SIMPLE[what](table)


@pytest.mark.parametrize("status", [200, 202, 206])
@pytest.mark.parametrize("what", ["upsert", "merge", "transact"])
def test_a_page_of_a_gateway_does_not_pass_for_a_write(wire: Wire, what: str, status: int) -> None:
    table = wire.storage.table("made")
    table.upsert(ROW)
    wire.tables.answer(status, PAGE, {"Content-Type": "multipart/mixed; boundary=b"}, times=None)
    with pytest.raises(StorageUnavailable):
        SIMPLE[what](table)


def test_what_a_gateway_refuses_is_not_taken_for_deleted(wire: Wire) -> None:
    table = wire.storage.table("made")
    table.upsert(ROW)
    wire.tables.answer(404, PAGE, {"Content-Type": "text/html"}, times=None)
    with pytest.raises(StorageUnavailable):
        table.change([Operation("delete", {**ROW, "RowKey": row}) for row in "ab"])


@pytest.mark.parametrize("what", SIMPLE)
def test_retry_after_has_anything_sent_again_but_not_for_ever(wire: Wire, what: str) -> None:
    table = wire.storage.table("made")
    table.upsert(ROW)
    wire.tables.clear()
    wire.tables.answer(429, headers={"Retry-After": "0"}, times=1)
    SIMPLE[what](table)
    assert len(wire.tables.requests) == 2
    wire.tables.clear()
    wire.tables.answer(429, headers={"Retry-After": "0", "retry-after-ms": "1"}, times=None)
    with pytest.raises(StorageUnavailable, match="away"):
        SIMPLE[what](table)
    assert len(wire.tables.requests) == 3


@pytest.mark.parametrize("what", SIMPLE)
def test_a_connection_that_was_idle_for_long_is_not_used(
    wire: Wire, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something on the way may have forgotten it: neither is a write on it answered, nor does it end."""
    table = wire.storage.table("made")
    table.upsert(ROW)
    before = wire.tables.connections
    SIMPLE[what](table)
    assert wire.tables.connections == before, "it is kept"
    monkeypatch.setattr(kept_connections, "IDLE_SECONDS", -1.0)
    SIMPLE[what](table)
    assert wire.tables.connections == before + 1


def test_a_create_whose_answer_was_lost_is_not_taken_for_done(wire: Wire) -> None:
    """Nor for somebody else's: it is not known, and the caller asks again."""
    table = wire.storage.table("made")
    table.upsert(ROW)
    create = [Operation("create", {"PartitionKey": "p", "RowKey": "new"})]
    wire.tables.cut_after()
    with pytest.raises(StorageUnavailable):
        table.transact(create)
    with pytest.raises(OperationFailed) as failed:
        table.transact(create)
    assert failed.value.status == 409


def _signed(azurite: str, expires: timedelta) -> str:
    settings = dict(part.split("=", 1) for part in azurite.split(";") if part)
    signature = generate_account_sas(
        AzureNamedKeyCredential(settings["AccountName"], settings["AccountKey"]),
        resource_types=ResourceTypes(service=True, container=True, object=True),
        permission=AccountSasPermissions(
            read=True, write=True, delete=True, list=True, add=True, create=True, update=True
        ),
        expiry=datetime.now(UTC) + expires,
    )
    endpoints = f"TableEndpoint={settings['TableEndpoint']};BlobEndpoint={settings['BlobEndpoint']}"
    return f"{endpoints};SharedAccessSignature={signature}"


def test_a_shared_access_signature_opens_tables(storage: Storage, azurite: str, through_library: bool) -> None:
    signed = Storage(
        environment={"BufferStorage": _signed(azurite, timedelta(hours=1))}, through_library=through_library
    )
    table = signed.table("made")
    table.change([Operation("create", {"PartitionKey": "p", "RowKey": row}) for row in "abc"])
    assert [row["RowKey"] for row in table.query("PartitionKey eq 'p'", page_size=1)] == ["a", "b", "c"]
    signed.close()


def test_a_signature_that_is_over_is_denied_and_not_told(
    azurite: str, through_library: bool, caplog: pytest.LogCaptureFixture
) -> None:
    connection = _signed(azurite, -timedelta(hours=1))
    signature = connection.partition("sig=")[2].partition("&")[0]
    signed = Storage(environment={"BufferStorage": connection}, through_library=through_library)
    with caplog.at_level("DEBUG"), pytest.raises(StorageUnavailable, match="denies access") as denied:
        signed.table("made").upsert(ROW)
    assert signature not in denied.value.message + caplog.text
    signed.close()


NO_ROW = {"x-ms-error-code": "ResourceNotFound"}


@pytest.mark.parametrize("exempt", [False, True])
def test_proxies_of_the_environment_are_used(
    azurite: str, through_library: bool, monkeypatch: pytest.MonkeyPatch, exempt: bool
) -> None:
    with FaultProxy("http://127.0.0.1:1") as proxy, FaultProxy("http://127.0.0.1:1") as account:
        for each in (proxy, account):
            each.answer(404, headers=NO_ROW, times=None)
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//user:p%40ss@"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8" if exempt else "")
        connection = f"AccountName=a;AccountKey=c2VjcmV0;TableEndpoint={account.url}/a"
        storage = Storage(
            environment={"BufferStorage": connection}, through_library=through_library, creates_tables=False
        )
        assert storage.table("made").get("p", "a") is None
        reached, other = (account, proxy) if exempt else (proxy, account)
        assert (len(reached.requests), len(other.requests)) == (1, 0)
        if not exempt:
            assert reached.requests[0].path.startswith(account.url)
            headers = {name.lower(): value for name, value in reached.requests[0].headers.items()}
            assert headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"
        monkeypatch.setattr(kept_connections, "IDLE_SECONDS", -1.0)
        before = reached.connections
        assert storage.table("made").get("p", "a") is None
        assert reached.connections == before + 1, "the idle one is not used, through a proxy either"
        storage.close()


@pytest.mark.parametrize("trusted", [False, True])
def test_a_server_is_trusted_as_the_environment_says(
    through_library: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, trusted: bool
) -> None:
    certificate = make_certificate(tmp_path)
    with FaultProxy("http://127.0.0.1:1", certificate.server_context()) as account:
        account.answer(404, headers=NO_ROW, times=None)
        if trusted:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.certificate))
        connection = f"AccountName=a;AccountKey=c2VjcmV0;TableEndpoint={account.url}/a"
        storage = Storage(
            environment={"BufferStorage": connection}, through_library=through_library, creates_tables=False
        )
        if trusted:
            assert storage.table("made").get("p", "a") is None
        else:
            with pytest.raises(StorageUnavailable, match="ServiceRequestError"):
                storage.table("made").get("p", "a")
        assert bool(account.requests) is trusted
        storage.close()


@pytest.mark.parametrize("connection", ["AccountName=a", "AccountKey=c2VjcmV0", "UseDevelopmentStorage=no"])
def test_a_connection_string_that_lacks_something_is_a_fault_of_the_settings(
    connection: str, through_library: bool
) -> None:
    with pytest.raises(SettingInvalid, match="is not a storage connection string"):
        Storage(environment={"BufferStorage": connection}, through_library=through_library).table("made").get("p", "a")
