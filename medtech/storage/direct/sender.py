"""Requests to a storage account over kept connections, sent again as azure-core would.

| what happens                             | GET, PUT, DELETE | POST, PATCH            |
|------------------------------------------|------------------|------------------------|
| no connection, or no whole answer        | again            | –                      |
| 408, 429, 500, 502, 503, 504, above 505  | again            | 500, 503 and 504 again |
| any refusal with `Retry-After`           | again            | again                  |

A transaction and a merge are not sent again when it is not known whether they were carried out: a second "create" would
answer 409 for rows that the first has made.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from ssl import SSLContext
from typing import Any, NamedTuple, Protocol

import certifi
import urllib3
from urllib3.connection import port_by_scheme
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    IncompleteRead,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util import Retry, create_urllib3_context, make_headers, parse_url

from medtech import deadline
from medtech.errors import SettingInvalid
from medtech.side_counts import THROTTLED_STATUSES, Throttled, count
from medtech.storage.direct.authorization import Authorization
from medtech.storage.faults import Fault
from medtech.storage.kept_connections import POOLS

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""Azure ends a page at 4 MiB. Azurite ends it at 1,000 rows, whatever they hold."""

_CHUNK_BYTES = 256 * 1024
_CONNECTIONS = 32
"""Kept open; as many as the worker has threads at most. More are made where they are needed, and closed after use."""

_BACK_OFF_SECONDS = 0.5
_MOST_SECONDS = 5.0
# For the whole of an answer, in times of what one piece of it is waited for: else a byte at a time could last for ever.
_PIECES = 4

_ONCE = Retry(total=False, redirect=False, raise_on_status=False)
_SENT_AGAIN = {408, 429, 500, 502, 503, 504, *range(506, 1000)}
_CREATES_SENT_AGAIN = {500, 503, 504}
_AGAIN_IF_LOST = {"GET", "PUT", "DELETE"}


class Timeouts(Protocol):
    """See `connection.Timeouts`."""

    @property
    def connect_seconds(self) -> float: ...
    @property
    def read_seconds(self) -> float: ...
    @property
    def retries(self) -> int: ...


class Answer(NamedTuple):
    """`headers` is a mapping of names in any case."""

    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes


class _Request(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None
    timeouts: Timeouts


class Sender:
    """The connections to one endpoint, `https://HOST`, for any number of threads."""

    def __init__(self, origin: str, authorization: Authorization, timeouts: Timeouts) -> None:
        self._origin = origin
        self._authorization = authorization
        self._timeouts = timeouts
        self._pool: urllib3.HTTPConnectionPool | urllib3.ProxyManager | None = None
        self._opening = threading.Lock()

    def send(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes | None = None,
        *,
        timeouts: Timeouts | None = None,
    ) -> Answer:
        """The answer, whatever its status. Raises Fault if there is none, OutOfTime, and AzureError if there is no
        token. `timeouts` are for a request that is not to wait as long as the others."""
        request = _Request(method, target, headers, body, timeouts or self._timeouts)
        answer = self._send(self._signed(request))
        if answer.status == 401 and self._authorization.renewed(answer.headers.get("WWW-Authenticate", "")):
            return self._send(self._signed(request))
        return answer

    def close(self) -> None:
        with self._opening:
            if self._pool is not None:
                if isinstance(self._pool, urllib3.ProxyManager):
                    self._pool.clear()
                else:
                    self._pool.close()
                self._pool = None

    def _signed(self, request: _Request) -> _Request:
        request.headers["x-ms-date"] = formatdate(usegmt=True)
        return request._replace(target=self._authorization.sign(request.method, request.target, request.headers))

    def _send(self, request: _Request) -> Answer:
        method, timeouts = request.method, request.timeouts
        again = _SENT_AGAIN if method in _AGAIN_IF_LOST else _CREATES_SENT_AGAIN
        for retry in range(timeouts.retries):
            wait = min(_MOST_SECONDS, _BACK_OFF_SECONDS * 2**retry) if retry else 0.0
            try:
                answer = self._attempt(request)
            except Fault:
                if method not in _AGAIN_IF_LOST:
                    raise
            else:
                # Before a deadline, a wait that the service asks for would leave no time for the answer.
                asks = answer.headers if deadline.seconds_left() == math.inf else {}
                if answer.status < 400 or not (asks.get("Retry-After") or answer.status in again):
                    return answer
                wait = min(_asked_seconds(asks) or wait, timeouts.read_seconds)
            if wait:
                time.sleep(min(wait, deadline.seconds_left()))
        return self._attempt(request)

    def _attempt(self, request: _Request) -> Answer:
        left = deadline.ask("all was read from storage and written to it")
        connect_seconds, read_seconds = request.timeouts.connect_seconds, request.timeouts.read_seconds
        if left < math.inf:
            connect_seconds = min(connect_seconds, left / 2)
            # Together at most what is left: a connection may take all of its time, and the answer then all of its own.
            read_seconds = min(read_seconds, left - connect_seconds)
        ends_at = time.monotonic() + min(left, _PIECES * read_seconds)
        try:
            pool = self._pool or self._open()
            target = request.target if isinstance(pool, urllib3.HTTPConnectionPool) else self._origin + request.target
            response = pool.urlopen(
                request.method,
                target,
                body=request.body,
                headers=request.headers,
                timeout=urllib3.Timeout(connect=connect_seconds, read=read_seconds),
                retries=_ONCE,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                if response.status < 200:
                    # What follows would be taken for the answer to the next request.
                    raise ProtocolError("another protocol")
                content = _read(response, ends_at)
            except BaseException:
                response.close()
                raise
            response.release_conn()
        except (HTTPError, OSError) as error:
            raise Fault(_name(error)) from None
        if response.status in THROTTLED_STATUSES:
            count(Throttled("storage"))
        return Answer(response.status, response.headers, content)

    def _open(self) -> urllib3.HTTPConnectionPool | urllib3.ProxyManager:
        with self._opening:
            if self._pool is None:
                self._pool = _pool(self._origin)
            return self._pool


def _read(response: urllib3.BaseHTTPResponse, ends_at: float) -> bytes:
    """The body, no longer than MAX_ANSWER_BYTES, at `ends_at` (monotonic) at the latest."""
    pieces: list[bytes] = []
    size = 0
    while piece := response.read1(_CHUNK_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_ANSWER_BYTES or time.monotonic() > ends_at:
            raise ProtocolError("an answer without end")
    return b"".join(pieces)


def _asked_seconds(headers: Mapping[str, str]) -> float:
    """How long the service wants the next attempt to wait; 0 if it does not say so that it can be understood. The names
    are azure-core's, in its order."""
    for name, unit in (("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001), ("Retry-After", 1.0)):
        if text := headers.get(name):
            return _seconds(text) * unit
    return 0.0


def _seconds(text: str) -> float:
    try:
        return max(0.0, float(text)) if text.isascii() else 0.0
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _name(error: Exception) -> str:
    """azure-core's name for it, which people find in its documentation."""
    match error:
        case ConnectTimeoutError():
            return "ServiceRequestTimeoutError"
        case NewConnectionError() | SSLError() | ProxyError():
            return "ServiceRequestError"
        case ReadTimeoutError():
            return "ServiceResponseTimeoutError"
        case IncompleteRead():
            return "IncompleteReadError"
    return "ServiceResponseError"


def _pool(origin: str) -> urllib3.HTTPConnectionPool | urllib3.ProxyManager:
    """Certificates and proxies are those that `requests` takes from the environment, as it does for azure-core."""
    options: dict[str, Any] = {"maxsize": _CONNECTIONS}
    if origin.startswith("https:"):
        options["ssl_context"] = _tls()
    if (proxy := _proxy(origin)) is None:
        address = parse_url(origin)
        scheme = address.scheme or ""
        return POOLS[scheme](address.host or "", address.port or port_by_scheme[scheme], **options)
    from requests.utils import get_auth_from_url

    user, password = get_auth_from_url(proxy)
    credentials = make_headers(proxy_basic_auth=f"{user}:{password}") if user else None
    manager = urllib3.ProxyManager(proxy, proxy_headers=credentials, **options)
    manager.pool_classes_by_scheme = POOLS
    return manager


def _tls() -> SSLContext:
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()
    context = create_urllib3_context()
    try:
        context.load_verify_locations(**{"capath" if Path(bundle).is_dir() else "cafile": bundle})
    except OSError:
        raise SettingInvalid(
            "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names no readable certificates, so storage cannot be trusted. Set it "
            "to a file of PEM certificates, or remove it."
        ) from None
    return context


def _proxy(origin: str) -> str | None:
    # Elsewhere the system has settings of its own for proxies.
    if sys.platform == "linux" and not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy

    proxy = select_proxy(origin, get_environ_proxies(origin))
    return prepend_scheme_if_needed(proxy, "http") if proxy else None
