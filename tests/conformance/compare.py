"""Strict comparison of parsed JSON: every digit, name and order counts."""

import json
from decimal import Decimal
from typing import Any

_SHOWN = 80


class NumberText(str):
    """A number by its text: `1.0`, `1` and `1E0` are three values."""

    __slots__ = ()


def parse(text: str) -> Any:
    """JSON with numbers as `int` and `Decimal`, as the vectors themselves are read."""
    return json.loads(text, parse_float=Decimal)


def parse_exact(text: str) -> Any:
    """JSON in which even a number's notation counts."""
    return json.loads(text, parse_float=NumberText, parse_int=NumberText)


def difference(expected: Any, actual: Any, path: str = "$") -> str | None:
    """The path of the first difference with both sides, or None.

    Names of an object are compared in any order, elements of an array in order. A decimal equals only a decimal of the
    same digits; a binary float equals nothing. `issued` of an Observation is the time of the run, and is left out.
    """
    if isinstance(expected, dict) and isinstance(actual, dict):
        clock = {"issued"} if "Observation" in (expected.get("resourceType"), actual.get("resourceType")) else set()
        for name in sorted((expected.keys() | actual.keys()) - clock):
            if name not in actual:
                return f"{path}.{name}: missing, expected {_shown(expected[name])}"
            if name not in expected:
                return f"{path}.{name}: not expected, got {_shown(actual[name])}"
            if found := difference(expected[name], actual[name], f"{path}.{name}"):
                return found
        return None
    if isinstance(expected, list) and isinstance(actual, list | tuple):
        for index, (left, right) in enumerate(zip(expected, actual, strict=False)):
            if found := difference(left, right, f"{path}[{index}]"):
                return found
        if len(expected) != len(actual):
            return f"{path}: expected {len(expected)} elements, got {len(actual)}"
        return None
    return None if _equal(expected, actual) else f"{path}: expected {_shown(expected)}, got {_shown(actual)}"


def _equal(expected: Any, actual: Any) -> bool:
    if isinstance(expected, Decimal) and isinstance(actual, Decimal):
        return expected.as_tuple() == actual.as_tuple()
    if isinstance(expected, NumberText) or isinstance(actual, NumberText):
        return type(expected) is type(actual) and expected == actual
    if isinstance(expected, str) and isinstance(actual, str):
        return str.__eq__(expected, actual)
    return type(expected) is type(actual) and expected == actual


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, Decimal | NumberText) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
