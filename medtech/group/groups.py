"""Measurements of a flush become measurement groups (SPEC section 3)."""

from collections.abc import Iterable

from medtech.model import Measurement, MeasurementGroup, precedence


def group_measurements(measurements: Iterable[Measurement]) -> list[MeasurementGroup]:
    """Groups by (device, type, patient, encounter, correlation id), in the order in which they first appear.

    A measurement that was delivered twice (equal content of one source) is in its group once; its copies are equal, by
    which the flush finds all rows that hold it. Within a group, measurements are in order of `precedence` whatever
    order they came in: of equal times the first one wins, value by value.
    """
    found: dict[tuple[str, str, str | None, str | None, str | None], list[Measurement]] = {}
    for measurement in dict.fromkeys(measurements):
        key = (
            measurement.type,
            measurement.device_id,
            measurement.patient_id,
            measurement.encounter_id,
            measurement.correlation_id,
        )
        found.setdefault(key, []).append(measurement)
    return [MeasurementGroup(*key, sorted(members, key=precedence)) for key, members in found.items()]
