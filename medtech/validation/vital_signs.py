"""What the vital-signs profiles of FHIR R4 ask of a Quantity.

Source: the profiles of FHIR R4 (4.0.1) that are based on http://hl7.org/fhir/StructureDefinition/vitalsigns, which ask
for a category `vital-signs`, and of a valueQuantity for value, unit, system and one of these codes of UCUM.
"""

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from medtech.mapping.fhir import Code, Concept

LOINC: Final = "http://loinc.org"
UCUM: Final = "http://unitsofmeasure.org"
CATEGORY_SYSTEM: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
CATEGORY: Final = "vital-signs"

UNITS: Final = MappingProxyType(
    {
        "9279-1": ("/min",),
        "8867-4": ("/min",),
        "2708-6": ("%",),
        "8310-5": ("Cel", "[degF]"),
        "8302-2": ("cm", "[in_i]"),
        "9843-4": ("cm", "[in_i]"),
        "29463-7": ("g", "kg", "[lb_av]"),
        "39156-5": ("kg/m2",),
        "8480-6": ("mm[Hg]",),
        "8462-4": ("mm[Hg]",),
    }
)
"""By LOINC code. The first is the one that most use."""

PANELS: Final = frozenset({"85354-9", "85353-1"})
"""Their values are components."""

ONLY_QUANTITY: Final = frozenset({"8867-4"})

BESIDE: Final = MappingProxyType({"59408-5": "2708-6"})
"""Codes that a profile takes only beside its own."""


def vital_sign(codes: Iterable[Code]) -> str | None:
    """The LOINC code of the profile that these codes are under; None if they are no vital sign's."""
    known = {code.code for code in codes if code.system == LOINC}
    return next((code for code in (*UNITS, *PANELS) if code in known), None)


def loinc_codes(codes: Iterable[Code]) -> set[str]:
    return {code.code for code in codes if code.system == LOINC and code.code}


def is_in_category(category: Iterable[Concept]) -> bool:
    return any(
        code.code == CATEGORY and code.system == CATEGORY_SYSTEM for concept in category for code in concept.codes
    )
