"""One JSON literal of a device message: its reading as a value and as a time."""

from collections.abc import Callable
from typing import Any

from medtech.dotnet.json_body import parse_body
from medtech.dotnet.ticks import format_iso
from medtech.dotnet.tokens import NoReading, is_date, text_reading, time_reading
from tests.conformance.compare import difference
from tests.conformance.vectors import Vector

# The reference's exceptions have no counterpart here. That there is no reading is compared: the name is then absent.
NOT_COMPARED = frozenset({"stringError", "timeError"})

_TYPES = {
    dict: "Object",
    list: "Array",
    str: "String",
    bool: "Boolean",
    int: "Integer",
    float: "Float",
    type(None): "Null",
}


def check(vector: Vector) -> str | None:
    expected = vector["expected"]
    token = parse_body(vector["raw"].encode())
    return (
        difference(expected["type"], "Date" if is_date(token) else _TYPES[type(token)], "$.type")
        or _reading_difference(expected, "string", lambda: text_reading(token))
        or _reading_difference(expected, "time", lambda: None if token is None else format_iso(time_reading(token)))
    )


def _reading_difference(expected: dict[str, Any], name: str, read: Callable[[], str | None]) -> str | None:
    try:
        reading = read()
    except NoReading as error:
        return f"$.{name}: {error}" if name in expected else None
    if name not in expected:
        return f"$.{name}: got {reading!r} where none is expected"
    return difference(expected[name], reading, f"$.{name}")
