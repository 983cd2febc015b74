"""What all Observations of a FHIR template have in common, built once."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

from medtech.dotnet.ticks import MAX_TICKS, TICKS_PER_MINUTE
from medtech.mapping.fhir import CodeValueTemplate, FhirMapping, Interval, Value
from medtech.transform import sampled_data
from medtech.transform.fhir_json import dump_resource, without_empties
from medtech.transform.values import SampledDataWriter, Writer, write_category, write_named_concept, writer_of


class Target(NamedTuple):
    """One value of a template. `code` is that of its component, None for the Observation's own value.

    `opening` is the JSON text of the component, or of the Observation's property, up to the value itself.
    """

    writer: Writer
    code: dict[str, Any] | None
    opening: str

    @classmethod
    def of(cls, value: Value, code: dict[str, Any] | None) -> Self:
        writer = writer_of(value)
        component = "" if code is None else f'{{"code":{dump_resource(code).decode()},'
        return cls(writer, code, f'{component}"{writer.property}":')


class Pattern:
    """What all Observations of a template have in common.

    `by_name` maps the name of a value to the targets that it goes to: index, how it is read, whether it is a series.
    `series` has index and period (in ticks) of the targets that are. `length` is an Observation's, in ticks: one tick
    for a single reading, None for a correlation group, which lasts as long as its readings do. `always_fits`: no series
    of that length needs more samples than an Observation can hold. `has_empties`: the template holds empty texts or
    objects, which FHIR does not have.
    """

    __slots__ = (
        "_openings",
        "_shortest_period",
        "always_fits",
        "by_name",
        "category",
        "has_empties",
        "length",
        "series",
        "targets",
        "template",
    )

    _OPENINGS_KEPT = 64

    def __init__(self, template: CodeValueTemplate) -> None:
        self.template = template
        self.length = None
        if template.interval is not Interval.CORRELATION_ID:
            self.length = template.interval * TICKS_PER_MINUTE or 1
        self.category = write_category(template)
        targets = [] if template.value is None else [Target.of(template.value, None)]
        for component in template.components:
            code = write_named_concept(component.codes, component.value.name)
            targets.append(Target.of(component.value, code))
        self.targets = tuple(targets)
        self.by_name: dict[str, list[tuple[int, Callable[[str], Any], bool]]] = {}
        writers = [target.writer for target in targets]
        for index, writer in enumerate(writers):
            reader = (index, writer.read, isinstance(writer, SampledDataWriter))
            self.by_name.setdefault(writer.name, []).append(reader)
        self.series = [
            (index, writer.period) for index, writer in enumerate(writers) if isinstance(writer, SampledDataWriter)
        ]
        self._shortest_period = min((period for _, period in self.series), default=MAX_TICKS)
        self.always_fits = not self.series or (
            self.length is not None and sampled_data.fits(self.length, self._shortest_period)
        )
        codes = [write_named_concept(template.codes, template.type_name), *(target.code for target in targets)]
        parts = [self.category, codes, [writer.constants for writer in writers if writer.constants]]
        self.has_empties = without_empties(parts) != parts
        self._openings: dict[str, str] = {}

    def has_one_time(self, start: int, end: int) -> bool:
        """Whether one time is enough for single readings from `start` to `end` (ticks), which are of one second.

        It is not if a series has samples at several times, because they count from the start of a period.
        """
        return not self.series or end - start < self._shortest_period

    def opening(self, type_name: str) -> str:
        """The JSON text of a new Observation's status, category and code; the type as the measurements spell it."""
        opening = self._openings.get(type_name)
        if opening is None:
            if len(self._openings) >= self._OPENINGS_KEPT:
                self._openings.clear()  # spellings come from messages, which may hold any number of them
            elements: dict[str, Any] = {"status": "final"}
            if self.category:
                elements["category"] = self.category
            elements["code"] = write_named_concept(self.template.codes, type_name)
            opening = self._openings[type_name] = dump_resource(elements).decode()[1:-1]
        return opening


def pattern_of(mapping: FhirMapping, template: CodeValueTemplate) -> Pattern:
    """The pattern of a template of the mapping: made for its first group, and gone with the mapping."""
    pattern: Pattern | None = mapping.patterns.get(template)
    if pattern is None:
        pattern = mapping.patterns[template] = Pattern(template)
    return pattern
