"""Tables of expressions: each gives what stands beside it, on the message above the table.

Such a table has the columns `JMESPath` or `JSONPath` and `gives`; the message is the last `json` block before it, in
its section. What an expression gives is the text of the value that a CalculatedContent template extracts by it from
the whole message, or `an error`.
"""

import json
from collections.abc import Iterator

import pytest

from tests.docs import examples, markdown
from tests.docs.markdown import Page, Table

LANGUAGES = {"JMESPath": "JmesPath", "JSONPath": "JsonPath"}
AN_ERROR = "an error"


def _tables() -> Iterator[tuple[Page, Table]]:
    for page in markdown.pages():
        for table in page.tables:
            if table.head[0] in LANGUAGES and table.head[1:] == ("gives",):
                yield page, table


def _message(page: Page, table: Table) -> str:
    *_, block = (each for each in page.blocks if each.section == table.section and each.line < table.line)
    assert block.language == "json"
    return block.text


def _code(cell: str) -> str:
    """What stands in a code span of any number of backquotes; a blank at both ends is the span's."""
    ticks = len(cell) - len(cell.lstrip("`"))
    return cell[ticks:-ticks].strip() if ticks else cell


def _given(language: str, expression: str, message: str) -> str:
    template = {
        "typeName": "row",
        "typeMatchExpression": "$.Body",
        "deviceIdExpression": {"value": "'device'", "language": "JmesPath"},
        "timestampExpression": {"value": "'2026-01-01T00:00:00Z'", "language": "JmesPath"},
        "values": [{"valueName": "given", "valueExpression": {"value": expression, "language": language}}],
    }
    collection = {
        "templateType": "CollectionContent",
        "template": [{"templateType": "CalculatedContent", "template": template}],
    }
    answer = examples.validated({"deviceMapping": collection, "deviceMessages": [{"Body": json.loads(message)}]})
    assert answer["templateResult"]["findings"] == []
    (result,) = answer["deviceResults"]
    if result["findings"]:
        return AN_ERROR
    (measurement,) = result["measurements"]
    return str(measurement["properties"][0]["value"])


ROWS = [
    (LANGUAGES[table.head[0]], _code(expression), _message(page, table), _code(given))
    for page, table in _tables()
    for expression, given in table.rows
]


@pytest.mark.parametrize(("language", "expression", "message", "given"), ROWS)
def test_an_expression_gives_what_the_page_says(language: str, expression: str, message: str, given: str) -> None:
    assert _given(language, expression, message) == given


@pytest.mark.parametrize(
    "function",
    [
        "add",
        "subtract",
        "multiply",
        "divide",
        "pow",
        "insertString",
        "fromUnixTimestamp",
        "fromUnixTimestampMs",
    ],
)
def test_every_function_of_the_service_is_shown(function: str) -> None:
    assert any(f"{function}(" in expression for _, expression, _, _ in ROWS)
