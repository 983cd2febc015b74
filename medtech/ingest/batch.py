"""A batch of device events into the buffer: normalize, pack, store; what fails goes to the dead letters.

This is the one place that decides what becomes of a message. When `process` returns, each message is stored as
measurements, kept as a dead letter, or counted as dropped because no template takes it. When it raises, storage is
away: the hub delivers the batch again, and the same keys are written again.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from medtech.dead_letter import letter as letters
from medtech.dead_letter.store import DeadLetters
from medtech.errors import MeasurementTooLarge, MedTechError, NoTemplateMatched
from medtech.group.buffer import Buffer, segment_rows
from medtech.group.windows import event_row_prefix
from medtech.model import DeviceEvent, Measurement, NormalizationFailure
from medtech.normalize.batch import Normalizer, failure_of_event, normalize
from medtech.settings import Settings


class ErrorKind(NamedTuple):
    """The key under which errors are counted."""

    name: str
    stage: str
    type: str
    severity: str


class BatchCounts(NamedTuple):
    """What became of a batch. `dropped` counts events that no template takes; `errors` counts every failure."""

    events: int
    normalized_events: int
    measurements: int
    dropped: int
    letters: int
    rows: int
    stored_bytes: int
    errors: Counter[ErrorKind]


def process(
    events: Sequence[DeviceEvent],
    mapping: Normalizer | None,
    buffer: Buffer,
    dead_letters: DeadLetters,
    settings: Settings,
    clock: Callable[[], int],
    trace_context: str = "",
) -> BatchCounts:
    """Stores the events of one partition, of which there is at least one; returns only when all of them are stored.

    `mapping` is None when no mapping was ever good; every event then becomes a dead letter. `clock` gives ticks.
    Raises StorageUnavailable.
    """
    batch = normalize(events, mapping)
    failed = list(batch.failed)
    if settings.keep_unmatched:
        unmatched = NoTemplateMatched("No template of the device mapping takes this message.")
        failed += [(event, [failure_of_event(unmatched)]) for event in batch.unmatched]

    first, last = events[0], events[-1]
    rows, too_large = segment_rows(
        batch.measurements,
        hub=first.hub,
        row_prefix=event_row_prefix(
            hub=first.hub,
            partition=first.partition,
            first_sequence=first.sequence_number,
            last_sequence=last.sequence_number,
            first_enqueued=first.enqueued_time,
        ),
        window_seconds=settings.window_seconds,
        shards=settings.buffer_shards,
        trace_context=trace_context,
    )
    # The buffer first: if it fails, no letters were written whose counts the redelivery would raise.
    if rows:
        too_large += buffer.store(rows)
    failed += _too_large(events, too_large)
    written = [letter for event, failures in failed for letter in letters.of_failures(event, failures)]
    if written:
        dead_letters.store(written, clock())
    errors = Counter(_kind(failure.error) for _, failures in failed for failure in failures)
    return BatchCounts(
        events=len(events),
        normalized_events=batch.normalized_events,
        measurements=len(batch.measurements) - len(too_large),
        dropped=len(batch.unmatched),
        letters=len(written),
        rows=len(rows),
        stored_bytes=sum(len(row.packed.payload) for row in rows),
        errors=errors,
    )


def _too_large(
    events: Sequence[DeviceEvent], measurements: list[Measurement]
) -> list[tuple[DeviceEvent, list[NormalizationFailure]]]:
    """The failures, by event, of measurements that no row can hold. A letter can hold the message, in several rows."""
    if not measurements:
        return []
    event_of = {event.sequence_number: event for event in events}
    error = MeasurementTooLarge(
        "A measurement is larger than the buffer can hold (32 MiB, and 704 KiB when compressed; less if a gateway "
        "before storage takes less). No FHIR server takes such an Observation; make its template extract less, then "
        "replay."
    )
    failures: defaultdict[int, list[NormalizationFailure]] = defaultdict(list)
    for measurement in measurements:
        failures[measurement.sequence_number].append(
            NormalizationFailure(error, measurement.template, measurement.match, measurement.type)
        )
    return [(event_of[sequence_number], of_event) for sequence_number, of_event in failures.items()]


def _kind(error: MedTechError) -> ErrorKind:
    return ErrorKind(error.name, str(error.stage), str(error.type), str(error.severity))
