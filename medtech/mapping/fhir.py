"""The FHIR mapping: a `CollectionFhir` of `CodeValueFhir` templates, read and checked whole.

A template says what becomes of the measurements of one type: how long an Observation lasts, its codes, and how each
value is written. Source of the rules: SPEC section 4, and for what the connector's template factories accept
`tests/vectors/load.jsonl`. What the service ignores (unknown properties inside `value`) is ignored; what it refuses is
an issue.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal
from enum import IntEnum
from types import MappingProxyType
from typing import Any

from medtech.dotnet.decimals import MAX_DIGITS
from medtech.dotnet.json_reader import Node
from medtech.dotnet.text import trimmed
from medtech.dotnet.ticks import TICKS_PER_MILLISECOND
from medtech.errors import ErrorType, MappingInvalid
from medtech.mapping.schema import (
    FHIR,
    Container,
    Issues,
    PartialMapping,
    Section,
    describe,
    read_collection,
    text_of,
)

TEMPLATE_KIND = "CodeValueFhir"

TEMPLATE_PROPERTIES = ("typeName", "periodInterval", "codes", "category", "value", "components")
CODE_PROPERTIES = ("code", "system", "display")
CONCEPT_PROPERTIES = ("text", "codes")
COMPONENT_PROPERTIES = ("codes", "value")


@dataclass(frozen=True, slots=True)
class FhirOptions:
    """How the app's settings want templates to be applied; the defaults are those of the settings.

    `group_single_values` (SINGLE_VALUE_PERIOD=group): an interval also holds for templates without SampledData, as in
    the open-source connector; else each of their readings is an Observation of its own, as the service documents.
    `effective_date_time` (OBSERVATION_EFFECTIVE=dateTime): the Observation of a single reading gives its time as
    effectiveDateTime; else as a period that starts and ends then.
    """

    group_single_values: bool = False
    effective_date_time: bool = False


DEFAULT_OPTIONS = FhirOptions()


class Interval(IntEnum):
    """How long one Observation lasts, in minutes. CORRELATION_ID: as long as its readings; SINGLE: one reading."""

    CORRELATION_ID = -1
    SINGLE = 0
    HOURLY = 60
    DAILY = 1440


INTERVALS = MappingProxyType(
    {
        "CorrelationId": Interval.CORRELATION_ID,
        "Single": Interval.SINGLE,
        "Hourly": Interval.HOURLY,
        "Daily": Interval.DAILY,
    }
)


@dataclass(frozen=True, slots=True)
class Code:
    system: str | None
    code: str | None
    display: str | None


@dataclass(frozen=True, slots=True)
class Concept:
    text: str | None
    codes: tuple[Code, ...]


@dataclass(frozen=True, slots=True)
class SampledDataValue:
    """A series: one sample every `period_ms` milliseconds (`period_ticks` of 100 ns) from the period's start."""

    name: str
    period_ms: Decimal
    period_ticks: int
    unit: str | None


@dataclass(frozen=True, slots=True)
class QuantityValue:
    name: str
    unit: str | None
    code: str | None
    system: str | None


@dataclass(frozen=True, slots=True)
class StringValue:
    name: str


@dataclass(frozen=True, slots=True)
class CodeableConceptValue:
    """The concept is the mapping's own: that there is a reading means that it applies."""

    name: str
    concept: Concept


Value = SampledDataValue | QuantityValue | StringValue | CodeableConceptValue


@dataclass(frozen=True, slots=True)
class Component:
    codes: tuple[Code, ...]
    value: Value


@dataclass(frozen=True, slots=True, eq=False)
class CodeValueTemplate:
    """What the measurements of one type become. Equal only to itself: the key of what is built from it.

    `interval` is the one applied. It is SINGLE, whatever the `written_interval` of the mapping, where single values
    have no period. `effective_date_time`: an Observation gives its time as effectiveDateTime; only if it is SINGLE.
    """

    type_name: str
    interval: Interval
    written_interval: Interval
    effective_date_time: bool
    codes: tuple[Code, ...]
    category: tuple[Concept, ...]
    value: Value | None
    components: tuple[Component, ...]


class FhirMapping:
    """The templates of a mapping, found by type name without regard to case.

    `patterns` is where conversion keeps what it builds from each template, so that it lives as long as the mapping.
    """

    def __init__(self, templates: Iterable[CodeValueTemplate]) -> None:
        self.patterns: dict[CodeValueTemplate, Any] = {}
        self._templates = {template.type_name.lower(): template for template in templates}

    @property
    def templates(self) -> list[CodeValueTemplate]:
        return list(self._templates.values())

    def template(self, type_name: str) -> CodeValueTemplate | None:
        return self._templates.get(type_name.lower())


def load_fhir_mapping(text: str, options: FhirOptions = DEFAULT_OPTIONS) -> FhirMapping:
    """The text of a FHIR mapping, checked. Raises MappingInvalid with everything that is wrong in it."""
    templates, issues, _ = read_fhir_templates(text, options)
    if issues:
        raise MappingInvalid(ErrorType.FHIR_TEMPLATE, issues)
    return FhirMapping(templates)


def read_fhir_templates(text: str, options: FhirOptions = DEFAULT_OPTIONS) -> PartialMapping[CodeValueTemplate]:
    """The templates of a FHIR mapping that have no fault, and all faults of the mapping."""
    issues = Issues()
    templates: list[CodeValueTemplate] = []
    names: set[str] = set()
    for container in read_collection(text, FHIR, issues):
        faults_before = issues.count
        section = _template_section(container, issues)
        if section is None:
            continue
        type_name = section.required_text("typeName")
        template = _template(section, type_name, options)
        if type_name is None:
            continue
        if type_name.lower() in names:
            section.fault("typeName", f"There is a template for '{type_name}' already. Join the two, or remove one.")
        names.add(type_name.lower())
        if template is not None and issues.count == faults_before:
            templates.append(template)
    return PartialMapping(templates, issues.in_order(), issues.repeated)


def _template_section(container: Container, issues: Issues) -> Section | None:
    if not container.matches(TEMPLATE_KIND):
        container.section.fault("templateType", f"'templateType' is not {TEMPLATE_KIND}. Write {TEMPLATE_KIND}.")
        return None
    if container.template is None or not isinstance(container.template.value, dict):
        container.section.fault("template", "'template' is not an object. Write the template's properties, {...}.")
        return None
    return Section(container.template, issues)


def _template(section: Section, type_name: str | None, options: FhirOptions) -> CodeValueTemplate | None:
    """The template as far as it can be read; None when something required is missing, which is an issue then."""
    section.refuse_others(*TEMPLATE_PROPERTIES)
    written = Interval.SINGLE
    if section.find("periodInterval") is not None:
        written = Interval(section.enumeration("periodInterval", INTERVALS) or Interval.SINGLE)
    codes = _required_codes(section)
    category = tuple(_concept(concept) for concept in _sections(section, "category"))
    node = section.find("value")
    value = None if node is None else _value(node, section.issues)
    read = [_component(component) for component in _sections(section, "components")]
    if type_name is None or codes is None:
        return None
    components = tuple(component for component in read if component is not None)
    interval = _applied(written, [value, *(component.value for component in components)], options)
    effective_date_time = options.effective_date_time and interval is Interval.SINGLE
    return CodeValueTemplate(type_name, interval, written, effective_date_time, codes, category, value, components)


def _applied(written: Interval, values: Iterable[Value | None], options: FhirOptions) -> Interval:
    """The interval that holds: a period of time is for SampledData, unless single values are grouped as well."""
    if written in (Interval.HOURLY, Interval.DAILY) and not options.group_single_values:
        return written if any(isinstance(value, SampledDataValue) for value in values) else Interval.SINGLE
    return written


def _required_codes(section: Section) -> tuple[Code, ...] | None:
    """The list of codes, which may be empty but must be there."""
    node = section.find("codes")
    if node is None or node.value in (None, ""):
        section.missing("codes")
        return None
    return tuple(_code(code) for code in _sections(section, "codes"))


def _sections(section: Section, name: str) -> list[Section]:
    """The objects of a list that may be absent; where a list is wanted, Json.NET reads "" as null."""
    node = section.find(name)
    if node is None or node.value == "":
        return []
    return section.sections(name) or []


def _code(section: Section) -> Code:
    section.refuse_others(*CODE_PROPERTIES)
    return _code_of_value(section)


def _code_of_value(section: Section) -> Code:
    return Code(_written(section, "system"), _written(section, "code"), _written(section, "display"))


def _written(section: Section, name: str) -> str | None:
    """A text for Observations: without blanks around it, as the service's FHIR client sends it."""
    text = section.text(name)
    return None if text is None else trimmed(text)


def _concept(section: Section) -> Concept:
    section.refuse_others(*CONCEPT_PROPERTIES)
    return Concept(_written(section, "text"), tuple(_code(code) for code in _sections(section, "codes")))


def _component(section: Section) -> Component | None:
    """None also for a value that is never written: there is no component then."""
    section.refuse_others(*COMPONENT_PROPERTIES)
    codes = tuple(_code(code) for code in _sections(section, "codes"))
    node = section.find("value")
    if node is None:
        section.missing("value")
        return None
    value = _value(node, section.issues, "or remove the component")
    return None if value is None else Component(codes, value)


def _value(node: Node, issues: Issues, otherwise: str = "or leave it out") -> Value | None:
    """One value, or None where it is wrong, which is an issue, and for an event without a value.

    That is a CodeableConcept without a valueName: nothing is written of it. Other properties than a type knows are
    ignored, as the service does inside `value`. `otherwise` says in a message what else there is to do.
    """
    if not isinstance(node.value, dict):
        issues.add(node, f"'value' is {describe(node)}. Write an object with valueType and valueName, {otherwise}.")
        return None
    section = Section(node, issues)
    kind = _value_kind(node, section)
    named = section.find("valueName")
    is_event = kind == "codeableconcept" and (named is None or named.value is None)
    name = None if is_event else section.required_text("valueName")
    match kind:
        case None:
            return None
        case "sampleddata":
            period_ms = _default_period(section)
            unit = _written(section, "unit")
            if name is None or period_ms is None:
                return None
            return SampledDataValue(name, period_ms, int(period_ms * TICKS_PER_MILLISECOND), unit)
        case "quantity":
            unit, code, system = _written(section, "unit"), _written(section, "code"), _written(section, "system")
            return None if name is None else QuantityValue(name, unit, code, system)
        case "string":
            return None if name is None else StringValue(name)
        case _:
            codes = tuple(_code_of_value(code) for code in _sections(section, "codes"))
            concept = Concept(_written(section, "text"), codes)
            return None if name is None else CodeableConceptValue(name, concept)


_OF_NUMBERS = frozenset("0123456789+-.eE \t\n\v\f\r")

VALUE_TYPES = ("SampledData", "Quantity", "String", "CodeableConcept")


def _value_kind(node: Node, section: Section) -> str | None:
    """The value's type in lower case. The service knows only these two spellings of the property."""
    found = section.find_spelled("ValueType", "valueType")
    kind = None if found is None else text_of(found)
    if kind is not None and kind.lower() in (name.lower() for name in VALUE_TYPES):
        return kind.lower()
    state = "is absent, or not spelled so" if found is None else f"is {describe(found)}"
    section.issues.add(found or node, f"'valueType' {state}. Write one of: {', '.join(VALUE_TYPES)}.")
    return None


def _default_period(section: Section) -> Decimal | None:
    """Milliseconds between samples, at least one tick.

    A fraction goes through a double into a decimal of 15 digits, as in the service: `60000.50` is written as 60000.5,
    `1000.0` as 1000.
    """
    node = section.find("defaultPeriod")
    value = None if node is None else node.value
    period = None
    if isinstance(value, int) and not isinstance(value, bool):
        period = Decimal(value)
    elif isinstance(value, float | Decimal):
        period = Decimal(f"{float(value):.15g}")
    elif isinstance(value, str):
        period = _decimal(value)
    # Compared before it is multiplied: 1e999999 times anything is more than a Decimal holds.
    if period is not None and period.is_finite() and _ONE_TICK_MS <= period < _INT64_TICKS_MS:
        return period
    section.fault("defaultPeriod", "'defaultPeriod' is not a positive number. Write milliseconds between samples.")
    return None


_ONE_TICK_MS = Decimal(1) / TICKS_PER_MILLISECOND
_INT64_TICKS_MS = Decimal(2**63) / TICKS_PER_MILLISECOND
_DECIMALS = Context(prec=MAX_DIGITS)


def _decimal(text: str) -> Decimal | None:
    """A number of at most 28 digits, as .NET's decimal keeps them.

    None also for what only Python reads as a number: 1_000, other digits, NaN.
    """
    if not set(text) <= _OF_NUMBERS:
        return None
    try:
        return _DECIMALS.create_decimal(text.strip())
    except ArithmeticError:
        return None
