"""The tokens of a message and their readings, as Json.NET and .NET have them.

The connector reads a message with Json.NET, which turns every string that looks like a date into one, and a *value*
is the text that .NET makes of a token. Both are done lazily here: a body becomes plain Python values (msgspec's), a
string stays a string, and is read as a date only when an expression asks for its text or its time.

    Json.NET's types    Python
    Object, Array       dict, list
    String, Date        str (`is_date` says which), or Text if never a date
    Integer             int (past 64 bits too)
    Float               float
    Boolean, Null       bool, None (also of `undefined` and of empty places)
"""

import re
from collections.abc import Iterator
from typing import Any

from medtech.dotnet import times
from medtech.dotnet.numbers import INT64_MAX, INT64_MIN, format_double
from medtech.dotnet.text import ESCAPES
from medtech.dotnet.times import NoDate, json_date, utc_ticks


class Text(str):
    """A string of Properties or SystemProperties: it stays a text, whatever it looks like."""

    __slots__ = ()


class NoReading(ValueError):
    """A token without the reading asked for; the message names its type, never its value."""


def is_date(token: Any) -> bool:
    """Whether Json.NET would have made a date of this string."""
    return type(token) is str and json_date(token) is not None


def text_reading(token: Any) -> str | None:
    """A token as a value: the text that .NET makes of it, None for null; raises NoReading.

    A date reads as `MM/dd/yyyy HH:mm:ss` in UTC, a fraction in its shortest form, `true` as `True`. An object, an
    array and an integer past 64 bits have no text reading.
    """
    kind = type(token)
    if kind is str:
        moment = json_date(token)
        return token if moment is None else times.format_invariant(moment.ticks)
    if kind is int:
        if INT64_MIN <= token <= INT64_MAX:
            return str(token)
        raise NoReading("an integer past 64 bits has no text reading")
    if kind is float:
        return format_double(token)
    if token is None:
        return None
    if kind is bool:
        return "True" if token else "False"
    if kind is Text:
        return str(token)
    raise NoReading(f"{type_name(token)} has no text reading")


def time_reading(token: Any) -> int:
    """A token as a time, in UTC ticks; raises NoReading.

    A date of the message reads as itself, another text as .NET's invariant culture parses it; numbers and null have no
    time reading.
    """
    if not isinstance(token, str):
        raise NoReading(f"{type_name(token)} has no time reading")
    ticks = utc_ticks(token)
    if ticks is not None:
        return ticks
    if type(token) is str:
        moment = json_date(token)
        if moment is not None:
            return moment.ticks
    try:
        return times.parse(token)
    except NoDate as error:
        raise NoReading(f"the text is not a time: {error}") from None


def type_name(token: Any) -> str:
    """Json.NET's name for the token's type, with its article, for error messages."""
    if isinstance(token, str):
        return "a date" if is_date(token) else "a string"
    if isinstance(token, bool):
        return "a boolean"
    return next((name for kind, name in _TYPE_NAMES if isinstance(token, kind)), "null")


_TYPE_NAMES: tuple[tuple[type, str], ...] = (
    (dict, "an object"),
    (list, "an array"),
    (int, "an integer"),
    (float, "a fraction"),
)


def json_text(token: Any) -> str:
    """Compact JSON as Json.NET writes it: a date in ISO form, its fraction without trailing zeros."""
    # A loop, because it is called from within expressions, whose own nesting is on Python's stack already.
    pieces: list[str] = []
    values = iter((token,))
    outer: list[tuple[Iterator[Any], str]] = []
    while True:
        for value in values:
            kind = type(value)
            if kind is dict:
                outer.append((values, "}"))
                values = _members(value, pieces)
                break
            if kind is list:
                outer.append((values, "]"))
                values = _elements(value, pieces)
                break
            pieces.append(_scalar(value))
        else:
            if not outer:
                return "".join(pieces)
            values, closing = outer.pop()
            pieces.append(closing)


def _members(container: dict[str, Any], pieces: list[str]) -> Iterator[Any]:
    """The values, each when what stands before it is written."""
    separator = "{"
    for name, value in container.items():
        pieces.append(f"{separator}{_quoted(name)}:")
        yield value
        separator = ","
    if not container:
        pieces.append(separator)


def _elements(container: list[Any], pieces: list[str]) -> Iterator[Any]:
    separator = "["
    for value in container:
        pieces.append(separator)
        yield value
        separator = ","
    if not container:
        pieces.append(separator)


def _scalar(token: Any) -> str:
    if isinstance(token, str):
        moment = json_date(token) if type(token) is str else None
        return _quoted(token) if moment is None else f'"{times.format_iso(moment)}"'
    if isinstance(token, bool):
        return "true" if token else "false"
    if token is None:
        return "null"
    return _json_double(token) if isinstance(token, float) else str(token)


def _json_double(value: float) -> str:
    text = format_double(value)
    if text[-1] in "Ny":
        return f'"{text}"'  # NaN and the infinities
    return text if "." in text or "E" in text else f"{text}.0"


_ESCAPED = re.compile('["\\\\\x00-\x1f\x85\u2028\u2029]')
_SHORT_ESCAPES = {character: f"\\{letter}" for letter, character in ESCAPES.items() if letter not in "'/"}


def _quoted(text: str) -> str:
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return _SHORT_ESCAPES.get(character) or f"\\u{ord(character):04x}"
