"""The shared walk finds what each path finds by itself."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.evaluation_budget import UNBOUNDED, EvaluationBudget
from medtech.jmespath.errors import ExpressionFailed
from medtech.jmespath.expression import compile_expression
from medtech.jsonpath.path import Path, compile_path
from medtech.mapping.matching import Matcher, Search, finder_of
from medtech.mapping.token_index import TokenIndex
from medtech.selection import Trait

_NAMES = st.sampled_from(["a", "b", "c", "Body", "Properties", "two words", "it's"])
_DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from(["a", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00.0Z", 1.0, 1 + 2**-52, "[{"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=30,
)


@st.composite
def _conditions(draw: st.DrawFn) -> str:
    side = draw(_NAMES).replace("'", "\\'")
    simple = draw(
        st.sampled_from(
            [
                "@['{}']",
                "@['{}'] > 0",
                "@['{}'].a",
                "@['{}','a'] == 1",
                "@['{}','a'].b",
                "@..['{}']",
                "@['{}'] == 1",
                "2 === @['{}']",
                "@['{}'].b == null",
                "@['{}'] == 'a'",
                "@['{}'] == '2020-01-01T00:00:00Z'",
                "@['{}'] == true",
                "@['{}'] == 1.0",
            ]
        )
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
    openings = repr(body).count("[") + repr(body).count("{")
    matches = Matcher([finder_of(index, compile_path(text)) for index, text in enumerate(texts)]).find(
        document, UNBOUNDED, openings
    )
    for index, text in enumerate(texts):
        expected = compile_path(text).find(document)
        found = matches.get(index, [])
        assert isinstance(found, list)
        assert [id(token) for token in found] == [id(token) for token in expected], text


@pytest.mark.parametrize("others", [0, 20], ids=["asked in a row", "asked by property"])
def test_members_below_the_last_objects_are_not_visited(others: int) -> None:
    # The body is said to hold fewer objects than it does: those past the number are where nobody looks any more.
    texts = ["$..[?(@a)]", *(f"$..[?(@x{number})]" for number in range(others))]
    matcher = Matcher([finder_of(index, compile_path(text)) for index, text in enumerate(texts)])
    innermost = {"a": 1}
    inner = {"a": innermost}
    outer = {"a": inner}
    document = {"Body": outer, "Properties": {}, "SystemProperties": {}}
    found = {openings: matcher.find(document, UNBOUNDED, openings)[0] for openings in range(4)}
    assert found == {0: [outer, inner, innermost], 1: [outer], 2: [outer, inner], 3: [outer, inner, innermost]}


def test_metadata_is_walked_whatever_the_body_holds() -> None:
    matcher = Matcher([finder_of(0, compile_path("$..[?(@a)]"))])
    document = {"Body": {"a": 1}, "Properties": {"x": {"a": 2}}, "SystemProperties": {"a": 3}}
    assert matcher.find(document, UNBOUNDED, 1) == {0: [{"a": 1}, {"a": 2}, {"a": 3}]}


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


_PREFIXES = {
    "JsonPath": ["$.Body", "$.Body.a", "$.Body[*].b", "$..a"],
    "JmesPath": ["Body", "Body.a", "[Body, Body.a][0]"],
}
_CONDITIONS = {
    "JsonPath": [
        "@.a",
        "@.a == 1",
        "@.a.b == 'a'",
        "@.a && @.b == 2",
        "@.a == 'a' || @.b",
        "@.b != 1",
        "@.c == $.Body[0].c",
    ],
    "JmesPath": [
        "a",
        "a == `1`",
        "a.b == 'a'",
        'a == `"2020-01-01T00:00:00.0Z"`',
        "a && b == `2`",
        "a == 'a' || b",
        "abs(c) == `1` && a == `1`",
        "a == `1` && abs(c) == `1`",
        "b > `1`",
        "b < 'x'",
        "!a",
        "a == `null`",
    ],
}
_ENDS = {
    "JsonPath": ["", ".b", "[*]", "[?(@.b)]"],
    "JmesPath": ["", ".b", "[]", " | [0]", " | length(@)", ".{a: b}", " | [?b].c"],
}


@st.composite
def _searches(draw: st.DrawFn) -> tuple[str, str]:
    language = draw(st.sampled_from(["JsonPath", "JmesPath"]))
    parts = (draw(st.sampled_from(choices[language])) for choices in (_PREFIXES, _CONDITIONS, _ENDS))
    prefix, condition, end = parts
    return language, f"{prefix}[?({condition})]{end}"


@given(body=_DOCUMENTS, searches=st.lists(_searches(), min_size=1, max_size=20))
def test_searches_that_share_an_array_find_what_each_finds_by_itself(
    body: Any, searches: list[tuple[str, str]]
) -> None:
    document = {"Body": body, "Properties": {}, "SystemProperties": {}}
    compiled = [
        compile_path(text) if language == "JsonPath" else compile_expression(text) for language, text in searches
    ]
    matches = Matcher([finder_of(index, expression) for index, expression in enumerate(compiled)]).find(
        document, UNBOUNDED
    )
    for index, expression in enumerate(compiled):
        found = matches.get(index, [])
        try:
            if isinstance(expression, Path):
                expected = expression.find(document)
            else:
                expected = expression.tokens(document)
        except ExpressionFailed as error:
            assert repr(found) == repr(error), searches[index]
        else:
            assert repr(found) == repr(expected), searches[index]


_KINDS = [
    "$..[?(@t{})]",
    "$..[?(@telemetry.t{})]",
    "$..[?(@type == 't{}')]",
    "$..[?(@code == {})]",
    "$..[?(@value && @type == 't{}')]",
    "$.Body.data[?(@type == 't{}')]",
    "$.Body.named.t{}",
    "Body.data[?t{}]",
    "Body.data[?type == 't{}'].value",
    "Body.data[?value && code == `{}`] | [0]",
    "to_array(Body) | [?id].data[] | [?type == 't{}']",
    "Body.named.t{}",
]


@pytest.mark.parametrize("kind", _KINDS)
def test_a_thousand_templates_take_hardly_more_steps_than_two(kind: str) -> None:
    spent = []
    for templates in (2, 1000):
        texts = [kind.format(number) for number in range(templates)]
        compiled = [compile_path(text) if text.startswith("$") else compile_expression(text) for text in texts]
        reading = {"type": "t1", "code": 1, "t1": 1, "telemetry": {"t1": 1}, "value": 3}
        body = {"id": "d", "data": [reading] * 100, "named": {"t1": 1}}
        budget = EvaluationBudget(10**9)
        matcher = Matcher([finder_of(index, expression) for index, expression in enumerate(compiled)])
        matches = matcher.find({"Body": body, "Properties": {}, "SystemProperties": {}}, budget)
        assert list(matches) == [1]
        spent.append(budget.spent)
    assert spent[1] <= spent[0] + 100


def test_elements_of_an_array_that_no_template_wants_are_not_asked() -> None:
    index = TokenIndex([((frozenset({Trait(("type",), f"t{number}"), Trait(("v",))}),), number) for number in range(9)])
    assert index.wanted({"type": "t7"}) == [(7, {"v"})]
    assert index.wanted({"type": "t9", "v": 1}) == []
    assert index.wanted([{"type": "t7"}]) == []


def test_an_element_that_an_array_has_twice_is_found_twice() -> None:
    texts = [f"[Body, Body, Body.other] | [?kind == 't{number}' || code == `{number}`]" for number in range(9)]
    matcher = Matcher([finder_of(number, compile_expression(text)) for number, text in enumerate(texts)])
    body = {"kind": "t1", "code": 1, "other": {"kind": "t2"}}
    matches = matcher.find({"Body": body, "Properties": {}, "SystemProperties": {}}, EvaluationBudget(10**6))
    assert matches == {1: [body, body], 2: [body["other"]]}
