"""Blanks, code units and half characters."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.dotnet.text import BLANKS, code_units, compare_ordinal, from_code_units, is_blank, trimmed, well_formed


def test_blanks_are_what_unicode_calls_white_space() -> None:
    """.NET's documentation of char.IsWhiteSpace: the three separator categories, U+0009 to U+000D, and U+0085."""
    separators = {chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] == "Z"}
    assert set(BLANKS) == separators | set("\t\n\v\f\r\x85")


@pytest.mark.parametrize("text", ["", " ", "\t\u00a0\u202f\u3000\x85"])
def test_blank(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["\x1c", "\u200b", "\0", " a"])
def test_not_blank(text: str) -> None:
    assert not is_blank(text)


def test_trimmed_at_both_ends_only() -> None:
    assert trimmed("\u00a0 a b\x1f\r\n") == "a b\x1f"


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_texts_are_ordered_by_code_unit(left: str, right: str) -> None:
    units = [[(unit[0], unit[1]) for unit in zip(*[iter(code_units(text))] * 2, strict=True)] for text in (left, right)]
    order = compare_ordinal(left, right)
    assert (order > 0) == (units[0] > units[1])
    assert (order < 0) == (units[0] < units[1])


def test_a_character_past_the_first_plane_comes_before_the_last_of_it() -> None:
    assert compare_ordinal("😀", "\ufffd") < 0
    assert compare_ordinal("😀", "a") > 0


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("\ud800", "\ufffd"),
        ("a\udc00b", "a\ufffdb"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("\ud83d\ude00", "😀"),
        ("é😀", "é😀"),
    ],
)
def test_half_characters_are_replaced(text: str, whole: str) -> None:
    assert well_formed(text) == whole


@given(st.text(st.characters(codec=None)))
def test_every_text_becomes_one_that_utf_8_holds(text: str) -> None:
    whole = well_formed(text)
    assert whole.encode().decode() == whole
    assert well_formed(whole) == whole
    assert from_code_units(code_units(whole)) == whole
