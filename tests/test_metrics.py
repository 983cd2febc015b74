"""What an invocation did, as readings."""

import itertools
import threading
from collections import Counter
from statistics import fmean

import pytest

from medtech import metrics
from medtech.dotnet import ticks
from medtech.errors import ErrorKind, FhirServerUnavailable, NotSupported, OutOfTime, PoisonShard, StorageUnavailable
from medtech.flush.fanout import Put
from medtech.flush.tally import LATENCY_CLASS_MS, Tally
from medtech.ingest.batch import BatchCounts
from medtech.metrics import BatchTimes
from medtech.persist.settle import SavedAs
from medtech.side_counts import Settled, SideCount, Throttled
from medtech.telemetry.instruments import DEVICE_EVENT_PROCESSING_LATENCY, INSTRUMENTS, Reading

BATCH = BatchCounts(
    events=10,
    normalized_events=8,
    measurements=12,
    dropped=1,
    letters=2,
    rows=1,
    stored_bytes=100,
    errors=Counter([NotSupported("No JSON.").kind] * 2),
    letters_by_error=Counter({("NotSupported", "Normalization"): 2}),
)
SIDE_COUNTS: Counter[SideCount] = Counter({Throttled("storage"): 3, Settled("Device", "Updated"): 1})


def flushed() -> Tally:
    tally = Tally(windows=1, groups=4, measurements=9, letters=1)
    tally.observations[SavedAs.CREATED] = 2
    tally.compared["heartRate", "absent"] = 3
    tally.superseded["heartRate"] = 5
    tally.errors[ErrorKind("ReadingInvalid", "FHIRConversion", "FHIRConversionError", "Error")] = 1
    tally.letters_by_error["ReadingInvalid", "FHIRConversion"] = 1
    tally.wrote([0, 0], 3 * ticks.TICKS_PER_SECOND)
    return tally


def plain(readings: list[Reading]) -> dict[tuple[str, ...], float]:
    """By the metric's name and its dimensions' values."""
    return {(each.instrument.name, *each.dimensions.values()): each.value for each in readings}


def test_a_batch() -> None:
    assert plain(metrics.of_batch(BATCH, "3", BatchTimes(Counter({40: 10}), 1.5))) == {
        ("DeviceEvent", "3"): 10,
        ("NormalizedEvent",): 8,
        ("DroppedEvent",): 1,
        ("Measurement",): 12,
        ("HubLagSeconds", "3"): 1.5,
        ("DeviceEventProcessingLatencyMs",): 40,
        ("TotalErrors", "NotSupported", "Normalization", "DeviceMessageError", "Error"): 2,
        ("DeadLetters", "NotSupported", "Normalization"): 2,
    }


def test_a_flush() -> None:
    assert plain(metrics.of_flush(flushed(), 0.0)) == {
        ("Flush", "completed", "tick"): 1,
        ("MeasurementGroup",): 4,
        ("FhirResourceSaved", "Observation", "Created"): 2,
        ("Comparison", "heartRate", "absent"): 3,
        ("SupersededReading", "heartRate"): 5,
        ("MeasurementIngestionLatencyMs",): 3000,
        ("TotalErrors", "ReadingInvalid", "FHIRConversion", "FHIRConversionError", "Error"): 1,
        ("DeadLetters", "ReadingInvalid", "FHIRConversion"): 1,
        ("OldestWindowSeconds",): 0,
    }


def test_what_holds_a_flush_up_is_an_error_once_for_each_kind() -> None:
    away = FhirServerUnavailable("It answered 503.")
    tally = Tally(held_up_by=[away, away], outages=[away, OutOfTime("all was written")])
    readings = plain(metrics.of_flush(tally, None))
    assert readings == {
        ("Flush", "heldUp", "tick"): 1,
        ("MeasurementGroup",): 0,
        ("TotalErrors", "FhirServerUnavailable", "FHIRConversion", "FHIRServerError", "Critical"): 1,
        ("TotalErrors", "OutOfTime", "Unknown", "GeneralError", "Warning"): 1,
    }


@pytest.mark.parametrize(
    ("put", "outcome"),
    [
        (Put(Tally(), 0, 0), "completed"),
        (Put(Tally(), 2, 0), "put"),
        (Put(Tally(), 0, 2), "put"),
        (Put(Tally(held_up_by=[PoisonShard("Shard 2 waits.")]), 1, 0), "heldUp"),
        (Put(Tally(outages=[StorageUnavailable("Away.")]), 0, 0), "heldUp"),
    ],
)
def test_a_tick_is_not_completed_by_what_others_carry_out(put: Put, outcome: str) -> None:
    readings = plain(metrics.of_fan_out(put, 4.0))
    assert [key[1:] for key in readings if key[0] == "Flush"] == [(outcome, "tick")]
    assert readings["OldestWindowSeconds",] == 4


def test_the_flush_of_a_shard_is_no_tick() -> None:
    assert ("Flush", "completed", "shard") in plain(metrics.of_flush(flushed(), None, scope=metrics.SHARD))
    assert plain(metrics.of_failed_flush(scope=metrics.SHARD)) == {("Flush", "failed", "shard"): 1}


def test_what_ends_a_flush() -> None:
    assert plain(metrics.of_failed_flush()) == {("Flush", "failed", "tick"): 1}
    kind = ("StorageUnavailable", "Grouping", "GeneralError", "Critical")
    assert plain(metrics.of_failure(StorageUnavailable("Away."))) == {("TotalErrors", *kind): 1}


def test_what_happens_far_below() -> None:
    assert plain(metrics.of_side_counts(SIDE_COUNTS)) == {
        ("Throttled", "storage"): 3,
        ("FhirResourceSaved", "Device", "Updated"): 1,
    }


def test_a_thread_that_still_counts_fails_nobody() -> None:
    counts: Counter[SideCount] = Counter()
    ended = threading.Event()

    def count() -> None:
        for number in itertools.count():
            counts[Settled(str(number % 1000), "Created")] += 1
            if number % 1000 == 0:
                counts.clear()
            if ended.is_set():
                return

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for _ in range(2000):
            metrics.of_side_counts(counts)
    finally:
        ended.set()
        thread.join()


def test_expired_letters() -> None:
    assert plain(metrics.of_expiry(3)) == {("ExpiredDeadLetter",): 3}
    assert metrics.of_expiry(0) == []


def test_every_metric_is_recorded_with_its_dimensions() -> None:
    readings = [
        *metrics.of_batch(BATCH, "3", BatchTimes(Counter({40: 10}), 1.5)),
        *metrics.of_flush(flushed(), 0.0),
        *metrics.of_expiry(1),
        *metrics.of_side_counts(SIDE_COUNTS),
    ]
    assert {each.instrument.name: tuple(each.dimensions) for each in readings} == {
        each.name: each.dimensions for each in INSTRUMENTS
    }


@pytest.mark.parametrize("events", [1, 2, 25, 26, 500, 4000])
def test_latencies_weigh_as_many_events_as_they_stand_for(events: int) -> None:
    """Of latencies that spread evenly, the readings have the same mean, and none stands for more than it may."""
    latencies = Counter(range(events))
    values = [each.value for each in metrics._latencies(DEVICE_EVENT_PROCESSING_LATENCY, latencies)]
    assert len(values) == -(-events // metrics.PER_READING)
    assert fmean(values) == pytest.approx(fmean(latencies), abs=1)


def test_a_slow_minority_has_its_share_of_the_readings() -> None:
    latencies = Counter({10: 300, 9000: 100})
    values = [each.value for each in metrics._latencies(DEVICE_EVENT_PROCESSING_LATENCY, latencies)]
    assert Counter(values) == {10: 12, 9000: 4}


def test_a_clock_that_is_behind_makes_no_negative_latency() -> None:
    tally = Tally()
    tally.wrote([5 * ticks.TICKS_PER_SECOND], 2 * ticks.TICKS_PER_SECOND)
    tally.wrote([0], (LATENCY_CLASS_MS + 1) * ticks.TICKS_PER_MILLISECOND)
    assert tally.latencies_ms == {0: 1, LATENCY_CLASS_MS: 1}
    second = ticks.TICKS_PER_SECOND
    assert BatchTimes.of([5 * second, 0, 9 * second], 2 * second, 3 * second) == ({0: 2, 3000: 1}, 0)
    assert BatchTimes.of([0, second // 2], 2 * second, 3 * second) == ({3000: 1, 2500: 1}, 1.5)
