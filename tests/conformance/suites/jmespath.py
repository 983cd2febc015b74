"""JMESPath on a document: the tokens it selects, and its result where one value is needed."""

from typing import Any

from medtech.dotnet.json_body import parse_body
from medtech.dotnet.tokens import json_text
from medtech.jmespath.errors import ExpressionFailed, ExpressionInvalid
from medtech.jmespath.expression import Expression, compile_expression
from tests.conformance.compare import difference, parse_exact
from tests.conformance.vectors import Vector

NOT_COMPARED = frozenset({"error", "singleError"})


def check(vector: Vector) -> str | None:
    expected = vector["expected"]
    document = parse_body(vector["doc"].encode())
    try:
        expression = compile_expression(vector["expr"])
        tokens = expression.tokens(document)
    except (ExpressionInvalid, ExpressionFailed) as error:
        return None if "error" in expected else f"failed: {error}"
    if "error" in expected:
        return "a result where an error is expected"
    found = difference([parse_exact(text) for text in expected["tokens"]], [_exact(token) for token in tokens])
    return found or _single_difference(expected, expression, document)


def _single_difference(expected: dict[str, Any], expression: Expression, document: Any) -> str | None:
    try:
        single = expression.single(document)
    except ExpressionFailed as error:
        return None if "singleError" in expected else f"as one value failed: {error}"
    if "singleError" in expected:
        return "as one value a result where an error is expected"
    wanted = expected["single"]
    return difference(None if wanted is None else parse_exact(wanted), _exact(single), "$.single")


def _exact(token: Any) -> Any:
    """Half a surrogate pair is U+FFFD once it is written, as the vectors are."""
    return parse_exact(json_text(token).encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
