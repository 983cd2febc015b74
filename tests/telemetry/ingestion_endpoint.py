"""A stand-in of Application Insights' ingestion endpoint: it keeps the envelopes that it is sent."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from uuid import uuid4


class IngestionEndpoint:
    """Listens on a free port of 127.0.0.1 while it is open. `status` is what it answers with."""

    def __init__(self, status: int = 200) -> None:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                received = json.loads(body)
                endpoint.bodies.append(body)
                endpoint.paths.append(self.path)
                endpoint.envelopes.extend(received)
                taken = {"itemsReceived": len(received), "itemsAccepted": len(received), "errors": []}
                answer = json.dumps(taken).encode()
                self.send_response(endpoint.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.status = status
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.envelopes: list[dict[str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        # Of its own: by the key the exporter finds again what it could not send.
        self.connection_string = (
            f"InstrumentationKey={uuid4()};IngestionEndpoint=http://127.0.0.1:{self._server.server_port}/"
        )

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, base_type: str) -> list[dict[str, Any]]:
        """The `baseData` of envelopes of a kind: MetricData, RequestData, RemoteDependencyData, MessageData."""
        return [each["data"]["baseData"] for each in self.envelopes if each["data"]["baseType"] == base_type]
