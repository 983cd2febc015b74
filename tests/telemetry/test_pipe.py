"""What is put into the pipe comes out of a real exporter at a real receiver, and holds up nobody."""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dev.otlp_receiver import OtlpReceiver, Series, Value
from medtech.telemetry import exporters, pipe
from medtech.telemetry.destinations import Destinations
from medtech.telemetry.instruments import (
    DEAD_LETTERS,
    DEVICE_EVENT,
    DEVICE_EVENT_PROCESSING_LATENCY,
    HUB_LAG,
    INSTRUMENTS,
)
from medtech.telemetry.log_handler import LONGEST_LINE
from medtech.telemetry.pipe import QUEUE_RECORDS, START_RECORDS, Pipe, exporting
from medtech.telemetry.span import LINKS, SpanKind, read_traceparent, span
from tests.dev.waiting import wait_until

log = logging.getLogger("medtech.tests")
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


def test_what_comes_before_the_exporters_stand_is_not_lost(exported: OtlpReceiver) -> None:
    before = set(threading.enumerate())
    with exporting():
        pipe.put([DEVICE_EVENT.of(3, partition="1"), DEVICE_EVENT.of(2, partition="0")])
        assert set(threading.enumerate()) <= before
    pipe.put([DEVICE_EVENT.of(4, partition="1")])
    pipe.close()
    assert exported.points() == {
        Series("DeviceEvent", (("partition", "0"),)): Value(2, 1),
        Series("DeviceEvent", (("partition", "1"),)): Value(7, 1),
    }


def test_every_metric_has_its_kind_unit_and_meaning(exported: OtlpReceiver) -> None:
    with exporting():
        pipe.put([each.of(1, **dict.fromkeys(each.dimensions, "any")) for each in INSTRUMENTS])
    pipe.close()
    sent_as = {"counter": "sum", "histogram": "histogram", "gauge": "gauge"}
    assert exported.kinds() == {each.name: (sent_as[each.kind], each.unit, each.meaning) for each in INSTRUMENTS}


def test_a_gauge_keeps_the_last_value_of_each_combination(exported: OtlpReceiver) -> None:
    with exporting():
        for partition, lag in (("0", 5.0), ("1", 7.5), ("0", 1.5)):
            pipe.put([HUB_LAG.of(lag, partition=partition)])
    pipe.close()
    assert exported.points() == {
        Series("HubLagSeconds", (("partition", "0"),)): Value(1.5, 1),
        Series("HubLagSeconds", (("partition", "1"),)): Value(7.5, 1),
    }


def test_spans_know_their_parents_and_what_they_are_linked_to(exported: OtlpReceiver) -> None:
    with exporting(), span("outer", SpanKind.CONSUMER, TRACEPARENT) as outer:
        outer.set(medtech__events=3)
        with pytest.raises(KeyError), span("inner") as inner:
            inner.link(["rubbish", "00-11111111111111111111111111111111-2222222222222222-00"])
            raise KeyError("patient-1")
    pipe.close()
    first, second = exported.spans()
    assert (first.name, first.trace_id, first.parent) == ("outer", TRACE_ID, SPAN_ID)
    assert (first.kind, first.attributes, first.failed) == (5, {"medtech.events": 3}, False)
    assert outer.traceparent == f"00-{TRACE_ID}-{first.span_id}-01"
    assert (second.name, second.trace_id, second.parent) == ("inner", TRACE_ID, first.span_id)
    assert second.links == [("1" * 32, "2" * 16)]
    assert (second.attributes, second.failed) == ({"error.type": "KeyError"}, True)


def test_a_span_has_a_bounded_number_of_links(exported: OtlpReceiver) -> None:
    with exporting(), span("flush window") as current:
        current.link(f"00-{number:032x}-{number:016x}-01" for number in range(1, 10 * LINKS))
    pipe.close()
    [seen] = exported.spans()
    assert len(seen.links) == LINKS


@pytest.mark.parametrize(
    ("sampler", "flags", "seen"),
    [
        ("always_on", "00", 2),
        ("parentbased_always_on", "00", 0),
        ("parentbased_always_on", "01", 2),
        ("always_off", "01", 0),
        ("", "00", 0),
        ("", "01", 2),
    ],
)
def test_the_sampler_is_the_one_that_the_environment_names(
    exported: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, sampler: str, flags: str, seen: int
) -> None:
    if sampler:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    with exporting(), span("outer", traceparent=f"00-{TRACE_ID}-{SPAN_ID}-{flags}"), span("inner"):
        pass
    pipe.close()
    assert len(exported.spans()) == seen


@pytest.mark.parametrize(
    "hostile",
    [
        None,
        "",
        7,
        b"00",
        {},
        "00",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"00-{TRACE_ID}-{SPAN_ID}-zz",
        TRACEPARENT + "\r\nx: y",
        TRACEPARENT * 1000,
        "\x00\ud800",
        "'; DROP TABLE buffer; --",
    ],
)
def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(exported: OtlpReceiver, hostile: Any) -> None:
    with exporting(), span("ingest", SpanKind.CONSUMER, hostile) as current:
        current.link([hostile] if isinstance(hostile, str) else [])
    pipe.close()
    [seen] = exported.spans()
    assert (seen.parent, seen.links) == ("", [])
    assert read_traceparent(current.traceparent) == current.place


def test_lines_of_the_app_are_exported_with_their_span(exported: OtlpReceiver) -> None:
    with exporting(), span("flush"):
        log.warning("%d dead letters", 3)
        try:
            raise ValueError("patient-1")
        except ValueError:
            log.exception("It failed")
        logging.getLogger("httpx").warning("GET https://fhir.example/Patient?identifier=patient-1")
        log.debug("Not told")
    pipe.close()
    [flush] = exported.spans()
    assert [(line.logger, line.severity, line.text) for line in exported.lines()] == [
        ("medtech.tests", "WARN", "3 dead letters"),
        ("medtech.tests", "ERROR", "It failed"),
    ]
    assert {(line.trace_id, line.span_id) for line in exported.lines()} == {(flush.trace_id, flush.span_id)}
    assert b"patient-1" not in b"".join(exported.bodies)


def test_lines_are_the_hosts_to_export_unless_the_worker_says_otherwise(
    exported: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_ENABLE_OPENTELEMETRY", "false")
    with exporting(), span("flush"):
        log.warning("Told once")
    pipe.close()
    assert (len(exported.spans()), exported.lines()) == (1, [])


def test_without_a_destination_there_is_no_thread_and_no_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe.close()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    before, handlers = set(threading.enumerate()), list(logging.getLogger("medtech").handlers)
    with exporting(), span("ingest", traceparent=TRACEPARENT) as current:
        pipe.put([DEVICE_EVENT.of(1, partition="0")])
        assert (current.traceparent, pipe.is_open()) == ("", False)
    assert set(threading.enumerate()) <= before
    assert logging.getLogger("medtech").handlers == handlers


@pytest.fixture(params=["hangs", "answers 500", "answers 503", "is away"])
def unreachable(
    request: pytest.FixtureRequest, exported: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The receiver is in trouble, and everything is sent at once."""
    if request.param == "hangs":
        exported.hang()
    elif request.param == "is away":
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    else:
        exported.answer(int(request.param.split()[1]))
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_BLRP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "5")
    yield
    pipe.close(0.1)


@pytest.mark.usefixtures("unreachable")
def test_a_receiver_in_trouble_holds_up_nobody() -> None:
    """Were each of them to wait for an answer, they would wait for a day."""
    for number in range(2 * QUEUE_RECORDS // 100):
        with exporting(), span("ingest", SpanKind.CONSUMER, TRACEPARENT):
            for _ in range(100):
                pipe.put([DEVICE_EVENT.of(1, partition=str(number % 4)), DEVICE_EVENT_PROCESSING_LATENCY.of(number)])
            log.info("partition %d", number)


def test_a_long_first_invocation_exports_while_it_runs(exported: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
    with exporting():
        for _ in range(START_RECORDS):
            pipe.put([DEVICE_EVENT.of(1, partition="0")])
        wait_until(exported.points)


def test_what_a_full_queue_drops_is_counted_and_told(exported: OtlpReceiver, caplog: pytest.LogCaptureFixture) -> None:
    full = Pipe(Destinations(metrics=("otlp",)))
    with pytest.MonkeyPatch.context() as nobody_takes:
        nobody_takes.setattr(full, "start", lambda: None)
        for _ in range(QUEUE_RECORDS + 7):
            full.put([DEAD_LETTERS.of(1, name="NotSupported", stage="Normalization")])
    with caplog.at_level(logging.WARNING):
        full.start()
        full.close(60)
    # Pipes of tests before this one may still tell what they dropped.
    assert any(message.startswith("7 records of telemetry") for message in caplog.messages)
    [point] = exported.points().values()
    assert point == Value(QUEUE_RECORDS, 1)


@pytest.mark.parametrize(
    ("name", "value", "lost"),
    [
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "points"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1", "spans"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "0", "lines"),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", "nonsense", ""),
        ("OTEL_RESOURCE_ATTRIBUTES", ",,=;%zz", ""),
        ("OTEL_TRACES_SAMPLER", "nonsense", ""),
    ],
)
def test_nonsense_in_a_setting_of_one_signal_leaves_the_others(
    exported: OtlpReceiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: str,
    lost: str,
) -> None:
    monkeypatch.setenv(name, value)
    with exporting(), span("flush"):
        pipe.put([DEVICE_EVENT.of(1, partition="0")])
        log.warning("Told")
    pipe.close(60)
    seen = {"points": exported.points(), "spans": exported.spans(), "lines": exported.lines()}
    assert [signal for signal, found in seen.items() if not found] == ([lost] if lost else [])
    told = [message for message in caplog.messages if message.startswith("Telemetry is not exported to ")]
    assert all("OTEL_…" in message and value not in message for message in told)
    assert bool(told) == (bool(lost) or name.startswith("APPLICATIONINSIGHTS"))


def test_nonsense_in_a_setting_of_all_signals_fails_no_function(
    exported: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_ATTRIBUTE_COUNT_LIMIT", "nonsense")
    with exporting(), span("flush"):
        pipe.put([DEVICE_EVENT.of(1, partition="0")])
    pipe.close(60)
    assert exported.bodies == type(exported.bodies)()
    assert "Check the settings OTEL_…" in caplog.text


def test_a_line_that_is_no_text_or_long_takes_no_other_away(exported: OtlpReceiver) -> None:
    with exporting():
        log.warning("No Device has the identifier '%s'", "\ud800")
        log.warning("x" * (LONGEST_LINE + 1))
        log.warning("The last")
    pipe.close(60)
    texts = [line.text for line in exported.lines()]
    assert texts == ["No Device has the identifier '?'", "x" * LONGEST_LINE, "The last"]


def test_lines_that_cannot_be_exported_are_told_once(
    exported: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The line that tells of it is one of them."""
    told_enough = threading.Event()

    def fail(*_: Any) -> None:
        if len(caplog.messages) > 10:
            told_enough.set()
        raise ValueError

    monkeypatch.setattr(exporters.Exporters, "_write", fail)
    with exporting():
        log.warning("One")
        log.warning("Two")
    pipe.close(60)
    assert not told_enough.is_set()
    assert [each for each in caplog.messages if each.startswith("Telemetry was not exported")] == [
        "Telemetry was not exported (ValueError). Report it; no data is concerned."
    ]


def test_a_system_without_another_thread_fails_no_function(
    exported: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with exporting():
            pipe.put([DEVICE_EVENT.of(1, partition="0")])
    with exporting():
        pipe.put([DEVICE_EVENT.of(2, partition="0")])
    pipe.close(60)
    assert list(exported.points().values()) == [Value(3, 1)]


def test_a_record_that_cannot_be_exported_does_not_end_the_others(
    exported: OtlpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    with exporting():
        pipe.put([DEVICE_EVENT.of(None, partition="0")])  # type: ignore[arg-type]
        pipe.put([DEVICE_EVENT.of(1, partition="0")])
    pipe.close()
    assert "Telemetry was not exported (TypeError)" in caplog.text
    assert list(exported.points().values()) == [Value(1, 1)]
