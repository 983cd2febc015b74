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


def dump_without_empties(resource: dict[str, Any]) -> bytes:
    """As `dump_resource`, and as FHIR has it: without empty texts, objects and lists.

    Published mappings say `"unit": ""`, the service's conversion keeps it, and strict servers refuse the resource.
    """
    body = dump_resource(resource)
    # Most have none, and are not walked.
    return dump_resource(without_empties(resource)) if _may_have_empties(body) else body


def without_empties(element: Any) -> Any:
    """From a list only empty objects are removed: in other lists the place of an element counts."""
    if isinstance(element, dict):
        kept = {name: without_empties(each) for name, each in element.items()}
        return {name: each for name, each in kept.items() if each not in ("", {}, [])}
    if isinstance(element, list):
        return [each for each in map(without_empties, element) if each != {}]
    return element


def _may_have_empties(body: bytes) -> bool:
    """Whether there is an empty element, or a text that looks like one.

    The samples of a long series (`data`) are passed over: there may be a megabyte of them.
    """
    if len(body) > _SHORT_BYTES and _DATA in body:
        body = _without_samples(body)
    # Sought in the marks alone, which are a fifth of a resource: of a list or an object that is not empty, marks stay.
    marks = body.translate(None, _NO_MARKS)
    return b':""' in body or b"{}" in marks or b"[]" in marks


def _without_samples(body: bytes) -> bytes:
    """The JSON with the first character of each series' `data` alone, which is enough to see whether it is empty."""
    opening, *others = body.split(_DATA)
    return opening + b"".join(_DATA + each[:1] + each[max(1, each.find(b'"')) :] for each in others)


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


def number_text(number: Decimal) -> str:
    """A decimal as it is written: with its digits, and without an exponent if it can be one of ours."""
    text = str(number)
    if "E" in text and abs(number.adjusted()) <= _PLAIN_POWER:
        # Servers refuse exponents in decimals. A larger one cannot be ours: the number stays as somebody wrote it.
        text = format(number, "f")
    return text


def _number(value: Any) -> orjson.Fragment:
    if not isinstance(value, Decimal):
        raise TypeError(f"{type(value).__name__} has no form in JSON")
    return orjson.Fragment(number_text(value))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DATA = b'"data":"'
_SHORT_BYTES = 4_000
_NO_MARKS = bytes(set(range(256)) - set(b'"{}[]'))

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_LONG_INTEGERS = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal, parse_constant=_no_constant)
"""Both take and refuse the same texts, but for such integers."""
