"""The shared walk finds what each path finds by itself."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.evaluation_budget import UNBOUNDED, EvaluationBudget
from medtech.jmespath.errors import ExpressionFailed
from medtech.jsonpath.path import compile_path
from medtech.mapping.matching import Matcher, Search, finder_of

_NAMES = st.sampled_from(["a", "b", "c", "Body", "Properties", "two words", "it's"])
_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["a", "2020-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=30,
)


@st.composite
def _conditions(draw: st.DrawFn) -> str:
    side = draw(_NAMES).replace("'", "\\'")
    simple = draw(
        st.sampled_from(["@['{}']", "@['{}'] > 0", "@['{}'].a", "@['{}','a'] == 1", "@['{}','a'].b", "@..['{}']"])
    )
    first = simple.format(side)
    return f"{first} {draw(st.sampled_from(['&&', '||']))} {draw(_conditions())}" if draw(st.booleans()) else first


@pytest.mark.parametrize("others", [0, 20], ids=["asked in a row", "asked by property"])
@given(body=_DOCUMENTS, properties=st.dictionaries(_NAMES, _DOCUMENTS, max_size=2), conditions=st.lists(_conditions()))
def test_walk_finds_what_each_path_finds(
    others: int, body: Any, properties: dict[str, Any], conditions: list[str]
) -> None:
    texts = [f"$..[?({condition})]" for condition in conditions] + [f"$..[?(@x{n} || @y{n})]" for n in range(others)]
    document = {"Body": body, "Properties": properties, "SystemProperties": {}}
    matches = Matcher([finder_of(index, compile_path(text)) for index, text in enumerate(texts)]).find(
        document, UNBOUNDED
    )
    for index, text in enumerate(texts):
        expected = compile_path(text).find(document)
        found = matches.get(index, [])
        assert isinstance(found, list)
        assert [id(token) for token in found] == [id(token) for token in expected], text


def test_a_search_that_fails_leaves_the_others() -> None:
    def fail(document: Any, further: None, budget: EvaluationBudget) -> list[Any]:
        raise ExpressionFailed("fails")

    matcher = Matcher([Search(0, fail, 1), Search(1, lambda document, further, budget: [document["Body"]], 1)])
    matches = matcher.find({"Body": 1}, UNBOUNDED)
    assert isinstance(matches.pop(0), ExpressionFailed)
    assert matches == {1: [1]}
    assert matcher.reads_metadata


@pytest.mark.parametrize("others", [0, 20], ids=["asked in a row", "asked by property"])
def test_more_combinations_of_names_than_are_kept(others: int) -> None:
    sides = ["@[" + ",".join(f"'{letter}{number}'" for number in range(9)) + "]" for letter in "ab"]
    texts = [f"$..[?({' && '.join(sides)})]", *(f"$..[?(@x{number})]" for number in range(others))]
    both = {"a8": 1, "b8": 1}
    document = {"Body": [{"a0": 1}, {"b0": 1}, both], "Properties": {}, "SystemProperties": {}}
    matcher = Matcher([finder_of(index, compile_path(text)) for index, text in enumerate(texts)])
    assert matcher.find(document, UNBOUNDED) == {0: [both]}


def test_names_do_not_suffice_where_more_is_asked_below_them() -> None:
    matcher = Matcher([finder_of(0, compile_path("$..[?(@['a','b'].c)]"))])
    found = {"b": {"c": 1}}
    assert matcher.find({"Body": [{"a": 1}, found], "Properties": {}, "SystemProperties": {}}, UNBOUNDED) == {
        0: [found]
    }


@pytest.mark.parametrize(
    ("path", "reads"),
    [
        ("$..[?(@a)]", False),
        ("$..[?(@a && @b)]", False),
        ("$..[?(@a == 1)]", True),
        ("$..[?(@Body)]", True),
        ("$", True),
    ],
)
def test_metadata_is_needed_where_it_may_be_read(path: str, reads: bool) -> None:
    assert Matcher([finder_of(0, compile_path(path))]).reads_metadata is reads


def test_metadata_with_a_property_that_is_asked_for_may_match() -> None:
    matcher = Matcher([finder_of(0, compile_path("$..[?(@a)]"))])
    assert matcher.may_take({"a": 1})
    assert matcher.may_take({"x": {"y": {"a": 1}}})
    assert not matcher.may_take({"x": 1, "y": "a"})
