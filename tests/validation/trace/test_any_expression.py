"""Any expression on any document: what is located is what the languages find, and lies where it is said to lie."""

from collections.abc import Iterator
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from medtech.evaluation_budget import UNBOUNDED
from medtech.jmespath.errors import ExpressionFailed, ExpressionInvalid
from medtech.jmespath.expression import Projection, compile_expression
from medtech.jsonpath.path import compile_path
from medtech.jsonpath.syntax import parse_path
from medtech.mapping.expression import MATCHED_TOKEN
from medtech.validation.trace.jmes_path import LocatedExpression
from medtech.validation.trace.json_path import LocatedPath
from medtech.validation.trace.place import ROOT, DocumentPlaces, Given, Place
from tests.validation.trace.documents import at
from tests.validation.trace.test_vectors import assert_same

NAMES = st.sampled_from(["a", "b", "/~"])
SCALARS = st.sampled_from([None, True, 0, 1, 1.0, "", "x", "2026-03-02T08:00:00Z"])
TOKENS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=12
)


def numbered(token: Any, numbers: Iterator[int]) -> Any:
    """The token with another text or number in each place, so that a value tells its place."""
    if isinstance(token, dict):
        return {name: numbered(value, numbers) for name, value in token.items()}
    if isinstance(token, list):
        return [numbered(element, numbers) for element in token]
    if isinstance(token, str):
        return f"x{next(numbers)}"
    return token if token is None or isinstance(token, bool) else 10 + next(numbers)


BODIES = st.dictionaries(NAMES, TOKENS, max_size=3)
BODIES |= BODIES.map(lambda body: numbered(body, count()))

STEPS_OF_PATHS = st.lists(
    st.sampled_from(
        [
            ".a",
            ".b",
            "['a','b','a']",
            "..a",
            "..['a','b']",
            ".*",
            "..*",
            "[*]",
            "[0]",
            "[-1]",
            "[1,0]",
            "[0:2]",
            "[::-1]",
            "[?(@.a)]",
            "[?(@ == 1)]",
            "[?(@..a)]",
            "..[?(@.a)]",
            "..[?(@.a == $.Body.b)]",
            "..[?(@..b)]",
            "..[?(true)]",
            "[?('x')]",
            "..[?(@)]",
        ]
    ),
    min_size=1,
    max_size=4,
)
"""With those whose conditions hold for properties, which are tokens of their own within a path."""

CHAIN_STEPS = st.sampled_from(
    [
        ".a",
        ".b",
        '."/~"',
        "[0]",
        "[-1]",
        "[*]",
        "[]",
        "[1:]",
        "[::-1]",
        ".*",
        "[?a]",
        "[?@ == `1`]",
        ".[a, b]",
        ".{a: b}",
    ]
)
CHAINS = st.builds(
    lambda start, steps: start + "".join(steps),
    st.sampled_from(["Body", "matchedToken", "@", "[Body, matchedToken]", "(Body || matchedToken)", "values(Body)"]),
    st.lists(CHAIN_STEPS, max_size=4),
)
EXPRESSIONS = st.recursive(
    CHAINS,
    lambda inner: st.one_of(
        st.builds("{} || {}".format, inner, inner),
        st.builds("{} && {}".format, inner, inner),
        st.builds("({}){}".format, inner, CHAIN_STEPS),
        st.builds("{} | @{}".format, inner, CHAIN_STEPS),
        st.builds("{} | [0]".format, inner),
        st.builds("not_null({}, {})".format, inner, inner),
        st.builds("!{}".format, inner),
        st.builds("{} == {}".format, inner, inner),
        st.builds("to_array({})".format, inner),
    ),
    max_leaves=4,
)


def given_of(document: Any, pointer: str) -> Given:
    """The document with the token at a pointer as the matched one."""
    places = DocumentPlaces(document, UNBOUNDED)
    place = ROOT
    for key in pointer.split("/")[1:]:
        place = Place(place, key)
    return Given.beside(places, at(document, pointer), place)


@settings(max_examples=400)
@given(body=BODIES, steps=STEPS_OF_PATHS, from_match=st.booleans())
def test_any_path(body: Any, steps: list[str], from_match: bool) -> None:
    document = {"Body": body, "Properties": {}, "SystemProperties": {}}
    text = ("$.matchedToken" if from_match else "$") + "".join(steps)
    matched = body.get("a", body)
    pointer = "/Body/a" if "a" in body else "/Body"
    seen = given_of(document, pointer)
    tokens = compile_path(text, MATCHED_TOKEN).find(document, matched)
    located = LocatedPath(parse_path(text)).find(seen, UNBOUNDED)[-1]
    assert len(located) == len(tokens)
    for each, token in zip(located, tokens, strict=True):
        assert_same(each.token, token)
        assert each.place is not None
        if each.place.outer is not None:
            assert_same(at(document, each.place.pointer() or ""), token)


@settings(max_examples=600)
@given(body=BODIES, text=EXPRESSIONS)
def test_any_expression(body: Any, text: str) -> None:
    document = {"Body": body, "Properties": {}, "SystemProperties": {}}
    pointer = "/Body/a" if "a" in body else "/Body"
    seen = given_of(document, pointer)
    try:
        compiled = compile_expression(text, MATCHED_TOKEN)
    except ExpressionInvalid:
        return
    located = LocatedExpression(text, MATCHED_TOKEN, UNBOUNDED)
    found = located.find(seen, UNBOUNDED)
    assert located.parts[-1].expression == text
    try:
        value = compiled.search(document, at(document, pointer))
    except ExpressionFailed as error:
        assert found[-1].error == str(error)
        return
    assert repr(found[-1].value) == repr(value)
    for each in found:
        places = [(each.place, each.value)]
        if each.places is not None:
            assert isinstance(each.value, list | Projection)
            places = list(zip(each.places, each.value, strict=True))
        for place, token in places:
            if place is not None and place.outer is not None:
                assert_same(at(document, place.pointer() or ""), token)
