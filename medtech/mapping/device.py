"""The device mapping: checked and compiled as a whole when it is loaded, then a function of messages.

Nothing of a mapping is parsed per message. One walk of a message finds the matches of most templates (`matching`); each
template has a compiled function that takes its measurements from its matches (`extraction`).
"""

from collections.abc import Sequence
from typing import Any

from medtech.dotnet.json_body import NotJson, parse_counted
from medtech.errors import ErrorType, MappingInvalid, MessageTooCostly, NotSupported
from medtech.evaluation_budget import UNBOUNDED, EvaluationBudget
from medtech.mapping.allowance import BASE_STEPS, MOST_STEPS, steps_a_byte
from medtech.mapping.content_template import ContentTemplate
from medtech.mapping.document import message_document
from medtech.mapping.expression import FAILED
from medtech.mapping.extraction import compile_extraction, most_bytes_of_lookups
from medtech.mapping.matching import Matcher, MatchTooCostly, Scan, Search
from medtech.mapping.schema import DEVICE, Issues, PartialMapping, read_collection
from medtech.mapping.template_reader import read_template
from medtech.model import DeviceEvent, Measurement, NormalizationFailure, Normalized

LoadedTemplate = tuple[ContentTemplate, Scan | Search]
"""A template, and what finds its matches in a message."""

_UNREAD: dict[str, Any] = {}
"""Stands for metadata that no expression of the mapping reads."""


class DeviceMapping:
    """A loaded device mapping; `templates` are in the order of the mapping, `matcher` finds what they take."""

    def __init__(self, loaded: Sequence[LoadedTemplate]) -> None:
        self.templates = tuple(template for template, _ in loaded)
        self.matcher = Matcher([finder for _, finder in loaded])
        self._extractions = [
            compile_extraction(template, matches_once=True, certain_names=finder.certain_names)
            if isinstance(finder, Scan)
            else compile_extraction(template, matches_once=False)
            for template, finder in loaded
        ]
        self._steps_a_byte = steps_a_byte(len(loaded))
        self._uncounted_bytes = 0 if self.matcher.evaluates else most_bytes_of_lookups(self.templates, BASE_STEPS)
        self._reads_metadata = self.matcher.reads_metadata or any(each.reads_metadata for each in self.templates)

    def normalize(self, event: DeviceEvent, budget: EvaluationBudget | None = None) -> Normalized:
        """What the message becomes. A template that fails, or one of its matches, does not affect the others.

        A message that spends its evaluation budget has one failure, MessageTooCostly, and no measurements. The budget
        is that of `allowed_steps` unless another is given.
        """
        body, properties, system_properties, ingestion_time, _, partition, sequence_number = event
        measurements: list[Measurement] = []
        failures: list[NormalizationFailure] = []
        try:
            parsed, openings = parse_counted(body)
        except NotJson as error:
            failures.append(NormalizationFailure(NotSupported(str(error)), -1, -1))
            return Normalized(measurements, failures)
        matcher = self.matcher
        # Metadata is brought into the document's form only if a template may read it.
        if (
            self._reads_metadata
            or (properties and matcher.may_take(properties))
            or (system_properties and matcher.may_take(system_properties))
        ):
            document = message_document(parsed, properties, system_properties)
        else:
            document = {"Body": parsed, "Properties": _UNREAD, "SystemProperties": _UNREAD}
            if budget is None and len(body) <= self._uncounted_bytes:
                # It cannot spend its budget; a counter of its own would take 4 % of the time of a usual message.
                budget = UNBOUNDED
        if budget is None:
            # As `allowed_steps`, without the two calls, which are felt in a message of 4 us.
            steps = BASE_STEPS + len(body) * self._steps_a_byte
            budget = EvaluationBudget(steps if steps < MOST_STEPS else MOST_STEPS)
        try:
            matches = matcher.find(document, budget, openings)
            for index in sorted(matches) if len(matches) > 1 else matches:
                found = matches[index]
                if type(found) is list:
                    extract, constants = self._extractions[index]
                    extract(
                        constants,
                        document,
                        found,
                        ingestion_time,
                        partition,
                        sequence_number,
                        measurements,
                        failures,
                        budget,
                    )
                elif isinstance(found, FAILED):
                    template = self.templates[index]
                    failures.append(template.failure(template.type_match, found, -1))
        except MatchTooCostly as spent:
            template = self.templates[spent.template]
            return _too_costly(template.too_costly(template.type_match, spent.cause))
        except MessageTooCostly as error:
            return _too_costly(error)
        # The same as the NamedTuple's constructor, in half the time.
        return tuple.__new__(Normalized, (measurements, failures))

    def allowed_steps(self, body_bytes: int) -> int:
        """How many steps a message with a body of this size may take."""
        return min(BASE_STEPS + body_bytes * self._steps_a_byte, MOST_STEPS)


def _too_costly(error: MessageTooCostly) -> Normalized:
    """One failure of the message as a whole: with a part of its measurements it would look complete."""
    return Normalized([], [NormalizationFailure(error, -1, -1)])


def load_device_mapping(text: str) -> DeviceMapping:
    """The text of a device mapping, checked and compiled. Raises MappingInvalid with everything that is wrong in it."""
    templates, issues, _ = read_device_templates(text)
    if issues:
        raise MappingInvalid(ErrorType.DEVICE_TEMPLATE, issues)
    return DeviceMapping(templates)


def read_device_templates(text: str) -> PartialMapping[LoadedTemplate]:
    """The templates of a device mapping that have no fault, and all faults of the mapping."""
    issues = Issues()
    containers = read_collection(text, DEVICE, issues)
    templates = [found for container in containers if (found := read_template(container, issues)) is not None]
    return PartialMapping(templates, issues.in_order(), issues.repeated)
