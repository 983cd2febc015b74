"""How values compare in JMESPath as the service reads it: JmesPath.Net on Json.NET's tokens.

Equality is Json.NET's and converts nothing. Order is defined among numbers and among texts (a date is its text
reading), with null before every text; for anything else the result is null.
"""

import operator
from collections.abc import Callable
from typing import Any

from medtech.dotnet.numbers import compare_doubles
from medtech.dotnet.text import code_units
from medtech.dotnet.tokens import Text, is_date, text_reading, time_reading
from medtech.evaluation_budget import EvaluationBudget


def truth(value: Any) -> bool:
    """Null, false, and empty texts, arrays and objects are false; every number is true."""
    return bool(value) or type(value) is int or type(value) is float


def text_of(string: str) -> str:
    """A string's or date's text reading."""
    if type(string) is Text:
        return string
    return text_reading(string) or ""


def equal(left: Any, right: Any, budget: EvaluationBudget) -> bool:
    """Json.NET's deep equality: an integer never equals a fraction, nor a date a string; order of members is ignored.

    Tokens may be nested deeper than Python's stack allows calls, so this walks them with a stack of its own.
    """
    pairs = [(left, right)]
    while pairs:
        left, right = pairs.pop()
        if type(left) is list:
            if type(right) is not list or len(left) != len(right):
                return False
            budget.charge(1 + len(left) * _COMPARED_STEPS)
            pairs += zip(left, right, strict=True)
        elif type(left) is dict:
            if type(right) is not dict or len(left) != len(right):
                return False
            budget.charge(1 + len(left) * _COMPARED_STEPS)
            if left.keys() != right.keys():
                return False
            pairs += [(value, right[name]) for name, value in left.items()]
        else:
            if isinstance(left, str):
                budget.charge_reading(left)
            if not _equal_values(left, right):
                return False
    return True


_TEXTS_STEPS = 10
"""For each pair of texts that are put in order, by their code units."""
_COMPARED_STEPS = 6
"""For each pair of tokens that deep equality walks to."""


def _equal_values(left: Any, right: Any) -> bool:
    """The equality of two tokens, of which the left is not an array or an object."""
    kind = type(left)
    if kind is str or kind is Text:
        if type(right) is kind:
            return left == right or (is_date(left) and is_date(right) and time_reading(left) == time_reading(right))
        return isinstance(right, str) and left == right and not (is_date(left) or is_date(right))
    if kind is not type(right):
        return False
    if kind is float:
        return compare_doubles(left, right) == 0
    return bool(left == right)


def _ordering(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any, EvaluationBudget], bool | None]:
    def compare(left: Any, right: Any, budget: EvaluationBudget) -> bool | None:
        left_type, right_type = type(left), type(right)
        if (left_type is int or left_type is float) and (right_type is int or right_type is float):
            return holds(left, right)
        if (left is None or isinstance(left, str)) and (right is None or isinstance(right, str)):
            budget.charge(_TEXTS_STEPS)
            budget.charge_reading(left or "")
            budget.charge_reading(right or "")
            return holds(_null_first(left), _null_first(right))
        return None

    return compare


def _null_first(text: str | None) -> tuple[bool, bytes]:
    return (False, b"") if text is None else (True, code_units(text_of(text)))


COMPARATORS: dict[str, Callable[[Any, Any, EvaluationBudget], bool | None]] = {
    "eq": equal,
    "ne": lambda left, right, budget: not equal(left, right, budget),
    "lt": _ordering(operator.lt),
    "lte": _ordering(operator.le),
    "gt": _ordering(operator.gt),
    "gte": _ordering(operator.ge),
}
"""By the syntax tree's names. Each returns true, false or, for null, None, and raises BudgetSpent."""
