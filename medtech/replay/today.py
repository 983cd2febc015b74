"""What a dead letter becomes today: a plain function of the letter, the mapping in force and two settings."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from medtech.dead_letter import letter as letters
from medtech.dead_letter.letter import Letter
from medtech.dead_letter.letter_id import letter_id
from medtech.errors import MeasurementTooLarge, NoTemplateMatched
from medtech.group.buffer import SegmentRow, segment_rows
from medtech.group.windows import replay_row_prefix
from medtech.model import DeviceEvent, Measurement, NormalizationFailure
from medtech.normalize.batch import Normalizer, normalize


class Places(NamedTuple):
    """Where rows go in the buffer."""

    window_seconds: int
    shards: int


class Today(NamedTuple):
    """Rows for the buffer, and letters of what fails; at least one of either.

    A letter with the keys of the one that was put through takes its place.
    """

    rows: list[SegmentRow]
    failed: list[Letter]


def replay_event(letter: Letter, event: DeviceEvent, mapping: Normalizer, places: Places) -> Today:
    """Puts through what failed of a message: its good readings are not to come again over later ones."""
    batch = normalize([event], mapping)
    failures = [failure for _, of_event in batch.failed for failure in of_event]
    types = _failed_types(letter)
    measurements = batch.measurements
    if types is not None:
        wanted = {each.casefold() for each in types}
        measurements = [each for each in measurements if each.type.casefold() in wanted]
        failures = list(_of_types(failures, types, wanted))
    rows, too_large = _rows(letter, measurements, places)
    failures += (_too_large(each) for each in too_large)
    failed = letters.of_failures(event, failures)
    if not rows and not failed:
        return Today([], [_untaken(letter, types)])
    return Today(rows, failed)


def replay_measurement(letter: Letter, measurement: Measurement, places: Places) -> Today:
    """A measurement goes to the buffer as it is: what failed came after normalization."""
    rows, too_large = _rows(letter, [measurement], places)
    return Today(rows, [letters.of_measurement(each, letter.hub, _too_large(each).error) for each in too_large])


def _failed_types(letter: Letter) -> list[str] | None:
    """The types that failed; None for the whole message."""
    types = [failure.type for failure in letter.failures]
    named = [each for each in types if each is not None]
    return named if named and len(named) == len(types) else None


def _of_types(
    failures: Sequence[NormalizationFailure], types: Sequence[str], wanted: set[str]
) -> list[NormalizationFailure]:
    """A failure of the whole message is one of each type: else the next replay would put all of it through."""
    of_types = [failure for failure in failures if failure.type is not None and failure.type.casefold() in wanted]
    whole = (failure for failure in failures if failure.type is None)
    return of_types + [failure._replace(type=each) for failure in whole for each in types]


def _rows(
    letter: Letter, measurements: Sequence[Measurement], places: Places
) -> tuple[list[SegmentRow], list[Measurement]]:
    return segment_rows(
        measurements,
        hub=letter.hub,
        row_prefix=replay_row_prefix(letter_id(*letter.keys)),
        **places._asdict(),
    )


def _too_large(measurement: Measurement) -> NormalizationFailure:
    error = MeasurementTooLarge(
        "A measurement is larger than the buffer can hold (32 MiB, and 704 KiB when compressed). No FHIR server takes "
        "such an Observation; make its template extract less, then replay."
    )
    return NormalizationFailure(error, measurement.template, measurement.match, measurement.type)


def _untaken(letter: Letter, types: Sequence[str] | None) -> Letter:
    if letter.error == NoTemplateMatched.__name__:
        return letter
    of_types = "" if types is None else " of type " + " or ".join(f"'{each}'" for each in dict.fromkeys(types))
    message = (
        f"Put through again, this message gave no reading{of_types}: no template of the device mapping in force takes "
        "it any more. Add one, then replay; or delete the letter."
    )
    return replace(letter, message=letters.shortened(message))
