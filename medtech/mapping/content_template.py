"""A device template, checked: what each part of its measurements is read from, and what a failure of it says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from medtech.errors import DeviceIdentityNotDefined, IncompatibleData
from medtech.mapping.schema import shortened
from medtech.model import NormalizationFailure


@dataclass(frozen=True, slots=True)
class Lookup:
    """An expression that follows property names, from the matched token or from the message document."""

    from_match: bool
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Any other expression: a function of (document, matched token) to the one token found, or None.

    Raises what `expression.FAILED` names, where it fails or finds several.
    """

    evaluate: Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an expression stands: the mapping's property or the value's name, its text, and its place."""

    name: str
    expression: str
    line: int
    position: int


@dataclass(frozen=True, slots=True)
class Field:
    """One part of a measurement."""

    origin: Origin
    source: Lookup | Evaluation
    required: bool


@dataclass(frozen=True, slots=True)
class ContentTemplate:
    """A device template, checked: what each part of its measurements is read from.

    The time has a second field where the kind has an alternative, used when the first gives no time.
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

    @property
    def reads_metadata(self) -> bool:
        """May an expression read Properties or SystemProperties, other than as a part of what was matched?"""
        fields = (self.device_id, *self.time, self.patient_id, self.encounter_id, self.correlation_id, *self.values)
        return any(
            isinstance(field.source, Evaluation)
            or (not field.source.from_match and field.source.names[:1] != ("Body",))
            for field in fields
            if field is not None
        )

    def failure(self, origin: Origin, error: Exception, match: int) -> NormalizationFailure:
        """The failure of a match (-1: of the template). Its text holds the mapping's words, never the message's."""
        text = (
            f"Template {self.index} ('{self.type}'), '{origin.name}': {error}. It is read by "
            f"{shortened(origin.expression)} (line {origin.line} of the device mapping): mend the expression, or what "
            "the device sends."
        )
        no_device = origin is self.device_id.origin and isinstance(error, NoValue)
        kind = DeviceIdentityNotDefined if no_device else IncompatibleData
        return NormalizationFailure(kind(text, line=origin.line, position=origin.position), self.index, match)


class NoValue(ValueError):
    """A required reading that is absent, null or blank."""

    def __init__(self) -> None:
        super().__init__("no value in the message")
