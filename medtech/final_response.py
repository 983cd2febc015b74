"""The response to a request, as the standard library's HTTP client reads it for the FHIR server and for storage.

http.client takes two things for a response that are none: an interim one, as 103 (it knows only 100), after which the
final one would be taken for that to the next request; and one that ends in its head, which would be read as one without
a body, and "200" alone as a write that was taken.
"""

import io
import math
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
    """A response whose head is whole; interim ones before it are passed over (RFC 9110, 15.2).

    The timeout of the socket is for each piece that is read of it, and for the head as a whole, with all interim ones:
    else a byte at a time could last for ever. Then `begin` raises TimeoutError. How long the body may take is for its
    reader to say.
    """

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        timeout = sock.gettimeout()
        self._arriving = _Arriving(self.fp.detach(), math.inf if timeout is None else timeout)
        self.fp = _WholeLines(self._arriving)

    def begin(self) -> None:
        super().begin()
        self._arriving.ends_at = math.inf
        if self.status in _NEVER_A_BODY:
            # http.client waits for chunks where a gateway has left its Transfer-Encoding (RFC 9112, 6.3).
            self.chunked = False

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MOST_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed knows only what is public
            if status not in _INTERIM or status == _SWITCHING_PROTOCOLS:
                return version, status, reason
            parse_headers(self.fp)
        raise HTTPException("interim answers without end")


class _Arriving(io.RawIOBase):
    """What comes by a socket, while there is time for it."""

    def __init__(self, received: io.RawIOBase, seconds: float) -> None:
        self._received = received
        self.ends_at = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._received.fileno()

    def readinto(self, buffer: Any, /) -> int | None:
        count = self._received.readinto(buffer)
        if time.monotonic() > self.ends_at:
            raise TimeoutError("the head of a response took too long")
        return count

    def close(self) -> None:
        self._received.close()
        super().close()


class _WholeLines(io.BufferedReader):
    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n") and len(line) != size:
            raise RemoteDisconnected("the connection ended within a line")
        return line
