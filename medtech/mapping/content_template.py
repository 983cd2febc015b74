"""A checked device template: what each part of its measurements is read from, and the message when that fails."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from medtech.errors import DeviceIdentityNotDefined, IncompatibleData, MessageTooCostly
from medtech.evaluation_budget import BudgetSpent, EvaluationBudget
from medtech.mapping.schema import shortened
from medtech.model import NormalizationFailure


@dataclass(frozen=True, slots=True)
class PropertyLookup:
    """An expression that only follows property names, from the matched token or from the message document."""

    from_match: bool
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Any other expression: a function from (document, matched token, budget) to the one token found, or None.

    Raises one of `expression.FAILED` if it fails or finds several tokens, or BudgetSpent. If the result does not depend
    on the matched token, it is not `from_match` and is asked for once a message. `weight` is how many steps an
    evaluation takes that it does not charge itself.
    """

    from_match: bool
    evaluate: Callable[[Any, Any, EvaluationBudget], Any]
    weight: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an expression is in the mapping: its property or the name of its value, its text, and its place.

    `language` is JsonPath or JmesPath; `pointer` is a JSON pointer (RFC 6901) to the text. Of a path that the kind of
    template fixes, the place is the template's.
    """

    name: str
    expression: str
    language: str
    line: int
    position: int
    pointer: str


@dataclass(frozen=True, slots=True)
class Field:
    """One part of a measurement."""

    origin: Origin
    source: PropertyLookup | Evaluation
    required: bool


@dataclass(frozen=True, slots=True)
class ContentTemplate:
    """A checked device template: what each part of its measurements is read from.

    `index` is its place in the mapping. `time` has a second field if the kind of template has an alternative, which is
    used when the first gives no time. `on_document`: its expressions are evaluated on the message document, with the
    matched token beside it; else on the matched token.
    """

    index: int
    type: str
    type_match: Origin
    device_id: Field
    time: tuple[Field, ...]
    patient_id: Field | None
    encounter_id: Field | None
    correlation_id: Field | None
    values: tuple[Field, ...]
    on_document: bool

    @property
    def fields(self) -> tuple[Field, ...]:
        fields = (self.device_id, *self.time, self.patient_id, self.encounter_id, self.correlation_id, *self.values)
        return tuple(field for field in fields if field is not None)

    @property
    def reads_metadata(self) -> bool:
        """Whether an expression may read Properties or SystemProperties, other than as a part of the matched token."""
        return any(
            isinstance(field.source, Evaluation)
            or (not field.source.from_match and field.source.names[:1] != ("Body",))
            for field in self.fields
        )

    def failure(self, origin: Origin, cause: Exception, match: int) -> NormalizationFailure:
        """The failure of a match (-1: of the template). Its text quotes the mapping, never the message."""
        text = (
            f"Template {self.index} ('{self.type}'), '{origin.name}': {cause}. It is read by "
            f"{shortened(origin.expression)} (line {origin.line} of the device mapping): fix the expression, or what "
            "the device sends."
        )
        no_device = origin is self.device_id.origin and isinstance(cause, NoValue)
        kind = DeviceIdentityNotDefined if no_device else IncompatibleData
        error = kind(text, line=origin.line, position=origin.position)
        return NormalizationFailure(error, self.index, match, self.type)

    def too_costly(self, origin: Origin, cause: BudgetSpent) -> MessageTooCostly:
        """The error of a message whose budget was spent while this expression was evaluated."""
        return MessageTooCostly(
            f"Template {self.index} ('{self.type}'), '{origin.name}': {shortened(origin.expression)} (line "
            f"{origin.line} of the device mapping) {cause}. Write an expression that looks at less (names from the "
            "root instead of .., no .. within another, a filter that matches less), or send smaller messages; "
            "docs/languages.md says what counts. Then replay.",
            line=origin.line,
            position=origin.position,
        )


class NoValue(ValueError):
    """A required part of a measurement that is absent, null or blank."""

    def __init__(self) -> None:
        super().__init__("no value in the message")
