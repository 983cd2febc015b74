"""Numbers as .NET reads, prints and compares them in the invariant culture.

Source of the rules: `token.jsonl` of the conformance vectors (`string`), .NET's documentation of the round-trip format
and of `Convert`, and Json.NET's comparison of doubles.
"""

import math
import re
import sys

from medtech.dotnet.text import NUMBER_BLANKS, trimmed

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1

_PLAIN_DIGITS = 17
"""From 1e17 on .NET prints an exponent; Python's `repr` does so from 1e16 on."""

_LEAST_PLAIN, _MOST_PLAIN = 1e-4, 1e16
"""Between these Python writes no exponent."""

_FLOAT = re.compile(
    rf"[{NUMBER_BLANKS}]*+(?P<number>[+-]?(?:[0-9][0-9,]*+(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?)"
    rf"[{NUMBER_BLANKS}]*+\x00*+"
)
_INTEGER = re.compile(rf"[{NUMBER_BLANKS}]*+(?P<sign>[+-]?)(?P<digits>[0-9]++)[{NUMBER_BLANKS}]*+\x00*+")
_NAMED = {"nan": math.nan, "infinity": math.inf, "+infinity": math.inf, "-infinity": -math.inf, "-nan": math.nan}

_SPECIAL = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def format_double(value: float) -> str:
    """The shortest text that reads back as `value`: `98.6`, `100` (of 100.0), `1.5E-07`, `NaN`, `-0`."""
    text = repr(value)
    if _LEAST_PLAIN <= value < _MOST_PLAIN:
        # Nearly every reading. Python's form is .NET's here, but for the fraction of a whole number.
        return text[:-2] if text[-2:] == ".0" else text
    if text.endswith(".0"):
        return text[:-2]
    mantissa, marker, exponent = text.partition("e")
    if not marker:
        return _SPECIAL.get(text, text)
    power = int(exponent)
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    if 0 <= power < _PLAIN_DIGITS:
        return sign + whole + fraction.ljust(power, "0")
    digits = f"{whole}.{fraction}" if fraction else whole
    return f"{sign}{digits}E{'-' if power < 0 else '+'}{abs(power):02d}"


def parse_double(text: str) -> float | None:
    """A text as `Convert.ToDouble` reads it: blanks around it, sign, group commas, exponent; None if not a number."""
    found = _FLOAT.fullmatch(text)
    if found is None:
        return _NAMED.get(trimmed(text).lower())
    return float(found["number"].replace(",", ""))


def parse_int64(text: str) -> int | None:
    """A text as `Convert.ToInt64` reads it: blanks around it, sign, digits; None if not an integer of 64 bits."""
    found = _INTEGER.fullmatch(text)
    if found is None:
        return None
    digits = found["digits"].lstrip("0") or "0"
    # 64 bits hold 19 digits at most: a megabyte of digits is refused without being converted.
    number = int(digits) * (-1 if found["sign"] == "-" else 1) if len(digits) <= 19 else INT64_MAX + 1
    return number if INT64_MIN <= number <= INT64_MAX else None


def compare_doubles(left: float, right: float) -> int:
    """Negative, 0 or positive, as Json.NET compares: equal within a few units of the last place, NaN lowest."""
    if left == right:
        return 0
    if math.isnan(left) or math.isnan(right):
        return math.isnan(right) - math.isnan(left)
    tolerance = (abs(left) + abs(right) + 10.0) * sys.float_info.epsilon
    if -tolerance < left - right < tolerance:
        return 0
    return 1 if left > right else -1
