"""How a value of a template is read from measurements, written into an Observation, and compared with a stored one.

Each of the four value types has a writer of its `value[x]`. `read` takes a reading's text and returns what to write, or
None if the reading counts as no value; it raises NotANumber. `gather` takes such readings, in order of time, of an
Observation that lasts from start to end (ticks), and returns what `write` makes the value of, and `text` the same as
JSON text. `constants` is what all values of a writer have in common. `same` compares by meaning, so that it does not
matter in which form a server returns a value.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from medtech.dotnet import decimals
from medtech.dotnet.text import trimmed
from medtech.mapping.fhir import (
    Code,
    CodeableConceptValue,
    CodeValueTemplate,
    Concept,
    QuantityValue,
    SampledDataValue,
    StringValue,
    Value,
)
from medtech.transform import data_point
from medtech.transform.fhir_json import dump_resource, number_text
from medtech.transform.identifier import SYSTEM
from medtech.transform.sampled_data import Sample, build


class SampledDataWriter:
    """A series; its readings are data points. The other types keep one reading, the latest."""

    property = "valueSampledData"
    read = staticmethod(data_point.sample)

    def __init__(self, value: SampledDataValue) -> None:
        self.name = value.name
        self.unit = value.unit
        self.period = value.period_ticks
        scale = value.period_ms.as_tuple().exponent
        self.period_ms = value.period_ms if isinstance(scale, int) and scale < 0 else int(value.period_ms)
        origin = _without_nulls({"value": 0, "unit": value.unit})
        self.constants = {"origin": origin, "period": self.period_ms, "dimensions": 1}
        self._opening = _text(self.constants)[:-1]

    def gather(self, readings: Sequence[Sample], start: int, end: int) -> Any:
        """The text of the series. Raises PeriodTooLong."""
        return build(readings, start, end, self.period)

    def write(self, data: str) -> dict[str, Any]:
        return {**self.constants, "data": data}

    def text(self, data: str) -> str:
        return f'{self._opening},"data":"{data}"}}'


class _LatestReading:
    """What the writers of single values have in common."""

    @staticmethod
    def gather(readings: Sequence[tuple[int, Any]], _start: int, _end: int) -> Any:
        return readings[-1][1]


class QuantityWriter(_LatestReading):
    property = "valueQuantity"
    read = staticmethod(decimals.parse)

    def __init__(self, value: QuantityValue) -> None:
        self.name = value.name
        self.constants = _without_nulls({"unit": value.unit, "system": value.system, "code": value.code})
        self._rest = f",{_text(self.constants)[1:]}" if self.constants else "}"

    def write(self, reading: Decimal) -> dict[str, Any]:
        return {"value": reading, **self.constants}

    def text(self, reading: Decimal) -> str:
        return f'{{"value":{number_text(reading)}{self._rest}'

    def same(self, stored: Any, written: dict[str, Any]) -> bool:
        return (
            isinstance(stored, dict)
            and same_number(stored.get("value"), written["value"])
            and all((stored.get(name) or "") == (written.get(name) or "") for name in ("unit", "system", "code"))
            and "comparator" not in stored
        )


class StringWriter(_LatestReading):
    property = "valueString"
    constants: ClassVar[dict[str, Any]] = {}

    def __init__(self, value: StringValue) -> None:
        self.name = value.name

    def read(self, text: str) -> str | None:
        """The text without blanks around it, as the connector's FHIR client sends texts and servers return them.

        A blank text is no value: FHIR has no empty strings (SPEC divergence 16).
        """
        return trimmed(text) or None

    def write(self, reading: str) -> str:
        return reading

    def text(self, reading: str) -> str:
        return _text(reading)

    def same(self, stored: Any, written: str) -> bool:
        return isinstance(stored, str) and stored == written


class CodeableConceptWriter(_LatestReading):
    """Writes the mapping's own concept: that there is a reading means that it applies."""

    property = "valueCodeableConcept"

    def __init__(self, value: CodeableConceptValue) -> None:
        self.name = value.name
        self.constants = write_concept(value.concept)
        self._whole = _text(self.constants)

    def read(self, text: str) -> str | None:
        """A concept with neither codes nor text is no value: FHIR has no empty objects."""
        return text if self.constants else None

    def write(self, _reading: str) -> dict[str, Any]:
        return self.constants

    def text(self, _reading: str) -> str:
        return self._whole

    def same(self, stored: Any, written: dict[str, Any]) -> bool:
        return same_concept(stored, written)


SingleWriter = QuantityWriter | StringWriter | CodeableConceptWriter
Writer = SampledDataWriter | SingleWriter


def writer_of(value: Value) -> Writer:
    match value:
        case SampledDataValue():
            return SampledDataWriter(value)
        case QuantityValue():
            return QuantityWriter(value)
        case StringValue():
            return StringWriter(value)
        case CodeableConceptValue():
            return CodeableConceptWriter(value)


def write_concept(concept: Concept) -> dict[str, Any]:
    coding = [_write_code(code) for code in concept.codes]
    return _without_nulls({"coding": [code for code in coding if code] or None, "text": concept.text})


def write_named_concept(codes: Iterable[Code], name: str) -> dict[str, Any]:
    """The concept of a type or a value: the mapping's codes, then the name as a code of the service's system."""
    return write_concept(Concept(name, (*codes, Code(SYSTEM, name, name))))


def write_category(template: CodeValueTemplate) -> list[dict[str, Any]]:
    return [concept for concept in map(write_concept, template.category) if concept]


def same_concept(stored: Any, written: dict[str, Any]) -> bool:
    """Whether both have the same codings in the same order, and the same text; what others added does not count."""
    if not isinstance(stored, dict) or (stored.get("text") or "") != (written.get("text") or ""):
        return False
    stored_coding, coding = stored.get("coding") or [], written.get("coding") or []
    return (
        isinstance(stored_coding, list)
        and len(stored_coding) == len(coding)
        and all(_same_code(*pair) for pair in zip(stored_coding, coding, strict=True))
    )


def same_number(stored: Any, written: int | Decimal) -> bool:
    return isinstance(stored, int | Decimal) and not isinstance(stored, bool) and stored == written


def _same_code(stored: Any, written: dict[str, Any]) -> bool:
    return isinstance(stored, dict) and all(
        (stored.get(name) or "") == (written.get(name) or "") for name in ("system", "code", "display")
    )


def _write_code(code: Code) -> dict[str, Any]:
    return _without_nulls({"system": code.system, "code": code.code, "display": code.display})


def _text(element: Any) -> str:
    return dump_resource(element).decode()


def _without_nulls(properties: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if value is not None}
