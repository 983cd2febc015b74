"""What .NET and Python see differently in a text: its blanks, its UTF-16 code units, and how JSON escapes it."""

from typing import Final

BLANKS: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""The characters of `char.IsWhiteSpace`. Python's `str.isspace` and `\\s` take U+001C to U+001F too."""

NUMBER_BLANKS: Final = "\t\n\v\f\r "
"""The blanks that .NET allows around a number, which are fewer."""

ESCAPES: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "\\": "\\", '"': '"', "'": "'", "/": "/"}
"""What Json.NET reads after a backslash, in JSON and in a JSONPath; `u` and four digits come on top in JSON."""


def is_blank(text: str) -> bool:
    """Whether a text is empty or has nothing but blanks."""
    return not trimmed(text)


def trimmed(text: str) -> str:
    """The text without the blanks at both ends."""
    return text.strip(BLANKS)


def code_units(text: str) -> bytes:
    """The UTF-16 code units of a text, two bytes each, the high one first.

    .NET counts positions in them, and their bytes sort as its ordinal comparison does: U+FFFD comes after an emoji.
    """
    return text.encode("utf-16-be", "surrogatepass")


def from_code_units(units: bytes) -> str:
    """The text of UTF-16 code units; half a character is kept, until `well_formed` prepares the text to be written."""
    return units.decode("utf-16-be", "surrogatepass")


def utf16_length(text: str) -> int:
    """How long a text is to .NET."""
    return len(text) if text.isascii() else len(code_units(text)) // 2


def well_formed(text: str) -> str:
    """The text with U+FFFD for each half of a character (a surrogate alone), as .NET writes it: UTF-8 has none."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return code_units(text).decode("utf-16-be", "replace")
    return text


def compare_ordinal(left: str, right: str) -> int:
    """Negative, 0 or positive, as .NET's `string.CompareOrdinal`."""
    if left.isascii() or right.isascii():
        # No surrogate meets a character above it here, so code points sort as code units do.
        return (left > right) - (left < right)
    left_units, right_units = code_units(left), code_units(right)
    return (left_units > right_units) - (left_units < right_units)
