"""A receiver of OTLP over HTTP: what the app exports, taken apart, for `make run` and for tests.

    with OtlpReceiver() as receiver:
        ...                             # OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint
        receiver.points()

`receiver.answer(500)` and `receiver.hang()` make it one that is in trouble; `bodies` has everything as it was sent.
"""

import gzip
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dev.loopback import LoopbackServer, QuietHandler

_REQUESTS = {
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


class Series(NamedTuple):
    """A metric with one combination of dimensions, sorted by name."""

    metric: str
    dimensions: tuple[tuple[str, str], ...]


class Value(NamedTuple):
    """The sum and count of a histogram; of a counter or a gauge, its value and 1."""

    value: float
    count: int


class SeenSpan(NamedTuple):
    """Ids are hex digits; `parent` is empty for the first of a trace. `links` are (trace id, span id)."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent: str
    attributes: Mapping[str, Any]
    links: list[tuple[str, str]]
    failed: bool


class SeenLine(NamedTuple):
    """A log line; ids are hex digits, empty outside of all spans."""

    logger: str
    severity: str
    text: str
    trace_id: str
    span_id: str


class OtlpReceiver(LoopbackServer):
    """Keeps the last `most` requests, all of them if that is None; `endpoint` is for OTEL_EXPORTER_OTLP_ENDPOINT."""

    def __init__(self, most: int | None = None) -> None:
        receiver = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver._take(self.path, body, self.headers.get("Content-Encoding", "")))
                self.send_header("Content-Length", "0")
                self.end_headers()

        self.bodies: deque[bytes] = deque(maxlen=most)
        self._requests: deque[Any] = deque(maxlen=most)
        self._received = 0
        self._status = 200
        self._hanging = threading.Event()
        self._lock = threading.Condition()
        super().__init__(Handler)
        self.endpoint = self.url

    def answer(self, status: int) -> None:
        """Answers every request so from now on; what comes is kept all the same."""
        self._status = status

    def hang(self) -> None:
        """Takes requests from now on, and answers none of them while it is open."""
        self._hanging.set()

    def _take(self, path: str, body: bytes, encoding: str) -> int:
        if encoding == "gzip":
            body = gzip.decompress(body)
        request = _REQUESTS[path]()
        request.ParseFromString(body)
        with self._lock:
            self.bodies.append(body)
            self._requests.append(request)
            self._received += 1
            self._lock.notify_all()
        if self._hanging.is_set():
            self.closing.wait()
        return self._status

    def wait_for(self, requests: int, seconds: float) -> None:
        """Returns when so many more were received, or when the time is over."""
        with self._lock:
            wanted = self._received + requests
            self._lock.wait_for(lambda: self._received >= wanted, seconds)

    def points(self) -> dict[Series, Value]:
        """The latest value of each series. Counters and histograms are cumulative unless the app is told otherwise."""
        found: dict[Series, Value] = {}
        for metric in self._metrics():
            kind = metric.WhichOneof("data")
            for point in getattr(metric, kind).data_points:
                dimensions = tuple(sorted((each.key, each.value.string_value) for each in point.attributes))
                if kind == "histogram":
                    value = Value(point.sum, point.count)
                else:
                    value = Value(getattr(point, point.WhichOneof("value")), 1)
                found[Series(metric.name, dimensions)] = value
        return found

    def kinds(self) -> dict[str, tuple[str, str, str]]:
        """(kind, unit, description) of each metric: `sum`, `histogram` or `gauge`."""
        return {each.name: (each.WhichOneof("data"), each.unit, each.description) for each in self._metrics()}

    def spans(self) -> list[SeenSpan]:
        """In order of their starts."""
        found = sorted(self._spans(), key=lambda span: span.start_time_unix_nano)
        return [
            SeenSpan(
                span.name,
                span.kind,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                {each.key: _value(each.value) for each in span.attributes},
                [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                span.status.code == span.status.STATUS_CODE_ERROR,
            )
            for span in found
        ]

    def lines(self) -> list[SeenLine]:
        return [
            SeenLine(
                scope.scope.name, line.severity_text, line.body.string_value, line.trace_id.hex(), line.span_id.hex()
            )
            for request in self._of(ExportLogsServiceRequest)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for line in scope.log_records
        ]

    def resource(self) -> dict[str, Any]:
        """The attributes of who sent the first metrics."""
        [request, *_] = self._of(ExportMetricsServiceRequest)
        return {each.key: _value(each.value) for each in request.resource_metrics[0].resource.attributes}

    def _metrics(self) -> Iterator[Any]:
        for request in self._of(ExportMetricsServiceRequest):
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    yield from scope.metrics

    def _spans(self) -> Iterator[Any]:
        for request in self._of(ExportTraceServiceRequest):
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    yield from scope.spans

    def _of(self, kind: type) -> list[Any]:
        with self._lock:
            return [each for each in self._requests if isinstance(each, kind)]


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
