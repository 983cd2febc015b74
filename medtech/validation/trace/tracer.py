"""How each measurement of a message came about: the matches of each template, and what each expression took from where.

The pipeline keeps no account of it, since that would cost every message. So messages are evaluated again here, by the
same matcher and the same functions for what is taken; only the places and the steps between are found by other means.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, TypedDict

import orjson

from medtech.dotnet import ticks
from medtech.dotnet.text import is_blank
from medtech.dotnet.tokens import NoReading, time_reading
from medtech.evaluation_budget import BudgetSpent, EvaluationBudget
from medtech.jmespath.expression import Projection
from medtech.jsonpath.syntax import parse_path, steps_text
from medtech.mapping.content_template import ContentTemplate, Field, NoValue, Origin, PropertyLookup
from medtech.mapping.device import DeviceMapping
from medtech.mapping.expression import FAILED, MATCHED_TOKEN
from medtech.mapping.extraction import optional_text, required_text
from medtech.mapping.matching import MatchTooCostly
from medtech.model import DeviceEvent, Measurement
from medtech.validation.trace.excerpt import Excerpt
from medtech.validation.trace.jmes_path import Found, LocatedExpression
from medtech.validation.trace.json_path import Located, LocatedPath
from medtech.validation.trace.place import DocumentPlaces, Given, Place
from medtech.validation.trial import document_of

MOST_MATCHES: Final = 50
"""Matches of a template in a message that are traced. The others are counted."""

MOST_BYTES: Final = 4 * 1024 * 1024
"""What all traces of a request may add to the answer; reaching it ends them."""

MOST_STEPS: Final = 10_000_000
"""A second or two for all traces of a request."""
_DOCUMENT_STEPS: Final = 50
_EXPRESSION_STEPS: Final = 300
"""For each expression of each match, besides its evaluation: it becomes a part of the answer."""
_STEP_STEPS: Final = 100
_CHARACTER_STEPS: Final = 10
"""For each character of a path that is parsed."""

_TEMPLATE_BYTES: Final = 150
"""What an entry of a template takes without its type and its matches."""

_MOST_STEPS_SHOWN: Final = 40
_MOST_POINTERS: Final = 20
_LONGEST_RESULT: Final = 1000
_LONGEST_EXPRESSION: Final = 4000


class StepTrace(TypedDict):
    """A part of an expression: how many values it finds, and what and where they are.

    `value` and `pointer` are of the only one; of several, `value` is a list of them, and `pointers` has the first.
    """

    expression: str
    count: int
    value: Any
    cut: bool
    pointer: str | None
    pointers: list[str | None]
    error: str | None


class ExpressionTrace(TypedDict):
    """What an expression gave a measurement: the text that it has there, or why it failed."""

    property: str
    language: str
    expression: str
    result: str | None
    cut: bool
    pointer: str | None
    error: str | None
    steps: list[StepTrace]


class MatchTrace(TypedDict):
    """A token that a template matched, and the measurement that it became, by its number among the message's."""

    pointer: str | None
    measurement: int | None
    expressions: list[ExpressionTrace]


class TemplateTrace(TypedDict):
    """A template that matched a message; `pointer` is into the device mapping."""

    template: int
    pointer: str
    typeName: str
    matches: list[MatchTrace]
    matchesLeftOut: int


class Tracer:
    """The traces of one request's messages, which share what they may take."""

    def __init__(self, device: DeviceMapping, budget: EvaluationBudget | None = None) -> None:
        self._device = device
        self._budget = budget or EvaluationBudget(MOST_STEPS)
        self._bytes_left = MOST_BYTES
        self._paths: dict[Origin, tuple[LocatedPath, list[str]]] = {}
        self._expressions: dict[Origin, LocatedExpression] = {}

    def trace(self, event: DeviceEvent, measurements: Sequence[Measurement]) -> list[TemplateTrace] | None:
        """The templates that match a message, in the order of the mapping, with their first matches.

        None if the limits were reached before; if they are reached now, the matches after that are counted only.
        """
        if self._is_spent:
            return None
        try:
            self._budget.charge(_DOCUMENT_STEPS + len(event.body))
            document = document_of(event)
            if document is None:
                return []
            matches = self._device.matcher.find(document, self._budget)
        except (BudgetSpent, MatchTooCostly):
            return None
        numbers = {(each.template, each.match): number for number, each in enumerate(measurements)}
        places = DocumentPlaces(document, self._budget)
        found = ((index, tokens) for index, tokens in sorted(matches.items()) if isinstance(tokens, list))
        return [self._template(self._device.templates[index], tokens, places, numbers) for index, tokens in found]

    @property
    def _is_spent(self) -> bool:
        return self._budget.left < 0 or self._bytes_left < 0

    def _template(
        self,
        template: ContentTemplate,
        tokens: list[Any],
        places: DocumentPlaces,
        numbers: dict[tuple[int, int], int],
    ) -> TemplateTrace:
        """`numbers` has those of the measurements, by template and match."""
        matches: list[MatchTrace] = []
        see = Given.beside if template.on_document else Given.match
        try:
            self._weigh(len(template.type) + _TEMPLATE_BYTES)
            located = zip(tokens, self._places(template, tokens, places), strict=True)
            for number, (token, place) in enumerate(islice(located, MOST_MATCHES)):
                measurement = numbers.get((template.index, number))
                given = see(places, token, place)
                matches.append(
                    self._trace_of(_Match(template, number, places.document, token, place, given, measurement))
                )
        except (BudgetSpent, _AnswerFull):
            pass  # what is left out is counted
        return {
            "template": template.index,
            "pointer": _pointer_of(template).rpartition("/")[0],
            "typeName": template.type,
            "matches": matches,
            "matchesLeftOut": len(tokens) - len(matches),
        }

    def _places(self, template: ContentTemplate, tokens: list[Any], places: DocumentPlaces) -> list[Place | None]:
        """The places of the tokens that a template matched."""
        if all(type(token) is dict or type(token) is list for token in tokens):
            return [places.of(token) for token in tokens]
        given = Given.whole(places)
        if template.type_match.language == "JmesPath":
            *_, found = self._expression(template.type_match, None).find(given, self._budget)
            return found.places or [] if type(found.value) is Projection else [found.place]
        located = self._path(template.type_match)[0].find(given, self._budget)
        return [each.place for each in located[-1]]

    def _trace_of(self, match: "_Match") -> MatchTrace:
        template, times = match.template, match.template.time
        traced = [self._field(match, template.device_id)]
        for field in times:
            # Where the first gives no time, that is no error: the next one does.
            of_time = self._field(match, field, is_last=field is times[-1])
            traced.append(of_time)
            if of_time["result"] is not None:
                break
        ids = (template.patient_id, template.encounter_id, template.correlation_id)
        traced += (self._field(match, field) for field in (*ids, *template.values) if field is not None)
        return {
            "pointer": None if match.place is None else match.place.pointer(),
            "measurement": match.measurement,
            "expressions": traced,
        }

    def _field(self, match: "_Match", field: Field, *, is_last: bool = True) -> ExpressionTrace:
        self._budget.charge(_EXPRESSION_STEPS)
        template, origin = match.template, field.origin
        result: str | None = None
        error: str | None = None
        try:
            result = _reading(self._taken(match, field), template, field)
        except (NoReading, NoValue, *FAILED) as cause:
            if is_last or not isinstance(cause, NoReading):
                error = template.failure(origin, cause, match.number).error.message
        steps = self._steps(origin, match.given)
        traced: ExpressionTrace = {
            "property": _property(template, origin),
            "language": origin.language,
            "expression": _shortened(origin.expression, _LONGEST_EXPRESSION),
            "result": None if result is None else _shortened(result, _LONGEST_RESULT),
            "cut": result is not None and len(result) > _LONGEST_RESULT,
            "pointer": steps[-1]["pointer"],
            "error": error,
            "steps": steps,
        }
        self._weigh(len(orjson.dumps(traced)))
        return traced

    def _taken(self, match: "_Match", field: Field) -> Any:
        """The token that the pipeline takes; raises one of FAILED, or BudgetSpent."""
        source = field.source
        if not isinstance(source, PropertyLookup):
            self._budget.charge(source.weight)
            return source.evaluate(match.document, match.token, self._budget)
        found = match.token if source.from_match else match.document
        for name in source.names:
            found = found.get(name) if type(found) is dict else None
        return found

    def _steps(self, origin: Origin, given: Given) -> list[StepTrace]:
        if origin.language == "JmesPath":
            expression = self._expression(origin, MATCHED_TOKEN)
            parts = zip(expression.parts, expression.find(given, self._budget), strict=True)
            # `matchedToken` may stand in several arguments; it is shown once.
            shown = {part.expression: found for part, found in parts}
            return [self._step_of_expression(text, found) for text, found in shown.items()]
        path, texts = self._path(origin)
        located = path.find(given, self._budget)
        if not located:  # `$`
            return [self._step(origin.expression, [given.root], [given.root_place])]
        last = list(zip(texts, located, strict=True))[-_MOST_STEPS_SHOWN:]
        return [self._step_of_path(text, found) for text, found in last]

    def _path(self, origin: Origin) -> tuple[LocatedPath, list[str]]:
        """The path, and its text cut off after each step; the last is as it was written."""
        known = self._paths.get(origin)
        if known is None:
            self._budget.charge(len(origin.expression) * _CHARACTER_STEPS)
            steps = parse_path(origin.expression)
            first = max(0, len(steps) - _MOST_STEPS_SHOWN)
            texts = ["" if length <= first else steps_text(steps[:length]) for length in range(1, len(steps))]
            known = self._paths[origin] = LocatedPath(steps), [*texts, origin.expression][: len(steps)]
        return known

    def _expression(self, origin: Origin, further_name: str | None) -> LocatedExpression:
        known = self._expressions.get(origin)
        if known is None:
            known = self._expressions[origin] = LocatedExpression(origin.expression, further_name, self._budget)
        return known

    def _step_of_path(self, text: str, found: list[Located]) -> StepTrace:
        return self._step(text, [each.token for each in found], [each.place for each in found])

    def _step_of_expression(self, text: str, found: Found) -> StepTrace:
        if type(found.value) is Projection:
            return self._step(text, found.value, found.places or [None] * len(found.value))
        if found.value is None and found.place is None:
            return self._step(text, [], [], found.error)
        return self._step(text, [found.value], [found.place])

    def _step(
        self, text: str, tokens: Sequence[Any], places: Sequence[Place | None], error: str | None = None
    ) -> StepTrace:
        self._budget.charge(_STEP_STEPS)
        excerpt = Excerpt(tokens[0] if len(tokens) == 1 else list(tokens) if tokens else None)
        pointers = [None if place is None else place.pointer() for place in places[:_MOST_POINTERS]]
        return {
            "expression": _shortened(text, _LONGEST_EXPRESSION),
            "count": len(tokens),
            "value": excerpt.value,
            "cut": excerpt.cut,
            "pointer": pointers[0] if len(tokens) == 1 else None,
            "pointers": pointers if len(tokens) > 1 else [],
            "error": error,
        }

    def _weigh(self, size_bytes: int) -> None:
        self._bytes_left -= size_bytes
        if self._bytes_left < 0:
            raise _AnswerFull


class _AnswerFull(Exception):
    """The traces have reached MOST_BYTES."""


class _Match(NamedTuple):
    """A token that a template matched in a document: which one it is, where it lies, and its measurement's number."""

    template: ContentTemplate
    number: int
    document: dict[str, Any]
    token: Any
    place: Place | None
    given: Given
    measurement: int | None


def _reading(token: Any, template: ContentTemplate, field: Field) -> str | None:
    """The text of a token in a measurement; raises NoReading, or NoValue."""
    if field in template.time:
        return ticks.format_iso(time_reading(token))
    if not field.required:
        return optional_text(token)
    text = required_text(token)
    if text is None or is_blank(text):
        raise NoValue
    return text


def _pointer_of(template: ContentTemplate) -> str:
    """The pointer to the object with a template's properties."""
    pointer = template.type_match.pointer
    return pointer[: pointer.lower().rindex("/typematchexpression")]


def _property(template: ContentTemplate, origin: Origin) -> str:
    """Where an expression is below a template's properties; one that the kind of template fixes has its name."""
    pointer = _pointer_of(template)
    return origin.name if origin.pointer == pointer else origin.pointer.removeprefix(f"{pointer}/")


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"
