"""JSONPath on a document: the tokens that it selects, in order, or that it is refused."""

from medtech.dotnet.json_body import parse_body
from medtech.dotnet.tokens import json_text
from medtech.jsonpath.errors import PathInvalid
from medtech.jsonpath.path import compile_path
from tests.conformance.compare import difference, parse_exact
from tests.conformance.vectors import Vector

NOT_COMPARED = frozenset({"error"})
JSON_TEXTS = frozenset({"tokens"})


def check(vector: Vector) -> str | None:
    expected = vector["expected"]
    try:
        tokens = compile_path(vector["expr"]).find(parse_body(vector["doc"].encode()))
    except PathInvalid as error:
        return None if "error" in expected else f"failed: {error}"
    if "error" in expected:
        return f"tokens where {expected['error']['chain'][-1]} is expected"
    wanted = [parse_exact(text) for text in expected["tokens"]]
    return difference(wanted, [parse_exact(json_text(token)) for token in tokens], "$.tokens")
