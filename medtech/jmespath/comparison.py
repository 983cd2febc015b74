"""How JMESPath compares values in the service's reading: JmesPath.Net on Json.NET's tokens.

Equality is Json.NET's and converts nothing. Order knows numbers and texts (a date is its text reading), with null
before every text; of anything else it says nothing (null).
"""

import operator
from collections.abc import Callable
from typing import Any

from medtech.dotnet.numbers import compare_doubles
from medtech.dotnet.text import code_units
from medtech.dotnet.tokens import Text, is_date, text_reading, time_reading


def truth(value: Any) -> bool:
    """False are null, false, and empty texts, arrays and objects; every number is true."""
    return bool(value) or type(value) is int or type(value) is float


def text_of(string: str) -> str:
    """A string's or date's text reading."""
    if type(string) is Text:
        return string
    return text_reading(string) or ""


def equal(left: Any, right: Any) -> bool:
    """Json.NET's deep equality: an integer is no fraction, a date no string; order of properties does not count."""
    kind = type(left)
    if kind is str or kind is Text:
        if type(right) is kind:
            return left == right or (is_date(left) and is_date(right) and time_reading(left) == time_reading(right))
        return isinstance(right, str) and left == right and not (is_date(left) or is_date(right))
    if kind is not type(right):
        return False
    if kind is float:
        return compare_doubles(left, right) == 0
    if kind is list:
        return len(left) == len(right) and all(map(equal, left, right))
    if kind is dict:
        return left.keys() == right.keys() and all(equal(value, right[name]) for name, value in left.items())
    return bool(left == right)


def _ordering(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool | None]:
    def compare(left: Any, right: Any) -> bool | None:
        left_type, right_type = type(left), type(right)
        if (left_type is int or left_type is float) and (right_type is int or right_type is float):
            return holds(left, right)
        if (left is None or isinstance(left, str)) and (right is None or isinstance(right, str)):
            return holds(_order_key(left), _order_key(right))
        return None

    return compare


def _order_key(text: str | None) -> tuple[bool, bytes]:
    """Null first, then texts by their UTF-16 code units, as .NET's ordinal comparison has them."""
    return (False, b"") if text is None else (True, code_units(text_of(text)))


COMPARATORS: dict[str, Callable[[Any, Any], bool | None]] = {
    "eq": equal,
    "ne": lambda left, right: not equal(left, right),
    "lt": _ordering(operator.lt),
    "lte": _ordering(operator.le),
    "gt": _ordering(operator.gt),
    "gte": _ordering(operator.ge),
}
"""By the syntax tree's names. They answer true or false, or None: null."""
