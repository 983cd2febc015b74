"""Json.NET's JSONPath; what the connector answers is in tests/vectors/jsonpath.jsonl."""

import contextlib
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path as File
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from medtech.dotnet.json_body import parse_body
from medtech.dotnet.json_reader import MAX_DEPTH
from medtech.dotnet.tokens import json_text
from medtech.evaluation_budget import UNBOUNDED, BudgetSpent, EvaluationBudget
from medtech.jsonpath.comparison import COMPARISONS, equal
from medtech.jsonpath.errors import PathInvalid
from medtech.jsonpath.path import Path, Root, compile_path, walk
from medtech.jsonpath.syntax import (
    AnyIndex,
    AnyName,
    Exists,
    Filter,
    Index,
    Indexes,
    Name,
    Names,
    Query,
    Slice,
    Step,
)

VECTORS = [
    json.loads(line)
    for line in (File(__file__).parent.parent / "vectors" / "jsonpath.jsonl").read_text("utf-8").splitlines()
]
DOCUMENT = {
    "Body": {
        "rows": [
            {"n": 1, "k": "a", "d": "2021-07-13T17:29:01.500Z", "t": "10"},
            {"n": 2.0, "k": "B", "d": "2021-07-13T17:29:02+00:00", "t": "9"},
            {"n": None, "k": None, "t": "x"},
            {"n": True, "o": {"n": 7}, "a": [1, [2]]},
        ],
        "it's": {"a.b": 1, "": 2, "*": 3, " x": 4},
        "list": [0, 1, 2, 3],
        "flag": True,
    }
}


def find(path: str, document: Any = None) -> str:
    tokens = compile_path(path).find(DOCUMENT if document is None else document)
    return json_text(tokens)


SELECTIONS = [
    # names
    ("$.Body['it\\'s']['a.b']", "[1]"),
    ("$.Body['it\\'s']['']", "[2]"),
    ("$.Body['it\\'s']['*']", "[3]"),
    ("$.Body['it\\'s'].*", "[1,2,3,4]"),
    ("$.Body['it\\'s'][' x']", "[4]"),
    ("$.Body.['flag']", "[true]"),
    ("$.Body['flag','none','flag']", "[true,true]"),
    ("Body.flag ", "[true]"),
    (" $.Body.flag", "[true]"),
    (" Body.flag", "[]"),  # the blank belongs to the name
    ("$Body", "[]"),
    ("$.Body.rows[3]..['o','n','a','n']", '[true,true,{"n":7},7,7,[1,[2]]]'),
    ("$..['n','t']", '[1,"10",2.0,"9",null,"x",true,7]'),
    # indexes
    ("$.Body.list[-1]", "[3]"),
    ("$.Body.list[-5]", "[]"),
    ("$.Body.list[0,-1,9]", "[0,3]"),
    ("$.Body.list(1)", "[1]"),
    ("$.Body.list[ 1 , 2 ]", "[1,2]"),
    ("$.Body.list[::2]", "[0,2]"),
    ("$.Body.list[-2:]", "[2,3]"),
    ("$.Body.list[::-1]", "[3,2,1,0]"),
    ("$.Body.list[-9:9]", "[0,1,2,3]"),
    ("$.Body.list[0:4:1:2]", "[0,2]"),
    ("$.Body.rows..[0]", f"[{json_text(DOCUMENT['Body']['rows'][0])}]"),  # .. has no say over indexes
    # filters
    ("$.Body.rows[?(@.n == 1)].k", '["a"]'),
    ("$.Body.rows[?(@.n == 1.0)].k", '["a"]'),
    ("$.Body.rows[?(@.n == 2)].k", '["B"]'),
    ("$.Body.rows[?(@.n == true)].a[0]", "[1]"),
    ("$.Body.rows[?(@.n == null)].t", '["x"]'),
    ("$.Body.rows[?(@.n != null)].t", '["10","9"]'),
    ("$.Body.rows[?(@.o != 1)].n", "[true]"),
    ("$.Body.rows[?(@.o <> 1)].n", "[true]"),
    ("$.Body.rows[?(@.o !== 1)].n", "[]"),
    ("$.Body.rows[?(@.o == @.o)].n", "[]"),
    ("$.Body.rows[?(@.n < 2)].n", "[1,null]"),  # 2 as a boolean is no more than true
    ("$.Body.rows[?(@.n <= null)].t", '["x"]'),
    ("$.Body.rows[?(null < @.n)].n", "[1,2.0,true]"),
    ("$.Body.rows[?(@.t > 9)].t", '["10"]'),  # as numbers; x is none
    ("$.Body.rows[?(@.t >= 9.5)].t", '["10"]'),
    ("$.Body.rows[?(@.t < '9')].t", '["10"]'),  # as texts
    ("$.Body.rows[?(9 < @.t)].t", '["10"]'),
    ("$.Body.rows[?(@.d == '2021-07-13T17:29:01.5Z')].n", "[1]"),
    ("$.Body.rows[?(@.d == '2021-07-13T17:29:01.500Z')].n", "[]"),
    ("$.Body.rows[?('2021-07-13T17:29:01.5Z' == @.d)].n", "[]"),  # only the left side is written as text
    ("$.Body.rows[?(@.d === '2021-07-13T17:29:01.5Z')].n", "[]"),
    ("$.Body.rows[?(@.d == @.d)].n", "[1,2.0]"),
    ("$.Body.rows[?(@.d < '07/13/2021 17:29:02')].n", "[1]"),
    ("$.Body.rows[?(@.d < 'x')].n", "[]"),
    ("$.Body.rows[?(@.d > 1)].n", "[]"),
    ("$.Body.rows[?('07/13/2021 17:29:02' > @.d)].n", "[1]"),
    ("$.Body.rows[?(@.d == '2021-07-13T17:29:02+00:00')].n", "[2.0]"),
    ("$.Body.rows[?(@.n > 'true')].n", "[]"),
    ("$.Body.rows[?(@.n >= 'TRUE ')].n", "[true]"),
    ("$.Body.rows[?(@.k =~ /A|B/)].k", '["B"]'),
    ("$.Body.rows[?(@.k =~ /A|B/i)].k", '["a","B"]'),
    ("$.Body.rows[?(@.k =~ '/A/i')].k", '["a"]'),
    ("$.Body.rows[?(@.k =~ @.t)].k", "[]"),
    ("$.Body.rows[?(@.d =~ /2021/)].n", "[]"),  # a date is no text
    ("$.Body.rows[?(@.n =~ 1)].n", "[]"),
    ("$.Body.rows[?(@.k == 'a' && @.n || @.t)].t", '["10"]'),  # a && (n || t)
    ("$.Body.rows[?(@.o || @.k == 'a' && @.t == 'x')].n", "[true]"),
    ("$.Body.rows[?(@.o == 1 @.k == 'a')].k", '["a"]'),  # a comparison that nothing joins to the next is forgotten
    ("$.Body.rows[?(@.n == 1 && @.o == 1 @.t == 10 || @.k == 'a')].k", '["a"]'),
    ("$.Body.rows[?(@.k == 'x''a' == @.k)].k", '["a"]'),
    ("$.Body.rows[?(@.a[1][0] == 2)].n", "[true]"),
    ("$.Body.rows[?(@..n == 7)].a[0]", "[1]"),
    ("$.Body.rows[?(@.a[?(@ == 1)])].n", "[true]"),
    ("$.Body.rows[?($.Body.flag)].t", '["10","9","x"]'),
    ("$.Body.rows[?($.Body.list[1] == @.n)].k", '["a"]'),
    ("$.Body.list[?(@ > 1)]", "[2,3]"),
    ("$.Body.list[?(1)]", "[0,1,2,3]"),
    ("$.Body.list[?('')]", "[0,1,2,3]"),
    ("$.Body.list[?(null == null)]", "[0,1,2,3]"),
    ("$..[?(@.o)].n", "[true]"),
    ("$..[?(@ == 3)]", "[3,3]"),
    ("$..[?(@[3])][1]", f"[{json_text(DOCUMENT['Body']['rows'][1])},1]"),
    # on an object a filter finds nothing, but a condition that holds for its properties lets a path go on below them
    ("$.Body[?(@.n)]", "[]"),
    ("$.Body[?(@)]", "[]"),
    ("$.Body[?(@ != 1)]", "[]"),
    ("$.Body[?($.Body.flag)].n", "[]"),
    ("$.Body[?($.Body.flag)]..o", '[{"n":7}]'),
    ("$.Body[?($.Body.flag)][?(@.a)].n", "[]"),
    ("$.Body.rows[?($.Body.flag)][?(@ == 1)]", "[]"),
    ("$.Body[?($.Body.flag)][?(@ == true)]", "[true]"),
    ("$.Body[?($.Body.flag)]..[?(@.n == 7)]", '[{"n":7}]'),
    ("$.Body.rows[3].o..[?(@ != 1)]", '[{"n":7},7]'),
]


@pytest.mark.parametrize(("path", "tokens"), SELECTIONS, ids=[path for path, _ in SELECTIONS])
def test_selects(path: str, tokens: str) -> None:
    assert find(path) == tokens


NUMBERS = {
    "rows": [
        {"v": 12345678901234567890, "w": 1},
        {"v": 0.1, "w": 0.30000000000000004},
        {"v": "1,5", "w": "15"},
        {"v": float("nan"), "w": 1e400},
    ]
}


@pytest.mark.parametrize(
    ("path", "tokens"),
    [
        ("$.rows[?(@.v > 9223372036854775807)].w", "[1]"),
        ("$.rows[?(@.v == @.v)].w", '[1,0.30000000000000004,"15","Infinity"]'),  # even NaN
        ("$.rows[?(@.v > 1e19)].w", "[1]"),
        ("$.rows[?(@.v < 1e20)].w", '[1,0.30000000000000004,"15","Infinity"]'),
        ("$.rows[?(@.w == 0.3)].v", "[0.1]"),  # equal within the last places
        ("$.rows[?(@.v == 15)].w", "[]"),
        ("$.rows[?(@.v >= 15.0)].w", '[1,"15"]'),
        ("$.rows[?(@.v >= 15)].w", "[1]"),  # no commas in an integer
        ("$.rows[?(@.v > 'x')].w", "[]"),
    ],
)
def test_compares_numbers(path: str, tokens: str) -> None:
    assert find(path, NUMBERS) == tokens


@pytest.mark.parametrize(
    ("path", "position"),
    [
        ("$.", 2),
        ("$..", 3),
        ("$.a..", 5),
        (" $", 1),
        ("$.a b", 4),
        ("$.a]", 3),
        ("$.a[", 4),
        ("$.a[]", 4),
        ("$.a['x", 4),
        ("$.a['x'", 7),
        ("$.a['x',", 8),
        ("$.a['x' y]", 8),
        ("$.a['\\x']", 6),
        ('$.a["x"]', 4),
        ("$.a[x]", 4),
        ("$.a[1 2]", 6),
        ("$.a[1,]", 6),
        ("$.a[,1]", 4),
        ("$.a[--1]", 4),
        ("$.a[2147483648]", 4),
        ("$.a[*", 5),
        ("$.a[*1]", 5),
        ("$.a[0:1:0]", 9),
        ("$.a[0]b", 6),
        ("$.a[?", 5),
        ("$.a[?@.b]", 5),
        ("$.a[?(", 6),
        ("$.a[?()]", 6),
        ("$.a[?(@.b", 9),
        ("$.a[?(@.b)", 10),
        ("$.a[?(@.b) x]", 11),
        ("$.a[?(@.b ==)]", 12),
        ("$.a[?(@.b = 1)]", 10),
        ("$.a[?(@.b in [1])]", 10),
        ("$.a[?(@.b @.c)]", 10),
        ("$.a[?(@.b == 1 and @.c)]", 15),
        ("$.a[?(@.b & @.c)]", 10),
        ("$.a[?(@.b &&)]", 12),
        ("$.a[?(@. == 1)]", 8),
        ("$.a[?(!@.b)]", 6),
        ("$.a[?((@.b))]", 6),
        ('$.a[?(@.b == "x")]', 13),
        ("$.a[?(@.b == 1&& @.c)]", 13),
        ("$.a[?(@.b == 1,5)]", 13),
        ("$.a[?(@.b == 9223372036854775808)]", 13),
        ("$.a[?(@.b == tru)]", 13),
        ("$.a[?(@.b =~ /x)]", 17),
        ("$.a[?(@.b =~ /(/)]", 13),
        ("$.a[?(@.b =~ 'x')]", 13),
    ],
)
def test_refused_when_loaded_with_its_position(path: str, position: int) -> None:
    with pytest.raises(PathInvalid) as caught:
        compile_path(path)
    assert caught.value.message
    assert caught.value.position == position


def test_a_further_name_is_the_last_property_of_the_root() -> None:
    document = {"Body": {"x": 1}, "Properties": {}, "SystemProperties": {"s": 2}}
    matched = {"x": 3}

    def find_with(path: str) -> Any:
        return compile_path(path, "matchedToken").find(document, matched)

    assert find_with("$.matchedToken.x") == [3]
    assert find_with("$['matchedToken']") == [matched]
    assert find_with("$['Body','matchedToken']") == [{"x": 1}, matched]
    assert find_with("$..x") == [1, 3]
    assert find_with("$.*") == [{"x": 1}, {}, {"s": 2}, matched]
    assert find_with("$") == [{**document, "matchedToken": matched}]
    assert find_with("$..[?(@.x)]") == [{"x": 1}, matched]
    assert find_with("$..[?(@.x == $.matchedToken.x)]") == [matched]
    assert find_with("$.matchedToken")[0] is matched
    assert compile_path("$.matchedToken").find(document) == []
    assert compile_path("$.matchedToken", "matchedToken").find(document, None) == [None]
    assert list(document) == ["Body", "Properties", "SystemProperties"]


@pytest.mark.parametrize("document", [None, True, 5, 1.5, "x", [], {}])
@pytest.mark.parametrize("path", ["$", "$.a", "$..a", "$.*", "$..*", "$[0]", "$[*]", "$[0:1]", "$[?(@)]", "$['a','b']"])
def test_any_root_can_be_asked(path: str, document: Any) -> None:
    found = compile_path(path).find(document)
    assert found == ([document] if path in ("$", "$..*") else [])


def test_names() -> None:
    assert compile_path("$.Body['a b'].c").names == ("Body", "a b", "c")
    assert compile_path("$").names == ()
    for path in ("$..a", "$.*", "$.a[0]", "$['a','b']", "$.a[?(@.b)]"):
        assert compile_path(path).names is None


def _several(letter: str, count: int) -> str:
    return "@[" + ",".join(f"'{letter}{number}'" for number in range(count)) + "]"


def test_more_combinations_of_names_than_are_kept_select_only_objects_that_have_both() -> None:
    path = compile_path(f"$..[?({_several('a', 8)} && {_several('b', 9)})]")
    both = {"a0": 1, "b8": 1}
    assert path.find([{"a0": 1}, {"b0": 1}, both]) == [both]
    deep = path.deep_condition
    assert deep is not None
    assert not deep.names_suffice


@pytest.mark.parametrize(
    ("condition", "required", "suffices"),
    [
        ("@a", [{"a"}], True),
        ("@.a && @['b']", [{"a", "b"}], True),
        ("@.a || @.b", [{"a"}, {"b"}], True),
        ("@.a || @.b && @.c", [{"a"}, {"b", "c"}], True),
        ("@.a && @.b || @.c", [{"a", "b"}, {"a", "c"}], True),
        ("@['a','b'] && @.c", [{"a", "c"}, {"b", "c"}], True),
        ("@.a.b", [{"a"}], False),
        ("@.a == 1", [{"a"}], False),
        ("1 < @.a", [{"a"}], False),
        ("@.a == @.b", [{"a", "b"}], False),
        ("@.a && $.b", [{"a"}], False),
        ("@.a || $.b", None, False),
        ("$.b == 1", None, False),
        ("@", None, False),
        ("@ == 1", None, False),
        ("@..a", None, False),
        ("@.*", None, False),
        ("@[0]", None, False),
        ("1", None, False),
        (" || ".join(f"@.a{n}" for n in range(65)), None, False),
        (f"{_several('a', 8)} && {_several('b', 8)}", [{f"a{n}", f"b{m}"} for n in range(8) for m in range(8)], True),
        # of more than 64 combinations one side is asked, which does not suffice
        (f"{_several('a', 8)} && {_several('b', 9)}", [{f"a{n}"} for n in range(8)], False),
        (f"@.c || {_several('a', 8)} && {_several('b', 9)}", [{"c"}, *({f"a{n}"} for n in range(8))], False),
        (f"{_several('a', 8)} && {_several('b', 9)} && @.c", [{f"a{n}", "c"} for n in range(8)], False),
        ("$.b && @.a", [{"a"}], False),
    ],
)
def test_required_names_of_a_deep_condition(condition: str, required: list[set[str]] | None, suffices: bool) -> None:
    deep = compile_path(f"$..[?({condition})]").deep_condition
    assert deep is not None
    assert (deep.required_names and [set(names) for names in deep.required_names]) == required
    assert deep.names_suffice is suffices


def test_only_a_lone_deep_filter_has_a_deep_condition() -> None:
    for path in ("$", "$[?(@.a)]", "$..[?(@.a)].b", "$.a..[?(@.a)]"):
        assert compile_path(path).deep_condition is None


@pytest.mark.timeout(60)
def test_regular_expression_that_backtracks_is_stopped() -> None:
    document = {"rows": ["a" * 5000 + "b"] * 100}
    with pytest.raises(BudgetSpent) as caught:
        compile_path("$.rows[?(@ =~ /(a|aa)+$/)]").find(document, budget=EvaluationBudget(10**6))
    assert "aaa" not in str(caught.value)
    document["pattern"] = ["/(a|aa)+$/"]
    with pytest.raises(BudgetSpent):
        compile_path("$.rows[?(@ =~ $.pattern[0])]").find(document, budget=EvaluationBudget(10**6))


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("$.rows[?(@.k == $.keys[?(@.n == 77)].k)]", 2),
        ("$.rows[?($.keys[?(@.n == 77)].k == @.k)]", 2),
        ("$..[?(@.k == $.keys[?(@.n == 77)].k)]", 2),
        ("$.rows[?(@.k && $.keys[?(@.n == 77)])]", 2),
        ("$.all[?(@.rows[?(@.k == $.keys[?(@.n == 77)].k)])]", 2),
        ("$.rows[?(@.below[?(@.n == 77)])]", 20),
    ],
)
def test_what_a_filter_asks_of_the_root_is_looked_for_once(
    path: str, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted by the comparisons with 77: two keys are in the document, and ten rows."""
    compared = []

    def counting(left: Any, right: Any, budget: EvaluationBudget) -> bool:
        compared.append(right)
        return equal(left, right, budget)

    monkeypatch.setitem(COMPARISONS, "==", counting)
    rows = [{"k": n % 3, "below": [{"n": 0}, {"n": 77}]} for n in range(10)]
    document = {"rows": rows, "keys": [{"n": 0, "k": 1}, {"n": 77, "k": 2}], "all": [{"rows": rows}]}
    compiled = compile_path(path)
    for _ in range(2):  # the second evaluation finds nothing of the first
        compared.clear()
        assert compiled.find(document)
        assert compared.count(77) == asked
    document["keys"] = []
    assert compiled.find(document) == ([] if asked == 2 else rows)


@pytest.mark.parametrize(
    ("path", "reads"),
    [
        ("$.Body.x", False),
        ("$.Body..x", False),
        ("$['Body','Properties'].x", False),
        ("$.Body[?(@.x == $.Body.y)]", False),
        ("$.Body[?(@..matchedToken)]", False),
        ("$", True),
        ("$..x", True),
        ("$.*", True),
        ("$['Body','matchedToken'].x", True),
        ("$.matchedToken", True),
        ("$.Body[?(@.x == $.matchedToken.y)]", True),
        ("$.Body[?(@.x && @.z[?(@.y == $..y)])]", True),
    ],
)
def test_whether_a_path_may_read_the_further_name(path: str, reads: bool) -> None:
    compiled = compile_path(path, "matchedToken")
    assert compiled.reads_further_name is reads
    assert compile_path(path).reads_further_name is False
    document = {"Body": {"x": 1, "y": 2, "list": [{"x": 1}]}, "Properties": {"x": 3}}
    found = [compiled.find(document, {"x": 4, "y": 1}) == compiled.find(document, further) for further in (None, 5)]
    assert reads or all(found)


def test_ten_thousand_matches_keep_their_order() -> None:
    document = {"Body": [{"n": n, "m": {"n": -n}} for n in range(10_000)]}
    assert compile_path("$..[?(@.m)].n").find(document) == list(range(10_000))
    assert compile_path("$..n").find(document) == [sign * n for n in range(10_000) for sign in (1, -1)]


def below_frames(frames: int, call: Callable[[], Any]) -> Any:
    """What `call` returns when this many frames are on Python's stack already."""
    return call() if not frames else below_frames(frames - 1, call)


@pytest.mark.parametrize("shape", ["[{}]", '{{"n":{}}}'])
@pytest.mark.parametrize(
    "path", ["$..n", "$..*", "$..[?(@.n)]", "$..[?(@..n)]", "$..[?($)]", "$..['n','x']", "$[?(@..[?(@..n)])]"]
)
def test_the_deepest_documents_leave_frames_to_the_caller(path: str, shape: str) -> None:
    text = '{"n":1}'
    for _ in range(MAX_DEPTH - 1):
        text = shape.format(text)
    # In an array, because only there a filter that is not deep has something to ask: asked of all 512 levels, a filter
    # within a filter would take a minute, and not one frame more.
    document = [parse_body(text.encode())]
    compiled = compile_path(path)
    used = len(inspect.stack(0))
    assert below_frames(400 - used, lambda: compiled.find(document))


def test_long_and_nested_paths_are_taken_or_refused() -> None:
    assert len(compile_path("$" + ".a" * 10_000).steps) == 10_000
    assert compile_path("$[?(" + " && ".join(["@.a"] * 5000) + ")]").find([{"a": 1}]) == [{"a": 1}]
    for text in (
        "$" + "[?(@" * 5000,
        "$[?(" + " && @.a || @.a" * 5000 + ")]",
        "$[?(@.a" + " && @.a || @.a" * 99 + ")]",
    ):
        with pytest.raises(PathInvalid):
            compile_path(text)
    with pytest.raises(PathInvalid, match="nested"):
        compile_path("$" + "[?(@" * 60 + ")]" * 60)


# A path in pieces that its parser puts together, mostly valid, and sometimes not.
names = st.sampled_from(["a", "b", "n", "matchedToken", "x-y", "my key", "*", "", "$", "it's", "\\", " ", "é😀", "1"])
constants = st.sampled_from(
    ["1", "-1", "0.5", "1e3", "'a'", "''", "'2021-07-13T17:29:01Z'", "true", "false", "null", "/a/", "/[ab]$/i", "/./s"]
)
operators = st.sampled_from(["==", "!=", "<>", "===", "!==", "<", "<=", ">", ">=", "=~"])
quoted = names.map(lambda name: "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'")
integers = st.integers(-3, 3).map(str)
plain_steps = st.one_of(
    names.map(lambda name: f".{name}"),
    names.map(lambda name: f"..{name}"),
    quoted.map(lambda name: f"[{name}]"),
    quoted.map(lambda name: f"..[{name}]"),
    st.lists(quoted, min_size=2, max_size=3).map(lambda each: f"[{','.join(each)}]"),
    st.lists(quoted, min_size=2, max_size=3).map(lambda each: f"..[{', '.join(each)}]"),
    st.lists(integers, min_size=1, max_size=3).map(lambda each: f"[{','.join(each)}]"),
    st.lists(integers | st.just(""), min_size=2, max_size=4).map(lambda each: f"[{':'.join(each)}]"),
    st.sampled_from([".*", "..*", "[*]", "(0)"]),
)


def with_filters(steps: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    query = st.builds(lambda root, tail: root + "".join(tail), st.sampled_from("@@@$"), st.lists(steps, max_size=2))
    side = query | constants
    comparison = st.builds(lambda left, operator, right: f"{left} {operator} {right}", side, operators, side)
    condition = st.lists(query | comparison, min_size=1, max_size=3).flatmap(
        lambda parts: st.lists(st.sampled_from([" && ", " || "]), min_size=len(parts) - 1, max_size=len(parts) - 1).map(
            lambda joints: parts[0] + "".join(map("".join, zip(joints, parts[1:], strict=True)))
        )
    )
    return st.builds(lambda dots, inner: f"{dots}[?({inner})]", st.sampled_from(["", ".."]), condition)


steps = st.recursive(plain_steps, lambda inner: with_filters(inner) | inner, max_leaves=6)
paths = st.lists(steps, max_size=4).map(lambda parts: "$" + "".join(parts))
keys = st.sampled_from(["a", "b", "n", "x-y", "my key", "é😀", "*"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, 2**70, 10**350, float("nan"), float("inf"), -0.0]),
    st.sampled_from(
        ["", "a", "ab", "B", "1", "1.5", "true", "2021-07-13T17:29:01Z", "2021-07-13T17:29:01.5", "\ud800"]
    ),
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=25
)


def compiled(text: str) -> Path | None:
    with contextlib.suppress(PathInvalid):
        return compile_path(text)
    return None


@given(paths)
def test_a_path_prints_itself_and_parses_to_the_same(text: str) -> None:
    path = compiled(text)
    if path is not None:
        assert compile_path(str(path)).steps == path.steps
        assert str(compile_path(str(path))) == str(path)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_paths_of_the_vectors_print_themselves(vector: dict[str, Any]) -> None:
    path = compiled(vector["expr"])
    assert (path is None) == ("error" in vector["expected"])
    assert path is None or compile_path(str(path)).steps == path.steps


def below(token: Any) -> Iterator[tuple[str | None, Any]]:
    """Everything below a token with its name, in the order of the text."""
    elements = token if isinstance(token, list) else []
    for name, child in token.items() if isinstance(token, dict) else [(None, element) for element in elements]:
        yield name, child
        yield from below(child)


def selected(step: Step, token: Any) -> list[Any]:
    """What a step selects, said as plainly as it can be."""
    inside = token if isinstance(token, dict) else {}
    elements = token if isinstance(token, list) else []
    match step:
        case Name(name, True):
            return [child for found, child in below(token) if found == name]
        case Name(name):
            return [inside[name]] if name in inside else []
        case Names(names, True):
            return [child for found, child in below(token) for name in names if found == name]
        case Names(names):
            return [inside[name] for name in names if name in inside]
        case AnyName(True):
            return [token, *(child for _, child in below(token))]
        case AnyName():
            return list(inside.values())
        case Index(index):
            return [elements[index]] if -len(elements) <= index < len(elements) else []
        case Indexes(indexes):
            return [element for index in indexes for element in selected(Index(index), token)]
        case AnyIndex():
            return elements
        case Slice(start, end, stride):
            return elements[start:end:stride]
        case Filter(Exists(Query(False, tail)), True):
            return [each for _, each in [(None, token), *below(token)] if evaluated(tail, each)]
        case Filter(Exists(Query(False, tail))):
            return [element for element in elements if evaluated(tail, element)]
    raise AssertionError(step)


def evaluated(steps: tuple[Step, ...], token: Any) -> list[Any]:
    tokens = [token]
    for step in steps:
        tokens = [found for each in tokens for found in selected(step, each)]
    return tokens


found_by_name = st.builds(
    lambda dots, name, tail: f"{dots}[?(@[{name}]{tail})]",
    st.sampled_from(["", ".."]),
    quoted,
    st.just("") | plain_steps,
)


@given(st.lists(plain_steps | found_by_name, max_size=4).map(lambda parts: "$" + "".join(parts)), documents)
def test_steps_select_what_they_say(text: str, document: Any) -> None:
    path = compiled(text)
    if path is not None:
        assert list(map(id, path.find(document))) == list(map(id, evaluated(path.steps, document)))


@given(paths, documents, documents)
@example("$..[?(@ =~ /a/)]", "a", None)
def test_evaluation_never_raises_and_selects_from_the_document(text: str, document: Any, matched: Any) -> None:
    path = compiled(text)
    if path is None:
        return
    tokens = {id(token) for token in walk(document)}
    assert all(id(token) in tokens for token in path.find(document))
    if isinstance(document, dict):
        root = {**document, "matchedToken": matched}
        assert repr(compile_path(text, "matchedToken").find(document, matched)) == repr(path.find(root))


@given(paths.filter(lambda text: text.startswith("$..[?(")), documents)
def test_a_deep_condition_selects_what_its_path_selects(text: str, document: Any) -> None:
    path = compiled(text)
    if path is None or path.deep_condition is None:
        return
    deep = path.deep_condition
    root = Root(document, UNBOUNDED)
    found = [token for token in walk(document) if deep.holds(token, root)]
    assert [id(token) for token in found] == [id(token) for token in path.find(document)]
    if deep.required_names is not None:
        meeting = [
            token
            for token in walk(document)
            if isinstance(token, dict) and any(names <= token.keys() for names in deep.required_names)
        ]
        assert {id(token) for token in found} <= {id(token) for token in meeting}
        if deep.names_suffice:
            assert list(map(id, meeting)) == list(map(id, found))


@given(st.text(alphabet="$@.[]()?*'\"\\/,:;=!<>&|~ -0123456789abtrufnei\t\n\xa0é", max_size=40))
def test_any_text_is_a_path_or_refused_with_a_position(text: str) -> None:
    try:
        path = compile_path(text)
    except PathInvalid as error:
        assert 0 <= error.position <= len(text)
    else:
        assert compile_path(str(path)).steps == path.steps
        path.find(DOCUMENT)
