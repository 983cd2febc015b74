"""What commands print for people."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.command.terminal import laid_out, printable

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("a\rb\tc\x9b", "a\\rb\\tc\\x9b"),
        ("\u202eright to left", "\\u202eright to left"),
        ("\ud800", "\\ud800"),
        ("two\nlines of Ærø 日本", "two\nlines of Ærø 日本"),
    ],
)
def test_control_characters_are_escaped(text: str, printed: str) -> None:
    assert printable(text) == printed


@given(st.text())
def test_nothing_but_line_ends_moves_the_cursor(text: str) -> None:
    assert printable(text).replace("\n", "").isprintable()


@given(_JSON)
def test_laid_out_json_is_the_same_json(value: object) -> None:
    assert json.loads(laid_out(json.dumps(value))) == value
    assert json.loads(laid_out(json.dumps(value, ensure_ascii=False, separators=(",", ":")))) == value


def test_json_gets_a_line_for_each_value_and_keeps_its_numbers_and_names() -> None:
    assert laid_out('{"a":1.50,"a":[1E5,{}, [] ,"x:{"],"b":{"c":null}}') == (
        '{\n  "a": 1.50,\n  "a": [\n    1E5,\n    {},\n    [],\n    "x:{"\n  ],\n  "b": {\n    "c": null\n  }\n}'
    )


@pytest.mark.parametrize("text", ["{", "", "plain, text", "[" * 100_000])
def test_what_is_not_json_stays(text: str) -> None:
    assert laid_out(text) == text


def test_deep_json_is_not_made_much_longer() -> None:
    text = "[" * 900 + "]" * 900
    assert len(laid_out(text)) < 50 * len(text)
