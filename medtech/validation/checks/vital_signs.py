"""What the vital-signs profiles of FHIR R4 would not take (`medtech.validation.vital_signs`)."""

from collections.abc import Iterator

from medtech.mapping.fhir import QuantityValue, SampledDataValue
from medtech.validation.finding import Finding, Name, warning
from medtech.validation.fixes import add_first, add_property, set_property
from medtech.validation.mapping_pair import MappingPair
from medtech.validation.units import probable_unit
from medtech.validation.vital_signs import (
    BESIDE,
    CATEGORY,
    CATEGORY_SYSTEM,
    LOINC,
    ONLY_QUANTITY,
    PANELS,
    UCUM,
    UNITS,
    is_in_category,
    loinc_codes,
    vital_sign,
)
from medtech.validation.written_values import CodedValue, coded_values


def has_unit_fault(coded: CodedValue) -> bool:
    """Whether a Quantity of a vital sign has another unit, or another system, than its profile takes."""
    units, value = _units(coded), coded.value
    return bool(units) and isinstance(value, QuantityValue) and not (value.code in units and value.system == UCUM)


def units(pair: MappingPair) -> Iterator[Finding]:
    """A Quantity of a vital sign with another unit, or another system, than its profile has."""
    for coded in coded_values(pair):
        value = coded.value
        if not has_unit_fault(coded) or not isinstance(value, QuantityValue):
            continue
        allowed = _units(coded)
        name, found = ("system", value.system) if value.code in allowed else ("code", value.code)
        # What has another dimension is not mended by another label.
        text = UCUM if name == "system" else probable_unit(value.code or value.unit or "")
        if name == "code" and text not in allowed:
            text = value.unit if not value.code and value.unit in allowed else None
        section = coded.section
        yield warning(
            Name.VITAL_SIGN_UNIT,
            f"The value '{value.name}' of the type '{coded.template.type_name}' has the LOINC code "
            f"{vital_sign(coded.codes)}, whose vital-signs profile takes the code {' or '.join(allowed)} of the system "
            f"{UCUM}; {f'the {name} here is {found}' if found else f'there is no {name}'}. "
            + ("Write one of these units, and let the readings have it." if text is None else f"Write {text}."),
            pair.written_fhir.place(section.find(name) or section.node),
            None if text is None else set_property(pair.written_fhir, section, name, text),
        )


def _units(coded: CodedValue) -> tuple[str, ...]:
    """The codes that the profile of these codes takes; none if they are no vital sign's."""
    return UNITS.get(vital_sign(coded.codes) or "", ())


def category(pair: MappingPair) -> Iterator[Finding]:
    """A vital sign that its category does not say is one."""
    for template in pair.fhir_templates:
        sign = vital_sign(template.codes)
        if sign is None or is_in_category(template.category):
            continue
        section = pair.written_fhir.template_of(template.type_name)
        concept = {"codes": [{"code": CATEGORY, "system": CATEGORY_SYSTEM, "display": "Vital Signs"}]}
        yield warning(
            Name.VITAL_SIGN_CATEGORY,
            f"The type '{template.type_name}' has the LOINC code {sign} of a vital sign, and its category has no code "
            f"{CATEGORY} of {CATEGORY_SYSTEM}. Add it: who asks for vital signs does not find these Observations.",
            pair.written_fhir.place(section.find("category") or section.node),
            add_property(pair.written_fhir, section, "category", [concept]),
        )


def value_types(pair: MappingPair) -> Iterator[Finding]:
    """A vital sign whose profile takes another type of value, or none at all."""
    for coded in coded_values(pair):
        loinc = loinc_codes(coded.codes)
        quantity = isinstance(coded.value, QuantityValue)
        only = loinc & ONLY_QUANTITY
        if only and coded.is_root and not quantity:
            kind = "SampledData" if isinstance(coded.value, SampledDataValue) else "another type of value"
            reason = f"the vital-signs profile of the LOINC code {min(only)} takes only a Quantity, and this is {kind}"
            todo = "Write a Quantity, or a code that is not the vital sign's for a series"
        elif loinc & PANELS and coded.is_root and quantity:
            reason = f"the LOINC code {min(loinc & PANELS)} is a panel's, which has its values in components"
            todo = "Write a component for each value"
        else:
            continue
        yield warning(
            Name.VITAL_SIGN_VALUE,
            f"The value '{coded.value.name}' of the type '{coded.template.type_name}': {reason}. {todo}.",
            pair.written_fhir.place(coded.section.find("valueType") or coded.section.node),
        )


def codes(pair: MappingPair) -> Iterator[Finding]:
    """A code that a profile takes only beside its own."""
    for template in pair.fhir_templates:
        loinc = loinc_codes(template.codes)
        node = pair.written_fhir.template_of(template.type_name).find("codes")
        for code, beside in BESIDE.items():
            if code in loinc and beside not in loinc:
                yield warning(
                    Name.VITAL_SIGN_CODE,
                    f"The type '{template.type_name}' has the LOINC code {code}, which the vital-signs profile takes "
                    f"only beside {beside}. Add that code to the list.",
                    pair.written_fhir.place(node),
                    add_first(pair.written_fhir, node, {"code": beside, "system": LOINC}),
                )
