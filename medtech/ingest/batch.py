"""A batch of device events into the buffer: normalize, pack, store; what fails goes to the dead letters.

This is the one place that decides what becomes of a message. When `process` returns, each message is stored as
measurements, kept as a dead letter, or counted as dropped because no template takes it. When it raises, storage is
away: the hub delivers the batch again, and the same keys are written again. What ends the process is the matter of
`attempts`.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import NamedTuple

from medtech.dead_letter import letter as letters
from medtech.dead_letter.store import DeadLetters
from medtech.errors import (
    ErrorKind,
    MeasurementTooLarge,
    MedTechError,
    NoTemplateMatched,
    PoisonMessage,
    UnexpectedFault,
)
from medtech.group.buffer import Buffer, SegmentRow, segment_rows
from medtech.group.windows import event_row_prefix
from medtech.ingest.slices import Slice, normalize_slice
from medtech.model import DeviceEvent, Measurement, NormalizationFailure
from medtech.normalize.batch import Normalizer, failure_of_event
from medtech.settings import Settings

_log = logging.getLogger(__name__)


class BatchCounts(NamedTuple):
    """What became of a batch. `dropped` counts events that no template takes; `errors` counts every failure.

    `letters_by_error` counts the letters again, by (error, stage): the letter of an event stands for all its failures.
    """

    events: int
    normalized_events: int
    measurements: int
    dropped: int
    letters: int
    rows: int
    stored_bytes: int
    errors: Counter[ErrorKind]
    letters_by_error: Counter[tuple[str, str]]

    def plus(self, other: "BatchCounts") -> "BatchCounts":
        return BatchCounts(
            events=self.events + other.events,
            normalized_events=self.normalized_events + other.normalized_events,
            measurements=self.measurements + other.measurements,
            dropped=self.dropped + other.dropped,
            letters=self.letters + other.letters,
            rows=self.rows + other.rows,
            stored_bytes=self.stored_bytes + other.stored_bytes,
            errors=self.errors + other.errors,
            letters_by_error=self.letters_by_error + other.letters_by_error,
        )

    def log(self, partition: str, seconds: float) -> None:
        """One line of what was done in `seconds`."""
        _log.info(
            "partition %s: %d events to %d measurements in %d rows, %d dropped, %d dead letters, %.2f s%s",
            partition,
            self.events,
            self.measurements,
            self.rows,
            self.dropped,
            self.letters,
            seconds,
            "".join(f"; {kind.name} ({kind.stage}): {count}" for kind, count in sorted(self.errors.items())),
        )


NOTHING = BatchCounts(0, 0, 0, 0, 0, 0, 0, Counter(), Counter())


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

    They are put through slice by slice, so that memory follows the slice and not the batch. The same events under the
    same mapping make the same slices, and so the same rows.

    `mapping` is None when no mapping was ever good; every event then becomes a dead letter. `clock` gives ticks.
    Raises StorageUnavailable.
    """
    counts: list[BatchCounts] = []
    start = 0
    while start < len(events):
        # Made and stored in one call, so that nothing here still holds a slice while the next one is made.
        counts.append(_process_slice(events, start, mapping, buffer, dead_letters, settings, clock, trace_context))
        start += counts[-1].events
    return total(counts)


def bury(event: DeviceEvent, error: MedTechError, dead_letters: DeadLetters, clock: Callable[[], int]) -> BatchCounts:
    """Keeps an event as a dead letter without processing it. `clock` gives ticks. Raises StorageUnavailable."""
    letter = letters.of_event(event, [failure_of_event(error)])
    dead_letters.store([letter], clock())
    return BatchCounts(1, 0, 0, 0, 1, 0, 0, Counter([error.kind]), Counter([(letter.error, letter.stage)]))


def total(counts: Iterable[BatchCounts]) -> BatchCounts:
    """The sums of each count."""
    return reduce(BatchCounts.plus, counts, NOTHING)


def _process_slice(
    events: Sequence[DeviceEvent],
    start: int,
    mapping: Normalizer | None,
    buffer: Buffer,
    dead_letters: DeadLetters,
    settings: Settings,
    clock: Callable[[], int],
    trace_context: str,
) -> BatchCounts:
    """Stores the slice that begins at `start`; its length is in `events`."""
    batch, rows, too_large = _made(events, start, mapping, settings, trace_context)
    taken = events[start : start + batch.events]
    failed = batch.failed
    if settings.keep_unmatched:
        unmatched = NoTemplateMatched(
            "No template of the device mapping takes this message. If one should, correct its typeMatchExpression, "
            "then replay; if such messages are to be dropped, set KEEP_UNMATCHED to false."
        )
        failed += [(event, [failure_of_event(unmatched)]) for event in batch.unmatched]
    # The buffer first: if it fails, no letters were written whose counts the redelivery would raise.
    if rows:
        too_large += buffer.store(rows)
    failed += _too_large(taken, too_large)
    written = [letter for event, failures in failed for letter in letters.of_failures(event, failures)]
    if written:
        dead_letters.store(written, clock())
    errors = Counter(failure.error.kind for _, failures in failed for failure in failures)
    return BatchCounts(
        events=len(taken),
        normalized_events=batch.normalized_events,
        measurements=len(batch.measurements) - len(too_large),
        dropped=len(batch.unmatched),
        letters=len(written),
        rows=len(rows),
        stored_bytes=sum(len(row.packed.payload) for row in rows),
        errors=errors,
        letters_by_error=Counter((letter.error, letter.stage) for letter in written),
    )


def _made(
    events: Sequence[DeviceEvent], start: int, mapping: Normalizer | None, settings: Settings, trace_context: str
) -> tuple[Slice, list[SegmentRow], list[Measurement]]:
    """The slice that begins at `start`, its rows, and the measurements that no row can hold.

    Whatever goes wrong here, storage is not asked, so it will go wrong at each delivery: what memory does not suffice
    for, or a fault of the app, is tried with half as many events, down to the one that is given up.
    """
    limit = len(events) - start
    while True:
        try:
            made = normalize_slice(events, start, limit, mapping)
            taken = events[start : start + made.events]
            rows, too_large = segment_rows(
                made.measurements,
                hub=taken[0].hub,
                row_prefix=event_row_prefix(
                    hub=taken[0].hub,
                    partition=taken[0].partition,
                    first_sequence=taken[0].sequence_number,
                    last_sequence=taken[-1].sequence_number,
                    first_enqueued=taken[0].enqueued_time,
                ),
                window_seconds=settings.window_seconds,
                shards=settings.buffer_shards,
                trace_context=trace_context,
                characters=made.characters,
            )
        except MemoryError:
            fault: MedTechError = PoisonMessage(
                "Processing this message takes more memory than the app has. Give the app's instances more, or make "
                "the message smaller, then replay."
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the partition must go on
            fault = UnexpectedFault.of(error, "packing measurements")
        else:
            return made, rows, too_large
        # Here, where the error no longer holds on to what was made.
        if limit == 1:
            return Slice(1, [], [(events[start], [failure_of_event(fault)])], [], 0, 0), [], []
        limit //= 2


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
