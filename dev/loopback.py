"""An HTTP server of this process, on a free port of 127.0.0.1: what receivers and stand-ins of servers are built on."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self


class QuietHandler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed: who runs the server says what is worth it."""


class LoopbackServer:
    """Listens while it is open, as a context manager; by https with `tls`. `handler` answers, each request in a thread.

    `closing` is set when it closes: a handler that answers nothing, or slowly, waits for that.
    """

    def __init__(self, handler: type[BaseHTTPRequestHandler], tls: SSLContext | None = None) -> None:
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        # Looked at often, so that closing does not take half a second.
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
