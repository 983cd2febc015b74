"""Measurement groups become Observations: the connector's CodeValueFhir conversion, with SPEC section 6.

`convert` sorts a group's readings into drafts, one per Observation, and says which readings cannot be written. A draft
has no FHIR ids yet: several groups may meet in one Observation id, and their drafts are folded into one before it is
created, or merged into what is stored.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

from medtech.dotnet import ticks
from medtech.dotnet.decimals import NotANumber
from medtech.dotnet.text import is_blank
from medtech.errors import (
    ConversionError,
    CorrelationIdNotDefined,
    MedTechError,
    PeriodTooLong,
    ReadingInvalid,
    Stage,
    TemplateNotFound,
)
from medtech.mapping.fhir import CodeValueTemplate, FhirMapping
from medtech.model import Measurement, MeasurementGroup, ResourceIdentity, precedence
from medtech.transform import sampled_data
from medtech.transform.fhir_json import parse_resource
from medtech.transform.identifier import SYSTEM, observation_identity, period_segment
from medtech.transform.pattern import Pattern, pattern_of


class ReadingFailure(NamedTuple):
    """A measurement that is not, or only partly, in a draft: it belongs in the dead-letter store."""

    error: MedTechError
    measurement: Measurement


class ObservationDraft:
    """One Observation before it has ids.

    `start` and `end` are ticks, both inclusive; `correlation_id` is None unless it groups the readings. `readings` has
    for each target of the pattern (time, what is written) of its readings, in order of time. `measurements` are those
    that the draft settles, in order of time: done when it is written, dead letters when it cannot be. `superseded`
    counts readings of single values that a later one replaced.
    """

    __slots__ = (
        "_identified",
        "correlation_id",
        "end",
        "measurements",
        "pattern",
        "readings",
        "start",
        "superseded",
        "type",
    )

    def __init__(
        self,
        pattern: Pattern,
        type_name: str,
        period: tuple[int, int],
        correlation_id: str | None,
        measurements: list[Measurement],
        readings: list[list[tuple[int, Any]]],
        superseded: int,
    ) -> None:
        self.pattern = pattern
        self.type = type_name
        self.start, self.end = period
        self.correlation_id = correlation_id
        self.measurements = measurements
        self.readings = readings
        self.superseded = superseded
        self._identified: tuple[ResourceIdentity, tuple[str, str]] | None = None

    @property
    def template(self) -> CodeValueTemplate:
        return self.pattern.template

    @property
    def segment(self) -> str:
        """The part of the identity that stands for its time: the correlation id, or the period to the second."""
        return period_segment(self.start, self.end) if self.correlation_id is None else self.correlation_id

    def identify(self, identity: ResourceIdentity) -> tuple[str, str]:
        """(identifier value, resource id) for these FHIR ids. The last answer is kept: a flush asks three times."""
        if self._identified is None or self._identified[0] != identity:
            self._identified = identity, observation_identity(identity, self.type, self.segment)
        return self._identified[1]

    @property
    def is_date_time(self) -> bool:
        """Whether a new Observation gives its time, that of the last reading, as effectiveDateTime."""
        return self.pattern.template.effective_date_time and self.pattern.has_one_time(self.start, self.end)

    def check(self) -> None:
        """Raises PeriodTooLong if a series needs more samples than an Observation can hold."""
        if self.pattern.always_fits:
            return
        for index, period in self.pattern.series:
            if self.readings[index]:
                sampled_data.count_slots(self.start, self.end, period)


class Conversion(NamedTuple):
    """What one group became: drafts in the order of their first measurement, and what could not be written."""

    drafts: list[ObservationDraft]
    failures: list[ReadingFailure]


def convert(mapping: FhirMapping, group: MeasurementGroup) -> Conversion:
    """Sorts the measurements of a group into drafts.

    A measurement fails with TemplateNotFound or CorrelationIdNotDefined (then all of the group do), with PeriodTooLong
    (then all of its draft do), or with ReadingInvalid (its other readings are in a draft all the same).
    """
    template = mapping.template(group.type)
    if template is None:
        return _failed(
            group,
            TemplateNotFound(
                f"The FHIR mapping has no template for type '{group.type}'. Add one with this typeName, then replay.",
                stage=Stage.FHIR_CONVERSION,
            ),
        )
    pattern = pattern_of(mapping, template)
    length = pattern.length
    # The same as the NamedTuple's constructor, in half the time.
    conversion = tuple.__new__(Conversion, ([], []))
    if length is None:
        if group.correlation_id is None or is_blank(group.correlation_id):
            return _failed(
                group,
                CorrelationIdNotDefined(
                    f"Type '{group.type}' is grouped by correlation id, and the measurement has none. Give its device "
                    "template a correlationIdExpression, or its FHIR template another periodInterval, then replay."
                ),
            )
        _draft(pattern, group, group.measurements, None, conversion)
    else:
        for index, of_period in _by_period(group.measurements, length):
            start = index * length
            _draft(pattern, group, of_period, (start, start + length - 1), conversion)
    return conversion


def _by_period(measurements: list[Measurement], length: int) -> Iterable[tuple[int, list[Measurement]]]:
    """The number of each period, in order of the first measurement, and the measurements in it."""
    if len(measurements) == 1:
        return ((measurements[0].occurrence_time // length, measurements),)
    if not measurements:
        return ()
    times = [measurement.occurrence_time for measurement in measurements]
    first = min(times) // length
    if max(times) // length == first:
        return ((first, measurements),)
    periods: dict[int, list[Measurement]] = {}
    for time, measurement in zip(times, measurements, strict=True):
        periods.setdefault(time // length, []).append(measurement)
    return periods.items()


def period_ticks(mapping: FhirMapping, type_name: str) -> int | None:
    """The length of the periods whose readings of a type make one Observation each: 1 for an Observation a reading.

    None if a correlation id groups them, however far apart they are. 1 too if no template has the type.
    """
    template = mapping.template(type_name)
    return 1 if template is None else pattern_of(mapping, template).length


def meetings(
    drafts: Iterable[tuple[ResourceIdentity, ObservationDraft]],
) -> dict[str, list[tuple[ResourceIdentity, ObservationDraft]]]:
    """The drafts that meet in each Observation id, in the order in which they come."""
    found: dict[str, list[tuple[ResourceIdentity, ObservationDraft]]] = {}
    for identity, draft in drafts:
        found.setdefault(draft.identify(identity)[1], []).append((identity, draft))
    return found


def fold(drafts: Sequence[ObservationDraft]) -> ObservationDraft:
    """Joins drafts that meet in one Observation id into one, in order of time (SPEC divergence 19).

    Raises ConversionError if they have different types, whose ids can only meet if ids or types contain dots.
    """
    first = drafts[0]
    if len(drafts) == 1:
        return first
    if any(draft.type != first.type or draft.template is not first.template for draft in drafts):
        raise ConversionError(
            f"Type '{first.type}' and another one share an Observation id. Rename the type in the device and the FHIR "
            "mapping to a name without dots, then replay."
        )
    measurements = sorted((measurement for draft in drafts for measurement in draft.measurements), key=precedence)
    readings, superseded, _ = _read(first.pattern, measurements)
    period = min(draft.start for draft in drafts), max(draft.end for draft in drafts)
    return ObservationDraft(first.pattern, first.type, period, first.correlation_id, measurements, readings, superseded)


def create(draft: ObservationDraft, identity: ResourceIdentity, issued: int) -> dict[str, Any]:
    """A complete Observation for `dump_resource`; `issued` in ticks. Raises PeriodTooLong."""
    return parse_resource(create_text(draft, identity, issued))


def create_text(
    draft: ObservationDraft, identity: ResourceIdentity, issued: int, resource_id: str | None = None
) -> bytes:
    """A complete Observation as JSON, under another id than its identifier's if `resource_id` is given.

    Text from the start: most of it is the pattern's, and making it of a dict takes twice as long. `issued` in ticks.
    Raises PeriodTooLong.
    """
    identifier, own_id = draft.identify(identity)
    pattern = draft.pattern
    whose, device, is_plain = _references(identity, draft.type)
    start, end = draft.start, draft.end
    if draft.is_date_time:
        effective = f'"effectiveDateTime":"{ticks.format_iso(end)}"'
    else:
        effective = _effective_period(start, end)
    value, components = "", []
    for index, (writer, code, opening) in enumerate(pattern.targets):
        readings = draft.readings[index]
        if not readings:
            continue
        text = opening + writer.text(writer.gather(readings, start, end))
        if code is None:
            value = f",{text}"
        else:
            components.append(f"{text}}}")
    component = f',"component":[{",".join(components)}]' if components else ""
    # An id of ours is a hash in hexadecimal digits; a store may have any other.
    quoted_id = f'"{own_id}"' if resource_id is None or resource_id == own_id else _quoted(resource_id)
    quoted_identifier = f'"{identifier}"' if is_plain and draft.correlation_id is None else _quoted(identifier)
    return (
        f'{{"resourceType":"Observation","id":{quoted_id},'
        f'"identifier":[{{"system":"{SYSTEM}","value":{quoted_identifier}}}],{pattern.opening(draft.type)},'
        f'{whose},{effective},"issued":"{ticks.format_iso(issued)}",{device}{value}{component}}}'
    ).encode()


@lru_cache(maxsize=1024)
def _references(identity: ResourceIdentity, type_name: str) -> tuple[str, str, bool]:
    """(`subject` and `encounter`, `device`) as JSON text: a device has many Observations in a flush.

    Last, whether an identifier of these and a period needs no escapes in JSON.
    """
    whose = f'"subject":{{"reference":{_quoted(f"Patient/{identity.patient}")}}}'
    if identity.encounter is not None:
        whose += f',"encounter":{{"reference":{_quoted(f"Encounter/{identity.encounter}")}}}'
    device = f'"device":{{"reference":{_quoted(f"Device/{identity.device}")}}}'
    names = f"{identity.patient}.{identity.device}.{type_name}"
    return whose, device, _quoted(names) == f'"{names}"'


@lru_cache(maxsize=1024)
def _effective_period(start: int, end: int) -> str:
    """JSON text: the Observations of a flush share their periods."""
    last = ticks.format_iso(end)
    first = last if start == end else ticks.format_iso(start)
    return f'"effectivePeriod":{{"start":"{first}","end":"{last}"}}'


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()


def _failed(group: MeasurementGroup, error: MedTechError) -> Conversion:
    return Conversion([], [ReadingFailure(error, measurement) for measurement in group.measurements])


class _BadMeasurement(NamedTuple):
    """A measurement with a reading that cannot be written; `lost` if it has no other."""

    measurement: Measurement
    error: ReadingInvalid
    lost: bool


def _draft(
    pattern: Pattern,
    group: MeasurementGroup,
    measurements: list[Measurement],
    period: tuple[int, int] | None,
    conversion: Conversion,
) -> None:
    """Adds the draft of one Observation, or only failures. Without a `period` it lasts from first to last reading."""
    if len(measurements) > 1:
        measurements = sorted(measurements, key=attrgetter("occurrence_time"))
    readings, superseded, bad = _read(pattern, measurements)
    if bad:
        conversion.failures.extend(ReadingFailure(each.error, each.measurement) for each in bad)
        # A measurement without a good reading neither makes an Observation nor widens a period (divergence 7).
        lost = {id(each.measurement) for each in bad if each.lost}
        measurements = [measurement for measurement in measurements if id(measurement) not in lost]
    if not measurements:
        return
    if period is None:
        period = measurements[0].occurrence_time, measurements[-1].occurrence_time
        correlation_id = group.correlation_id
    else:
        correlation_id = None
    draft = ObservationDraft(pattern, group.type, period, correlation_id, measurements, readings, superseded)
    if not pattern.always_fits:
        try:
            draft.check()
        except PeriodTooLong as error:
            known = {id(failure.measurement) for failure in conversion.failures}
            conversion.failures.extend(ReadingFailure(error, each) for each in measurements if id(each) not in known)
            return
    conversion.drafts.append(draft)


def _read(
    pattern: Pattern, measurements: Iterable[Measurement]
) -> tuple[list[list[tuple[int, Any]]], int, list[_BadMeasurement]]:
    """(the readings for each target, how many were superseded, what could not be read).

    `measurements` are in order of time; of equal times the first one stands, per value.
    """
    by_name = pattern.by_name
    readings: list[list[tuple[int, Any]]] = [[] for _ in pattern.targets]
    superseded = 0
    bad: list[_BadMeasurement] = []
    for measurement in measurements:
        time = measurement.occurrence_time
        faults: list[str] | None = None
        good = False
        for name, text in measurement.properties:
            for index, read, is_series in by_name.get(name, ()):
                try:
                    written = read(text)
                except NotANumber:
                    faults = [*(faults or ()), name]
                    continue
                if written is None:
                    continue
                good = True
                found = readings[index]
                if found:
                    superseded += not is_series
                    if found[-1][0] == time:
                        continue
                found.append((time, written))
        if faults:
            bad.append(_BadMeasurement(measurement, _reading_invalid(measurement.type, faults), lost=not good))
    return readings, superseded, bad


def _reading_invalid(type_name: str, names: list[str]) -> ReadingInvalid:
    values = ", ".join(f"'{name}'" for name in dict.fromkeys(names))
    return ReadingInvalid(
        f"The reading of {values} of type '{type_name}' is not a decimal number of at most 28 digits. Fix the "
        "expression in the device mapping, or give the value another valueType in the FHIR mapping, then replay."
    )
