"""How a JSONPath filter compares two tokens: Json.NET's rules for JValue.

`==` converts nothing, except that an integer equals a fraction of the same value and a date equals its JSON text.
`<` and `>` convert: a text to the other side's type, anything else to the left side's. Null is less than everything.
What cannot be converted compares false, where the connector loses the message (divergence 15). Objects and arrays
equal nothing, so `!=` is true of them.

Each comparison charges its long texts to the budget; who compares many tokens charges the comparisons themselves.
"""

import math
from collections.abc import Callable
from enum import Enum
from typing import Any

from medtech.dotnet import times
from medtech.dotnet.numbers import INT64_MAX, INT64_MIN, compare_doubles, parse_double, parse_int64
from medtech.dotnet.text import BLANKS, compare_ordinal
from medtech.dotnet.tokens import Text, is_date, time_reading
from medtech.evaluation_budget import EvaluationBudget


class Property:
    """A property as a token of its own, as Json.NET has it while a path is evaluated.

    A condition that does not look at its candidate holds for properties too, and a later step may look below them.
    Properties are never among the tokens that a path finds.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class _Kind(Enum):
    CONTAINER = 0
    NULL = 1
    BOOLEAN = 2
    INTEGER = 3
    FLOAT = 4
    STRING = 5
    DATE = 6


_KINDS: dict[type, _Kind] = {
    dict: _Kind.CONTAINER,
    list: _Kind.CONTAINER,
    Property: _Kind.CONTAINER,
    type(None): _Kind.NULL,
    bool: _Kind.BOOLEAN,
    int: _Kind.INTEGER,
    float: _Kind.FLOAT,
    Text: _Kind.STRING,
}


def _kind(token: Any, budget: EvaluationBudget) -> _Kind:
    kind = _KINDS.get(type(token))
    if kind is not None and kind is not _Kind.STRING:
        return kind
    budget.charge_reading(token)
    return kind or (_Kind.DATE if is_date(token) else _Kind.STRING)


def equal(left: Any, right: Any, budget: EvaluationBudget) -> bool:
    """`==`"""
    left_kind, right_kind = _kind(left, budget), _kind(right, budget)
    if left_kind is _Kind.CONTAINER or right_kind is _Kind.CONTAINER:
        return False
    if left_kind is right_kind or _are_numbers(left_kind, right_kind):
        return _compare(left_kind, left, right) == 0
    if left_kind is _Kind.DATE and right_kind is _Kind.STRING:
        moment = times.json_date(left)
        return moment is not None and times.format_iso(moment) == right
    return False


def not_equal(left: Any, right: Any, budget: EvaluationBudget) -> bool:
    """`!=` and `<>`: also true of objects and arrays."""
    return not equal(left, right, budget)


def strictly_equal(left: Any, right: Any, budget: EvaluationBudget) -> bool:
    """`===`: a date does not equal its text."""
    left_kind, right_kind = _kind(left, budget), _kind(right, budget)
    if left_kind is _Kind.CONTAINER or right_kind is _Kind.CONTAINER:
        return False
    return (left_kind is right_kind or _are_numbers(left_kind, right_kind)) and _compare(left_kind, left, right) == 0


def strictly_not_equal(left: Any, right: Any, budget: EvaluationBudget) -> bool:
    """`!==`: false of objects and arrays, unlike `!=`."""
    if _kind(left, budget) is _Kind.CONTAINER or _kind(right, budget) is _Kind.CONTAINER:
        return False
    return not strictly_equal(left, right, budget)


def less(left: Any, right: Any, budget: EvaluationBudget) -> bool:
    order = _order(left, right, budget)
    return order is not None and order < 0


def less_or_equal(left: Any, right: Any, budget: EvaluationBudget) -> bool:
    order = _order(left, right, budget)
    return order is not None and order <= 0


def greater(left: Any, right: Any, budget: EvaluationBudget) -> bool:
    order = _order(left, right, budget)
    return order is not None and order > 0


def greater_or_equal(left: Any, right: Any, budget: EvaluationBudget) -> bool:
    order = _order(left, right, budget)
    return order is not None and order >= 0


COMPARISONS: dict[str, Callable[[Any, Any, EvaluationBudget], bool]] = {
    "==": equal,
    "!=": not_equal,
    "===": strictly_equal,
    "!==": strictly_not_equal,
    "<": less,
    "<=": less_or_equal,
    ">": greater,
    ">=": greater_or_equal,
}
"""By operator. `=~` is not among them: its right side is compiled first (`patterns`)."""


def is_string(token: Any, budget: EvaluationBudget) -> bool:
    """Whether a token is a string to Json.NET: a date is not, and matches no regular expression."""
    return _kind(token, budget) is _Kind.STRING


def _are_numbers(left: _Kind, right: _Kind) -> bool:
    return left in _NUMBERS and right in _NUMBERS


_NUMBERS = (_Kind.INTEGER, _Kind.FLOAT)


def _order(left: Any, right: Any, budget: EvaluationBudget) -> int | None:
    """Negative, 0 or positive; None if the two cannot be compared."""
    left_kind, right_kind = _kind(left, budget), _kind(right, budget)
    if left_kind is _Kind.CONTAINER or right_kind is _Kind.CONTAINER:
        return None
    if right_kind is _Kind.NULL:
        return 0 if left_kind is _Kind.NULL else 1
    if left_kind is _Kind.NULL:
        return -1
    return _compare(right_kind if left_kind is _Kind.STRING else left_kind, left, right)


def _compare(kind: _Kind, left: Any, right: Any) -> int | None:
    """Both sides as `kind`. Neither is null, or both are."""
    if kind is _Kind.STRING:
        return compare_ordinal(left, right)
    if kind is _Kind.INTEGER or kind is _Kind.FLOAT:
        return _compare_numbers(kind, left, right)
    if kind is _Kind.DATE:
        return _compare_converted(_to_time, left, right)
    if kind is _Kind.BOOLEAN:
        return _compare_converted(_to_boolean, left, right)
    return 0


def _natural_order(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


def _compare_numbers(kind: _Kind, left: Any, right: Any) -> int | None:
    if _is_big(left) or _is_big(right):
        # Python compares integers and fractions exactly.
        return _compare_converted(_to_exact, left, right)
    if kind is _Kind.FLOAT or type(left) is float or type(right) is float:
        return _compare_converted(_to_double, left, right, compare_doubles)
    return _compare_converted(_to_int64, left, right)


def _compare_converted(
    convert: Callable[[Any], Any], left: Any, right: Any, compare: Callable[[Any, Any], int] = _natural_order
) -> int | None:
    left, right = convert(left), convert(right)
    return None if left is None or right is None else compare(left, right)


def _is_big(token: Any) -> bool:
    return type(token) is int and not INT64_MIN <= token <= INT64_MAX


def _to_int64(token: Any) -> int | None:
    if isinstance(token, str):
        return None if is_date(token) else parse_int64(token)
    return int(token)


def _to_exact(token: Any) -> int | float | None:
    if isinstance(token, str):
        return _to_int64(token)
    return None if type(token) is bool or (type(token) is float and not math.isfinite(token)) else token


def _to_double(token: Any) -> float | None:
    if isinstance(token, str):
        return None if is_date(token) else parse_double(token)
    return float(token)


def _to_boolean(token: Any) -> bool | None:
    if isinstance(token, str):
        return None if is_date(token) else _BOOLEANS.get(token.strip(_BLANKS_OF_BOOLEANS).lower())
    return None if _is_big(token) else bool(token)


_BOOLEANS = {"true": True, "false": False}
_BLANKS_OF_BOOLEANS = BLANKS + "\0"


def _to_time(token: Any) -> int | None:
    if not isinstance(token, str):
        return None
    try:
        return time_reading(token)
    except ValueError:
        return None
