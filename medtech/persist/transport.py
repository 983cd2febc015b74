"""What carries httpx's requests to the FHIR server: kept connections of the standard library's HTTP client.

A bundle is a megabyte in one piece. Where httpx's own transport takes 2 ms of CPU to send or read one, this takes under
half; and it is the thinner one for small requests too. All else is httpx's: addresses, headers, cookies, the errors.

A transport has one server, speaks HTTP/1.1, and knows no proxies: behind one httpx's own is used (`client_for`).
"""

import re
import ssl
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from queue import Empty, LifoQueue
from typing import Any
from urllib.request import getproxies

import httpx
from urllib3.util import wait_for_read

from medtech.final_response import FinalResponse

IDLE_SECONDS = 5.0
"""How long a connection is kept without a request, as httpx keeps its own. Gateways forget idle ones without a word,
and what is sent on such a one has no answer."""

_SENT_BYTES = 256 * 1024
_READ_BYTES = 64 * 1024
"""What is sent or read at once. The timeouts are for such a piece, as httpx has them, not for the whole body."""

_HEADER_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
"""As RFC 9110 and httpx's own transport have it. http.client lets a second line pass that begins with a blank."""


def client_for(base: httpx.URL, connections: int, timeout: httpx.Timeout, headers: Mapping[str, str]) -> httpx.Client:
    """An HTTP client for the server at `base`, with so many connections at most.

    With a proxy in the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY), even if NO_PROXY exempts the server, it is
    httpx as it comes, which reads these settings.
    """
    if any(getproxies().get(scheme) for scheme in ("http", "https", "all")):
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        return httpx.Client(timeout=timeout, headers=headers, limits=limits)
    return _DirectClient(Transport(base, connections), timeout=timeout, headers=headers)


class _DirectClient(httpx.Client):
    """httpx without what it passes each request through and the app does not use: authentication, redirects, hooks.

    Cookies are kept and sent: gateways spread requests by them.
    """

    def __init__(self, transport: "Transport", **options: Any) -> None:
        super().__init__(transport=transport, **options)
        self._direct = transport

    def send(self, request: httpx.Request, *, stream: bool = False, **_: Any) -> httpx.Response:
        if self.is_closed:
            raise RuntimeError("the client was closed")
        answer = self._direct.handle_request(request)
        answer.request = request
        try:
            if "set-cookie" in answer.headers:
                self.cookies.extract_cookies(answer)
            if not stream:
                answer.read()
        except BaseException:
            answer.close()  # gives its connection back
            raise
        return answer


class Transport(httpx.BaseTransport):
    """`base` says scheme, host and port. TLS certificates are checked against what httpx trusts (SSL_CERT_FILE)."""

    def __init__(self, base: httpx.URL, connections: int) -> None:
        self._base = base
        self._tls: ssl.SSLContext | None = None
        if base.scheme == "https":
            self._tls = httpx.create_ssl_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        self._idle: LifoQueue[_Connection] = LifoQueue()
        for _ in range(connections):
            self._idle.put(_Connection(self._new()))

    def _new(self) -> HTTPConnection:
        host = self._base.raw_host.decode("ascii")
        if self._tls is None:
            made = HTTPConnection(host, self._base.port or 80)
        else:
            made = HTTPSConnection(host, self._base.port or 443, context=self._tls)
        made.response_class = FinalResponse
        return made

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, whose body is read as its stream is. Raises httpx.TransportError, as does that."""
        seconds: Mapping[str, float | None] = request.extensions["timeout"]
        try:
            connection = self._idle.get(timeout=seconds["pool"])
        except Empty:
            raise httpx.PoolTimeout("no connection became free in time") from None
        try:
            answer = connection.exchange(request, seconds)
        except BaseException:
            connection.close()
            self._idle.put(connection)
            raise
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
        return httpx.Response(answer.status, headers=headers, stream=_Body(answer, connection, self._idle))

    def close(self) -> None:
        """To be called when no request is under way."""
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return


class _Connection:
    """A connection that is opened for a request, and again whenever it was closed."""

    def __init__(self, http: HTTPConnection) -> None:
        self._http = http
        self._used = 0.0

    def close(self) -> None:
        self._http.close()

    def exchange(self, request: httpx.Request, seconds: Mapping[str, float | None]) -> HTTPResponse:
        """The answer up to its headers; its body is then read with the same timeout."""
        if self._http.sock is not None and self._is_stale():
            self._http.close()
        if self._http.sock is None:
            self._connect(seconds["connect"])
        self._http.sock.settimeout(seconds["write"])
        try:
            self._send(request)
        except TimeoutError:
            raise httpx.WriteTimeout("the request was not taken in time") from None
        except OSError:
            # A server may answer, with a refusal mostly, and close before it has read everything.
            pass
        try:
            self._http.sock.settimeout(seconds["read"])
            answer = self._http.getresponse()
        except (OSError, HTTPException) as error:
            raise _not_read(error) from None
        if answer.status < 200 or _ends_in_doubt(answer):
            # What comes next would be taken for the answer to another request, or waited for in vain.
            raise httpx.RemoteProtocolError("the answer changes the protocol, or does not say where it ends")
        self._used = time.monotonic()
        return answer

    def _is_stale(self) -> bool:
        """Whether it was idle for too long, or the server closed it: there is something to read, its end."""
        if time.monotonic() - self._used > IDLE_SECONDS:
            return True
        return wait_for_read(self._http.sock, timeout=0)

    def _connect(self, seconds: float | None) -> None:
        self._http.timeout = seconds
        try:
            self._http.connect()
        except TimeoutError:
            raise httpx.ConnectTimeout("no connection in time") from None
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(str(error)) from None

    def _send(self, request: httpx.Request) -> None:
        http = self._http
        http.putrequest(request.method, request.url.raw_path.decode("ascii"), skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.raw:
            if _HEADER_VALUE.fullmatch(value) is None:
                # Such as a version id of the server's, in If-Match. Not with the value: it may be a token.
                raise httpx.LocalProtocolError(f"the value of header {name.decode()} would end it")
            http.putheader(name, value)
        body = memoryview(request.read())
        http.endheaders()
        for at in range(0, len(body), _SENT_BYTES):
            http.send(body[at : at + _SENT_BYTES])


class _Body(httpx.SyncByteStream):
    """The body of an answer, as the pieces come; the connection is free again when it is closed."""

    def __init__(self, answer: HTTPResponse, connection: _Connection, idle: "LifoQueue[_Connection]") -> None:
        self._answer = answer
        self._connection = connection
        self._idle = idle
        self._complete = False
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        length, received = self._answer.length, 0
        while True:
            try:
                piece = self._answer.read1(_READ_BYTES)
            except (OSError, HTTPException) as error:
                raise _not_read(error) from None
            if not piece:
                break
            received += len(piece)
            yield piece
            if received == length:
                break
        if length is not None and received < length:
            raise httpx.RemoteProtocolError("the connection ended before the answer did")
        self._complete = True

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._answer.close()
        if not self._complete:
            self._connection.close()
        self._idle.put(self._connection)


def _ends_in_doubt(answer: HTTPResponse) -> bool:
    """Whether it has two lengths, or one or a coding that http.client passes over, to read until the server closes."""
    lengths = set(answer.headers.get_all("content-length", ()))
    says = bool(lengths) or "transfer-encoding" in answer.headers
    return len(lengths) > 1 or (says and answer.length is None and not answer.chunked)


def _not_read(error: Any) -> httpx.TransportError:
    if isinstance(error, TimeoutError):
        return httpx.ReadTimeout("no answer in time")
    if isinstance(error, HTTPException):
        return httpx.RemoteProtocolError(type(error).__name__)
    return httpx.ReadError(str(error))
