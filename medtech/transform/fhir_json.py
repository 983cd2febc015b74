"""FHIR resources as JSON that keeps every digit of every number, ours and those that others wrote.

FHIR decimals have a precision that matters (`98.60` is not `98.6`), so a fraction is a `Decimal` here, never a float.
"""

import json
from decimal import Decimal
from typing import Any

import msgspec
import orjson

_PLAIN_POWER = 28

_WRITTEN_BITS = 64
"""orjson writes every integer of fewer bits."""


class NotAResource(ValueError):
    """The text is not a JSON object, or holds what a FHIR resource cannot hold."""


def parse_resource(body: bytes) -> dict[str, Any]:
    """A resource as plain Python values; numbers are `int`, of any size, or `Decimal`.

    Raises NotAResource, whose text reveals nothing of the content.
    """
    try:
        resource = _parse(body.removeprefix(_BYTE_ORDER_MARK))
    except (msgspec.DecodeError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise NotAResource(f"the body of {len(body)} bytes is not JSON ({type(error).__name__})") from None
    if not isinstance(resource, dict):
        raise NotAResource(f"the body of {len(body)} bytes is JSON, but not an object")
    return resource


def dump_resource(resource: Any) -> bytes:
    """Compact JSON in UTF-8; each number with the digits it has. Raises TypeError for what has no form in JSON."""
    try:
        return orjson.dumps(resource, default=_number)
    except orjson.JSONEncodeError:
        try:
            return orjson.dumps(_with_long_integers(resource), default=_number)
        except RecursionError:
            raise TypeError("what is nested so deeply has no form in JSON here") from None


def _parse(body: bytes) -> Any:
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError:
        # An integer of more digits than Python makes an int of (`sys.set_int_max_str_digits`).
        resource = _LONG_INTEGERS.decode(body.decode())
        dump_resource(resource)  # refuses half surrogates, as the decoder above does
        return resource


def _with_long_integers(element: Any) -> Any:
    """With a Decimal in place of each integer past the 64 bits that orjson writes."""
    if isinstance(element, dict):
        return {name: _with_long_integers(each) for name, each in element.items()}
    if isinstance(element, list):
        return [_with_long_integers(each) for each in element]
    return Decimal(element) if isinstance(element, int) and element.bit_length() >= _WRITTEN_BITS else element


def _number(value: Any) -> orjson.Fragment:
    if not isinstance(value, Decimal):
        raise TypeError(f"{type(value).__name__} has no form in JSON")
    text = str(value)
    if "E" in text and abs(value.adjusted()) <= _PLAIN_POWER:
        # Servers refuse exponents in decimals. A larger one cannot be ours: the number stays as somebody wrote it.
        text = format(value, "f")
    return orjson.Fragment(text)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_LONG_INTEGERS = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal, parse_constant=_no_constant)
"""Both take and refuse the same texts, but for such integers."""
