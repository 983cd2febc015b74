"""Numbers as .NET reads and prints them; the printed ones of the vectors are in tests/vectors/token.jsonl."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.dotnet.numbers import INT64_MAX, INT64_MIN, compare_doubles, format_double, parse_double, parse_int64


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        (" \t-1.50\r\n\0\0", -1.5),
        ("+.5", 0.5),
        ("5.", 5.0),
        ("1,234,5.5", 12345.5),
        ("1e3", 1000.0),
        ("1E-400", 0.0),
        ("1e400", math.inf),
        ("-Infinity", -math.inf),
        ("\u00a0Infinity\u3000", math.inf),
        ("0" * 1_000_000 + "1", 1.0),
    ],
)
def test_text_is_a_double(text: str, value: float) -> None:
    assert parse_double(text) == value


@pytest.mark.parametrize(
    "text", ["", " ", ".", "-", "1.2.3", ",1", "1 2", "0x1", "(1)", "1-", "1e", "١", "1\0 ", "\u00a01", "\x1cNaN"]
)
def test_text_is_no_double(text: str) -> None:
    assert parse_double(text) is None


def test_nan_is_a_double() -> None:
    assert math.isnan(parse_double("NaN") or 0.0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        (" -5 ", -5),
        ("+007", 7),
        ("9223372036854775807", INT64_MAX),
        ("-9223372036854775808", INT64_MIN),
        ("0" * 1_000_000 + "1", 1),
    ],
)
def test_text_is_an_integer(text: str, value: int) -> None:
    assert parse_int64(text) == value


@pytest.mark.parametrize(
    "text", ["", "-", "1.0", "1,0", "1e3", "9223372036854775808", "-9223372036854775809", "1" * 1_000_000, "١"]
)
def test_text_is_no_integer_of_64_bits(text: str) -> None:
    assert parse_int64(text) is None


@given(st.floats())
def test_a_double_survives_being_printed_and_read(value: float) -> None:
    text = format_double(value)
    read = parse_double(text)
    assert read is not None
    assert math.isnan(read) if math.isnan(value) else read == value
    assert math.copysign(1, read) == math.copysign(1, value) or math.isnan(value)
    assert ("E" in text) == (math.isfinite(value) and value != 0 and not 1e-4 <= abs(value) < 1e17)


@given(st.integers(INT64_MIN, INT64_MAX))
def test_an_integer_survives_being_printed_and_read(value: int) -> None:
    assert parse_int64(str(value)) == value


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [
        (1.0, 2.0, -1),
        (2.0, 1.0, 1),
        (0.30000000000000004, 0.3, 0),
        (1e300, 1e300 * (1 + 1e-15), -1),
        (1e300, 1e300 * (1 + 2e-16), 0),
        (1e-15, 2e-15, 0),  # below the last place of 10, which Json.NET adds to both
        (-0.0, 0.0, 0),
        (math.inf, math.inf, 0),
        (math.inf, -math.inf, 1),
        (math.inf, 1.0, 1),
        (math.nan, math.nan, 0),
        (math.nan, -math.inf, -1),
        (0.0, math.nan, 1),
    ],
)
def test_doubles_are_compared_with_tolerance(left: float, right: float, order: int) -> None:
    assert compare_doubles(left, right) == order
