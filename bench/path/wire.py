"""Requests over `http.client`, which whatever talks to Table storage is built on, counted as they are sent."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any


@dataclass(slots=True)
class Sent:
    """What was sent to the port."""

    port: int
    requests: int = 0
    bytes: int = 0
    _counting: Lock = field(default_factory=Lock)

    def clear(self) -> None:
        with self._counting:
            self.requests = self.bytes = 0

    def request(self, port: int | None) -> None:
        if port == self.port:
            with self._counting:
                self.requests += 1

    def sent(self, port: int | None, size: int) -> None:
        if port == self.port:
            with self._counting:
                self.bytes += size


@contextmanager
def counted(port: int) -> Iterator[Sent]:
    """Counts what this process sends to a port of any host while the block runs."""
    found = Sent(port)
    putrequest, send = http.client.HTTPConnection.putrequest, http.client.HTTPConnection.send

    def counted_putrequest(connection: http.client.HTTPConnection, *arguments: Any, **options: Any) -> None:
        found.request(connection.port)
        putrequest(connection, *arguments, **options)

    def counted_send(connection: http.client.HTTPConnection, body: Any) -> None:
        found.sent(connection.port, len(body) if isinstance(body, bytes | bytearray | memoryview) else 0)
        send(connection, body)

    http.client.HTTPConnection.putrequest = counted_putrequest  # type: ignore[method-assign,assignment]
    http.client.HTTPConnection.send = counted_send  # type: ignore[method-assign,assignment]
    try:
        yield found
    finally:
        http.client.HTTPConnection.putrequest = putrequest  # type: ignore[method-assign]
        http.client.HTTPConnection.send = send  # type: ignore[method-assign]
