"""OpenTelemetry's SDK and its exporters, fed with records of the pipe in the pipe's thread.

Nothing here is global: the providers are this object's own, so that a package that instruments itself exports nothing
by them.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from platform import node
from typing import Any, TypeVar

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, ConsoleLogRecordExporter, LogRecordExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as RecordedSpan

from medtech import __version__
from medtech.entra import AppIdentity
from medtech.telemetry.destinations import AZURE_MONITOR, CONSOLE, OTLP, Destinations
from medtech.telemetry.instruments import INSTRUMENTS, Instrument, Kind, Reading
from medtech.telemetry.log_handler import LogLine
from medtech.telemetry.pipe import CLOSE_SECONDS
from medtech.telemetry.span import Ended, Place, Span, Started

SCOPE = "medtech"

GAUGE_SECONDS = 120.0
"""How long a gauge says what it was last set to: twice the usual interval of exports. After that it says nothing, so
that an instance that has lost a partition, or no longer flushes, does not repeat for ever what was true then."""

LATENCY_BUCKETS_MS = (
    *(50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000),
    *(60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000, 21_600_000, 86_400_000),
)

_MOST_LIVE = 10_000
"""Spans under way. An end that the pipe had to drop leaves its span here."""

_TALKATIVE_LOGGERS = {
    # At INFO it tells each request with its address, and each success.
    "azure.core": logging.WARNING,
    "azure.identity": logging.WARNING,
    "azure.monitor": logging.WARNING,
    # At WARNING it tells each attempt, with the receiver's address; that it gave up is an error.
    "opentelemetry": logging.ERROR,
    "urllib3": logging.ERROR,
}

_OWN_TRAFFIC = ("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED")
"""The Azure Monitor exporter reports on itself, and asks for settings, at addresses that a private network does not let
through. `false` turns either on again."""

_SEVERITIES = {
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}

Made = TypeVar("Made")

_log = logging.getLogger(__name__)


class Exporters:
    """Set up by the environment; an exporter that cannot be made is told in the log and left out."""

    def __init__(self, destinations: Destinations, environment: Mapping[str, str]) -> None:
        for logger, level in _TALKATIVE_LOGGERS.items():
            logging.getLogger(logger).setLevel(level)
        resource = app_resource(environment)
        azure_monitor = _azure_monitor_options(environment) if _names_azure_monitor(destinations) else {}
        self._readers = list(_made(destinations.metrics, partial(_metric_reader, azure_monitor=azure_monitor)))
        self._ids = _GivenIds()
        self._tracer_provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        for span_processor in _made(destinations.traces, partial(_span_processor, azure_monitor=azure_monitor)):
            self._tracer_provider.add_span_processor(span_processor)
        self._logger_provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        for log_processor in _made(destinations.logs, partial(_log_processor, azure_monitor=azure_monitor)):
            self._logger_provider.add_log_record_processor(log_processor)
        # Instruments are made in small letters, since names do not differ by case; a view says how it is exported.
        views = [View(instrument_name=each.name, name=each.name) for each in INSTRUMENTS]
        self._meter_provider = MeterProvider(self._readers, resource=resource, shutdown_on_exit=False, views=views)
        meter = self._meter_provider.get_meter(SCOPE, __version__)
        self._instruments = {each.name: _made_instrument(meter, each) for each in INSTRUMENTS}
        self._tracer = self._tracer_provider.get_tracer(SCOPE, __version__)
        self._live: dict[int, RecordedSpan] = {}

    def take(self, record: object) -> None:
        """Readings (a list, or a function that makes it), the start or the end of a span, or a log line."""
        match record:
            case list() | partial():
                for reading in record() if isinstance(record, partial) else record:
                    self._measure(reading)
            case Started(span):
                self._start(span)
            case Ended(span):
                self._end(span)
            case LogLine():
                self._write(record)

    def close(self) -> None:
        """Sends what the SDK holds. Metrics first, within the time there is: they are what alerts rest on."""
        for reader in self._readers:
            reader.shutdown(CLOSE_SECONDS * 1000)
        self._tracer_provider.shutdown()
        self._logger_provider.shutdown()

    def _measure(self, reading: Reading) -> None:
        instrument = self._instruments[reading.instrument.name]
        if isinstance(instrument, Histogram):
            instrument.record(reading.value, reading.dimensions)
        elif isinstance(instrument, _Gauge):
            instrument.set(reading)
        else:
            instrument.add(reading.value, reading.dimensions)

    def _start(self, span: Span) -> None:
        self._ids.place = span.place
        started = self._tracer.start_span(
            span.name, self._within(span), SpanKind[span.kind.upper()], start_time=span.start_ns
        )
        if len(self._live) < _MOST_LIVE:
            self._live[span.place.span_id] = started

    def _within(self, span: Span) -> Context:
        """What the sampler decides by: the parent's own decision if it is under way here, else its traceparent."""
        if span.parent is None:
            return Context()
        parent = None if span.remote else self._live.get(span.parent.span_id)
        return set_span_in_context(parent or _not_recorded(span.parent, remote=span.remote), Context())

    def _end(self, span: Span) -> None:
        live = self._live.pop(span.place.span_id, None)
        if live is None:
            return
        for place in span.links:
            live.add_link(_not_recorded(place, remote=True).get_span_context())
        live.set_attributes(span.attributes)
        if span.error:
            live.set_attribute("error.type", span.error)
            live.set_status(Status(StatusCode.ERROR))
        live.end(span.end_ns)

    def _write(self, line: LogLine) -> None:
        within = set_span_in_context(_not_recorded(line.place, remote=False), Context()) if line.place else Context()
        severity = max((level for level in _SEVERITIES if level <= line.level), default=logging.INFO)
        record = LogRecord(
            timestamp=line.time_ns,
            observed_timestamp=line.time_ns,
            context=within,
            severity_text=_SEVERITIES[severity].name,
            severity_number=_SEVERITIES[severity],
            body=line.text,
        )
        self._logger_provider.get_logger(line.logger).emit(record)


class _GivenIds(IdGenerator):
    """The ids that a span already has: rows of the buffer and log lines name them before the SDK knows of it.

    The SDK asks in the thread that starts the span, which is the pipe's alone.
    """

    def __init__(self) -> None:
        self.place = Place(1, 1, 0)

    def generate_span_id(self) -> int:
        return self.place.span_id

    def generate_trace_id(self) -> int:
        return self.place.trace_id


class _Gauge:
    """The last reading of each combination of dimensions, observed for as long as it is news."""

    def __init__(self, meter: Meter, instrument: Instrument) -> None:
        self._last: dict[tuple[tuple[str, str], ...], tuple[float, Reading]] = {}
        meter.create_observable_gauge(instrument.name, [self._observe], instrument.unit, instrument.meaning)

    def set(self, reading: Reading) -> None:
        self._last[tuple(sorted(reading.dimensions.items()))] = time.monotonic(), reading

    def _observe(self, _options: CallbackOptions) -> Iterator[Observation]:
        since = time.monotonic() - GAUGE_SECONDS
        for set_at, (_, value, dimensions) in list(self._last.values()):
            if set_at > since:
                yield Observation(value, dimensions)


def app_resource(environment: Mapping[str, str]) -> Resource:
    """Who sends: the app's name and version, and the instance. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win."""
    own: dict[str, str | int] = {
        "service.name": environment.get("WEBSITE_SITE_NAME") or "medtech",
        "service.version": __version__,
        # On Flex Consumption an instance is a container.
        "service.instance.id": environment.get("WEBSITE_INSTANCE_ID") or environment.get("CONTAINER_NAME") or node(),
        "process.pid": os.getpid(),
    }
    return Resource({**own}).merge(OTELResourceDetector().detect())


def _made_instrument(meter: Meter, instrument: Instrument) -> "Counter | Histogram | _Gauge":
    match instrument.kind:
        case Kind.GAUGE:
            return _Gauge(meter, instrument)
        case Kind.HISTOGRAM:
            return meter.create_histogram(
                instrument.name,
                instrument.unit,
                instrument.meaning,
                explicit_bucket_boundaries_advisory=LATENCY_BUCKETS_MS,
            )
        case _:
            return meter.create_counter(instrument.name, instrument.unit, instrument.meaning)


def _made(names: tuple[str, ...], make: Callable[[str], Made]) -> Iterator[Made]:
    for name in names:
        try:
            yield make(name)
        except Exception as error:  # noqa: BLE001 - a wrong setting of one must not take away the others
            _log.error(
                "Telemetry is not exported to %s (%s). Check %s, and restart the app; no data is concerned.",
                name,
                type(error).__name__,
                "APPLICATIONINSIGHTS_CONNECTION_STRING and the settings OTEL_…"
                if name == AZURE_MONITOR
                else "the settings OTEL_…",
            )


def _metric_reader(name: str, azure_monitor: Mapping[str, Any]) -> PeriodicExportingMetricReader:
    return PeriodicExportingMetricReader(_metric_exporter(name, azure_monitor))


def _span_processor(name: str, azure_monitor: Mapping[str, Any]) -> BatchSpanProcessor:
    return BatchSpanProcessor(_span_exporter(name, azure_monitor))


def _log_processor(name: str, azure_monitor: Mapping[str, Any]) -> BatchLogRecordProcessor:
    return BatchLogRecordProcessor(_log_exporter(name, azure_monitor))


def _metric_exporter(name: str, azure_monitor: Mapping[str, Any]) -> MetricExporter:
    if name == CONSOLE:
        return ConsoleMetricExporter()
    if name == OTLP:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter()
    from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter

    exporter: MetricExporter = AzureMonitorMetricExporter(**azure_monitor)
    return exporter


def _span_exporter(name: str, azure_monitor: Mapping[str, Any]) -> SpanExporter:
    if name == CONSOLE:
        return ConsoleSpanExporter()
    if name == OTLP:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter

    exporter: SpanExporter = AzureMonitorTraceExporter(**azure_monitor)
    return exporter


def _log_exporter(name: str, azure_monitor: Mapping[str, Any]) -> LogRecordExporter:
    if name == CONSOLE:
        return ConsoleLogRecordExporter()
    if name == OTLP:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

        return OTLPLogExporter()
    from azure.monitor.opentelemetry.exporter import AzureMonitorLogExporter

    exporter: LogRecordExporter = AzureMonitorLogExporter(**azure_monitor)
    return exporter


def _names_azure_monitor(destinations: Destinations) -> bool:
    return AZURE_MONITOR in {*destinations.metrics, *destinations.traces, *destinations.logs}


def _azure_monitor_options(environment: Mapping[str, str]) -> dict[str, Any]:
    """`credential` is passed even if it is None: else the exporter would make one of its own."""
    for name in _OWN_TRAFFIC:
        os.environ.setdefault(name, "true")
    identity = app_identity(environment)
    return {"credential": None if identity is None else identity.credential()}


def app_identity(environment: Mapping[str, str]) -> AppIdentity | None:
    """Who sends to Azure Monitor; None if its instrumentation key will do.

    `APPLICATIONINSIGHTS_AUTHENTICATION_STRING` is `Authorization=AAD`, and `ClientId=…` for a user-assigned identity
    (https://learn.microsoft.com/azure/azure-functions/functions-app-settings).
    """
    text = environment.get("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "")
    pairs = (part.partition("=") for part in text.split(";"))
    authentication = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if authentication.get("authorization", "").upper() != "AAD":
        return None
    client_id = authentication.get("clientid")
    return AppIdentity.of({**environment, "AZURE_CLIENT_ID": client_id} if client_id else environment)


def _not_recorded(place: Place, *, remote: bool) -> NonRecordingSpan:
    return NonRecordingSpan(SpanContext(place.trace_id, place.span_id, remote, TraceFlags(place.flags)))
