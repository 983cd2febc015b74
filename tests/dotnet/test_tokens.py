"""Bodies and their readings; the literals of the vectors are in tests/vectors/token.jsonl."""

import codecs
import inspect
import json
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.dotnet.json_body import NotJson, parse_body
from medtech.dotnet.json_reader import MAX_DEPTH, LocatedSyntaxError, parse_located
from medtech.dotnet.ticks import format_iso
from medtech.dotnet.tokens import (
    NoReading,
    Text,
    json_text,
    text_reading,
    time_reading,
)

BODIES: list[tuple[bytes, Any]] = [
    (b"", None),
    (b"null", None),
    (b"5", 5),
    (codecs.BOM_UTF8 + b'{"a":1}', {"a": 1}),
    (codecs.BOM_UTF8 + b"{'a':1}", {"a": 1}),
    ('\ufeff{"é":1}'.encode("utf-16-le"), {"é": 1}),
    ('\ufeff{"é":1}'.encode("utf-16-be"), {"é": 1}),
    ('\ufeff{"é":1}'.encode("utf-32-le"), {"é": 1}),
    (b'{"a":1} trailing', {"a": 1}),
    (b'{"a":1}}', {"a": 1}),
    (b'{"a":1} // {"a":2}', {"a": 1}),
    (b'{"a":1}\x00\x00', {"a": 1}),
    (b'{"a":1,"b":2,"a":3}', {"a": 3, "b": 2}),
    (b'["\\u0000","\\ud800"]', ["\0", "\ufffd"]),
    (b'{"a\\u0000b":1}', {"a\0b": 1}),
    (b"[1e400]", [math.inf]),
    (b"[12345678901234567890,-12345678901234567890]", [12345678901234567890, -12345678901234567890]),
    (b'{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
    (b'["1234567890123456789012"]', ["1234567890123456789012"]),
    (b"[0.12345678901234567890]", [0.12345678901234568]),
    (b"[1234567890123456789012.5]", [1234567890123456789012.5]),
]


@pytest.mark.parametrize(("body", "value"), BODIES, ids=[repr(body) for body, _ in BODIES])
def test_body(body: bytes, value: Any) -> None:
    parsed = parse_body(body)
    assert parsed == value
    assert repr(parsed) == repr(value)


def test_a_long_integer_does_not_make_the_tolerant_reader_read_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes six times as long."""
    monkeypatch.setattr("medtech.dotnet.json_body.Reader", None)
    for integer in (2**63, -(2**63) - 1, 2**64, 10**19, 12345678901234567890, 10**300, 1 - 10**300):
        body = json.dumps({"readings": [{"v": 1.5, "t": "2024-02-29T10:00:00Z"}] * 100, "n": integer}).encode()
        assert parse_body(body)["n"] == integer


@pytest.mark.parametrize("before", range(17))
def test_an_integer_is_too_long_wherever_it_stands(before: int) -> None:
    room = " " * before
    assert parse_body(f"[{room}{'1' * 380}]".encode()) == [int("1" * 380)]
    assert parse_body(f'[{room}"{"1" * 5000}"]'.encode()) == ["1" * 5000]
    for integer in ("1" * 381, "-" + "1" * 380, "1" * 5000):
        with pytest.raises(NotJson, match="malformed or too long"):
            parse_body(f"[{room}{integer}]".encode())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b" ", "not JSON"),
        (codecs.BOM_UTF8, "not JSON"),
        (b"{bad json", "line 1, position 5"),
        (b'{"a":\xff}', "not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        (codecs.BOM_UTF16_LE + b"x", "not UTF-16"),
        (b'{"a":1}{"a":2}', "more than one"),
        (b'{"a":1}\n{"a":2}\n', "more than one"),
        (b"1 2", "more than one"),
        (b"[1] /**/ 'x' y", "more than one"),
    ],
)
def test_body_that_is_no_json(body: bytes, says: str) -> None:
    with pytest.raises(NotJson, match=says):
        parse_body(body)


@pytest.mark.parametrize("body", [b'{"patient": "Jane Doe" "x"}', b"{'patient': 'Jane Doe', 'x': Doe}", b"Jane Doe"])
def test_error_of_a_body_does_not_quote_it(body: bytes) -> None:
    with pytest.raises(NotJson) as caught:
        parse_body(body)
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b"{'a':", b"}")])
def test_deep_bodies(opening: bytes, closing: bytes) -> None:
    def nested(depth: int) -> bytes:
        return opening * depth + b"1" + closing * depth

    for depth in (200, MAX_DEPTH):
        assert json_text(parse_body(nested(depth))).encode() == nested(depth).replace(b"'", b'"')
    for depth in (MAX_DEPTH + 1, 1024, 1025, 100_000):
        with pytest.raises(NotJson, match="nested"):
            parse_body(nested(depth))


@pytest.mark.parametrize("before", [0, MAX_DEPTH])
def test_a_deep_value_is_found_among_flat_ones(before: int) -> None:
    def body(depth: int) -> bytes:
        return b"[%b%b%b,1,[[]]]" % (b'{"a":{},"b":"[[["},' * before, b"[" * depth, b"]" * depth)

    assert isinstance(parse_body(body(MAX_DEPTH - 1)), list)
    with pytest.raises(NotJson, match="nested"):
        parse_body(body(MAX_DEPTH))


def test_the_deepest_document_is_written_with_few_frames_left() -> None:
    body = b'[{"a":' * (MAX_DEPTH // 2) + b"[]" + b"}]" * (MAX_DEPTH // 2)
    token = json.loads(body)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 50)
    try:
        text = json_text(token)
    finally:
        sys.setrecursionlimit(limit)
    assert text == body.decode()


def test_megabyte_of_text() -> None:
    text = "é" * (1 << 19)
    assert parse_body(json.dumps([text]).encode()) == [text]
    assert text_reading(text) == text
    with pytest.raises(NoReading):
        time_reading(text)


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("78", "78"),
        (-5, "-5"),
        (2**63 - 1, "9223372036854775807"),
        (-(2**63), "-9223372036854775808"),
        (True, "True"),
        (None, None),
        (100.0, "100"),
        (-0.0, "-0"),
        (0.0001, "0.0001"),
        (0.00012345, "0.00012345"),
        (0.00001, "1E-05"),
        (1e16, "10000000000000000"),
        (-1.2345678901234567e16, "-12345678901234568"),
        (7.3e16, "73000000000000000"),
        (1e17, "1E+17"),
        (1.5e300, "1.5E+300"),
        (5e-324, "5E-324"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        ("2019-02-01T22:46:01.875-05:00", "02/02/2019 03:46:01"),
        (Text("2019-02-01T22:46:01.875-05:00"), "2019-02-01T22:46:01.875-05:00"),
    ],
)
def test_text_reading(token: Any, text: str | None) -> None:
    reading = text_reading(token)
    assert reading == text
    assert reading is None or type(reading) is str


@pytest.mark.parametrize("token", [{}, [], 2**63, -(2**63) - 1])
def test_no_text_reading(token: Any) -> None:
    with pytest.raises(NoReading):
        text_reading(token)


@pytest.mark.parametrize(
    ("token", "time"),
    [
        ("2019-02-01T22:46:01.123456789", "2019-02-01T22:46:01.1234567Z"),
        (Text("2019-02-01T22:46:01.123456789"), "2019-02-01T22:46:01.1234568Z"),
        ("2019-02-01T24:00:00Z", "2019-02-02T00:00:00.0000000Z"),
        ("/Date(1549061161875)/", "2019-02-01T22:46:01.8750000Z"),
        (Text("2019-02-01T22:46:01.8750000Z"), "2019-02-01T22:46:01.8750000Z"),
    ],
)
def test_time_reading(token: Any, time: str) -> None:
    assert format_iso(time_reading(token)) == time


@pytest.mark.parametrize(
    "token", [None, True, 1549061161, 1.5, {}, [], "", "x", Text("2019-02-01T24:00:00Z"), Text("/Date(1)/"), "22:46"]
)
def test_no_time_reading(token: Any) -> None:
    with pytest.raises(NoReading) as caught:
        time_reading(token)
    assert "22:46" not in str(caught.value)


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ({"a": [1, 2.0, True, None], "b": {}}, '{"a":[1,2.0,true,null],"b":{}}'),
        ([], "[]"),
        (1e16, "10000000000000000.0"),
        (1.5e-7, "1.5E-07"),
        ([math.nan, math.inf, -math.inf], '["NaN","Infinity","-Infinity"]'),
        (123456789012345678901234567890, "123456789012345678901234567890"),
        ('"\\/\b\f\n\r\t\x01\x7f\x85\u2028é😀', '"\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7f\\u0085\\u2028é😀"'),
        ({"a\n": 1}, '{"a\\n":1}'),
        ("2019-02-01T22:46:01.8750000Z", '"2019-02-01T22:46:01.875Z"'),
        ("2019-02-01T22:46:01.100+02:00", '"2019-02-01T20:46:01.1+00:00"'),
        ("2019-02-01T22:46:01.000", '"2019-02-01T22:46:01"'),
        ("2019-02-01", '"2019-02-01"'),
    ],
)
def test_json_text(token: Any, text: str) -> None:
    assert json_text(token) == text


def test_mapping_text_must_hold_one_value() -> None:
    assert parse_located('\ufeff{"a": 1} // end\n').pointer == ""
    with pytest.raises(LocatedSyntaxError) as caught:
        parse_located("{}\n {}")
    assert (caught.value.line, caught.value.position) == (2, 1)


strings = st.text() | st.sampled_from(["2019-02-01T22:46:01.100Z", "/Date(1)/", "2019-02-01T22:46:01"])
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | strings, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5)
)


@given(values)
def test_both_readers_agree(value: Any) -> None:
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    strict = parse_body(body)
    assert parse_body(body + b" ]") == strict == json.loads(json.dumps(value))


@given(
    st.floats(allow_nan=False, allow_infinity=False)
    | st.from_regex(r"-?(0|[1-9][0-9]{0,30})\.[0-9]{1,30}", fullmatch=True)
)
def test_a_fraction_is_read_to_the_last_bit(number: float | str) -> None:
    text = number if isinstance(number, str) else repr(number)
    assert repr(parse_body(f"[{text}]".encode())) == repr([float(text)])


@given(values)
def test_json_text_is_json_and_stays_as_it_is(value: Any) -> None:
    text = json_text(value)
    again = parse_body(text.encode())
    assert json_text(again) == text
    if not isinstance(value, str):
        assert type(again) is type(value)


@given(st.binary(max_size=60) | st.text(alphabet="{}[]:,'\"a1\\/*-.eE \n\0", max_size=60).map(str.encode))
def test_any_body_is_read_or_not_supported(body: bytes) -> None:
    try:
        value = parse_body(body)
    except NotJson:
        return
    json_text(value)


@given(scalars | strings)
def test_every_scalar_has_a_reading_or_says_why_not(token: Any) -> None:
    for read in (text_reading, time_reading):
        try:
            read(token)
        except NoReading as error:
            assert str(error)
