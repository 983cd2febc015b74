"""Periods that change nothing (SPEC divergence 2)."""

from collections.abc import Iterator

from medtech.validation.finding import Finding, Name, warning
from medtech.validation.fixes import set_property
from medtech.validation.mapping_pair import MappingPair


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
