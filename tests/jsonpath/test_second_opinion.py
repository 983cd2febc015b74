"""jsonpath-ng as a second opinion, on the part of JSONPath that it and Json.NET read alike.

That part: names, indexes, slices and unions, `[*]` on arrays, `.*` on objects, `..name`, and filters of arrays that ask
for a name or compare numbers with numbers and texts with texts. A path is drawn along the document that it is for,
because the two differ where a step meets the wrong kind of value (`.*` on an array, a filter on an object).

Tokens are compared by identity, so that equal values at different places are told apart. `..` looks at a level at a
time in jsonpath-ng, and goes to the bottom first in Json.NET; after it only the order is free.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonpath_ng.ext import parse

from medtech.jsonpath.path import compile_path

_NUMBERS = ("n", "m")
_TEXTS = ("t", "two words")
_INNER = ("a", "b", "c")
_LISTS = ("a", "c")
"""Which of them are arrays wherever they stand: after `[*]` a step meets the same kind of value in each element."""

_integers = st.integers(-3, 3)
_leaves = {
    **dict.fromkeys(_NUMBERS, _integers | st.sampled_from([0.5, 1.0, 98.6])),
    **dict.fromkeys(_TEXTS, st.sampled_from(["", "a", "ab", "B", "10", "9"])),
}
_objects = st.recursive(
    st.fixed_dictionaries({}, optional=_leaves),
    lambda inner: st.fixed_dictionaries(
        {}, optional={**_leaves, "b": inner, **dict.fromkeys(_LISTS, st.lists(inner, max_size=4))}
    ),
    max_leaves=6,
)
_documents = st.fixed_dictionaries(
    {"a": st.lists(_objects.filter(bool), min_size=1, max_size=4)},
    optional={**_leaves, "b": _objects, "c": st.lists(_objects)},
)


def _fresh(value: Any) -> Any:
    """A copy in which every object, array and text is one of its own, to be told from equal ones."""
    return json.loads(json.dumps(value))


@dataclass(frozen=True)
class Drawn:
    """A path along a document. `plain`: it has only steps that jsonpath-ng prints as Json.NET reads them."""

    text: str
    plain: bool
    ordered: bool


def _member(name: str) -> str:
    return f"['{name}']" if " " in name else f".{name}"


@st.composite
def _conditions(draw: st.DrawFn, array: list[dict[str, Any]]) -> str:
    """A condition on the objects of an array: mostly on what one of them has."""
    one = draw(st.sampled_from(array)) if array else {}
    name = draw(st.sampled_from([*one, *one, *one, *_NUMBERS, "t", "a"]))
    asks = f"@['{name}']" if " " in name else f"@.{name}"
    if name in _INNER or draw(st.booleans()):
        return asks
    numbers = _integers.map(str) | st.just(str(one.get(name, 0)))
    texts = st.sampled_from(["a", "ab", "B", "10"]) | st.just(one.get(name, ""))
    constant = draw(numbers) if name in _NUMBERS else f"'{draw(texts)}'"
    operator = draw(st.sampled_from(["==", "<", "<=", ">", ">="] if name in _NUMBERS else ["=="]))
    # To jsonpath-ng a property that is not there differs from everything.
    return draw(st.sampled_from([f"{asks} {operator} {constant}", f"{asks} && {asks} != {constant}"]))


@st.composite
def _steps(draw: st.DrawFn, value: Any) -> tuple[str, Any, bool, bool]:
    """A step on a value: its text, a value that it may lead to, whether it is plain, and whether it keeps the order.

    Arrays here hold objects only. After a step that may lead to objects and arrays alike the path ends.
    """
    if isinstance(value, dict):
        name = draw(st.sampled_from([*_INNER, *_NUMBERS, *_TEXTS, *["a"] * 8]))
        kind = draw(st.sampled_from([*["name"] * 6, "names", "any", "deep"]))
        if kind == "names":
            # jsonpath-ng takes the names of a union in the order of the document.
            others = sorted(draw(st.sets(st.sampled_from(_INNER), min_size=2)))
            return "[" + ",".join(f"'{other}'" for other in others) + "]", None, False, False
        if kind == "any":
            return ".*", None, False, True
        if kind == "deep":
            return f"..{name.split()[0]}", None, False, False
        return _member(name), value.get(name), " " not in name, True
    index = st.integers(-4, 4)
    kind = draw(st.sampled_from(["index", "indexes", "slice", "any", "filter", "filter"]))
    below = value[0] if value else None
    if kind == "index":
        return f"[{draw(index)}]", below, True, True
    if kind == "indexes":
        return f"[{','.join(map(str, draw(st.lists(st.integers(0, 4), min_size=2, max_size=3))))}]", below, True, True
    if kind == "slice":
        start, end = draw(st.none() | index), draw(st.none() | index)
        step = draw(st.none() | st.sampled_from([1, 2, -1]))
        bounds = ":".join("" if bound is None else str(bound) for bound in (start, end))
        return f"[{bounds}{'' if step is None else f':{step}'}]", below, True, True
    if kind == "any":
        return "[*]", below, False, True
    conditions = draw(st.lists(_conditions(value), min_size=1, max_size=2))
    return f"[?({' && '.join(conditions)})]", below, False, True


@st.composite
def _paths(draw: st.DrawFn) -> tuple[Drawn, Any]:
    document = _fresh(draw(_documents))
    text, value, plain, ordered = "$", document, True, True
    while isinstance(value, dict | list) and (text == "$" or draw(st.integers(0, 4))):
        step, value, is_plain, keeps_order = draw(_steps(value))
        text, plain, ordered = text + step, plain and is_plain, ordered and keeps_order
    return Drawn(text, plain, ordered), document


def _ours(text: str, document: Any) -> list[Any]:
    return compile_path(text).find(document)


def _theirs(text: str, document: Any) -> list[Any]:
    return [found.value for found in parse(text).find(document)]


def _same(one: list[Any], other: list[Any], *, ordered: bool) -> bool:
    arranged: Callable[[Any], list[int]] = list if ordered else sorted
    return arranged(map(id, one)) == arranged(map(id, other))


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(_paths())
def test_both_find_the_same(drawn: tuple[Drawn, Any]) -> None:
    path, document = drawn
    found = _ours(path.text, document)
    assert _same(found, _theirs(path.text, document), ordered=path.ordered)
    assert _same(found, _theirs(str(compile_path(path.text)), document), ordered=path.ordered), "as we print it"
    if path.plain:
        assert _same(found, _ours(str(parse(path.text)), document), ordered=path.ordered), "as jsonpath-ng prints it"


_DOCUMENT = {
    "deviceId": "d1",
    "readings": [
        {"kind": "pulse", "value": 61, "at": [8, 0], "of": {"n": 1}},
        {"kind": "temperature", "value": 36.6},
        {"kind": "pulse", "value": 64, "of": {"n": 2, "m": {"n": 3}}},
    ],
    "two words": {"n": 4},
}


@pytest.mark.parametrize(
    "path",
    [
        "$.readings[?(@.kind == 'pulse')].value",
        "$.readings[?(@.kind == 'pulse' && @.value > 61)].value",
        "$.readings[?(@.of)].of.n",
        "$.readings[-1].kind",
        "$.readings[0,2].value",
        "$.readings[::-1].kind",
        "$['two words'].n",
        "$.readings[*].at[*]",
        "$.readings[0].of.*",
        "$..m",
        "$.readings..n",
    ],
)
def test_both_find_the_same_in_readings(path: str) -> None:
    found = _ours(path, _DOCUMENT)
    assert found
    assert found == _theirs(path, _DOCUMENT)
