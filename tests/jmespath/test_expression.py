"""JMESPath: the rules behind the vectors (rules.json), and that only the documented errors are ever raised."""

import copy
import json
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from medtech.dotnet.json_reader import MAX_DEPTH
from medtech.dotnet.tokens import Text, json_text
from medtech.evaluation_budget import UNBOUNDED
from medtech.jmespath import calls, syntax
from medtech.jmespath import chain as chain_module
from medtech.jmespath import expression as expression_module
from medtech.jmespath.chain import Slice
from medtech.jmespath.comparison import equal
from medtech.jmespath.errors import ExpressionFailed, ExpressionInvalid
from medtech.jmespath.expression import Projection, compile_expression
from medtech.jmespath.functions import ANY, EXPRESSION, FUNCTIONS
from tests.conformance.compare import difference, parse_exact

_RULES = Path(__file__).with_name("rules.json").read_text(encoding="utf-8")
_GIVEN = {group["rule"]: group["given"] for group in json.loads(_RULES)}
CASES = [(group["rule"], case) for group in parse_exact(_RULES) for case in group["cases"]]


@pytest.mark.parametrize(("rule", "case"), CASES, ids=[case["expression"] for _, case in CASES])
def test_rule(rule: str, case: dict[str, Any]) -> None:
    text, document = case["expression"], _GIVEN[rule]
    if "refused" in case:
        with pytest.raises(ExpressionInvalid) as refused:
            compile_expression(text)
        assert refused.value.position == int(case["refused"])
    elif "fails" in case:
        with pytest.raises(ExpressionFailed):
            compile_expression(text).tokens(document)
    else:
        assert difference(case["tokens"], _exact(compile_expression(text).tokens(document))) is None
        if case.get("single") == "fails":
            with pytest.raises(ExpressionFailed, match="finds 2 tokens"):
                compile_expression(text).single(document)
        elif "single" in case:
            assert difference(case["single"], _exact(compile_expression(text).single(document))) is None


def _exact(token: Any) -> Any:
    """Half a surrogate pair is U+FFFD once it is written, in .NET and here."""
    return parse_exact(json_text(token).encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


# A further member of the root


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("matchedToken", [{"v": 1}]),
        ("matchedToken.v", [1]),
        ("add(matchedToken.v, `1`)", [2]),
        ("add(matchedToken.v, Body.b)", [3]),
        ("@.matchedToken.v", [1]),
        ("@ | matchedToken.v", [1]),
        ("[matchedToken.v, Body.b]", [[1, 2]]),
        ("{m: matchedToken}.m.v", [1]),
        ("not_null(missing, matchedToken.v)", [1]),
        ("keys(@)", [["Body", "matchedToken"]]),
        ("*.v", [1]),
        ("*", [{"b": 2}, {"v": 1}]),
        ("Body.matchedToken", []),
        ("matchedToken.matchedToken", []),
        ("matchedToken | matchedToken", []),
        ("matchedToken.v == `1` && Body.b > matchedToken.v", [True]),
        ("map(&matchedToken, to_array(matchedToken))", [[None]]),
        ("Body.b", [2]),
        ("`3`", [3]),
    ],
)
def test_matched_token_is_the_last_member_of_the_root(text: str, tokens: list[Any]) -> None:
    document = {"Body": {"b": 2}}
    assert compile_expression(text, "matchedToken").tokens(document, {"v": 1}) == tokens
    assert document == {"Body": {"b": 2}}


def test_without_a_matched_token_its_name_is_a_name_like_any_other() -> None:
    assert compile_expression("matchedToken.v").tokens({"matchedToken": {"v": 1}}) == [1]
    assert compile_expression("matchedToken.v").tokens({}) == []


def test_matched_token_may_be_null() -> None:
    assert compile_expression("matchedToken", "matchedToken").single({}, None) is None
    assert compile_expression("keys(@)", "matchedToken").single({}, None) == ["matchedToken"]
    assert compile_expression("matchedToken.to_string(@)", "matchedToken").single({}, None) is None
    assert compile_expression("[matchedToken.{a: @}, Body]", "matchedToken").single({"Body": 1}, None) == [None, 1]
    assert compile_expression("matchedToken | to_string(@)", "matchedToken").single({}, None) == "null"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Body.deviceId", ("Body", "deviceId")),
        ('matchedToken."my key"', ("matchedToken", "my key")),
        ("@.Body", ("Body",)),
        ("@", ()),
        ("Body[0]", None),
        ("Body | deviceId", None),
        ("`1`", None),
    ],
)
def test_names_of_a_plain_path(text: str, names: tuple[str, ...] | None) -> None:
    assert compile_expression(text).names == names


# Texts and dates


def test_strings_that_functions_make_are_never_dates() -> None:
    document = {"d": "2021-07-13", "t": "T17:29:01Z"}
    joined = compile_expression("join('', [d, t])").single(document)
    assert type(joined) is Text and joined == "2021-07-13T17:29:01Z"
    assert type(compile_expression("fromUnixTimestamp(`0`)").single({})) is str


def test_a_text_of_the_properties_is_never_a_date() -> None:
    moment = "2021-07-13T17:29:01Z"
    document = {"Body": {"at": moment}, "Properties": {"at": Text(moment)}}
    assert compile_expression("length(Properties.at)").single(document) == len(moment)
    assert compile_expression("Body.at == Properties.at").single(document) is False
    assert compile_expression("insertString(Properties.at, 'x', `0`)").single(document) == f"x{moment}"


# Errors


def test_a_failure_names_function_argument_and_types_but_no_value() -> None:
    with pytest.raises(ExpressionFailed) as failed:
        compile_expression("add(`1`, name)").single({"name": "Jane Doe"})
    assert str(failed.value) == "fails in add(): argument 2 must be a number, not a string"


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_refuses_what_it_cannot_take(name: str) -> None:
    function = FUNCTIONS[name]
    wrong = ["&@" if parameter is EXPRESSION else "`true`" for parameter in function.parameters]
    expression = compile_expression(f"{name}({', '.join(wrong)})")
    if all(parameter is ANY for parameter in function.parameters):
        expression.search({})
    else:
        with pytest.raises(ExpressionFailed, match=rf"{name}\(\): argument \d must be an? "):
            expression.search({})


@pytest.mark.parametrize("text", ["a" * 100_000, "(" * 5_000, "[" * 5_000, "!" * 5_000 + "a", "a" + ".b" * 5_000])
@pytest.mark.parametrize("tail", ["", " | a" * 2_000, "[0]" * 2_000, "[*]" * 2_000, " && a" * 2_000])
def test_however_long_or_deep_an_expression_is_accepted_or_refused(text: str, tail: str) -> None:
    try:
        compile_expression(text + tail).search({"a": {"b": 1}})
    except ExpressionInvalid as refused:
        assert 0 <= refused.position <= len(text + tail)


def test_the_deepest_expression_accepted_runs() -> None:
    steps = syntax.MAX_NESTING
    nested: Any = 1
    for _ in range(steps):
        nested = [nested]
    assert compile_expression("@" + "[0]" * steps).search(nested) == 1
    with pytest.raises(ExpressionInvalid, match="nested more than"):
        compile_expression("@" + "[0]" * (steps + 1))


def test_nothing_is_parsed_for_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    expression = compile_expression("to_array(@.Body) | [?a && starts_with(a, 'x')].b[].to_number(@)")
    for module, name in [(syntax, "parse"), (expression_module, "parse"), (chain_module, "chain")]:
        monkeypatch.setattr(module, name, None)
    monkeypatch.setattr(expression_module, "chain", None)
    with pytest.raises(TypeError):
        compile_expression("a")
    assert expression.tokens({"Body": [{"a": "xy", "b": ["1", "2.5"]}, {"a": "z", "b": ["3"]}]}) == [1, 2.5]


def test_a_megabyte_of_digits_is_not_converted_to_an_integer() -> None:
    digits = "1" * 2**20
    assert compile_expression("to_number(@)").search(f"{digits}x") is None
    assert compile_expression("to_number(@)").search(f"{digits}.{digits}") == math.inf


# Any expression on any document

_NAMES = ["a", "b", "Body", "matchedToken", "x y"]
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "ab", "Ab", "5", "-1.5", "2021-07-13T17:29:01Z", "/Date(0)/", "\ud800", "😀"])
    | st.text(max_size=8)
    | st.text(max_size=8).map(Text)
)
documents = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4),
    max_leaves=20,
)


def _is_json(value: Any) -> bool:
    text = json_text(value)
    return "NaN" not in text and "Infinity" not in text


_literals = documents.filter(_is_json).map(lambda value: "`" + json.dumps(value).replace("`", "\\`") + "`")


def _call(name: str, arguments: list[str]) -> str:
    parameters = FUNCTIONS[name].parameters
    marked = [
        f"&{text}" if parameter is EXPRESSION else text for parameter, text in zip(parameters, arguments, strict=False)
    ]
    return f"{name}({', '.join(marked)})"


_functions = st.sampled_from(sorted(FUNCTIONS))
_operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "||", "&&", "|"])
_steps = st.sampled_from(
    ["[0]", "[-2]", "[*]", "[]", ".*", "[1:]", "[::-1]", ".a", ".b", '."x y"', ".[a, @]", ".{a: b}"]
)
expressions = st.recursive(
    st.sampled_from(["@", "a", "b", "Body", "matchedToken", '"x y"', "*", "[*]", "'ab'"]) | _literals,
    lambda inner: (
        st.tuples(inner, _steps).map("".join)
        | st.tuples(inner, inner).map(lambda pair: f"({pair[0]})[?{pair[1]}]")
        | st.tuples(inner, _operators, inner).map(" ".join)
        | st.tuples(inner, inner).map(lambda pair: f"[{pair[0]}, {pair[1]}]")
        | inner.map("!{}".format)
        | inner.map("({})".format)
        | st.builds(_call, _functions, st.lists(inner, min_size=3, max_size=3))
    ),
    max_leaves=8,
)


@given(expressions, documents, documents)
@example("add(a, `1.5`)", {"a": 10**400}, None)
@example("max(a)", {"a": [math.nan, 1.5]}, None)
@example("pow(a, `0.5`)", {"a": -8}, None)
def test_evaluation_raises_nothing_but_expression_failed(text: str, document: Any, matched: Any) -> None:
    alone, with_further = compile_expression(text), compile_expression(text, "matchedToken")
    for expression, *arguments in [(alone, document), (with_further, {"Body": document}, matched)]:
        try:
            result = expression.search(*arguments)
            tokens = expression.tokens(*arguments)
            single = expression.single(*arguments)
        except ExpressionFailed:
            continue
        assert json_text(tokens) == json_text(
            result if type(result) is Projection else [] if result is None else [result]
        )
        assert single is None or len(tokens) < 2


@given(expressions, documents, documents)
@example("matchedToken.to_string(@)", None, None)
@example("matchedToken.to_array(@)[]", None, None)
@example("[matchedToken.[a], not_null(matchedToken.keys(@))]", None, None)
def test_a_further_name_is_one_more_member_of_the_document(text: str, body: Any, matched: Any) -> None:
    """Whichever way an expression is compiled."""
    document = {"Body": body, "a": [body]}
    alone, with_further = compile_expression(text), compile_expression(text, "matchedToken")
    try:
        expected = alone.search({**document, "matchedToken": matched})
    except ExpressionFailed as failed:
        with pytest.raises(ExpressionFailed) as failed_too:
            with_further.search(document, matched)
        assert str(failed_too.value) == str(failed)
    else:
        found = with_further.search(document, matched)
        assert type(found) is type(expected)
        assert json_text(found) == json_text(expected)


@given(documents)
def test_evaluation_changes_no_document(document: Any) -> None:
    before = json_text(document)
    for text in [
        "merge(@, @)",
        "merge({a: a}, {a: a}, @)",
        "sort(@)",
        "reverse(@)",
        "[]",
        "to_array(@)[*].a",
        "map(&[@], @)",
        "@.* | [0]",
    ]:
        try:
            compile_expression(text).search(document)
        except ExpressionFailed:
            continue
    assert json_text(document) == before


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_integers_are_exact_or_refused(left: int, right: int) -> None:
    exact = {"add": left + right, "subtract": left - right, "multiply": left * right}
    for name, expected in exact.items():
        expression = compile_expression(f"{name}(a, b)")
        if -(2**63) <= expected < 2**63:
            assert expression.single({"a": left, "b": right}) == expected
        else:
            with pytest.raises(ExpressionFailed, match="64 bits"):
                expression.single({"a": left, "b": right})


@pytest.mark.parametrize(
    "text", ["Body.v", "@ | Body.v", "Body | v", "{x: Body.v}.x", "not_null(Body.v)", "[Body.v] | [0]", "max_by(w, &@)"]
)
@given(documents)
def test_a_value_is_handed_on_untouched(text: str, value: Any) -> None:
    assert compile_expression(text).search({"Body": {"v": value}, "w": [value]}) is value


@given(documents)
def test_an_array_of_one_value_holds_that_value(value: Any) -> None:
    found = compile_expression("to_array(v)").search({"v": value})
    if isinstance(value, list):
        assert found is value
    else:
        assert len(found) == 1 and found[0] is value


_bounds = st.none() | st.integers(-12, 12)


@given(st.lists(st.integers(), max_size=8), _bounds, _bounds, _bounds.filter(lambda step: step != 0))
def test_a_slice_holds_what_counting_from_its_start_meets(
    array: list[int], start: int | None, stop: int | None, step: int | None
) -> None:
    step = 1 if step is None else step
    first, end = (0, len(array)) if step > 0 else (len(array) - 1, -1)
    if start is not None:
        first = start if start >= 0 else start + len(array)
    if stop is not None:
        end = stop if stop >= 0 else stop + len(array)
    met = [array[place] for place in range(first, end, step) if 0 <= place < len(array)]
    assert Slice(start, stop, step).of(array) == met


@given(documents, documents)
def test_equality_holds_through_copies_and_containers(left: Any, right: Any) -> None:
    assert equal(left, left, UNBOUNDED)
    assert equal(left, copy.deepcopy(left), UNBOUNDED)
    assert (
        equal([left, {"a": right}], [left, {"a": left}], UNBOUNDED)
        is equal(left, right, UNBOUNDED)
        is equal(right, left, UNBOUNDED)
    )


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_documents_as_deep_as_json_may_be_are_compared_and_merged(wrap: Callable[[Any], Any]) -> None:
    document = {"left": 1, "right": 1, "different": 2}
    for _ in range(MAX_DEPTH - 2):
        document = {name: wrap(nested) for name, nested in document.items()}
    assert compile_expression("left == right").search(document) is True
    assert compile_expression("left == different").search(document) is False
    assert compile_expression("contains([left], right)").search(document) is True
    merged = compile_expression("merge({a: left}, {a: different})").search(document)
    assert equal(merged, {"a": document["different"]}, UNBOUNDED) is isinstance(document["left"], dict)


@given(st.text(alphabet="ab @.[]*?&|!<>=(){},:'\"`\\-0129_$", max_size=30) | st.text(max_size=20))
@example("[?")
@example('"\\ud800"')
@example("`{'a': 1,}`")
@example("`" + "[" * 500 + "`")
@example("a[" + "9" * 5_000 + "]")
@example("a[" + "0" * 5_000 + "1:-" + "0" * 5_000 + "]")
def test_any_text_compiles_or_is_refused_with_a_position(text: str) -> None:
    try:
        expression = compile_expression(text)
    except ExpressionInvalid as refused:
        assert 0 <= refused.position <= len(text)
        assert refused.message
    else:
        assert str(expression) == text


def test_a_number_of_a_literal_keeps_its_value() -> None:
    assert compile_expression("`12345678901234567`").single({}) == 12345678901234567
    assert Decimal(repr(compile_expression("`98.60`").single({}))) == Decimal("98.6")


def test_calls_of_one_shape_are_compiled_once() -> None:
    compile_expression("divide(multiply(to_number(a), `2`), `3`)")
    compilations = calls._code.cache_info().misses
    compiled = compile_expression("subtract(add(to_number(b), `4`), `5`)")
    assert compiled.search({"b": "10"}) == 9
    assert calls._code.cache_info().misses == compilations


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("add(abs(a), b)", r"abs\(\): argument 1 must be a number, not a string"),
        ("add(n, b)", r"add\(\): argument 2 must be a number, not null"),
        ("add(b, a)", r"add\(\): argument 1 must be a number, not null"),
        ("add(n, 'x')", r"add\(\): argument 2 must be a number, not a string"),
        ("join(n, b)", r"join\(\): argument 1 must be a string, not an integer"),
    ],
)
def test_the_first_argument_that_is_wrong_is_told(text: str, says: str) -> None:
    with pytest.raises(ExpressionFailed, match=says):
        compile_expression(text).search({"a": "x", "n": 1})
