"""The response to a request, as the standard library's HTTP client reads it for the FHIR server and for storage.

http.client takes two things for a response that are none: an interim one, as 103 (it knows only 100), after which the
final one would be taken for that to the next request; and one that ends in its head, which would be read as one without
a body, and "200" alone as a write that was taken.
"""

import io
import socket
import time
from http.client import HTTPException, HTTPResponse, RemoteDisconnected, parse_headers
from typing import Any

_INTERIM = range(100, 200)
_SWITCHING_PROTOCOLS = 101
"""It is final, and no answer to a request that has not asked for it."""

_NEVER_A_BODY = {204, 304}

_MOST_INTERIM = 16
"""A server that sends no end of them answers nothing."""


class FinalResponse(HTTPResponse):
    """A response whose head is whole; interim ones before it are passed over (RFC 9110, 15.2)."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._timeout = sock.gettimeout()
        self.fp = _WholeLines(self.fp.detach())

    def begin(self) -> None:
        super().begin()
        if self.status in _NEVER_A_BODY:
            # http.client waits for chunks where a gateway has left its Transfer-Encoding (RFC 9112, 6.3).
            self.chunked = False

    def _read_status(self) -> tuple[str, int, str]:
        started = time.monotonic()
        for _ in range(_MOST_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed knows only what is public
            if status not in _INTERIM or status == _SWITCHING_PROTOCOLS:
                return version, status, reason
            parse_headers(self.fp)
            if self._timeout is not None and time.monotonic() - started > self._timeout:
                # Each may take all of the time that a response may, so that a caller would wait for many times as long.
                raise TimeoutError("interim answers, and no final one in time")
        raise HTTPException("interim answers without end")


class _WholeLines(io.BufferedReader):
    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n") and len(line) != size:
            raise RemoteDisconnected("the connection ended within a line")
        return line
