"""Readings as decimals: what a .NET decimal takes, with every digit kept.

Source: .NET's number styles Float and AllowTrailingSign in the invariant culture, and the conformance vectors. Two
rules are ours (SPEC section 6): no group separators (24), and no number that would lose a digit (21).
"""

import re
from decimal import Decimal, InvalidOperation

from medtech.dotnet.text import NUMBER_BLANKS

MAX_DIGITS = 28
"""Digits that a .NET decimal keeps; it silently rounds further ones away."""

_LARGEST = Decimal(2**96 - 1)

_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]{0,13})(?:\.[0-9]{1,13})?", re.ASCII)
"""A decimal of at most 27 digits that is a JSON number too."""

_NUMBER = re.compile(
    rf"[{NUMBER_BLANKS}]*(?P<sign>[-+])?(?P<digits>[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE](?P<exponent>[-+]?[0-9]{{1,9}}))?"
    rf"[{NUMBER_BLANKS}]*(?P<trailing>[-+])?[{NUMBER_BLANKS}]*\x00*"
)


class NotANumber(ValueError):
    """The text is not a number, or not one that a decimal holds to its last digit."""


def is_plain(text: str) -> bool:
    """Whether the text is at first sight a decimal and a JSON number. Nearly every reading is."""
    return _PLAIN.fullmatch(text) is not None


def parse(text: str) -> Decimal:
    """The decimal of a text; raises NotANumber. `78.50` keeps its scale, `1.50E1` is `15.0`."""
    if text.isdigit() and text.isascii() and len(text) <= MAX_DIGITS:
        return Decimal(text)  # a short cut for most readings: the patterns say the same of them
    if _PLAIN.fullmatch(text):
        return _signed(Decimal(text), False) if text[0] == "-" else Decimal(text)
    found = _NUMBER.fullmatch(text)
    if found is None or (found["sign"] and found["trailing"]):
        raise NotANumber
    digits = found["digits"]
    if len(digits.replace(".", "").lstrip("0")) > MAX_DIGITS:
        raise NotANumber
    try:
        number = Decimal(f"{digits}E{found['exponent'] or 0}")
    except InvalidOperation:
        raise NotANumber from None
    scale = number.as_tuple().exponent
    if not isinstance(scale, int) or scale < -MAX_DIGITS or number.adjusted() > MAX_DIGITS:
        raise NotANumber
    if scale > 0:
        number = Decimal(int(number))
    if number > _LARGEST:
        raise NotANumber
    return _signed(number, "-" in (found["sign"], found["trailing"]))


def plain(number: Decimal) -> str:
    """A decimal without an exponent, with all its digits."""
    return format(number, "f")


def _signed(number: Decimal, negate: bool) -> Decimal:
    """The sign without arithmetic, which would round to the context; .NET prints no negative zero."""
    if not number:
        return number.copy_abs()
    return number.copy_negate() if negate else number
