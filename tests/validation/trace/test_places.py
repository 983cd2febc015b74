"""That a place is where a value came from, and not merely where an equal one stands."""

from typing import Any, Final

import pytest

from medtech.dotnet.json_body import parse_body
from medtech.evaluation_budget import UNBOUNDED
from medtech.jmespath.errors import ExpressionInvalid
from medtech.jmespath.expression import Projection, compile_expression
from medtech.jsonpath.errors import PathInvalid
from medtech.jsonpath.path import compile_path
from medtech.jsonpath.syntax import parse_path
from medtech.validation.trace.jmes_path import LocatedExpression
from medtech.validation.trace.json_path import LocatedPath
from medtech.validation.trace.place import DocumentPlaces, Given
from tests.conformance.vectors import read
from tests.validation.trace.documents import at, with_value

FRESH: Final[dict[type, Any]] = {str: "~fresh~", int: 987654321, float: 987654.25}
"""A value of the same type that no vector has."""

PATHS = [pytest.param(each["expr"], each["doc"], id=each["id"]) for each in read("jsonpath")]
EXPRESSIONS = [pytest.param(each["expr"], each["doc"], id=each["id"]) for each in read("jmespath")]

ALL_EQUAL: Final = """{"Body": {
    "a": 1, "b": 1, "c": {"a": 1, "b": 1}, "list": [1, 1, 1], "pairs": [[1, 1], [1, null, 1]],
    "rows": [{"n": "x", "v": 1}, {"n": "y", "v": 1}, {"n": "y", "v": 1}], "empty": {}
}}"""
"""A document in which a place cannot be told from a value."""


def places_of_path(expression: str, document: Any) -> list[str | None]:
    found = LocatedPath(parse_path(expression)).find(Given.whole(DocumentPlaces(document, UNBOUNDED)), UNBOUNDED)[-1]
    return [None if each.place is None else each.place.pointer() for each in found]


def places_of_expression(expression: str, document: Any) -> list[str | None]:
    """The place of a token, or of each element of an array that the expression made."""
    *_, found = LocatedExpression(expression, None, UNBOUNDED).find(
        Given.whole(DocumentPlaces(document, UNBOUNDED)), UNBOUNDED
    )
    places = [found.place] if found.places is None else found.places
    return [None if place is None else place.pointer() for place in places]


@pytest.mark.parametrize(
    ("expression", "pointers"),
    [
        ("Body.a", ["/Body/a"]),
        ("Body.c.b", ["/Body/c/b"]),
        ("Body.list[-1]", ["/Body/list/2"]),
        ("Body.list[1:]", ["/Body/list/1", "/Body/list/2"]),
        ("Body.list[::-1]", ["/Body/list/2", "/Body/list/1", "/Body/list/0"]),
        ("Body.list[1:] | [0]", ["/Body/list/1"]),
        ("Body.list[*] | [-1]", ["/Body/list/2"]),
        ("Body.pairs[]", ["/Body/pairs/0/0", "/Body/pairs/0/1", "/Body/pairs/1/0", "/Body/pairs/1/2"]),
        ("Body.pairs[] | [3]", ["/Body/pairs/1/2"]),
        ("Body.c.*", ["/Body/c/a", "/Body/c/b"]),
        ("Body.rows[?n == 'y'].v", ["/Body/rows/1/v", "/Body/rows/2/v"]),
        ("Body.rows[?n == 'y'].v | [1]", ["/Body/rows/2/v"]),
        ("Body.rows[?n == 'y'] | [0].v", ["/Body/rows/1/v"]),
        ("(Body.rows[?n == 'y'])[0].v", []),
        ("Body.missing || Body.b", ["/Body/b"]),
        ("Body.a || Body.b", ["/Body/a"]),
        ("Body.a && Body.b", ["/Body/b"]),
        ("Body.empty && Body.b", ["/Body/empty"]),
        ("Body.c | a", ["/Body/c/a"]),
        ("Body | c.b", ["/Body/c/b"]),
        ("max_by(Body.rows, &v).v", ["/Body/rows/2/v"]),
        ("max_by(Body.rows, &v)", ["/Body/rows/2"]),
        ("not_null(Body.missing, Body.c)", ["/Body/c"]),
        ("not_null(Body.missing, Body.a)", [None]),
        ("[Body.c, Body.a]", ["/Body/c", None]),
        ("add(Body.a, Body.b)", [None]),
        ("to_array(Body.list)", ["/Body/list"]),
        ("Body.list[?@ == `1`]", [None, None, None]),
        ("@", [""]),
        ("Body.missing", [None]),
    ],
)
def test_places_in_a_document_of_equal_values(expression: str, pointers: list[str | None]) -> None:
    assert places_of_expression(expression, parse_body(ALL_EQUAL.encode())) == pointers


@pytest.mark.parametrize(
    ("expression", "pointers"),
    [
        ("$.Body.c.b", ["/Body/c/b"]),
        ("$.Body['b','a']", ["/Body/b", "/Body/a"]),
        ("$.Body.list[-1]", ["/Body/list/2"]),
        ("$.Body.list[2,0]", ["/Body/list/2", "/Body/list/0"]),
        ("$.Body.list[::-2]", ["/Body/list/2", "/Body/list/0"]),
        ("$..a", ["/Body/a", "/Body/c/a"]),
        ("$.Body.pairs[*][*]", [f"/Body/pairs/{pair}" for pair in ("0/0", "0/1", "1/0", "1/1", "1/2")]),
        ("$.Body.rows[?(@.n == 'y')].v", ["/Body/rows/1/v", "/Body/rows/2/v"]),
        ("$.Body.list[?(@ == $.Body.a)]", ["/Body/list/0", "/Body/list/1", "/Body/list/2"]),
        ("$..[?(@n)].v", ["/Body/rows/0/v", "/Body/rows/1/v", "/Body/rows/2/v"]),
    ],
)
def test_places_of_paths_in_a_document_of_equal_values(expression: str, pointers: list[str | None]) -> None:
    assert places_of_path(expression, parse_body(ALL_EQUAL.encode())) == pointers


@pytest.mark.parametrize(
    ("name", "pointer"),
    [("a/b", "/a~1b"), ("a~b", "/a~0b"), ("~1", "/~01"), ("", "/"), ("é\u00a0😀", "/é\u00a0😀"), ("0", "/0")],
)
def test_names_are_escaped_in_pointers(name: str, pointer: str) -> None:
    document = {name: {"x": 1}}
    assert places_of_path("$..x", document) == [f"{pointer}/x"]
    assert at(document, f"{pointer}/x") == 1


def test_half_a_surrogate_pair_in_a_name_leaves_a_pointer_that_can_be_written() -> None:
    (pointer,) = places_of_path("$..x", {"\ud800": {"x": 1}})
    assert pointer == "/\ufffd/x"


def test_a_pointer_of_more_than_2000_characters_is_not_given() -> None:
    assert places_of_path("$..x", {"n" * 3000: {"x": 1}}) == [None]


@pytest.mark.parametrize(("expression", "body"), EXPRESSIONS)
def test_a_fresh_value_at_the_place_is_what_the_expression_takes(expression: str, body: str) -> None:
    document = parse_body(body.encode())
    try:
        located = LocatedExpression(expression, None, UNBOUNDED)
    except ExpressionInvalid:
        return
    given = Given.whole(DocumentPlaces(document, UNBOUNDED))
    for part, found in zip(located.parts, located.find(given, UNBOUNDED), strict=True):
        made = found.places is not None
        places = list(zip(found.places or (), found.value, strict=True)) if made else [(found.place, found.value)]
        for number, (place, value) in enumerate(places):
            pointer = None if place is None else place.pointer()
            if pointer is None or type(value) not in FRESH or _asks(part.expression):
                continue
            changed = with_value(document, pointer, FRESH[type(value)])
            taken = compile_expression(part.expression).search(changed)
            taken = taken[number] if isinstance(taken, list | Projection) else taken
            assert taken == FRESH[type(value)], part


@pytest.mark.parametrize(("expression", "body"), PATHS)
def test_a_fresh_value_at_the_place_is_what_the_path_finds(expression: str, body: str) -> None:
    document = parse_body(body.encode())
    try:
        path = compile_path(expression)
    except PathInvalid:
        return
    if not path.steps or _asks(expression):
        return
    tokens = path.find(document)
    for number, (pointer, token) in enumerate(zip(places_of_path(expression, document), tokens, strict=True)):
        if type(token) in FRESH:
            assert pointer is not None
            assert path.find(with_value(document, pointer, FRESH[type(token)]))[number] == FRESH[type(token)]


def _asks(expression: str) -> bool:
    """Whether another value may change which tokens are taken."""
    return "?" in expression
