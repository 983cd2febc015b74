import json
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.transform.fhir_json import (
    NotAResource,
    dump_resource,
    dump_without_empties,
    parse_resource,
    without_empties,
)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":98.60}',
        b'{"a":0.1234567890123456789012345678901234567890}',
        b'{"a":123456789012345678901234567890}',
        b'{"a":-5,"b":[1.0,true,null,"x"],"c":{"d":""}}',
        b'{"a":1E+400}',
        b'{"a":18446744073709551616,"b":[-9223372036854775809,9223372036854775808]}',
        b'{"a":' + b"7" * 400 + b',"b":-0.0,"c":0.10}',
        b'{"a":' + b"7" * 5000 + b',"b":78.50}',
        '{"a":"ä\U0001f600"}'.encode(),
    ],
)
def test_what_others_wrote_comes_back_with_every_digit(body: bytes) -> None:
    assert dump_resource(parse_resource(body)) == body


def test_small_numbers_are_written_without_exponents_which_servers_refuse() -> None:
    assert dump_resource({"a": Decimal("0.0000001"), "b": Decimal("1E+3")}) == b'{"a":0.0000001,"b":1000}'


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse_resource(b'\xef\xbb\xbf{"a":"\\u00e4"}') == {"a": "ä"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\ud800",' + b'"b":' + b"7" * 5000 + b"}",
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":1}{',
        b'{"a":01}',
        b"{'a':1}",
        b"\xff",
        b"[" * 100_000,
        b'{"a":1e99999999999999999999}',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_not_a_resource_is_an_error_without_its_content(body: bytes) -> None:
    with pytest.raises(NotAResource) as raised:
        parse_resource(body)
    assert "1e9" not in str(raised.value)


_NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][-+]?[0-9]{1,3})?", fullmatch=True)
_TEXTS = st.text(st.characters(codec="utf-8"), max_size=8).map(lambda text: orjson.dumps(text).decode())
_SCALARS = st.one_of(_NUMBERS, _TEXTS, st.sampled_from(["true", "false", "null", "NaN", "Infinity", "-", "1.", "01"]))
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda parts: f"[{','.join(parts)}]"),
        st.lists(st.tuples(_TEXTS, inner), max_size=4).map(
            lambda pairs: "{" + ",".join(f"{name} : {value}" for name, value in pairs) + "}"
        ),
    ),
    max_leaves=12,
)


@given(_JSON)
def test_a_resource_is_what_pythons_own_reader_makes_of_it(text: str) -> None:
    body = f'{{"a":{text}}}'.encode()
    try:
        expected = json.loads(body, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse)
    except ValueError:
        with pytest.raises(NotAResource):
            parse_resource(body)
        return
    assert parse_resource(body) == expected


def _refuse(name: str) -> None:
    raise ValueError(name)


def test_what_is_nested_too_deeply_cannot_be_written() -> None:
    # Built here: how deep a text may be for a parser depends on the Python.
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(TypeError):
        dump_resource({"a": nested})


def test_any_other_value_is_a_programming_error() -> None:
    with pytest.raises(TypeError):
        dump_resource({"a": object()})


_LONG = " ".join(["72"] * 2_000)


@pytest.mark.parametrize(
    "resource",
    [
        {"a": ""},
        {"a": {"b": {}}},
        {"a": {"b": []}},
        {"a": [{}, {"b": "c"}]},
        {"a": ["", "x"], "b": [1, 2], "c": "{}"},
        {"a": {"data": ""}},
        {"a": {"data": _LONG}, "b": ""},
        {"a": {"data": ""}, "b": {"data": _LONG}},
        {"a": {"data": _LONG}, "b": {"data": ""}},
        {"a": {"data": 'E "" {} []' + _LONG}, "b": {"data": _LONG, "c": {}}},
    ],
    ids=lambda resource: repr(resource)[:40],
)
def test_no_empty_element_is_written_wherever_it_stands(resource: dict[str, object]) -> None:
    assert dump_without_empties(resource) == dump_resource(without_empties(resource))
