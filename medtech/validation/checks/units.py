"""Units that are no codes of UCUM."""

from collections.abc import Iterator
from typing import Final

from medtech.mapping.fhir import QuantityValue, SampledDataValue
from medtech.validation.checks.vital_signs import has_unit_fault
from medtech.validation.finding import Finding, Name, warning
from medtech.validation.fixes import write_instead
from medtech.validation.mapping_pair import MappingPair
from medtech.validation.units import is_ucum, probable_unit
from medtech.validation.vital_signs import UCUM
from medtech.validation.written_values import CodedValue, coded_values

_MOST_UNITS: Final = 300
"""Different units. The grammar takes some milliseconds for each, and no device has so many."""


def not_ucum(pair: MappingPair) -> Iterator[Finding]:
    """A unit that is said to be of UCUM, or of no system, and is none of its codes."""
    looked_at: set[str] = set()
    for coded in coded_values(pair):
        found = _unit(coded)
        if found is None or has_unit_fault(coded):
            continue
        name, unit = found
        looked_at.add(unit)
        if len(looked_at) > _MOST_UNITS:
            return
        if is_ucum(unit):
            continue
        probable = probable_unit(unit)
        node = coded.section.find(name)
        wanted = (
            "Write its code; what is counted stands in braces, such as {steps}."
            if probable is None
            else f"Write {probable}."
        )
        yield warning(
            Name.UNIT_NOT_UCUM,
            f"The {name} '{unit}' of the value '{coded.value.name}' of the type '{coded.template.type_name}' is no "
            f"code of UCUM ({UCUM}), which the profiles of FHIR ask for. {wanted}",
            pair.written_fhir.place(node),
            write_instead(pair.written_fhir, node, probable),
        )


def _unit(coded: CodedValue) -> tuple[str, str] | None:
    """(property, text) of what has to be a code; None if there is no such unit, or it is another system's."""
    value = coded.value
    if isinstance(value, SampledDataValue):
        return ("unit", value.unit) if value.unit else None
    if isinstance(value, QuantityValue) and value.system in (None, "", UCUM):
        # Beside a code the unit is for people, and may be any text.
        return ("code", value.code) if value.code else ("unit", value.unit) if value.unit else None
    return None
