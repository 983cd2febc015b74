"""Something that the validator found in a mapping or a message.

Finding
├── Range     where in the text of the mapping
└── Fix       what to write there instead, where that is known
"""

from enum import StrEnum
from typing import NamedTuple

from medtech.errors import IncompatibleData, MedTechError, Stage
from medtech.validation.written_mapping import MappingName, Place, Range


class Level(StrEnum):
    """With an error some data is not written; a warning is worth a look."""

    ERROR = "error"
    WARNING = "warning"


class Name(StrEnum):
    """What the validator finds by itself. Failures of messages have the names of `errors`. docs/validate.md has each
    with its cause and its fix."""

    MAPPING_INVALID = "MappingInvalid"
    MAPPING_HELD_BACK = "MappingHeldBack"
    MAPPING_UNAVAILABLE = "MappingUnavailable"
    NO_TEMPLATE_MATCHED = "NoTemplateMatched"
    TYPE_WITHOUT_FHIR_TEMPLATE = "TypeWithoutFhirTemplate"
    TYPE_WITHOUT_DEVICE_TEMPLATE = "TypeWithoutDeviceTemplate"
    VALUE_NOT_USED = "ValueNotUsed"
    VALUE_NEVER_GIVEN = "ValueNeverGiven"
    VALUE_NEVER_WRITTEN = "ValueNeverWritten"
    CORRELATION_ID_NEVER_GIVEN = "CorrelationIdNeverGiven"
    PERIOD_WITHOUT_EFFECT = "PeriodWithoutEffect"
    SERIES_NEVER_FITS = "SeriesNeverFits"
    DUPLICATE_TEMPLATE = "DuplicateTemplate"
    DUPLICATE_PROPERTY = "DuplicateProperty"
    TEXT_FOR_NUMBER = "TextForNumber"
    NAME_FOR_LITERAL = "NameForLiteral"
    CODE_WITHOUT_SYSTEM = "CodeWithoutSystem"
    UNIT_NOT_UCUM = "UnitNotUcum"
    VITAL_SIGN_UNIT = "VitalSignUnit"
    VITAL_SIGN_CATEGORY = "VitalSignCategory"
    VITAL_SIGN_VALUE = "VitalSignValue"
    VITAL_SIGN_CODE = "VitalSignCode"
    EXPRESSION_NEVER_MATCHES = "ExpressionNeverMatches"
    TIME_WITHOUT_OFFSET = "TimeWithoutOffset"
    TIME_IS_A_NUMBER = "TimeIsANumber"
    TIME_OUT_OF_RANGE = "TimeOutOfRange"
    TIME_NOT_PLAUSIBLE = "TimeNotPlausible"
    DEVICE_ID_NOT_PLAUSIBLE = "DeviceIdNotPlausible"
    OBSERVATION_NOT_R4 = "ObservationNotR4"
    READINGS_MEET = "ReadingsMeet"
    READING_SUPERSEDED = "ReadingSuperseded"


class Fix(NamedTuple):
    """A change of a mapping.

    `title` says what is done. `pointer` and `value` (JSON) are for a program that changes the mapping: the value is
    set, or added, there. `range` and `replacement` are for an editor, which replaces the text in the range; both are
    None where the text of the mapping is not at hand.
    """

    title: str
    pointer: str
    value: str
    range: Range | None
    replacement: str | None


class Finding(NamedTuple):
    """`line` and `position` are a place in the mapping as the service names it, -1 where it names none.

    `mapping`, `pointer` (RFC 6901) and `range` are the place itself. A finding about a mapping that was made
    with messages has in how many of them, or of their matches, it was seen, and the first message of them.
    """

    message: str
    level: Level
    stage: Stage
    line: int = -1
    position: int = -1
    name: str = ""
    mapping: MappingName | None = None
    pointer: str | None = None
    range: Range | None = None
    fix: Fix | None = None
    seen_count: int | None = None
    message_index: int | None = None


def warning(
    name: Name,
    message: str,
    place: Place,
    fix: Fix | None = None,
    *,
    of_the_service: bool = False,
    seen_count: int | None = None,
    message_index: int | None = None,
) -> Finding:
    """A warning at a place of a mapping. `of_the_service`: the service has this one, as one of its FHIR conversion, and
    names no line for it."""
    line, position = (-1, -1) if of_the_service else (place.line, place.position)
    stage = Stage.FHIR_CONVERSION if of_the_service else STAGES[place.mapping]
    return Finding(
        message,
        Level.WARNING,
        stage,
        line,
        position,
        name,
        place.mapping,
        place.pointer,
        place.range,
        fix,
        seen_count,
        message_index,
    )


def of_error(error: MedTechError) -> Finding:
    """What went wrong with a message. It is an error, whatever its severity: in the app it makes a dead letter."""
    place = (error.line, error.position) if isinstance(error, IncompatibleData) else (-1, -1)
    return Finding(error.message, Level.ERROR, error.stage, *place, name=error.name)


STAGES: dict[MappingName, Stage] = {
    "deviceMapping": Stage.NORMALIZATION,
    "fhirMapping": Stage.FHIR_CONVERSION,
}
