"""A portion is planned and written in runs: whole devices, as many as their drafts have room for.

A portion is bounded by what its measurements take. What comes of them takes more, and differs: an hour of SampledData
is one Observation of 3,600 readings, a Quantity is an Observation a reading. It is therefore made for some devices at a
time, written, and let go.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from medtech.dotnet import ticks
from medtech.filling import filled
from medtech.flush.memory import WRITE_BYTES
from medtech.group.groups import group_measurements
from medtech.mapping.fhir import FhirMapping
from medtech.model import Measurement, MeasurementGroup
from medtech.persist.observations import ObservationWrite
from medtech.transform.observation import ObservationDraft, period_ticks

_DRAFT_BYTES = 1_200
"""What an Observation takes from its group to its outcome, beside its measurements. Measured (tracemalloc, of single
Quantities): 610 for the draft, 450 for the write and its id."""

_SAMPLE_BYTES = 100
"""What a reading takes in the draft of a series."""

_COPIES = 8
"""In how many places the data points of an Observation are at once while it is written: texts, and Python values."""

_BYTES_PER_SLOT = 4
"""`72 `, `E `, `98.6 `."""


def runs(mapping: FhirMapping, measurements: Iterable[Measurement], run_bytes: int) -> Iterator[list[MeasurementGroup]]:
    """The groups of a portion, in runs whose drafts take about `run_bytes`; at least one group each.

    The groups of a device are in one run: they may meet in an Observation. A device that alone takes more is cut where
    periods end, so that no Observation is in two runs. Only a correlation group cannot be cut.
    """
    run: list[MeasurementGroup] = []
    taken = 0
    lengths = _Lengths(mapping)
    for groups in _by_device(group_measurements(measurements)):
        size = sum(_draft_bytes(lengths, group) for group in groups)
        if run and taken + size > run_bytes:
            yield run
            run, taken = [], 0
        if size > run_bytes:
            yield from _cut(mapping, groups, -(-size // run_bytes))
        else:
            run += groups
            taken += size
    if run:
        yield run


def sent_together(writes: Iterable[ObservationWrite], most: int, most_bytes: int) -> Iterator[list[ObservationWrite]]:
    """The writes, in order, in lists of `most` or of what takes `most_bytes` on its way to the server."""
    return filled(writes, _write_bytes, most=most, most_bytes=most_bytes)


def _write_bytes(write: ObservationWrite) -> int:
    return WRITE_BYTES + _COPIES * _BYTES_PER_SLOT * _slots(write.draft)


def _by_device(groups: Iterable[MeasurementGroup]) -> Iterable[list[MeasurementGroup]]:
    found: dict[str, list[MeasurementGroup]] = {}
    for group in groups:
        found.setdefault(group.device_id, []).append(group)
    return found.values()


class _Lengths(dict[str, int | None]):
    """The length of the periods of each type, looked up once. Groups are many, types are few."""

    def __init__(self, mapping: FhirMapping) -> None:
        self._mapping = mapping

    def __missing__(self, type_name: str) -> int | None:
        length = self[type_name] = period_ticks(self._mapping, type_name)
        return length


def _draft_bytes(lengths: _Lengths, group: MeasurementGroup) -> int:
    readings = len(group.measurements)
    drafts = readings if lengths[group.type] == 1 else 1
    return drafts * _DRAFT_BYTES + readings * _SAMPLE_BYTES


def _cut(mapping: FhirMapping, groups: Sequence[MeasurementGroup], pieces: int) -> Iterator[list[MeasurementGroup]]:
    """One device's groups in about so many runs. Those of one type are cut at the same times."""
    by_type: dict[str, list[MeasurementGroup]] = {}
    for group in groups:
        by_type.setdefault(group.type, []).append(group)
    for of_type in by_type.values():
        length = period_ticks(mapping, of_type[0].type)
        if length is None:
            yield of_type
            continue
        # Readings within one second meet in one Observation, whatever the period.
        unit = max(length, ticks.TICKS_PER_SECOND)
        times = sorted(each.occurrence_time for group in of_type for each in group.measurements)
        step = -(-len(times) // pieces)
        cuts = sorted({ticks.floor(time, unit) for time in times[::step]})
        for start, end in pairwise([*cuts, times[-1] + 1]):
            yield [piece for group in of_type if (piece := _between(group, start, end)).measurements]


def _between(group: MeasurementGroup, start: int, end: int) -> MeasurementGroup:
    """The readings from `start` until before `end`. Those of a group are in order of time."""
    first, stop = (bisect_left(group.measurements, time, key=_time) for time in (start, end))
    return MeasurementGroup(
        group.type,
        group.device_id,
        group.patient_id,
        group.encounter_id,
        group.correlation_id,
        group.measurements[first:stop],
    )


def _time(measurement: Measurement) -> int:
    return measurement.occurrence_time


def _slots(draft: ObservationDraft) -> int:
    series = draft.pattern.series
    return sum((draft.end - draft.start) // period + 1 for _, period in series) if series else 0
