"""The functions of JMESPath: the specification's as JmesPath.Net 1.0.204 has them, and the service's own eight.

A function is added by writing it here with `@function(name, parameters...)`; nothing else registers it. Its arguments
are checked against the parameters first. Integers and fractions are distinct types (.NET's long and double). A string
that looks like a date is a date, which functions see by its text reading; a string that a function makes is a `Text`,
which never becomes a date. Lengths and positions count UTF-16 code units.

What a call does is charged to the budget by the size of its arguments, before it is done. A function with `charges`
gets the budget as well, because its work is not told by those sizes: it reads what is below its arguments, or what an
expression makes of their elements.

docs/languages.md lists where a function differs from the library's.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from medtech.dotnet import ticks
from medtech.dotnet.numbers import INT64_MAX, INT64_MIN, parse_double, parse_int64
from medtech.dotnet.text import code_units, from_code_units, utf16_length
from medtech.dotnet.tokens import NoReading, Text, is_date, json_text, text_reading, time_reading, type_name
from medtech.evaluation_budget import EvaluationBudget
from medtech.jmespath.comparison import equal, text_of
from medtech.jmespath.errors import ExpressionFailed

Evaluate = Callable[[Any, EvaluationBudget], Any]
OfElement = Callable[[Any], Any]
"""An expression that a function is given (`&name`): from an element to a token."""


class Parameter(NamedTuple):
    """What an argument may be: the words for messages, and the Python types (None: any)."""

    description: str
    types: frozenset[type] | None


ANY = Parameter("anything", None)
NUMBER = Parameter("a number", frozenset({int, float}))
INTEGER = Parameter("an integer", frozenset({int}))
STRING = Parameter("a string", frozenset({str, Text}))
BOOLEAN = Parameter("a boolean", frozenset({bool}))
NULL = Parameter("a null", frozenset({type(None)}))
ARRAY = Parameter("an array", frozenset({list}))
OBJECT = Parameter("an object", frozenset({dict}))
ARRAY_OR_STRING = Parameter("an array or a string", frozenset({list, str, Text}))
MEASURABLE = Parameter("an object, an array or a string", frozenset({dict, list, str, Text}))
EXPRESSION = Parameter("an expression (&...)", None)


SIZED = frozenset({str, Text, list, dict})

_ELEMENT_STEPS = 4
"""For each element or member of an argument: what sorting takes, the most of what a function does to elements."""
_TEXT_STEPS = 8
"""For each string that is read: a number is made of it, or the code units by which it is put in order."""
_TOKEN_STEPS = 10
"""For each token below an argument: what writing it as JSON takes."""


def charge_size(value: Any, budget: EvaluationBudget) -> None:
    """Charges a value by its length, without what is below its elements."""
    kind = type(value)
    if kind is list or kind is dict:
        budget.charge(len(value) * _ELEMENT_STEPS)
    elif kind is str or kind is Text:
        budget.charge_reading(value)


def charge_texts(values: list[Any], budget: EvaluationBudget) -> None:
    """Charges strings that are all read."""
    budget.charge(len(values) * _TEXT_STEPS)
    for text in values:
        budget.charge_reading(text)


def charge_tree(value: Any, budget: EvaluationBudget) -> None:
    """Charges all that a value holds, at any depth, however often it holds it."""
    waiting = [value]
    while waiting:
        token = waiting.pop()
        kind = type(token)
        if kind is dict:
            budget.charge(len(token) * _TOKEN_STEPS)
            charge_texts(list(token), budget)
            waiting += token.values()
        elif kind is list:
            budget.charge(len(token) * _TOKEN_STEPS)
            waiting += token
        elif kind is str or kind is Text:
            budget.charge_reading(token)


class Function(NamedTuple):
    """`variadic`: the last parameter may be repeated. With `charges`, `call` takes the `budget` as a keyword."""

    name: str
    parameters: tuple[Parameter, ...]
    variadic: bool
    charges: bool
    call: Callable[..., Any]


FUNCTIONS: dict[str, Function] = {}

_Implementation = Callable[..., Any]


def function(
    name: str, *parameters: Parameter, variadic: bool = False, charges: bool = False
) -> Callable[[_Implementation], _Implementation]:
    """Registers the decorated function under the name that expressions use."""

    def register(call: _Implementation) -> _Implementation:
        FUNCTIONS[name] = Function(name, parameters, variadic, charges, call)
        return call

    return register


def wrong_type(name: str, position: int, parameter: Parameter, value: Any) -> ExpressionFailed:
    """The failure of an argument; positions count from 1."""
    return ExpressionFailed(
        f"fails in {name}(): argument {position} must be {parameter.description}, not {type_name(value)}"
    )


# --- Numbers ------------------------------------------------------------------------------------------------------


def _long(name: str, number: int) -> int:
    if INT64_MIN <= number <= INT64_MAX:
        return number
    raise ExpressionFailed(f"fails in {name}(): the result does not fit in an integer of 64 bits")


def _rounded_long(name: str, number: float) -> int:
    if math.isfinite(number):
        return _long(name, round(number))
    raise ExpressionFailed(f"fails in {name}(): the result does not fit in an integer of 64 bits")


@function("add", NUMBER, NUMBER)
def _add(left: float, right: float) -> float:
    result = left + right
    return result if type(result) is float else _long("add", int(result))


@function("subtract", NUMBER, NUMBER)
def _subtract(left: float, right: float) -> float:
    result = left - right
    return result if type(result) is float else _long("subtract", int(result))


@function("multiply", NUMBER, NUMBER)
def _multiply(left: float, right: float) -> float:
    result = left * right
    return result if type(result) is float else _long("multiply", int(result))


@function("divide", NUMBER, NUMBER)
def _divide(left: float, right: float) -> float:
    if not right:
        raise ExpressionFailed("fails in divide(): a number cannot be divided by zero")
    if type(left) is int and type(right) is int and not left % right:
        return _long("divide", left // right)
    return float(left) / float(right)


@function("pow", NUMBER, NUMBER)
def _pow(base: float, exponent: float) -> float:
    if exponent < 0 and not base:
        raise ExpressionFailed("fails in pow(): zero has no negative power")
    # .NET computes powers with doubles, even of integers.
    try:
        result = math.pow(base, exponent)
    except OverflowError:
        result = -math.inf if base < 0 and exponent % 2 else math.inf
    except ValueError:
        result = math.nan
    whole = type(base) is int and type(exponent) is int and exponent >= 0
    return _rounded_long("pow", result) if whole else result


@function("abs", NUMBER)
def _abs(number: float) -> float:
    return abs(number) if type(number) is float else _long("abs", abs(int(number)))


@function("ceil", NUMBER)
def _ceil(number: float) -> int:
    return _rounded_long("ceil", float(math.ceil(number)) if math.isfinite(number) else number)


@function("floor", NUMBER)
def _floor(number: float) -> int:
    return _rounded_long("floor", float(math.floor(number)) if math.isfinite(number) else number)


@function("avg", ARRAY)
def _avg(array: list[Any]) -> float | None:
    _same("avg", array, NUMBER)
    return float(_total(array)) / len(array) if array else None


@function("sum", ARRAY)
def _sum(array: list[Any]) -> float:
    _same("sum", array, NUMBER)
    total = _total(array)
    if type(total) is int:
        return _long("sum", total)
    # A sum of fractions that comes out whole is an integer.
    return int(total) if total % 1 == 0 and INT64_MIN <= total < INT64_MAX else total


def _total(array: list[Any]) -> float:
    if all(type(number) is int for number in array):
        return int(sum(array))
    total = 0.0
    for number in array:  # one by one as .NET does; Python's sum() keeps track of what rounding lost
        total += float(number)
    return total


@function("to_number", ANY, charges=True)
def _to_number(value: Any, budget: EvaluationBudget) -> float | None:
    shape = type(value)
    if shape is int or shape is float:
        return value  # type: ignore[no-any-return]
    if shape is not str and shape is not Text:
        return None
    if value.isascii() and value.isdigit() and len(value) <= _ALWAYS_64_BITS:
        return int(value)
    budget.charge(_TEXT_STEPS)
    budget.charge_reading(value)
    text = text_of(value)
    whole = parse_int64(text)
    if whole is not None:
        return whole
    # As .NET's NumberStyles.Float: blanks, sign, decimal point and exponent, but no group separators.
    return None if "," in text else parse_double(text)


_ALWAYS_64_BITS = 18
"""Any integer of so many digits fits in 64 bits."""


# --- Strings ------------------------------------------------------------------------------------------------------


@function("contains", ARRAY_OR_STRING, ANY, charges=True)
def _contains(subject: Any, search: Any, budget: EvaluationBudget) -> bool:
    if type(subject) is list:
        return any(equal(element, search, budget) for element in subject)
    if is_date(subject):
        return False  # to the library a date is neither a string nor an array
    try:
        searched = text_reading(search)
    except NoReading:
        searched = None
    if searched is None:
        raise wrong_type("contains", 2, STRING, search)
    return searched in subject


@function("starts_with", STRING, STRING)
def _starts_with(text: str, prefix: str) -> bool:
    return text_of(text).startswith(text_of(prefix))


@function("ends_with", STRING, STRING)
def _ends_with(text: str, suffix: str) -> bool:
    return text_of(text).endswith(text_of(suffix))


@function("join", STRING, ARRAY, charges=True)
def _join(glue: str, texts: list[Any], budget: EvaluationBudget) -> str:
    _same("join", texts, STRING)
    charge_texts(texts, budget)
    budget.charge_text(len(glue) * len(texts))
    return Text(text_of(glue).join(map(text_of, texts)))


@function("insertString", STRING, STRING, INTEGER)
def _insert_string(text: str, addition: str, position: int) -> str:
    for place, string in enumerate((text, addition), 1):
        if is_date(string):
            raise wrong_type("insertString", place, STRING, string)
    if text.isascii():
        if 0 <= position <= len(text):
            return Text(text[:position] + addition + text[position:])
    elif 0 <= position <= utf16_length(text):
        # A character may be cut in half: it becomes U+FFFD only where the text is written.
        units, place = code_units(text), 2 * position
        return Text(from_code_units(units[:place] + code_units(addition) + units[place:]))
    raise ExpressionFailed("fails in insertString(): argument 3 is a position outside the text")


@function("to_string", ANY, charges=True)
def _to_string(value: Any, budget: EvaluationBudget) -> str:
    charge_tree(value, budget)
    # A date stays a date: its text reading as a value, ISO within JSON.
    return value if isinstance(value, str) else Text(json_text(value))


@function("type", ANY)
def _type(value: Any) -> str:
    if isinstance(value, str):
        return Text("string")
    return _TYPES[type(value)]


_TYPES: dict[type, Text] = {
    int: Text("number"),
    float: Text("number"),
    bool: Text("boolean"),
    list: Text("array"),
    dict: Text("object"),
    type(None): Text("null"),
}


@function("fromUnixTimestamp", INTEGER)
def _from_unix_timestamp(seconds: int) -> str:
    return _date("fromUnixTimestamp", seconds, ticks.TICKS_PER_SECOND)


@function("fromUnixTimestampMs", INTEGER)
def _from_unix_timestamp_ms(milliseconds: int) -> str:
    return _date("fromUnixTimestampMs", milliseconds, ticks.TICKS_PER_MILLISECOND)


def _date(name: str, units: int, unit_ticks: int) -> str:
    """A date, and therefore a plain `str`: its readings are those of a date in the message."""
    moment = ticks.UNIX_EPOCH + units * unit_ticks
    if not 0 <= moment <= ticks.MAX_TICKS:
        raise ExpressionFailed(f"fails in {name}(): argument 1 is outside the years 1 to 9999")
    text = ticks.format_iso(moment)
    return text[:-1].rstrip("0").rstrip(".") + "Z"


# --- Arrays and objects -------------------------------------------------------------------------------------------


@function("length", MEASURABLE)
def _length(value: Any) -> int:
    return utf16_length(text_of(value)) if isinstance(value, str) else len(value)


@function("reverse", ARRAY_OR_STRING)
def _reverse(value: Any) -> Any:
    if not isinstance(value, str):
        return value[::-1]
    text = text_of(value)
    if text.isascii():
        return Text(text[::-1])
    # .NET reverses code units; their bytes read backwards are in the other byte order.
    return Text(code_units(text)[::-1].decode("utf-16-le", "surrogatepass"))


@function("keys", OBJECT)
def _keys(value: dict[str, Any]) -> list[Any]:
    return [Text(name) for name in value]


@function("values", OBJECT)
def _values(value: dict[str, Any]) -> list[Any]:
    return list(value.values())


@function("merge", OBJECT, variadic=True, charges=True)
def _merge(first: dict[str, Any], *others: dict[str, Any], budget: EvaluationBudget) -> dict[str, Any]:
    """Merges as Json.NET does: objects member by member, at any depth; arrays are appended; null replaces nothing."""
    merged = dict(first)
    pairs = [(merged, other) for other in reversed(others)]
    while pairs:
        target, addition = pairs.pop()
        charge_size(addition, budget)
        for name, value in addition.items():
            held = target.get(name)
            if type(held) is dict and type(value) is dict:
                # The member may belong to the document, which is not changed.
                charge_size(held, budget)
                target[name] = dict(held)
                pairs.append((target[name], value))
            elif type(held) is list and type(value) is list:
                budget.charge((len(held) + len(value)) * _ELEMENT_STEPS)
                target[name] = held + value
            elif value is not None or name not in target:
                target[name] = value
    return merged


@function("not_null", ANY, variadic=True)
def _not_null(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


@function("to_array", ANY)
def _to_array(value: Any) -> list[Any]:
    return value if type(value) is list else [value]


@function("map", EXPRESSION, ARRAY)
def _map(expression: OfElement, array: list[Any]) -> list[Any]:
    return [expression(element) for element in array]


@function("max", ARRAY, charges=True)
def _max(array: list[Any], budget: EvaluationBudget) -> Any:
    return _extreme("max", array, max, budget)


@function("min", ARRAY, charges=True)
def _min(array: list[Any], budget: EvaluationBudget) -> Any:
    return _extreme("min", array, min, budget)


def _extreme(name: str, array: list[Any], choose: Callable[..., Any], budget: EvaluationBudget) -> Any:
    if not array:
        return None
    if _same(name, array, NUMBER, STRING) is STRING:
        charge_texts(array, budget)
        return Text(choose(map(text_of, array), key=code_units))
    found = choose(array, key=_number_key)
    return found if all(type(number) is int for number in array) else float(found)


def _number_key(number: float) -> tuple[bool, float]:
    """Orders numbers as .NET does, NaN before all others."""
    return number == number, number


@function("max_by", ARRAY, EXPRESSION, charges=True)
def _max_by(array: list[Any], expression: OfElement, budget: EvaluationBudget) -> Any:
    return _extreme_by("max_by", array, expression, lambda left, right: left > right, budget)


@function("min_by", ARRAY, EXPRESSION, charges=True)
def _min_by(array: list[Any], expression: OfElement, budget: EvaluationBudget) -> Any:
    return _extreme_by("min_by", array, expression, lambda left, right: left < right, budget)


def _extreme_by(
    name: str,
    array: list[Any],
    expression: OfElement,
    beats: Callable[[float, float], bool],
    budget: EvaluationBudget,
) -> Any:
    """The last of equals. A text counts as the number it spells; a single element is never compared."""
    if not array:
        raise ExpressionFailed(f"fails in {name}(): argument 1 is an empty array")
    best = array[0]
    for element in array[1:]:
        best_key, key = _key(name, expression(best), budget), _key(name, expression(element), budget)
        best = best if beats(best_key, key) else element
    return best


def _key(name: str, value: Any, budget: EvaluationBudget) -> float:
    if type(value) is int or type(value) is float:
        return value
    if not isinstance(value, str):
        raise ExpressionFailed(
            f"fails in {name}(): the expression must give a number or a string, not {type_name(value)}"
        )
    budget.charge(_TEXT_STEPS)
    budget.charge_reading(value)
    number = parse_double(text_of(value))
    if number is None:
        raise ExpressionFailed(f"fails in {name}(): the expression gives a string that is not a number")
    return number


@function("sort", ARRAY, charges=True)
def _sort(array: list[Any], budget: EvaluationBudget) -> list[Any]:
    kind = _same("sort", array, NUMBER, STRING, BOOLEAN, NULL)
    if kind is STRING:
        charge_texts(array, budget)
        return sorted(array, key=lambda text: code_units(text_of(text)))
    return array if kind is NULL else sorted(array, key=_number_key)


@function("sort_by", ARRAY, EXPRESSION, charges=True)
def _sort_by(array: list[Any], expression: OfElement, budget: EvaluationBudget) -> list[Any]:
    keys = [expression(element) for element in array]
    if _same("sort_by", keys, NUMBER, STRING) is STRING:
        charge_texts(keys, budget)
        keys = _ordered_as_texts(keys)
    else:
        keys = [_number_key(key) for key in keys]
    order = sorted(range(len(array)), key=keys.__getitem__)
    return [array[place] for place in order]


def _ordered_as_texts(keys: list[str]) -> list[Any]:
    """Keys that put strings in the order of sort_by: dates by time, texts by code unit; a mix of both has no order."""
    dates = sum(map(is_date, keys))
    if 0 < dates < len(keys):
        raise ExpressionFailed("fails in sort_by(): the expression gives both dates and other strings")
    if dates:
        return [time_reading(key) for key in keys]
    return [code_units(text_of(key)) for key in keys]


def _same(name: str, values: list[Any], *allowed: Parameter) -> Parameter | None:
    """The parameter that all values satisfy, None if there are no values; raises ExpressionFailed for two kinds."""
    found = None
    for value in values:
        if found is None:
            found = next((parameter for parameter in allowed if type(value) in (parameter.types or ())), None)
        if found is None or type(value) not in (found.types or ()):
            wanted = " or all ".join(parameter.description.partition(" ")[2] + "s" for parameter in allowed)
            raise ExpressionFailed(f"fails in {name}(): the elements must be all {wanted}, one is {type_name(value)}")
    return found
