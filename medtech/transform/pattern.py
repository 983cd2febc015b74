"""What all Observations of a FHIR template have in common, built once."""

from collections.abc import Callable
from typing import Any, NamedTuple

from medtech.dotnet.ticks import TICKS_PER_MINUTE
from medtech.mapping.fhir import CodeValueTemplate, FhirMapping, Interval
from medtech.transform.values import SampledDataWriter, Writer, write_category, write_named_concept, writer_of


class Target(NamedTuple):
    """One value of a template. `code` is that of its component, None for the Observation's own value."""

    writer: Writer
    code: dict[str, Any] | None


class Pattern:
    """What all Observations of a template have in common.

    `by_name` maps the name of a value to the targets that it goes to: index, how it is read, whether it is a series.
    `series` has index and period (in ticks) of the targets that are. `length` is an Observation's, in ticks: one tick
    for a single reading, None for a correlation group, which lasts as long as its readings do.
    """

    __slots__ = ("_codes", "by_name", "category", "length", "series", "targets", "template")

    _CODES_KEPT = 64

    def __init__(self, template: CodeValueTemplate) -> None:
        self.template = template
        self.length = None
        if template.interval is not Interval.CORRELATION_ID:
            self.length = template.interval * TICKS_PER_MINUTE or 1
        self.category = write_category(template)
        targets = [] if template.value is None else [Target(writer_of(template.value), None)]
        for component in template.components:
            code = write_named_concept(component.codes, component.value.name)
            targets.append(Target(writer_of(component.value), code))
        self.targets = tuple(targets)
        self.by_name: dict[str, list[tuple[int, Callable[[str], Any], bool]]] = {}
        for index, (writer, _) in enumerate(targets):
            reader = (index, writer.read, isinstance(writer, SampledDataWriter))
            self.by_name.setdefault(writer.name, []).append(reader)
        self.series = [
            (index, writer.period) for index, (writer, _) in enumerate(targets) if isinstance(writer, SampledDataWriter)
        ]
        self._codes: dict[str, dict[str, Any]] = {}

    def has_one_time(self, start: int, end: int) -> bool:
        """Whether one time is enough for single readings from `start` to `end` (ticks), which are of one second.

        It is not if a series has samples at several times, because they count from the start of a period.
        """
        return all(end - start < period for _, period in self.series)

    def code(self, type_name: str) -> dict[str, Any]:
        """The Observation's code, with the type as the measurements spell it."""
        code = self._codes.get(type_name)
        if code is None:
            if len(self._codes) >= self._CODES_KEPT:
                self._codes.clear()  # spellings come from messages, which may hold any number of them
            code = self._codes[type_name] = write_named_concept(self.template.codes, type_name)
        return code


def pattern_of(mapping: FhirMapping, template: CodeValueTemplate) -> Pattern:
    """The pattern of a template of the mapping: made for its first group, and gone with the mapping."""
    pattern: Pattern | None = mapping.patterns.get(template)
    if pattern is None:
        pattern = mapping.patterns[template] = Pattern(template)
    return pattern
