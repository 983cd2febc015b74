"""What an invocation did, as readings of the app's metrics."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, Self

from medtech.dotnet import ticks
from medtech.errors import ErrorKind, MedTechError
from medtech.side_counts import Settled, SideCount, Throttled
from medtech.telemetry import instruments
from medtech.telemetry.instruments import Instrument, Reading

if TYPE_CHECKING:
    # An instance that only ingests never loads the FHIR client, which the flush needs.
    from medtech.flush.fanout import Put
    from medtech.flush.tally import Tally
    from medtech.ingest.batch import BatchCounts

TICK, SHARD = "tick", "shard"
"""What a flush is of: all that is due at a tick, or the shard of a message."""

PER_READING = 25
"""How many events or measurements one reading of a latency stands for at most."""


class BatchTimes(NamedTuple):
    """How long the events of a batch took from the hub to the buffer, and how old the last one was when it was read."""

    latencies_ms: Counter[int]
    lag_seconds: float

    @classmethod
    def of(cls, enqueued: Sequence[int], read_at: int, stored_at: int) -> Self:
        """All in ticks; of one event at least, in their order."""
        # Clocks differ: an event may be enqueued "later" than it is stored.
        latencies_ms = Counter(max(0, stored_at - each) // ticks.TICKS_PER_MILLISECOND for each in enqueued)
        return cls(latencies_ms, max(0, read_at - enqueued[-1]) / ticks.TICKS_PER_SECOND)


def of_batch(counts: "BatchCounts", partition: str, times: BatchTimes) -> list[Reading]:
    """A batch that was stored."""
    return [
        instruments.DEVICE_EVENT.of(counts.events, partition=partition),
        instruments.NORMALIZED_EVENT.of(counts.normalized_events),
        instruments.DROPPED_EVENT.of(counts.dropped),
        instruments.MEASUREMENT.of(counts.measurements),
        instruments.HUB_LAG.of(times.lag_seconds, partition=partition),
        *_latencies(instruments.DEVICE_EVENT_PROCESSING_LATENCY, times.latencies_ms),
        *_errors(counts.errors),
        *_letters(counts.letters_by_error),
    ]


def of_flush(tally: "Tally", overdue_seconds: float | None, *, scope: str = TICK) -> list[Reading]:
    """A flush of TICK or SHARD that ended. `overdue_seconds` is of the oldest window that is left, None if nobody could
    look.

    What held it up counts as an error once for each kind, as it is logged: a hundred Observations that wait for one
    server are one thing to fix.
    """
    hindrances = Counter({error.kind: 1 for error in (*tally.held_up_by, *tally.outages)})
    readings = [
        instruments.FLUSH.of(1, outcome="heldUp" if hindrances else "completed", scope=scope),
        instruments.MEASUREMENT_GROUP.of(tally.groups),
        *(
            instruments.FHIR_RESOURCE_SAVED.of(count, resource="Observation", operation=str(operation))
            for operation, count in tally.observations.items()
        ),
        *(
            instruments.COMPARISON.of(count, type=name, outcome=found)
            for (name, found), count in tally.compared.items()
        ),
        *(instruments.SUPERSEDED_READING.of(count, type=name) for name, count in tally.superseded.items()),
        *_latencies(instruments.MEASUREMENT_INGESTION_LATENCY, tally.latencies_ms),
        *_errors(tally.errors + hindrances),
        *_letters(tally.letters_by_error),
    ]
    return readings + _oldest(overdue_seconds)


def of_fan_out(put: "Put", overdue_seconds: float | None) -> list[Reading]:
    """A tick that put messages. What is on its way is counted as completed by whoever carries it out, so that nothing
    is while nobody does."""
    if put.tally.held_up_by or put.tally.outages or not (put.put or put.under_way):
        return of_flush(put.tally, overdue_seconds)
    return [instruments.FLUSH.of(1, outcome="put", scope=TICK), *_oldest(overdue_seconds)]


def of_failure(error: MedTechError) -> list[Reading]:
    """What ended an invocation: storage that is away, a setting, a fault of the app."""
    return _errors(Counter([error.kind]))


def of_failed_flush(*, scope: str = TICK) -> list[Reading]:
    """A flush that did nothing. Its error is that of the invocation."""
    return [instruments.FLUSH.of(1, outcome="failed", scope=scope)]


def of_expiry(letters: int) -> list[Reading]:
    return [instruments.EXPIRED_DEAD_LETTER.of(letters)] if letters else []


def of_side_counts(counts: Mapping[SideCount, int]) -> list[Reading]:
    readings: list[Reading] = []
    # A copy, which is made in one go: a thread that was given up may still count.
    for what, count in dict(counts).items():
        match what:
            case Throttled(server):
                readings.append(instruments.THROTTLED.of(count, server=server))
            case Settled(resource, operation):
                readings.append(instruments.FHIR_RESOURCE_SAVED.of(count, resource=resource, operation=operation))
    return readings


def _oldest(overdue_seconds: float | None) -> list[Reading]:
    return [] if overdue_seconds is None else [instruments.OLDEST_WINDOW.of(overdue_seconds)]


def _errors(errors: Counter[ErrorKind]) -> list[Reading]:
    return [
        instruments.TOTAL_ERRORS.of(count, name=kind.name, stage=kind.stage, type=kind.type, severity=kind.severity)
        for kind, count in errors.items()
    ]


def _letters(letters: Counter[tuple[str, str]]) -> list[Reading]:
    return [instruments.DEAD_LETTERS.of(count, name=name, stage=stage) for (name, stage), count in letters.items()]


def _latencies(instrument: Instrument, latencies_ms: Counter[int]) -> Iterator[Reading]:
    """Readings that stand for the latencies, evenly over their order.

    A reading costs the SDK 4 us and has no weight, so that one an event would cost a tenth of a flush. These are the
    medians of equally many neighbours, at most PER_READING: from batch to batch, and from flush to flush, what is read
    more often weighs more, as it should. Below PER_READING it does not: a batch of one event has a reading, and so has
    one of 25. Averages therefore lean towards partitions with few events, and the most is the median of the slowest 25.
    """
    total = latencies_ms.total()
    if not total:
        return
    ordered = sorted(latencies_ms)
    ends = list(accumulate(latencies_ms[latency] for latency in ordered))
    readings = -(-total // PER_READING)
    for number in range(readings):
        middle = (2 * number + 1) * total // (2 * readings)
        yield instrument.of(ordered[bisect_right(ends, middle)])
