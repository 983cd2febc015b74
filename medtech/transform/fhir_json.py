"""FHIR resources as JSON that keeps every digit of every number, ours and those that others wrote.

FHIR decimals have a precision that matters (`98.60` is not `98.6`), so a fraction is a `Decimal` here, never a float.
"""

import json
from decimal import Decimal
from typing import Any

import orjson

_INT64_DIGITS = 18
"""Integers of more digits may not fit what orjson writes; they travel as `Decimal` too."""

_PLAIN_POWER = 28


class NotAResource(ValueError):
    """The text is not a JSON object, or holds what a FHIR resource cannot hold."""


def parse_resource(body: bytes) -> dict[str, Any]:
    """A resource as plain Python values; numbers are `int` or `Decimal`.

    Raises NotAResource, whose text reveals nothing of the content.
    """
    try:
        resource = _DECODER.decode(body.decode("utf-8-sig"))
        if b"\\u" in body:
            orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))  # refuses half surrogates, which cannot be written again
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise NotAResource(f"the body of {len(body)} bytes is not JSON ({type(error).__name__})") from None
    if not isinstance(resource, dict):
        raise NotAResource(f"the body of {len(body)} bytes is JSON, but not an object")
    return resource


def dump_resource(resource: dict[str, Any]) -> bytes:
    """Compact JSON in UTF-8; each number with the digits it has."""
    return orjson.dumps(resource, default=_number)


def _number(value: Any) -> orjson.Fragment:
    if not isinstance(value, Decimal):
        raise TypeError(f"{type(value).__name__} has no form in JSON")
    text = str(value)
    if "E" in text and abs(value.adjusted()) <= _PLAIN_POWER:
        # Servers refuse exponents in decimals. A larger one cannot be ours: the number stays as somebody wrote it.
        text = format(value, "f")
    return orjson.Fragment(text)


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= _INT64_DIGITS else Decimal(text)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_int=_integer, parse_constant=_no_constant)
