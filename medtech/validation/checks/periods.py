"""Periods that change nothing (SPEC divergence 2), and periods that no series fits into (22)."""

from collections.abc import Iterator
from typing import Final

from medtech.dotnet.ticks import TICKS_PER_HOUR, TICKS_PER_MINUTE
from medtech.mapping.fhir import Interval, SampledDataValue
from medtech.transform.sampled_data import fits
from medtech.validation.finding import Finding, Name, warning
from medtech.validation.fixes import set_property
from medtech.validation.mapping_pair import MappingPair, listed, values_of

_HOURS_OF_ROOM: Final = 4
"""An hour is proposed for a series of which so many would fit while they are empty: a reading has then seven characters
and a blank on average, where an empty sample has two."""


def without_effect(pair: MappingPair) -> Iterator[Finding]:
    """An hour or a day for single values, each of which becomes an Observation of its own."""
    for template in pair.fhir_templates:
        if template.interval is template.written_interval:
            continue
        written = pair.written_fhir
        section = written.template_of(template.type_name)
        yield warning(
            Name.PERIOD_WITHOUT_EFFECT,
            f"'periodInterval' of the type '{template.type_name}' has no effect: without SampledData each reading "
            "becomes an Observation of its own. Write 0, or set SINGLE_VALUE_PERIOD=group to keep one Observation per "
            "period with the latest reading.",
            written.place(section.find("periodInterval")),
            set_property(written, section, "periodInterval", 0),
        )


def never_fits(pair: MappingPair) -> Iterator[Finding]:
    """An hour or a day with more samples than an Observation holds, even if all but one are empty.

    A correlation group lasts as long as its readings do, and one reading always fits.
    """
    for template in pair.fhir_templates:
        if template.interval not in (Interval.HOURLY, Interval.DAILY):
            continue
        length = template.interval * TICKS_PER_MINUTE
        series = [value for value in values_of(template) if isinstance(value, SampledDataValue)]
        too_long = [value for value in series if not fits(length, value.period_ticks)]
        if not too_long:
            continue
        written = pair.written_fhir
        section = written.template_of(template.type_name)
        fits_an_hour = all(fits(_HOURS_OF_ROOM * TICKS_PER_HOUR, value.period_ticks) for value in series)
        period = "hour" if template.interval is Interval.HOURLY else "day"
        names = listed((value.name for value in too_long), "")
        shortest = min(too_long, key=lambda value: value.period_ticks)
        samples = (length - 1) // shortest.period_ticks + 1
        yield warning(
            Name.SERIES_NEVER_FITS,
            f"No Observation of the type '{template.type_name}' can hold {names}: a sample every "
            f"{shortest.period_ms} ms is {samples:,} in each {period}, and their text would be longer than 1 MiB. "
            "Every measurement with such a value becomes a dead letter. Write a longer defaultPeriod or a shorter "
            "periodInterval.",
            written.place(section.find("periodInterval")),
            set_property(written, section, "periodInterval", int(Interval.HOURLY)) if fits_an_hour else None,
        )
