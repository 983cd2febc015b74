"""Where this app does otherwise than the service or the open-source connector, as far as these mappings can meet it.

What it does otherwise is listed in docs/migrate.md, "What is different", and in docs/languages.md. `MET` has a function
for each divergence that a mapping shows; the others depend on messages or on what is stored, and are only named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from medtech.importing.old_service import OldService
from medtech.jmespath import syntax as jmespath
from medtech.jsonpath import syntax as jsonpath
from medtech.mapping.content_template import ContentTemplate, Origin
from medtech.mapping.fhir import CodeValueTemplate, Interval, SampledDataValue, StringValue
from medtech.settings import ResolutionType
from medtech.validation.mapping_pair import MappingPair, values_of
from medtech.validation.written_mapping import MappingName, Place


class Meeting(NamedTuple):
    """A place of a mapping that can meet a divergence. `line` counts from 1; the place may be unknown."""

    type: str
    mapping: MappingName | None = None
    line: int | None = None
    detail: str = ""


class Divergence(NamedTuple):
    """`number` is its number in the product's specification."""

    number: int
    case: str
    before: str
    here: str


class Met(NamedTuple):
    divergence: Divergence
    meetings: list[Meeting]


def met(pair: MappingPair, old: OldService) -> list[Met]:
    """The divergences that the mappings, or the settings, can meet, in order of their numbers."""
    found = [Met(divergence, list(finder(pair, old))) for divergence, finder in MET]
    return [each for each in found if each.meetings]


def _divided(pair: MappingPair, _: OldService) -> Iterator[Meeting]:
    yield from _calls(pair, "divide")


def _single_values(pair: MappingPair, _: OldService) -> Iterator[Meeting]:
    for template in pair.fhir_templates:
        if template.written_interval in (Interval.HOURLY, Interval.DAILY) and not _series(template):
            yield _of_fhir(pair, template, "periodInterval", f"periodInterval {template.written_interval.value}")


def _moving_starts(pair: MappingPair, _: OldService) -> Iterator[Meeting]:
    """Only the period of a correlation group grows at its start; an hour and a day begin where they begin."""
    for template in pair.fhir_templates:
        if template.interval is Interval.CORRELATION_ID and len(_series(template)) > 1:
            yield _of_fhir(pair, template, "periodInterval", f"{len(_series(template))} SampledData")


def _standing_alone(pair: MappingPair, _: OldService) -> Iterator[Meeting]:
    templates = pair.device or ()
    if len(templates) > 1:
        yield Meeting(templates[0].type, "deviceMapping", detail=f"and {len(templates) - 1} further templates")


def _without_values(pair: MappingPair, _: OldService) -> Iterator[Meeting]:
    for template in pair.device or ():
        values = pair.written_device.template(template.index).find("values")
        if template.on_document and (values is None or values.value is None):
            yield _of_device(pair, template.type_match, template.type)


def _correlated(pair: MappingPair, _: OldService) -> Iterator[Meeting]:
    for template in pair.fhir_templates:
        if template.interval is Interval.CORRELATION_ID:
            yield _of_fhir(pair, template, "periodInterval")


def _negative_indexes(pair: MappingPair, _: OldService) -> Iterator[Meeting]:
    for template, origin, steps in _paths(pair):
        if any(index < 0 for index in _indexes(steps)):
            yield _of_device(pair, origin, template.type)


def _ordered(pair: MappingPair, _: OldService) -> Iterator[Meeting]:
    for template, origin, steps in _paths(pair):
        if any(each.operator in ("<", "<=", ">", ">=") for each in _comparisons(steps)):
            yield _of_device(pair, origin, template.type)


def _texts(pair: MappingPair, _: OldService) -> Iterator[Meeting]:
    for template in pair.fhir_templates:
        names = [value.name for value in values_of(template) if isinstance(value, StringValue)]
        if names:
            yield _of_fhir(pair, template, "typeName", ", ".join(names))


def _two_groups(pair: MappingPair, _: OldService) -> Iterator[Meeting]:
    """Encounter and patient of a message part its groups, and are not in the identifier of the Observation."""
    for template in pair.device or ():
        field = template.encounter_id or template.patient_id
        if field is not None:
            yield _of_device(pair, field.origin, template.type)


def _creating(_: MappingPair, old: OldService) -> Iterator[Meeting]:
    if old.resolution_type == ResolutionType.CREATE:
        yield Meeting("", detail="resolution type Create")


def _too_many_samples(pair: MappingPair, _: OldService) -> Iterator[Meeting]:
    """A correlation group lasts as long as its readings do. An hour or a day fits or never does: validation tells."""
    for template in pair.fhir_templates:
        if template.interval is Interval.CORRELATION_ID and _series(template):
            yield _of_fhir(pair, template, "periodInterval")


def _same_times(pair: MappingPair, _: OldService) -> Iterator[Meeting]:
    seen: set[str] = set()
    for template in pair.device or ():
        if template.type.lower() in seen:
            yield _of_device(pair, template.type_match, template.type)
        seen.add(template.type.lower())


def _arithmetic(pair: MappingPair, _: OldService) -> Iterator[Meeting]:
    yield from _calls(pair, "add", "subtract", "multiply", "divide", "pow")


_Finder = Callable[[MappingPair, OldService], Iterator[Meeting]]

MET: tuple[tuple[Divergence, _Finder], ...] = (
    (
        Divergence(
            1, "`divide` of two integers with a remainder", "truncated to an integer", "the fraction, as documented"
        ),
        _divided,
    ),
    (
        Divergence(
            2,
            "several readings in one period for a Quantity, String or CodeableConcept",
            "the whole group is lost",
            "an Observation for each reading, as documented; with `SINGLE_VALUE_PERIOD=group` the latest reading of "
            "the period",
        ),
        _single_values,
    ),
    (
        Divergence(
            4,
            "a merge moves the start of a period",
            "the Observation's other SampledData shift in time",
            "every series is laid out again from the new start",
        ),
        _moving_starts,
    ),
    (
        Divergence(
            8, "one template fails on a message", "later templates never see the message", "each template stands alone"
        ),
        _standing_alone,
    ),
    (
        Divergence(
            10,
            "`values` absent or null in CalculatedContent",
            "the message is lost",
            "no values, as in the other kinds of templates",
        ),
        _without_values,
    ),
    (
        Divergence(
            13, "the period of a correlation group", "without an offset, which FHIR refuses", "in UTC, with `Z`"
        ),
        _correlated,
    ),
    (Divergence(14, "a negative index in JSONPath", "every message fails", "counted from the end"), _negative_indexes),
    (
        Divergence(
            15,
            "a JSONPath filter compares values that cannot be put in order",
            "the message is lost",
            "the comparison is false",
        ),
        _ordered,
    ),
    (Divergence(16, "a String value that is blank", "an empty string, which servers refuse", "no value"), _texts),
    (
        Divergence(
            19,
            "two groups meet in one Observation",
            "one overwrites the other, or the bundle is refused",
            "written together",
        ),
        _two_groups,
    ),
    (
        Divergence(20, "Create mode, when a search misses an edited Patient", "a stub replaces the Patient", "never"),
        _creating,
    ),
    (
        Divergence(
            22,
            "a period that needs more samples than an Observation can hold",
            "memory runs out",
            "counted first; the group becomes a dead letter",
        ),
        _too_many_samples,
    ),
    (
        Divergence(
            23,
            "two measurements of one time in a flush",
            "the later one replaces the earlier one whole",
            "combined value by value",
        ),
        _same_times,
    ),
    (
        Divergence(
            25,
            "arithmetic of JMESPath past 64 bits, by zero, or with a negative power",
            "wraps, Infinity, or 0",
            "an error, an error, the fraction",
        ),
        _arithmetic,
    ),
)

BY_CONTENT = (
    "stored values of another type (3), a changed defaultPeriod (5), numbers with exponents, commas or too many digits "
    "(6, 24, 21), values that are no numbers (7), times without a date (9), devices that several patients share (11), "
    "another unit in a stored series (17), stored Observations that were withdrawn or belong to another subject (18), "
    "messages that take unbounded time (26), outages of the FHIR server (27)"
)
"""What messages, the store and the server decide, and no mapping shows; by number. A mapping that is absent (12) is a
fault of the setup."""


def _calls(pair: MappingPair, *functions: str) -> Iterator[Meeting]:
    for template in pair.device or ():
        for origin in _origins(template):
            if origin.language == "JmesPath" and (called := _called(origin.expression).intersection(functions)):
                yield _of_device(pair, origin, template.type, ", ".join(sorted(called)))


def _called(expression: str) -> set[str]:
    found: set[str] = set()
    open_nodes: list[dict[str, Any]] = [jmespath.parse(expression)]
    while open_nodes:
        node = open_nodes.pop()
        if node["type"] == "function_expression":
            found.add(node["value"])
        open_nodes += [child for child in node["children"] if isinstance(child, dict)]
    return found


def _paths(pair: MappingPair) -> Iterator[tuple[ContentTemplate, Origin, tuple[jsonpath.Step, ...]]]:
    for template in pair.device or ():
        for origin in _origins(template):
            if origin.language == "JsonPath":
                yield template, origin, jsonpath.parse_path(origin.expression)


def _origins(template: ContentTemplate) -> Iterator[Origin]:
    yield template.type_match
    for field in template.fields:
        yield field.origin


def _indexes(steps: tuple[jsonpath.Step, ...]) -> Iterator[int]:
    for step in _all_steps(steps):
        if isinstance(step, jsonpath.Index):
            yield step.index
        elif isinstance(step, jsonpath.Indexes):
            yield from step.indexes


def _comparisons(steps: tuple[jsonpath.Step, ...]) -> Iterator[jsonpath.Comparison]:
    for condition in _conditions(steps):
        if isinstance(condition, jsonpath.Comparison):
            yield condition


def _all_steps(steps: tuple[jsonpath.Step, ...]) -> Iterator[jsonpath.Step]:
    """Those of the queries in filters, too."""
    yield from steps
    for condition in _conditions(steps):
        for query in _queries(condition):
            yield from query.steps


def _conditions(steps: tuple[jsonpath.Step, ...]) -> Iterator[jsonpath.Condition]:
    waiting = [step.condition for step in steps if isinstance(step, jsonpath.Filter)]
    while waiting:
        condition = waiting.pop()
        yield condition
        if isinstance(condition, jsonpath.Combination):
            waiting += condition.conditions
        for query in _queries(condition):
            waiting += [step.condition for step in query.steps if isinstance(step, jsonpath.Filter)]


def _queries(condition: jsonpath.Condition) -> list[jsonpath.Query]:
    if isinstance(condition, jsonpath.Exists):
        sides = [condition.side]
    elif isinstance(condition, jsonpath.Comparison):
        sides = [condition.left, condition.right]
    else:
        sides = []
    return [side for side in sides if isinstance(side, jsonpath.Query)]


def _series(template: CodeValueTemplate) -> list[SampledDataValue]:
    return [value for value in values_of(template) if isinstance(value, SampledDataValue)]


def _of_device(pair: MappingPair, origin: Origin, type_name: str, detail: str = "") -> Meeting:
    return _at(pair.place_of(origin), type_name, detail or origin.expression)


def _of_fhir(pair: MappingPair, template: CodeValueTemplate, name: str, detail: str = "") -> Meeting:
    section = pair.written_fhir.template_of(template.type_name)
    return _at(pair.written_fhir.place(section.find(name) or section.node), template.type_name, detail)


def _at(place: Place, type_name: str, detail: str) -> Meeting:
    line = place.range.line if place.range is not None else place.line
    return Meeting(type_name, place.mapping, line if line > 0 else None, detail)
