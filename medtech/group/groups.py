"""Measurements of a flush become measurement groups (SPEC section 3)."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from operator import attrgetter, gt

from medtech.model import Measurement, MeasurementGroup, precedence

_key = attrgetter("type", "device_id", "patient_id", "encounter_id", "correlation_id")
_time = attrgetter("occurrence_time")


def group_measurements(measurements: Iterable[Measurement]) -> list[MeasurementGroup]:
    """Groups by (device, type, patient, encounter, correlation id), in the order in which they first appear.

    A measurement that was delivered twice (equal content of one source) is in its group once; its copies are equal, by
    which the flush finds all rows that hold it. Within a group, measurements are in order of `precedence` whatever
    order they came in: of equal times the first one wins, value by value.
    """
    found: defaultdict[tuple[str, str, str | None, str | None, str | None], list[Measurement]] = defaultdict(list)
    once = dict.fromkeys(measurements)
    for key, measurement in zip(map(_key, once), once, strict=True):
        found[key].append(measurement)
    for members in found.values():
        if len(members) > 1:
            _sort(members)
    return [MeasurementGroup(*key, members) for key, members in found.items()]


def _sort(measurements: list[Measurement]) -> None:
    """By `precedence`, whose keys take as long to make as the groups. Mostly the times say it alone."""
    times = list(map(_time, measurements))
    if len(set(times)) < len(times):
        measurements.sort(key=precedence)
    elif any(map(gt, times, islice(times, 1, None))):
        measurements.sort(key=_time)
