"""The tolerant reader: what Json.NET takes beyond JSON, and where things stand in a mapping."""

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.dotnet.json_reader import MAX_DEPTH, LocatedSyntaxError, Node, Reader

TAKEN = [
    ("{'a': 'b\"'}", {"a": 'b"'}),
    ("{a1_$: 1, $x: 2, é: 3}", {"a1_$": 1, "$x": 2, "é": 3}),
    ("// c\r\n[/* , */1, // ]\n2 /**/]", [1, 2]),
    ("[1,]", [1]),
    ("[1,,2,]", [1, None, 2]),
    ("[,]", [None]),
    ('{"a":1,}', {"a": 1}),
    ('{"a":,}', {"a": None}),
    ("[undefined, null]", [None, None]),
    ("[Infinity, -Infinity]", [math.inf, -math.inf]),
    ("[01, 017, 0x1F, 0XfF, -01, -0]", [1, 15, 31, 255, -1, 0]),
    ("0xFFFFFFFFFFFFFFFF", -1),
    ("[.5, 5., 1E2, -1e-2]", [0.5, 5.0, 100.0, -0.01]),
    ("1e400", math.inf),
    ("123456789012345678901234567890", 123456789012345678901234567890),
    ("'a\nb\tc\\/\\''", "a\nb\tc/'"),
    ('"\\ud83d\\ude00"', "😀"),
    ('"\\ud83d"', "\ufffd"),
    ('"\\ud83dx\\ude00\\ud83d\\ud83d\\ude00"', "\ufffdx\ufffd\ufffd😀"),
    ('{"a\\u0000b\x00": 1}', {"a\0b\0": 1}),
    ("\x00 {\x00}\x00", {}),
    ("\u2003[\u00a01]", [1]),
    ('{"a":1,"b":2,"a":3}', {"a": 3, "b": 2}),
    ("true", True),
]


@pytest.mark.parametrize(("text", "value"), TAKEN, ids=[case[0] for case in TAKEN])
def test_takes_more_than_json(text: str, value: Any) -> None:
    read = Reader(text).read()
    assert read == value
    assert list(read) == list(value) if isinstance(value, dict) else True


def test_reads_nan() -> None:
    assert math.isnan(Reader("NaN").read())


@pytest.mark.parametrize(
    ("text", "line", "position"),
    [
        ("", 1, 0),
        ("  ", 1, 2),
        ("// c", 1, 4),
        ("/* c", 1, 0),
        ("/ c", 1, 0),
        ("{", 1, 1),
        ("[", 1, 1),
        ("[1", 1, 2),
        ("[1 2]", 1, 3),
        ("[1}", 1, 2),
        ("{1:2]", 1, 4),
        ('{"a" 1}', 1, 5),
        ('{"a"/**/:1}', 1, 4),
        ("{a-b:1}", 1, 2),
        ("{,}", 1, 1),
        ('{"a":1,,}', 1, 7),
        ('{"a":}', 1, 5),
        (",", 1, 0),
        ("]", 1, 0),
        ("truE", 1, 0),
        ("nullx", 1, 0),
        ("+1", 1, 0),
        ("1x", 1, 0),
        ("1-2", 1, 0),
        ("08", 1, 0),
        ("01.5", 1, 0),
        ("0x", 1, 0),
        ("0x1FFFFFFFFFFFFFFFF", 1, 0),
        ("1" * 381, 1, 0),
        ("abc", 1, 0),
        ("\n'a", 2, 0),
        ("['\\x']", 1, 1),
        ("['\\u12G4']", 1, 1),
        ("new Date(1)", 1, 0),
        ("\ud800", 1, 0),
    ],
)
def test_refuses_with_a_place(text: str, line: int, position: int) -> None:
    with pytest.raises(LocatedSyntaxError) as caught:
        Reader(text).read()
    assert (caught.value.line, caught.value.position) == (line, position)
    assert caught.value.message


def test_depth_is_limited_without_recursion() -> None:
    assert Reader("[" * MAX_DEPTH + "]" * MAX_DEPTH).read()
    for opening in ("[", '{"a":'):
        with pytest.raises(LocatedSyntaxError, match="nested"):
            Reader(opening * 100_000).read()


def test_nodes_know_their_places() -> None:
    text = '{\n  "a": {\r\n "x/y~" : [1, 2.50 ],\r// c\n  \'z\':\n"q" } }'
    places: dict[str, tuple[int, int, int, int]] = {}

    def collect(node: Node) -> None:
        places[node.pointer] = (node.line, node.position, node.name_line, node.name_position)
        children = node.value.values() if isinstance(node.value, dict) else node.value
        for child in children if isinstance(node.value, dict | list) else ():
            collect(child)

    root = Reader(text, located=True).read()
    collect(root)
    assert places == {
        "": (1, 1, -1, -1),
        "/a": (2, 8, 2, 6),
        "/a/x~1y~0": (3, 11, 3, 9),
        "/a/x~1y~0/0": (3, 12, -1, -1),
        "/a/x~1y~0/1": (3, 18, -1, -1),
        "/a/z": (6, 3, 5, 6),
    }


@pytest.mark.parametrize(("text", "value"), [("1.50", Decimal("1.50")), ("1e2", Decimal("1e2")), ("7", 7), ("5.", 5)])
def test_numbers_of_a_mapping_keep_their_digits(text: str, value: Any) -> None:
    node = Reader(text, located=True).read()
    assert repr(node.value) == repr(value) or node.value == value == 5


def test_a_megabyte_is_read_in_linear_time() -> None:
    # A quadratic reader would take hours; the time limit of a test is minutes.
    million = 1 << 20
    for text in (
        "'" + "a" * million + "'",
        "'" + "\\n" * million + "'",
        "'" + "\\ud800" * (million // 6) + "'",
        "[" + "1," * million + "]",
        " " * million + "1",
        "/*" + "*" * million + "*/1",
        "// \n" * (million // 4) + "1",
        "{" + "a:1," * (million // 4) + "}",
    ):
        Reader(text).read()
        Reader(text, located=True).read()
    for text in ("'" + "a" * million, "/*" + "*" * million, "1" * million + "x", "-" * million):
        with pytest.raises(LocatedSyntaxError):
            Reader(text).read()


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5), max_leaves=30
)


def plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {name: plain(child) for name, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return float(node.value) if isinstance(node.value, Decimal) else node.value


@given(values, st.sampled_from([None, 2]), st.booleans())
def test_agrees_with_json_on_json(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    expected = json.loads(text)
    assert Reader(text).read() == expected
    assert plain(Reader(text, located=True).read()) == expected


fragments = st.sampled_from("{}[],:'\"a10-.ex\\\n \0é😀\ud800") | st.sampled_from(
    ["u12aF", "\\ud800", "\\udc00", "/*", "*/", "//", "\r\n", "null", "true", "NaN", "Infinity", "undefined"]
)


@given(st.lists(fragments | st.characters(), max_size=40).map("".join))
def test_any_text_is_read_or_refused_with_a_place_inside_it(text: str) -> None:
    outcomes = []
    for located in (False, True):
        try:
            value = Reader(text, located=located).read()
            outcomes.append(repr(plain(value) if located else value))
        except LocatedSyntaxError as error:
            assert 1 <= error.line <= text.count("\n") + text.count("\r") + 1
            assert 0 <= error.position <= len(text)
            outcomes.append((error.message, error.line, error.position))
    assert outcomes[0] == outcomes[1]
