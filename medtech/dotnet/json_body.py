"""The body of a message as plain Python values: strict JSON fast, everything else that Json.NET takes tolerantly."""

import codecs
import re
from typing import Any

import msgspec

from medtech.dotnet.json_reader import MAX_DEPTH, MAX_INTEGER_LENGTH, LocatedSyntaxError, Reader


class NotJson(ValueError):
    """A body that the service would not read; the message says what is wrong with it and what to send instead."""


def parse_body(body: bytes) -> Any:
    """The JSON of a message body; raises NotJson where the service would find none.

    An empty body is null, a byte order mark is skipped. Text after the first value is ignored; a second value is
    an error, because it would be lost.
    """
    return parse_counted(body)[0]


def parse_counted(body: bytes) -> tuple[Any, int]:
    """As `parse_body`, with the number of the body's opening brackets, or 0 if they have not been counted.

    There are as many objects and arrays, or fewer: a bracket may stand in a text.
    """
    if not body:
        return None, 0
    if body[0] == 0xEF and body.startswith(codecs.BOM_UTF8):
        body = body[3:]
    try:
        # msgspec reads integers of any length, and fractions to the last bit.
        value = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_tolerantly(body), 0
    if (
        len(body) > MAX_INTEGER_LENGTH
        and body[::_STRIDE].translate(_DIGITS_AS_ZERO).find(_STRIDES_OF_DIGITS) >= 0
        and _TOO_LONG_INTEGER.search(body)
    ):
        return _parse_tolerantly(body), 0
    openings = body.count(b"{")
    bracket = body.find(b"[")
    if bracket >= 0:
        # Most messages have one array, and looking from both ends takes a tenth of the time of counting.
        openings += 1 if body.rfind(b"[") == bracket else body.count(b"[")
    if openings > MAX_DEPTH:
        _check_depth(value, openings)
    return value, openings


_decode = msgspec.json.Decoder().decode

_STRIDE = 16
"""Every sixteenth byte is enough to find a run of digits that Json.NET refuses, in a sixteenth of the time."""
_STRIDES_OF_DIGITS = b"0" * (MAX_INTEGER_LENGTH // _STRIDE)
_DIGITS_AS_ZERO = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_TOO_LONG_INTEGER = re.compile(rb"[0-9]{%d}" % MAX_INTEGER_LENGTH)
_WIDE_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _parse_tolerantly(body: bytes) -> Any:
    encoding = next((name for mark, name in _WIDE_MARKS if body.startswith(mark)), "utf-8")
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        raise NotJson(
            f"The message body is not {encoding.upper()} (byte {error.start}): send it as JSON in UTF-8."
        ) from None
    reader = Reader(text)
    try:
        value = reader.read()
    except LocatedSyntaxError as error:
        raise NotJson(
            f"The message body is not JSON: line {error.line}, position {error.position}: {error.message}. "
            "Correct what the device sends."
        ) from None
    try:
        reader.read()
    except LocatedSyntaxError:
        return value
    raise NotJson("The message body holds more than one JSON value: send an array, or one message for each.")


def _check_depth(value: Any, openings: int) -> None:
    """Raises NotJson. `openings` are at least as many as there are objects and arrays."""
    level = [value] if type(value) is dict or type(value) is list else []
    for depth in range(MAX_DEPTH):
        openings -= len(level)
        # Each level below takes at least one of those that have not been seen. Where they are too few, which is so of a
        # message with readings of plain values, the members of the readings need not be gone through.
        if not level or depth + openings < MAX_DEPTH:
            return
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if type(child) is dict or type(child) is list
        ]
    if level:
        raise NotJson(f"The message body is nested more than {MAX_DEPTH} deep: send a flatter one.")
