"""The transport to the FHIR server, on real sockets, beside httpx's own: what holds for one holds for the other."""

import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from medtech.persist import transport as transport_module
from medtech.persist.body import read_body
from medtech.persist.client import FhirClient
from medtech.persist.transport import Transport, client_for
from tests.certificate import Certificate, make_certificate
from tests.faults import FaultProxy
from tests.scripted import Scripted, answer, dripping, taken

PATIENT = httpx.Timeout(20.0)


@pytest.fixture(params=["ours", "httpx"])
def client_of(request: pytest.FixtureRequest) -> Iterator[Callable[[str], httpx.Client]]:
    clients: list[httpx.Client] = []

    def make(url: str, timeout: httpx.Timeout = PATIENT) -> httpx.Client:
        if request.param == "ours":
            clients.append(client_for(httpx.URL(url), 1, timeout, {}))
        else:
            clients.append(httpx.Client(timeout=timeout, limits=httpx.Limits(max_connections=1)))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Scripted]]:
    servers: list[Scripted] = []

    def start(*answers: bytes, **options: object) -> Scripted:
        servers.append(Scripted(**options).then(*answers))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        server.close()


Serve = Callable[..., Scripted]
ClientOf = Callable[..., httpx.Client]


def got(client: httpx.Client, url: str, content: bytes | None = None) -> tuple[int, bytes]:
    with client.stream("POST" if content else "GET", url, content=content) as found:
        return found.status_code, read_body(found)


def test_a_connection_is_kept_for_the_next_request(serve: Serve, client_of: ClientOf) -> None:
    server = serve(*[answer(b"{}")] * 3)
    client = client_of(server.url)
    for path in ("/a", "/b?c=%7C", "/d"):
        assert got(client, f"{server.url}{path}", b"body") == (200, b"{}")
    assert server.connections == 1
    assert server.requests[1].startswith(b"POST /b?c=%7C HTTP/1.1\r\n")
    assert all(request.endswith(b"\r\n\r\nbody") for request in server.requests)
    assert server.requests[0].lower().count(b"\r\nhost: 127.0.0.1:") == 1


def test_one_that_the_server_closed_is_not_used(serve: Serve, client_of: ClientOf) -> None:
    closed = threading.Event()

    def closing(connection: socket.socket) -> None:
        taken(connection.makefile("rb"))
        connection.sendall(answer(b"1"))
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    server = Scripted(closing).then(answer(b"2"))
    client = client_of(server.url)
    assert got(client, server.url) == (200, b"1")
    assert closed.wait(20)
    assert got(client, server.url) == (200, b"2")
    server.close()


def test_one_that_was_idle_for_long_is_not_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(answer(b"1"), answer(b"never"))
    server.then(answer(b"2"))
    with httpx.Client(transport=Transport(httpx.URL(server.url), 1), timeout=PATIENT) as client:
        assert got(client, server.url) == (200, b"1")
        monkeypatch.setattr(transport_module, "IDLE_SECONDS", -1.0)
        assert got(client, server.url) == (200, b"2")


def test_a_connection_is_closed_when_the_server_says_so(serve: Serve, client_of: ClientOf) -> None:
    server = serve(answer(b"1", Connection="close"))
    client = client_of(server.url)
    for _ in range(2):
        assert got(client, server.url) == (200, b"1")
    assert server.connections == 2


@pytest.mark.parametrize(
    "body",
    [
        answer(b"x" * 300_000),
        answer(gzip.compress(b"x" * 300_000), Content_Encoding="gzip"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"493e0\r\n" + b"x" * 300_000 + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"x" * 300_000),
        b"HTTP/1.1 102 Processing\r\n\r\n" * 3
        + b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 7\r\n\r\n"
        + answer(b"x" * 300_000),
    ],
    ids=["length", "gzip", "chunked", "until closed", "continue", "interim"],
)
def test_bodies(serve: Serve, client_of: ClientOf, body: bytes) -> None:
    server = serve(body)
    assert got(client_of(server.url), server.url, b"y" * 3_000_000) == (200, b"x" * 300_000)
    assert server.requests[0].endswith(b"\r\n\r\n" + b"y" * 3_000_000)


@pytest.mark.parametrize("head", ['ETag: W/"1"', "Transfer-Encoding: chunked", "Content-Length: 7"])
def test_an_answer_without_a_body(serve: Serve, client_of: ClientOf, head: str) -> None:
    server = serve(f"HTTP/1.1 204 No Content\r\n{head}\r\n\r\n".encode(), answer(b"2"))
    client = client_of(server.url)
    assert got(client, server.url) == (204, b"")
    assert got(client, server.url) == (200, b"2")
    assert server.connections == 1


@pytest.mark.parametrize(
    "broken", [answer(b"not gzip", Content_Encoding="gzip"), answer(b"x" * 9)[:-1]], ids=["coded", "cut"]
)
def test_a_connection_is_free_again_whose_answer_cannot_be_read(
    serve: Serve, client_of: ClientOf, broken: bytes
) -> None:
    server = serve(broken)
    server.then(answer(b"2"))
    client = client_of(server.url, httpx.Timeout(20.0, pool=0.05))
    with pytest.raises(httpx.RequestError):
        client.get(server.url)
    assert client.get(server.url).content == b"2"


def test_headers_come_as_bytes(serve: Serve, client_of: ClientOf) -> None:
    server = serve(answer(b"", Retry_After="7", X_Odd="\xe4"))
    with client_of(server.url).stream("GET", server.url) as found:
        assert found.headers["retry-after"] == "7"
        assert (b"X-Odd", b"\xe4") in found.headers.raw


def test_a_cookie_is_sent_back(serve: Serve, client_of: ClientOf) -> None:
    """Gateways send the requests of a client to the same server by one."""
    server = serve(answer(b"1", Set_Cookie="route=7; Path=/"), answer(b"2"))
    client = client_of(server.url)
    got(client, server.url)
    got(client, server.url)
    assert [b"cookie: route=7" in request.lower() for request in server.requests] == [False, True]


def test_a_client_that_was_closed_sends_nothing(serve: Serve, client_of: ClientOf) -> None:
    server = serve(answer(b"1"))
    client = client_of(server.url)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        got(client, server.url)
    assert not server.connections


def test_redirects_are_not_followed(serve: Serve, client_of: ClientOf) -> None:
    server = serve(answer(b"", "302 Found", Location="http://127.0.0.1:9/elsewhere"))
    assert got(client_of(server.url), server.url) == (302, b"")


@pytest.mark.parametrize(
    "cut",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 103 Early Hints\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        answer(b"x" * 1000)[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ],
    ids=lambda cut: repr(cut[-12:]),
)
def test_an_answer_that_is_cut_is_none(serve: Serve, client_of: ClientOf, cut: bytes) -> None:
    server = serve(cut)
    server.then(answer(b"2"))
    client = client_of(server.url)
    with pytest.raises(httpx.TransportError):
        got(client, server.url)
    assert got(client, server.url) == (200, b"2")


@pytest.mark.parametrize(
    "doubtful",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + answer(b"{}"),
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100 + answer(b"{}"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 20\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["another protocol", "interim for ever", "two lengths", "a list of lengths", "no length", "another coding"],
)
def test_what_follows_a_doubtful_answer_is_not_taken_for_another(serve: Serve, doubtful: bytes) -> None:
    server = serve(doubtful, answer(b"not to be read"))
    server.then(answer(b"2"))
    with httpx.Client(transport=Transport(httpx.URL(server.url), 1), timeout=PATIENT) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            got(client, server.url)
        assert got(client, server.url) == (200, b"2")


@pytest.mark.parametrize("value", ['W/"1\r\nX-Other: 2"', 'W/"1\n 2"', 'W/"1\x00"'])
def test_what_would_end_a_header_is_not_sent(serve: Serve, client_of: ClientOf, value: str) -> None:
    """A version id that the server gave is sent back to it."""
    server = serve(answer(b"2"))
    client = client_of(server.url)
    with pytest.raises(httpx.LocalProtocolError):
        client.get(server.url, headers={"If-Match": value})
    assert server.requests == []
    assert got(client, server.url) == (200, b"2")


def test_a_refusal_that_comes_before_everything_is_sent_is_read(serve: Serve, client_of: ClientOf) -> None:
    def refusing(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer(b"too large", "413 Content Too Large", Connection="close"))
        connection.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            while connection.recv(1_000_000):
                pass

    server = Scripted(refusing)
    assert got(client_of(server.url), server.url, b"x" * 8_000_000) == (413, b"too large")
    server.close()


def void(_: object) -> None:
    pass


class TestTimeouts:
    def test_of_an_answer(self, serve: Serve, client_of: ClientOf) -> None:
        release = threading.Event()
        server = Scripted(lambda connection: void(release.wait(20)))
        with pytest.raises(httpx.ReadTimeout):
            got(client_of(server.url, httpx.Timeout(20.0, read=0.05)), server.url)
        release.set()
        server.close()

    def test_of_its_head_as_a_whole(self) -> None:
        server = Scripted(dripping(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000))
        impatient = httpx.Timeout(20.0, read=0.3)
        with (
            httpx.Client(transport=Transport(httpx.URL(server.url), 1), timeout=impatient) as client,
            pytest.raises(httpx.ReadTimeout),
        ):
            got(client, server.url)
        server.close()

    def test_of_its_body(self, serve: Serve, client_of: ClientOf) -> None:
        release = threading.Event()

        def halting(connection: socket.socket) -> None:
            taken(connection.makefile("rb"))
            connection.sendall(answer(b"x" * 100)[:-50])
            release.wait(20)

        server = Scripted(halting)
        with pytest.raises(httpx.ReadTimeout):
            got(client_of(server.url, httpx.Timeout(20.0, read=0.05)), server.url)
        release.set()
        server.close()

    def test_of_sending(self, serve: Serve, client_of: ClientOf) -> None:
        release = threading.Event()
        server = Scripted(lambda connection: void(release.wait(20)))
        with pytest.raises(httpx.WriteTimeout):
            got(client_of(server.url, httpx.Timeout(20.0, write=0.05)), server.url, b"x" * 50_000_000)
        release.set()
        server.close()

    def test_of_a_free_connection(self, serve: Serve, client_of: ClientOf) -> None:
        server = serve(answer(b"1"))
        client = client_of(server.url, httpx.Timeout(20.0, pool=0.05))
        with client.stream("GET", server.url), pytest.raises(httpx.PoolTimeout):
            got(client, server.url)
        assert got(client, server.url) == (200, b"1")


def test_a_server_that_is_not_there(client_of: ClientOf) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    for address in (url, "http://no-such-name.invalid"):
        with pytest.raises(httpx.ConnectError):
            got(client_of(address), address)


def test_an_ipv6_address(serve: Serve, client_of: ClientOf) -> None:
    server = serve(answer(b"6"), host="::1")
    assert got(client_of(server.url), server.url) == (200, b"6")
    assert b"Host: [::1]:" in server.requests[0]


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Certificate:
        return make_certificate(tmp_path)

    def test_a_certificate_that_ssl_cert_file_names(
        self, serve: Serve, client_of: ClientOf, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
        server = serve(answer(b"x" * 300_000), answer(b"2"), certificate=certificate)
        client = client_of(server.url)
        assert got(client, server.url, b"y" * 3_000_000) == (200, b"x" * 300_000)
        assert got(client, server.url) == (200, b"2")
        assert server.connections == 1

    def test_any_other_certificate(self, serve: Serve, client_of: ClientOf, certificate: Certificate) -> None:
        server = serve(answer(b"secret"), certificate=certificate)
        with pytest.raises(httpx.ConnectError):
            got(client_of(server.url), server.url)
        assert not server.requests

    def test_a_certificate_of_another_name(
        self, serve: Serve, client_of: ClientOf, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certificate))
        server = serve(answer(b"secret"), certificate=certificate)
        url = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(httpx.ConnectError):
            got(client_of(url), url)
        assert not server.requests


class TestProxies:
    @pytest.fixture(autouse=True)
    def without_proxies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
    def test_one_in_the_environment_is_used(self, serve: Serve, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        proxy = serve(answer(b"by proxy"))
        monkeypatch.setenv(name, proxy.url)
        with client_for(httpx.URL("http://fhir.example"), 1, PATIENT, {}) as client:
            assert got(client, "http://fhir.example/metadata") == (200, b"by proxy")
        assert proxy.requests[0].startswith(b"GET http://fhir.example/metadata ")

    def test_of_https_is_asked_for_a_tunnel(self, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        proxy = serve(answer(b"", "403 Forbidden"))
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with (
            client_for(httpx.URL("https://fhir.example"), 1, PATIENT, {}) as client,
            pytest.raises(httpx.ProxyError),
        ):
            got(client, "https://fhir.example/metadata")
        assert proxy.requests[0].startswith(b"CONNECT fhir.example:443 ")

    def test_a_server_that_no_proxy_names_is_reached_directly(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = serve(answer(b"directly"))
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with client_for(httpx.URL(server.url), 1, PATIENT, {}) as client:
            assert got(client, server.url) == (200, b"directly")

    def test_of_the_fhir_client(self, fhir: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        with FhirClient(fhir) as client:
            assert client.capabilities().batch
