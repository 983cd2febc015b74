"""A slice: as many events of a batch as are normalized, packed, stored and let go together.

Memory follows what messages become: measured, a reading of 60 bytes takes 500 as a measurement, and a failure more,
while bodies are in memory anyway, held by the worker. So a slice ends with the events at which it has enough of either.
"""

from collections.abc import Sequence
from typing import NamedTuple

from medtech.errors import MeasurementTooLarge
from medtech.group.segment import text_characters
from medtech.model import DeviceEvent, Measurement, NormalizationFailure
from medtech.normalize.batch import NormalizedBatch, Normalizer, failure_of_event, normalize

SLICE_BYTES = 8 * 1024 * 1024
"""Of bodies: their dead letters are packed together."""
SLICE_RESULTS = 4_000
"""Measurements and failures. A batch of 500 usual messages has fewer, and stays one slice and one row a shard."""
SLICE_CHARACTERS = 4 * 1024 * 1024
"""In the texts of measurements, which is about what they are packed from."""

# Looking at the slice after each message would cost as much as a tenth of normalizing it.
_STEP_BYTES = 64 * 1024

MESSAGE_CHARACTERS = 64 * 1024 * 1024
"""Texts of the measurements of one message. Each measurement repeats what is said once in the message: 9,000 readings
under a device id of 500 KB are 824 KB in the hub, and 4.5 GB in the buffer. No hub takes a message of more than 20 MiB.
"""


class Slice(NamedTuple):
    """What the first `events` events became; otherwise as NormalizedBatch.

    `characters` are in the texts of the measurements, as `text_characters` counts them.
    """

    events: int
    measurements: list[Measurement]
    failed: list[tuple[DeviceEvent, list[NormalizationFailure]]]
    unmatched: list[DeviceEvent]
    normalized_events: int
    characters: int


def normalize_slice(events: Sequence[DeviceEvent], start: int, limit: int, mapping: Normalizer | None) -> Slice:
    """Normalizes events from `start` on, at most `limit` and at least one, until the slice is full."""
    made = Slice(0, [], [], [], 0, 0)
    stop = min(len(events), start + limit)
    position, normalized_events, size, results, characters = start, 0, 0, 0, 0
    while position < stop and results < SLICE_RESULTS and characters < SLICE_CHARACTERS:
        end, step_bytes = _step_end(events, position, stop)
        if position > start and size + step_bytes > SLICE_BYTES:
            break
        step, step_characters = _normalize_step(events[position:end], mapping)
        made.measurements.extend(step.measurements)
        made.failed.extend(step.failed)
        made.unmatched.extend(step.unmatched)
        normalized_events += step.normalized_events
        results += len(step.measurements) + sum(len(failures) for _, failures in step.failed)
        characters += step_characters
        size += step_bytes
        position = end
    return made._replace(events=position - start, normalized_events=normalized_events, characters=characters)


def _step_end(events: Sequence[DeviceEvent], position: int, stop: int) -> tuple[int, int]:
    """Where the step that begins at `position` ends, and the bytes of its bodies; it has at least one event."""
    size = len(events[position].body)
    for end in range(position + 1, stop):
        more = len(events[end].body)
        if size + more > _STEP_BYTES:
            return end, size
        size += more
    return stop, size


def _normalize_step(events: Sequence[DeviceEvent], mapping: Normalizer | None) -> tuple[NormalizedBatch, int]:
    """What the events became, and the characters in the texts of their measurements."""
    step = normalize(events, mapping)
    # Counted once, here: it takes as long as packing does.
    characters = text_characters(step.measurements)
    if characters <= MESSAGE_CHARACTERS:
        return step, characters
    if len(events) == 1:
        error = MeasurementTooLarge(
            f"The measurements of this message have more than {MESSAGE_CHARACTERS >> 20} Mi characters, since each "
            "repeats the texts that it shares with the others (ids, or a value that many matches take). Send shorter "
            "ids, or make the templates extract less, then replay."
        )
        return NormalizedBatch([], [(events[0], [failure_of_event(error)])], [], 0), 0
    half = len(events) // 2
    first, of_first = _normalize_step(events[:half], mapping)
    second, of_second = _normalize_step(events[half:], mapping)
    together = NormalizedBatch(
        first.measurements + second.measurements,
        first.failed + second.failed,
        first.unmatched + second.unmatched,
        first.normalized_events + second.normalized_events,
    )
    return together, of_first + of_second
