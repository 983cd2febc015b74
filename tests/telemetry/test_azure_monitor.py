"""What Application Insights is sent: the exporter is the real one, the ingestion endpoint a stand-in."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from medtech.telemetry import pipe
from medtech.telemetry.instruments import INSTRUMENTS
from medtech.telemetry.pipe import exporting
from medtech.telemetry.span import SpanKind, span
from tests.telemetry.ingestion_endpoint import IngestionEndpoint

log = logging.getLogger("medtech.tests")
CLIENT_ID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[IngestionEndpoint]:
    pipe.close()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with IngestionEndpoint() as endpoint:
        monkeypatch.setenv("APPLICATIONINSIGHTS_CONNECTION_STRING", endpoint.connection_string)
        monkeypatch.setenv("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "true")
        monkeypatch.setenv("APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED", "true")
        monkeypatch.setenv("PYTHON_ENABLE_OPENTELEMETRY", "true")
        yield endpoint
        pipe.close()


def test_every_metric_has_its_name_value_and_dimensions(endpoint: IngestionEndpoint) -> None:
    with exporting():
        pipe.put([each.of(2, **{name: f"any {name}" for name in each.dimensions}) for each in INSTRUMENTS])
        pipe.put([each.of(3, **{name: f"any {name}" for name in each.dimensions}) for each in INSTRUMENTS])
    pipe.close()
    found = {}
    for each in endpoint.of("MetricData"):
        [metric] = each["metrics"]
        found[metric["name"]] = (metric["value"], metric["count"], each["properties"])
    expected = {"counter": (5, 1), "histogram": (5, 2), "gauge": (3, 1)}
    assert found == {
        each.name: (*expected[each.kind], {name: f"any {name}" for name in each.dimensions}) for each in INSTRUMENTS
    }
    assert {each["tags"]["ai.cloud.role"] for each in endpoint.envelopes} == {"medtech"}


def test_counters_are_sent_as_what_came_since_the_last_time(
    endpoint: IngestionEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries sum them up: totals since the start would be counted again each minute."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
    with exporting():
        pipe.put([INSTRUMENTS[1].of(2)])
    while not endpoint.of("MetricData"):
        time.sleep(0.01)
    pipe.put([INSTRUMENTS[1].of(3)])
    pipe.close()
    assert [each["metrics"][0]["value"] for each in endpoint.of("MetricData")] == [2, 3]


def test_spans_and_lines_are_sent_with_their_operation(endpoint: IngestionEndpoint) -> None:
    with exporting(), span("ingest", SpanKind.CONSUMER) as batch:
        log.warning("3 dead letters")
    with exporting(), span("flush window") as window:
        window.link([batch.traceparent])
        with span("FHIR batch", SpanKind.CLIENT) as bundle:
            bundle.set(http__response__status_code=503)
            bundle.error = "503"
    pipe.close()
    [request] = endpoint.of("RequestData")
    dependencies = {each["name"]: each for each in endpoint.of("RemoteDependencyData")}
    [line] = endpoint.of("MessageData")
    trace_id, span_id = batch.traceparent.split("-")[1:3]
    assert (request["name"], request["id"]) == ("ingest", span_id)
    assert (line["message"], line["severityLevel"]) == ("3 dead letters", 2)
    [tags] = [each["tags"] for each in endpoint.envelopes if each["data"]["baseType"] == "MessageData"]
    assert (tags["ai.operation.id"], tags["ai.operation.parentId"]) == (trace_id, span_id)
    assert f'"operation_Id": "{trace_id}"' in dependencies["flush window"]["properties"]["_MS.links"]
    assert dependencies["FHIR batch"]["success"] is False


@pytest.mark.parametrize("status", [400, 401, 500, 503])
def test_an_endpoint_in_trouble_holds_up_nobody(endpoint: IngestionEndpoint, status: int) -> None:
    endpoint.status = status
    for number in range(1000):
        with exporting(), span("ingest", SpanKind.CONSUMER):
            pipe.put([INSTRUMENTS[1].of(1)])
            log.info("partition %d", number)
    pipe.close(0.1)


def test_a_connection_string_that_is_none_is_told_without_its_value(
    endpoint: IngestionEndpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("APPLICATIONINSIGHTS_CONNECTION_STRING", "InstrumentationKey=not-a-key-of-anything")
    with caplog.at_level(logging.ERROR), exporting():
        pipe.put([INSTRUMENTS[1].of(1)])
    pipe.close()
    assert "Telemetry is not exported to azure_monitor (ValueError)" in caplog.text
    assert "not-a-key" not in caplog.text


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, None),
        ({"AZURE_CLIENT_ID": CLIENT_ID}, None),
        ({"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Authorization=AAD"}, (None,)),
        ({"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": f"ClientId={CLIENT_ID};Authorization=AAD"}, (CLIENT_ID,)),
        (
            {"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Authorization=AAD", "AZURE_CLIENT_ID": CLIENT_ID},
            (CLIENT_ID,),
        ),
        (
            {
                "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": f"Authorization=AAD;ClientId={CLIENT_ID}",
                "AZURE_CLIENT_ID": "another",
            },
            (CLIENT_ID,),
        ),
        ({"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "rubbish;;=;Authorization=Basic"}, None),
    ],
)
def test_the_identity_is_the_one_that_is_set(settings: dict[str, str], asked: tuple[str | None] | None) -> None:
    from medtech.telemetry.exporters import app_identity

    identity = app_identity({"IDENTITY_ENDPOINT": "http://localhost", **settings})
    assert (None if identity is None else (identity.client_id,)) == asked
