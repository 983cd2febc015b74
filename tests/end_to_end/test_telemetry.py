"""The running app exports to a real OTLP receiver what it did, exactly, and nothing of what it was sent."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from dev.otlp_receiver import OtlpReceiver, SeenSpan, Series, Value
from medtech.telemetry.instruments import INSTRUMENTS
from tests.end_to_end.conftest import Wires, behind_proxies
from tests.end_to_end.ward import pulse, steps
from tests.faults import writes
from tests.telemetry.documents import span_attributes

CREATE = {
    "RESOURCE_IDENTITY_RESOLUTION_TYPE": "Create",
    "PYTHON_ENABLE_OPENTELEMETRY": "true",
    "OTEL_TRACES_SAMPLER": "always_on",
}
SECRETS = ("wearer-of-nothing-else", "71.0625", "83.1875", "bad-body-of-nobody", "not-a-number-at-all", "4321")
"""What the messages hold, each in no other word: patient ids, readings, a body."""

Points = dict[Series, Value]


class Seen(NamedTuple):
    """What the receiver had when the worker had ended, and what was stored."""

    points: Points
    receiver: OtlpReceiver
    log: str


def counted(points: Points, metric: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {series.dimensions: value.value for series, value in points.items() if series.metric == metric}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Two batches of two partitions, a flush that the server throttles once, and one that finds nothing to do."""
    with OtlpReceiver() as receiver:
        settings = CREATE | {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        with behind_proxies(tmp_path_factory.mktemp("telemetry"), settings) as wires:
            play(wires)
            # The app ends within its first interval of exports: all of this is what it sends at its end.
            wires.ward.stack.host.stop()
            log = wires.ward.stack.host.log
        yield Seen(receiver.points(), receiver, log)


def play(wires: Wires) -> None:
    ward = wires.ward
    wearer = {"patientId": SECRETS[0]}
    ward.deliver(
        [
            pulse("tm-1", "08:00:00", 71.0625, **wearer),
            pulse("tm-1", "08:01:00", 83.1875, **wearer),
            steps("tm-1", "08:00:00", 4321) | wearer,
            pulse("tm-2", "08:00:00", "not-a-number-at-all", **wearer),  # type: ignore[arg-type]
            f"{SECRETS[3]}: {{",
            {"of no": "template"},
        ],
        partition="0",
    )
    ward.deliver([steps("tm-1", "08:02:00", 4321) | wearer], partition="1")
    wires.fhir.answer(429, when=writes, times=1)
    ward.flush()
    ward.flush()


@pytest.mark.parametrize("each", INSTRUMENTS, ids=lambda each: each.name)
def test_dimensions_are_the_documented_ones(seen: Seen, each: Any) -> None:
    found = {tuple(name for name, _ in series.dimensions) for series in seen.points if series.metric == each.name}
    assert found <= {tuple(sorted(each.dimensions))}


def test_nothing_but_the_documented_metrics_is_exported(seen: Seen) -> None:
    assert {series.metric for series in seen.points} <= {each.name for each in INSTRUMENTS}


def test_what_ingest_did_is_counted(seen: Seen) -> None:
    points = seen.points
    assert counted(points, "DeviceEvent") == {(("partition", "0"),): 6, (("partition", "1"),): 1}
    assert counted(points, "NormalizedEvent") == {(): 5}
    assert counted(points, "DroppedEvent") == {(): 1}
    assert counted(points, "Measurement") == {(): 5}
    assert set(counted(points, "HubLagSeconds")) == {(("partition", "0"),), (("partition", "1"),)}
    assert points[Series("DeviceEventProcessingLatencyMs", ())].count == 2


def test_what_the_flush_did_is_counted(seen: Seen) -> None:
    points = seen.points
    assert counted(points, "MeasurementGroup") == {(): 3}
    assert counted(points, "FhirResourceSaved") == {
        (("operation", "Created"), ("resource", "Device")): 1,
        (("operation", "Created"), ("resource", "Observation")): 3,
        (("operation", "Created"), ("resource", "Patient")): 1,
    }
    assert points[Series("MeasurementIngestionLatencyMs", ())].count == 1
    assert counted(points, "OldestWindowSeconds") == {(): 0}
    assert sum(counted(points, "Flush").values()) == 2
    assert counted(points, "Throttled") == {(("server", "fhir"),): 1}


def test_errors_and_letters_are_counted_by_their_kinds(seen: Seen) -> None:
    kinds = [
        ("NotSupported", "Error", "Normalization", "DeviceMessageError"),
        ("ReadingInvalid", "Error", "FHIRConversion", "FHIRConversionError"),
    ]
    names = ("name", "severity", "stage", "type")
    assert counted(seen.points, "TotalErrors") == {tuple(zip(names, kind, strict=True)): 1 for kind in kinds}
    assert counted(seen.points, "DeadLetters") == {
        (("name", "NotSupported"), ("stage", "Normalization")): 1,
        (("name", "ReadingInvalid"), ("stage", "FHIRConversion")): 1,
    }


def named(spans: list[SeenSpan], name: str) -> list[SeenSpan]:
    return [span for span in spans if span.name == name]


def test_batches_flushes_windows_and_bundles_are_spans(seen: Seen) -> None:
    spans = seen.receiver.spans()
    batches, flushes, windows, bundles = (
        named(spans, name) for name in ("ingest", "flush", "flush window", "FHIR batch")
    )
    assert [batch.attributes["messaging.batch.message_count"] for batch in batches] == [6, 1]
    assert len(flushes) == 2
    assert {window.parent for window in windows} == {flushes[0].span_id}
    assert sum(window.attributes["medtech.created"] for window in windows) == 3
    assert {bundle.parent for bundle in bundles} <= {each.span_id for each in (*windows, *flushes)}
    assert bundles
    # The trace of an invocation is the host's.
    assert len({each.trace_id for each in (*batches, *flushes)}) == 4
    assert all(each.parent for each in (*batches, *flushes))


def test_attributes_are_the_documented_ones(seen: Seen) -> None:
    found: dict[str, set[str]] = {}
    for each in seen.receiver.spans():
        found.setdefault(each.name, set()).update(each.attributes)
    found["FHIR batch"].remove("error.type")
    by_queue = "flush shard"
    assert found == {name: attributes for name, attributes in span_attributes().items() if name != by_queue}


def test_windows_are_linked_to_the_batches_that_they_work_off(seen: Seen) -> None:
    spans = seen.receiver.spans()
    first, second = ((batch.trace_id, batch.span_id) for batch in named(spans, "ingest"))
    linked = {link for window in named(spans, "flush window") for link in window.links}
    assert linked == {first, second}


def test_a_bundle_that_was_throttled_says_so(seen: Seen) -> None:
    [throttled] = [span for span in named(seen.receiver.spans(), "FHIR batch") if span.failed]
    assert throttled.attributes["http.response.status_code"] == 429


def test_log_lines_are_exported_once_and_belong_to_their_span(seen: Seen) -> None:
    lines = [line for line in seen.receiver.lines() if line.text.startswith("partition ")]
    batches = named(seen.receiver.spans(), "ingest")
    assert [line.text.partition(" to")[0] for line in lines] == ["partition 0: 6 events", "partition 1: 1 events"]
    assert [(line.trace_id, line.span_id) for line in lines] == [(each.trace_id, each.span_id) for each in batches]
    assert all(line.text in seen.log for line in lines)
    assert {line.logger.partition(".")[0] for line in seen.receiver.lines()} == {"medtech"}


def test_who_sends_is_named(seen: Seen) -> None:
    resource = seen.receiver.resource()
    assert resource["service.name"] == "medtech"
    assert resource["service.instance.id"]


@pytest.mark.parametrize("secret", SECRETS)
def test_nothing_that_was_sent_is_in_anything_that_is_exported(seen: Seen, secret: str) -> None:
    assert seen.receiver.bodies
    assert secret.encode() not in b"".join(seen.receiver.bodies)


@pytest.mark.parametrize("trouble", ["hangs", "answers 500"])
def test_a_receiver_in_trouble_keeps_nothing_from_being_stored(
    tmp_path_factory: pytest.TempPathFactory, trouble: str
) -> None:
    """Were an invocation to wait for the receiver, the test would not come to its end."""
    often = dict.fromkeys(("OTEL_METRIC_EXPORT_INTERVAL", "OTEL_BSP_SCHEDULE_DELAY"), "20")
    with OtlpReceiver() as receiver:
        settings = CREATE | often | {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        settings |= {"OTEL_EXPORTER_OTLP_TIMEOUT": "3600"}
        if trouble == "hangs":
            receiver.hang()
        else:
            receiver.answer(500)
        with behind_proxies(tmp_path_factory.mktemp("trouble"), settings) as wires:
            wires.ward.admit("tm-3")
            for minute in range(3):
                wires.ward.deliver([steps("tm-3", f"08:0{minute}:00", minute + 1)])
                wires.ward.flush()
            assert receiver.bodies
            [(_, samples, _)] = wires.ward.stored("tm-3")
            assert samples == {0: "1", 1: "2", 2: "3"}
