"""A server of the test's own, for what neither a real one nor a proxy before it shows: scripts of bytes."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader

from tests.certificate import Certificate

Script = Callable[[socket.socket], None]


class Scripted:
    """A server whose n-th connection is served by the n-th script, the last one again and again."""

    def __init__(self, *scripts: Script, host: str = "127.0.0.1", certificate: Certificate | None = None) -> None:
        self._scripts = scripts
        self._context = certificate.server_context() if certificate else None
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, 0), family=family)
        scheme, name = "https" if certificate else "http", f"[{host}]" if ":" in host else host
        self.url = f"{scheme}://{name}:{self._listening.getsockname()[1]}"
        self.connections = 0
        self.requests: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                script = self._scripts[min(self.connections, len(self._scripts) - 1)]
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection, script), daemon=True).start()

    def _serve(self, connection: socket.socket, script: Script) -> None:
        with suppress(OSError), connection:
            if self._context is None:
                script(connection)
            else:
                with self._context.wrap_socket(connection, server_side=True) as wrapped:
                    script(wrapped)

    def taking(self, *answers: bytes) -> Script:
        """A script that takes a request before each answer, then closes."""

        def script(connection: socket.socket) -> None:
            stream = connection.makefile("rb")
            for answer in answers:
                self.requests.append(taken(stream))
                connection.sendall(answer)

        return script

    def then(self, *answers: bytes) -> "Scripted":
        self._scripts = (*self._scripts, self.taking(*answers))
        return self

    def close(self) -> None:
        self._listening.close()


def taken(stream: BufferedReader) -> bytes:
    """A request with its body."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            raise OSError
        head += line
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head + stream.read(length)


def dripping(sent: bytes) -> Script:
    """A script that takes a request, and sends a byte now and then."""

    def script(connection: socket.socket) -> None:
        taken(connection.makefile("rb"))
        for byte in sent:
            connection.sendall(bytes([byte]))
            time.sleep(0.01)

    return script


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [
        f"{name.replace('_', '-')}: {value}" for name, value in {"Content_Length": str(len(body)), **headers}.items()
    ]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1") + body
