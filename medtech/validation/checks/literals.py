"""Literals of JMESPath that were not written as such.

A number stands in backquotes, a text in single quotes, and `true` without quotes is a property of that name.
"""

import re
from collections.abc import Iterator
from typing import Final

from medtech.errors import MappingIssue
from medtech.jmespath.errors import ExpressionInvalid
from medtech.jmespath.expression import compile_expression
from medtech.jmespath.functions import FUNCTIONS, INTEGER, NUMBER
from medtech.jmespath.syntax import Token, tokens
from medtech.mapping.content_template import Origin
from medtech.mapping.expression import MATCHED_TOKEN
from medtech.validation.finding import Finding, Fix, Name, warning
from medtech.validation.fixes import write_instead
from medtech.validation.mapping_pair import MappingPair
from medtech.validation.written_mapping import WrittenMapping

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_MOST_LITERALS: Final = 20
_WORDS: Final = ("true", "false", "null")
_COMPARATORS: Final = ("eq", "ne", "lt", "lte", "gt", "gte")


def quoted(expression: str) -> str | None:
    """An expression that does not parse, with its bare numbers in backquotes; None if that does not mend it."""
    for _ in range(_MOST_LITERALS):
        try:
            compile_expression(expression, MATCHED_TOKEN)
            return expression
        except ExpressionInvalid as error:
            number = _NUMBER.match(expression, error.position)
            if number is None:
                return None
            expression = f"{expression[: number.start()]}`{number[0]}`{expression[number.end() :]}"
    return None


def fix_of_issue(written: WrittenMapping, issue: MappingIssue) -> Fix | None:
    """The change that mends an expression in JMESPath which does not parse; None where there is none to name."""
    node = written.at(issue.pointer)
    if node is None or not isinstance(node.value, str) or written.language_at(issue.pointer) != "JmesPath":
        return None
    mended = quoted(node.value)
    return None if mended is None or mended == node.value else write_instead(written, node, mended)


def texts_for_numbers(pair: MappingPair) -> Iterator[Finding]:
    """A quoted number as an argument that has to be a number: the call always fails."""
    for origin in _expressions(pair):
        for token, function in _arguments(tokens(origin.expression)):
            text = token.value
            if token.kind not in ("literal", "quoted_identifier") or not isinstance(text, str):
                continue
            if _NUMBER.fullmatch(text) is None:
                continue
            mended = _in_backquotes(origin.expression, token)
            yield warning(
                Name.TEXT_FOR_NUMBER,
                f"{function}() takes a number, and {origin.expression[token.start : token.end]} "
                f"is {'a property' if token.kind == 'quoted_identifier' else 'a text'}. Write the number in "
                f"backquotes: {mended}",
                pair.place_of(origin),
                _fix(pair, origin, mended),
            )


def names_for_literals(pair: MappingPair) -> Iterator[Finding]:
    """`true`, `false` or `null` without backquotes beside a comparison: it is read as a property of that name."""
    for origin in _expressions(pair):
        found = tokens(origin.expression)
        for number, token in enumerate(found):
            before = found[number - 1].kind if number else ""
            after = found[number + 1].kind if number + 1 < len(found) else ""
            compared = before in _COMPARATORS or after in _COMPARATORS
            if token.kind != "unquoted_identifier" or token.value not in _WORDS or not compared:
                continue
            if before == "dot" or after in ("dot", "lbracket", "lparen"):
                continue
            mended = _in_backquotes(origin.expression, token)
            yield warning(
                Name.NAME_FOR_LITERAL,
                f"'{token.value}' without quotes is a property of that name. Write it in backquotes: {mended}",
                pair.place_of(origin),
                _fix(pair, origin, mended),
            )


def _expressions(pair: MappingPair) -> Iterator[Origin]:
    for template in pair.device or ():
        for origin in (template.type_match, *(field.origin for field in template.fields)):
            if origin.language == "JmesPath":
                yield origin


def _arguments(found: list[Token]) -> Iterator[tuple[Token, str]]:
    """Each token that alone is an argument which has to be a number, and its function."""
    calls: list[tuple[str, int]] = []
    for number, token in enumerate(found):
        before = found[number - 1] if number else None
        after = found[number + 1] if number + 1 < len(found) else None
        if token.kind in ("lparen", "lbracket", "lbrace", "filter", "flatten"):
            is_call = token.kind == "lparen" and before is not None and before.kind == "unquoted_identifier"
            if token.kind != "flatten":
                calls.append((before.value if is_call and before is not None else "", 0))
        elif token.kind in ("rparen", "rbracket", "rbrace") and calls:
            calls.pop()
        elif token.kind == "comma" and calls:
            calls[-1] = calls[-1][0], calls[-1][1] + 1
        elif calls and before is not None and after is not None:
            function = FUNCTIONS.get(calls[-1][0])
            alone = before.kind in ("lparen", "comma") and after.kind in ("rparen", "comma")
            if function is None or not alone:
                continue
            if function.parameters[min(calls[-1][1], len(function.parameters) - 1)] in (NUMBER, INTEGER):
                yield token, calls[-1][0]


def _in_backquotes(expression: str, token: Token) -> str:
    return f"{expression[: token.start]}`{token.value}`{expression[token.end :]}"


def _fix(pair: MappingPair, origin: Origin, mended: str) -> Fix | None:
    return write_instead(pair.written_device, pair.written_device.at(origin.pointer), mended)
