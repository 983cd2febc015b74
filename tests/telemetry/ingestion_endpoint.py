"""A stand-in of Application Insights' ingestion endpoint: it keeps the envelopes that it is sent."""

import gzip
import json
from typing import Any
from uuid import uuid4

from dev.loopback import LoopbackServer, QuietHandler


class IngestionEndpoint(LoopbackServer):
    """`status` is what it answers with."""

    def __init__(self, status: int = 200) -> None:
        endpoint = self

        class Handler(QuietHandler):
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

        self.status = status
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.envelopes: list[dict[str, Any]] = []
        super().__init__(Handler)
        # Of its own: by the key the exporter finds again what it could not send.
        self.connection_string = f"InstrumentationKey={uuid4()};IngestionEndpoint={self.url}/"

    def of(self, base_type: str) -> list[dict[str, Any]]:
        """The `baseData` of envelopes of a kind: MetricData, RequestData, RemoteDependencyData, MessageData."""
        return [each["data"]["baseData"] for each in self.envelopes if each["data"]["baseType"] == base_type]
