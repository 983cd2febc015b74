"""Every error the product names, once.

    MedTechError
    ├── MappingInvalid *            a mapping does not load; it holds every issue found
    ├── TemplateNotFound            no mapping was ever good, or the FHIR mapping has no template for a type
    ├── SettingInvalid *            a setting is missing or unusable
    ├── IncompatibleData            a message or a measurement that a template cannot read
    │   ├── NotSupported            a body that is not JSON
    │   ├── MeasurementTooLarge     a measurement that no row of the buffer can hold
    │   ├── MessageTooCostly        a message on which the mapping's expressions take too many steps
    │   ├── NoTemplateMatched       a message that no template takes (kept only if KEEP_UNMATCHED)
    │   ├── DeviceIdentityNotDefined
    │   ├── PatientIdentityNotDefined
    │   ├── EncounterIdentityNotDefined
    │   └── CorrelationIdNotDefined
    ├── UnexpectedFault             a fault of the app itself
    ├── PoisonMessage               a message whose processing ends the process, or takes all its memory
    ├── BufferCorrupt               a row of the buffer, or a dead letter, that cannot be unpacked
    ├── ConversionError             a group or reading that makes no valid Observation
    │   ├── ReadingInvalid          a reading that is not a number
    │   ├── UnitMismatch
    │   └── PeriodTooLong
    ├── FhirResourceError           what the FHIR server holds does not fit
    │   ├── DeviceNotFound, PatientNotFound, EncounterNotFound
    │   ├── MultipleResourceFound, PatientDeviceMismatch, IdentityConflict
    │   ├── ObservationWithdrawn, ObservationMismatch
    │   └── ResourceRefused         the server refused the resource (400, 413, 422)
    └── Unavailable *               something outside is away: the data stays where it is and is tried again
        ├── StorageUnavailable *
        │   └── StorageRefused *    storage does not take a request as it is (400, 413)
        ├── FhirServerUnavailable *
        ├── FhirConflict            others kept changing the resource: tried again at the next flush
        ├── OutOfTime               the flush's time is over: the next one goes on
        ├── PoisonShard             a shard whose flush ends the process: it waits, and is tried again later
        └── FhirAccessDenied *      401, 403, 405, wrong address: waits until somebody fixes the setup

What they do to the data: under Unavailable it stays in the hub or the buffer; MappingInvalid and SettingInvalid do not
concern any message; with all others the message, measurement or row becomes a dead letter. `*` marks what blocks:
nothing goes on until it is fixed.

Stage, type and severity use the words of the MedTech service's documentation ("Troubleshoot MedTech service
errors"); `name` is its error name without "Exception". A message says what, where and how to fix it. It may hold hub
positions, device ids, FHIR ids and line numbers, and never a patient, encounter or correlation id, a body or a reading:
it goes to logs. It is one line: what a device id or a mapping brings in that cannot be printed is written as an escape
(`\\n`, `\\x1b`, `\\u202e`), so that it neither forges a log line nor commands a terminal.
"""

import traceback
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, NamedTuple


class Stage(StrEnum):
    """The data flow stage that an error belongs to."""

    SETUP = "Setup"
    NORMALIZATION = "Normalization"
    GROUPING = "Grouping"
    FHIR_CONVERSION = "FHIRConversion"
    UNKNOWN = "Unknown"


class Severity(StrEnum):
    """How the service's documentation grades errors."""

    WARNING = "Warning"
    ERROR = "Error"
    CRITICAL = "Critical"


class ErrorType(StrEnum):
    """The documented categories of errors."""

    DEVICE_TEMPLATE = "DeviceTemplateError"
    DEVICE_MESSAGE = "DeviceMessageError"
    FHIR_TEMPLATE = "FHIRTemplateError"
    FHIR_CONVERSION = "FHIRConversionError"
    FHIR_RESOURCE = "FHIRResourceError"
    FHIR_SERVER = "FHIRServerError"
    GENERAL = "GeneralError"


class ErrorKind(NamedTuple):
    """The key under which errors are counted: one of the tree's classes, in the words of the documentation."""

    name: str
    stage: str
    type: str
    severity: str


class MedTechError(Exception):
    """Root of the tree. `outcome` is what a server said (an OperationOutcome as text): for the dead letter, not a log.

    `blocks` says whether everything waits until it is fixed, and not just the data at hand.
    """

    stage: Stage = Stage.UNKNOWN
    type: ErrorType = ErrorType.GENERAL
    severity: Severity = Severity.ERROR
    blocks: ClassVar[bool] = False

    def __init__(self, message: str, *, outcome: str | None = None) -> None:
        self.message = _in_one_line(message)
        super().__init__(self.message)
        self.outcome = outcome

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def kind(self) -> ErrorKind:
        return ErrorKind(self.name, str(self.stage), str(self.type), str(self.severity))


def _in_one_line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class MappingIssue(NamedTuple):
    """One thing that is wrong in a mapping.

    `template` is the index in the collection (None: the collection itself), `pointer` is a JSON pointer (RFC 6901) into
    the mapping. `line` counts from 1, `position` as Json.NET counts; both are -1 where no place can be named.
    """

    message: str
    template: int | None
    pointer: str
    line: int
    position: int


class MappingInvalid(MedTechError):
    """A mapping that does not load; `issues` holds everything found, in the order of the text."""

    stage = Stage.SETUP
    type = ErrorType.DEVICE_TEMPLATE
    severity = Severity.CRITICAL
    blocks = True

    def __init__(self, kind: ErrorType, issues: list[MappingIssue]) -> None:
        first = issues[0]
        where = f"line {first.line}, position {first.position}: " if first.line > 0 else ""
        more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
        super().__init__(f"{where}{first.message}{more}")
        self.type = kind
        self.issues = issues


class TemplateNotFound(MedTechError):
    """No mapping was ever good, or the FHIR mapping has no template for a measurement's type."""

    stage = Stage.NORMALIZATION
    type = ErrorType.DEVICE_TEMPLATE
    severity = Severity.CRITICAL

    def __init__(self, message: str, *, stage: Stage = Stage.NORMALIZATION) -> None:
        super().__init__(message)
        self.stage = stage
        self.type = ErrorType.FHIR_TEMPLATE if stage is Stage.FHIR_CONVERSION else ErrorType.DEVICE_TEMPLATE


class SettingInvalid(MedTechError):
    stage = Stage.SETUP
    severity = Severity.CRITICAL
    blocks = True


class IncompatibleData(MedTechError):
    """A template matched, but what it needs is not in the message.

    `line` and `position` are the place of the expression in the device mapping, or -1.
    """

    stage = Stage.NORMALIZATION
    type = ErrorType.DEVICE_MESSAGE

    def __init__(self, message: str, *, line: int = -1, position: int = -1) -> None:
        super().__init__(message)
        self.line = line
        self.position = position


class NotSupported(IncompatibleData):
    """A message in a format that is not supported: its body is not JSON."""


class MeasurementTooLarge(IncompatibleData):
    """A measurement that no row of the buffer can hold."""


class MessageTooCostly(IncompatibleData):
    """A message on which the expressions of the mapping take more steps than it may: no measurements are made of it."""


class NoTemplateMatched(IncompatibleData):
    """A message that no template takes, as is usual on a hub that carries other messages too."""

    severity = Severity.WARNING


class DeviceIdentityNotDefined(IncompatibleData):
    type = ErrorType.DEVICE_TEMPLATE
    severity = Severity.CRITICAL


class PatientIdentityNotDefined(IncompatibleData):
    type = ErrorType.DEVICE_TEMPLATE
    severity = Severity.CRITICAL


class EncounterIdentityNotDefined(IncompatibleData):
    type = ErrorType.DEVICE_TEMPLATE
    severity = Severity.CRITICAL


class CorrelationIdNotDefined(IncompatibleData):
    """The FHIR template groups by correlation id, and the measurement has none."""


class UnexpectedFault(MedTechError):
    """A fault of the app itself, met on one message or group: that is kept, and its neighbours go on."""

    @classmethod
    def of(cls, error: Exception, doing: str, *, then: str = "Report it, then replay.") -> "UnexpectedFault":
        """Names the type and place of `error`; its own text may hold a part of the message."""
        fault = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(fault.filename).name}:{fault.lineno}"
        return cls(f"{type(error).__name__} at {place} while {doing}: a fault of the app. {then}")


class PoisonMessage(MedTechError):
    """A message whose processing ends the process, or takes all its memory: it is given up, so that its partition goes
    on."""

    stage = Stage.NORMALIZATION
    severity = Severity.CRITICAL


class BufferCorrupt(MedTechError):
    stage = Stage.GROUPING


class ConversionError(MedTechError):
    stage = Stage.FHIR_CONVERSION
    type = ErrorType.FHIR_CONVERSION


class ReadingInvalid(ConversionError):
    """A value that is not a number where the template requires one."""


class UnitMismatch(ConversionError):
    """The stored SampledData has another unit, or more dimensions, than the mapping."""


class PeriodTooLong(ConversionError):
    """The period needs more samples than an Observation can hold."""


class FhirResourceError(MedTechError):
    stage = Stage.FHIR_CONVERSION
    type = ErrorType.FHIR_RESOURCE


class DeviceNotFound(FhirResourceError):
    stage = Stage.NORMALIZATION
    type = ErrorType.DEVICE_MESSAGE


class PatientNotFound(FhirResourceError):
    type = ErrorType.FHIR_CONVERSION


class EncounterNotFound(FhirResourceError):
    type = ErrorType.FHIR_CONVERSION


class MultipleResourceFound(FhirResourceError):
    """Several Devices, Patients or Encounters have the same identifier."""


class PatientDeviceMismatch(FhirResourceError):
    """The Device belongs to a Patient other than the one in the message."""


class IdentityConflict(FhirResourceError):
    """Another resource has the id that a Patient or Device would be created under."""


class ObservationWithdrawn(FhirResourceError):
    """The stored Observation is entered-in-error or cancelled."""


class ObservationMismatch(FhirResourceError):
    """The stored Observation belongs to another subject or device."""


class ResourceRefused(FhirResourceError):
    type = ErrorType.FHIR_SERVER


class Unavailable(MedTechError):
    """Nothing is wrong with the data: it stays in the hub or the buffer and is tried again."""

    severity = Severity.CRITICAL
    blocks = True


class StorageUnavailable(Unavailable):
    """`account` is the place of a further account of the buffer that is away while the others go on; else empty."""

    stage = Stage.GROUPING

    def __init__(self, message: str, *, account: str = "") -> None:
        super().__init__(message)
        self.account = account


class StorageRefused(StorageUnavailable):
    """Storage refuses a request as it is, and would refuse it again: 400 or 413.

    Who sent it sends less (`too_large` says that size is the reason), or leaves the data where it is.
    """

    def __init__(self, message: str, *, too_large: bool) -> None:
        super().__init__(message)
        self.too_large = too_large


class FhirServerUnavailable(Unavailable):
    """Away, throttling, or answering with what is not FHIR. `retry_after_seconds` is what the server asked for."""

    stage = Stage.FHIR_CONVERSION
    type = ErrorType.FHIR_SERVER

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, outcome: str | None = None) -> None:
        super().__init__(message, outcome=outcome)
        self.retry_after_seconds = retry_after_seconds


class FhirConflict(Unavailable):
    stage = Stage.FHIR_CONVERSION
    type = ErrorType.FHIR_SERVER
    severity = Severity.WARNING
    blocks = False


class OutOfTime(Unavailable):
    """The time of the flush is over; `before` says what was not done any more, or not answered in time."""

    severity = Severity.WARNING
    blocks = False

    def __init__(self, before: str) -> None:
        super().__init__(
            f"The time of the flush was over before {before}. The next flush goes on with what is left; if this goes "
            "on, look into how fast the FHIR server and storage answer."
        )


class PoisonShard(Unavailable):
    """Shards whose flush ends the process each time: they wait, so that the others go on."""

    stage = Stage.FHIR_CONVERSION
    blocks = False


class FhirAccessDenied(Unavailable):
    stage = Stage.SETUP
    type = ErrorType.FHIR_SERVER
