"""Events to measurements: a pure function of a batch and a loaded device mapping."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from medtech.errors import MedTechError, TemplateNotFound, UnexpectedFault
from medtech.model import DeviceEvent, Measurement, NormalizationFailure, Normalized


class Normalizer(Protocol):
    """A loaded device mapping."""

    def normalize(self, event: DeviceEvent) -> Normalized: ...


class NormalizedBatch(NamedTuple):
    """What a batch became. An event may have both measurements and failures; `unmatched` events have neither."""

    measurements: list[Measurement]
    failed: list[tuple[DeviceEvent, list[NormalizationFailure]]]
    unmatched: list[DeviceEvent]
    normalized_events: int


def normalize(events: Sequence[DeviceEvent], mapping: Normalizer | None) -> NormalizedBatch:
    """Normalizes each event by itself: whatever happens to one, its neighbours go on.

    Without a mapping, every event fails with TemplateNotFound.
    """
    if mapping is None:
        return NormalizedBatch([], [(event, [_no_mapping()]) for event in events], [], 0)
    batch = NormalizedBatch([], [], [], 0)
    normalized_events = 0
    put_through, keep = mapping.normalize, batch.measurements.extend
    for event in events:
        try:
            measurements, failures = put_through(event)
        except MemoryError:
            # It says nothing about this message; the batch comes again.
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the neighbours must be stored
            unexpected = UnexpectedFault.of(error, "normalizing a message")
            batch.failed.append((event, [failure_of_event(unexpected)]))
            continue
        if measurements:
            keep(measurements)
            normalized_events += 1
        if failures:
            batch.failed.append((event, failures))
        elif not measurements:
            batch.unmatched.append(event)
    return batch._replace(normalized_events=normalized_events)


def failure_of_event(error: MedTechError) -> NormalizationFailure:
    """A failure of the message as a whole, not of one template or match."""
    return NormalizationFailure(error, -1, -1)


def _no_mapping() -> NormalizationFailure:
    return failure_of_event(
        TemplateNotFound(
            "There has never been a good device mapping. Fix the mapping that DEVICE_MAPPING names "
            "(POST /api/validate lists its errors), then replay."
        )
    )
