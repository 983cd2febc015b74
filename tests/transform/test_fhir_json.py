from decimal import Decimal

import pytest

from medtech.transform.fhir_json import NotAResource, dump_resource, parse_resource


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":98.60}',
        b'{"a":0.1234567890123456789012345678901234567890}',
        b'{"a":123456789012345678901234567890}',
        b'{"a":-5,"b":[1.0,true,null,"x"],"c":{"d":""}}',
        b'{"a":1E+400}',
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


def test_any_other_value_is_a_programming_error() -> None:
    with pytest.raises(TypeError):
        dump_resource({"a": object()})
