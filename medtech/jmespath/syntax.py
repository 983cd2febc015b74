"""The grammar of JMESPath as the service reads it: the jmespath package's parser, held to JmesPath.Net's rules.

The package accepts what its own specification leaves out (arguments without commas, literals that are no JSON,
`&` anywhere) and binds `!` closer than a dot; the service refuses the first and binds the other way. What is accepted
here and there is the same, so a mapping that loads means the same in both.
"""

from json import JSONDecoder
from typing import Any

from jmespath import ast
from jmespath.exceptions import LexerError, ParseError
from jmespath.lexer import Lexer
from jmespath.parser import Parser

from medtech.dotnet.json_reader import Reader
from medtech.dotnet.tokens import Text
from medtech.jmespath.errors import ExpressionInvalid

Syntax = dict[str, Any]
"""A node of the package's syntax tree: `type`, `children` and, for some types, `value`; functions have a `start`."""

MAX_NESTING = 100
"""Evaluation nests as deep as the expression; without a limit a mapping could exhaust Python's stack on a message."""

_LONGEST_INTEGER = 10
"""Digits of an index or slice bound: .NET holds them in 32 bits."""


def parse(text: str) -> Syntax:
    """The syntax tree of an expression; raises ExpressionInvalid, and RecursionError where it is nested without end."""
    if not text.strip():
        raise ExpressionInvalid("the expression is blank", 0)
    try:
        tree: Syntax = _Parser().syntax_tree(text)
    except LexerError as error:
        raise ExpressionInvalid(f"cannot be read: {error.message}", error.lex_position) from None
    except ParseError as error:
        found = (
            f"'{error.token_value}' is not expected here"
            if error.token_value not in (None, "")
            else "the expression ends too early"
        )
        raise ExpressionInvalid(found, error.lex_position) from None
    _check_nesting(tree)
    return tree


def _check_nesting(tree: Syntax) -> None:
    open_nodes = [(tree, 0)]
    while open_nodes:
        node, depth = open_nodes.pop()
        if depth > MAX_NESTING:
            raise nested_too_deep()
        # Every step of `a.b(@).c(@)` is one level of calls, though the tree has them side by side.
        depth += len(node["children"]) - 1 if node["type"] == "subexpression" else 1
        open_nodes += [(child, depth) for child in node["children"] if isinstance(child, dict)]


def nested_too_deep() -> ExpressionInvalid:
    return ExpressionInvalid(f"the expression is nested more than {MAX_NESTING} deep", 0)


class _Lexer(Lexer):  # type: ignore[misc]
    WHITESPACE = frozenset(" \t\n\r\b\f")

    def _consume_number(self) -> str:
        start = self._position
        digits: str = super()._consume_number()
        if len(digits.lstrip("-0")) > _LONGEST_INTEGER:
            raise LexerError(start, digits[:_LONGEST_INTEGER], "a number past 32 bits")
        return digits

    def _consume_raw_string_literal(self) -> dict[str, Any]:
        token: dict[str, Any] = super()._consume_raw_string_literal()
        # 'raw' is a string and never becomes a date; a string inside `…` is JSON and may.
        token["value"] = Text(token["value"])
        return token

    def _consume_literal(self) -> dict[str, Any]:
        start = self._position
        text = self._consume_until("`").replace("\\`", "`")
        # A literal is held to JSON as it is written, and then read as the message is.
        try:
            _STRICT_JSON.decode(text)
            value = Reader(text).read()
        except ValueError as error:
            raise LexerError(start, "`", f"a literal that is no JSON ({error})") from None
        return {"type": "literal", "value": value, "start": start, "end": self._position}


def _refuse_name(name: str) -> None:
    raise ValueError(f"{name} is no number")


_STRICT_JSON = JSONDecoder(parse_int=len, parse_float=len, parse_constant=_refuse_name)
"""Only asked whether it can read a text: no number is made of any length of digits."""


class _Parser(Parser):  # type: ignore[misc]
    # The comparators are a level each, `==` the loosest; `!` takes what a dot or bracket follows.
    BINDING_POWER = {  # noqa: RUF012
        **Parser.BINDING_POWER,
        "eq": 5,
        "gt": 5.1,
        "gte": 5.2,
        "lt": 5.3,
        "lte": 5.4,
        "ne": 5.5,
        "not": 8,
    }

    def syntax_tree(self, text: str) -> Syntax:
        self._tokens = list(_Lexer().tokenize(text))
        self._index = 0
        tree: Syntax = self._expression()
        if self._current_token() != "eof":
            self._refuse(self._lookahead_token(0))
        return tree

    def _refuse(self, token: dict[str, Any]) -> None:
        raise ParseError(token["start"], token["value"], token["type"])

    def _token_nud_expref(self, token: dict[str, Any]) -> None:
        """`&` stands before an argument of a function, nowhere else."""
        self._refuse(token)

    def _token_led_lparen(self, left: Syntax) -> Syntax:
        name = self._lookahead_token(-2)
        if name["type"] != "unquoted_identifier":
            self._refuse(self._lookahead_token(-1))
        arguments = []
        if self._current_token() != "rparen":
            arguments.append(self._argument())
            while self._current_token() == "comma":
                self._advance()
                arguments.append(self._argument())
        self._match("rparen")
        return {**ast.function_expression(left["value"], arguments), "start": name["start"]}

    def _argument(self) -> Syntax:
        if self._current_token() != "expref":
            argument: Syntax = self._expression()
            return argument
        start = self._lookahead_token(0)["start"]
        self._advance()
        return {**ast.expref(self._expression()), "start": start}

    def _token_led_lbracket(self, left: Syntax) -> Syntax:
        if self._current_token() in ("number", "colon"):
            # The package joins brackets that follow an index into one node, and a slice there projects nothing.
            indexed: Syntax = self._project_if_slice(left, self._parse_index_expression())
            return indexed
        projected: Syntax = super()._token_led_lbracket(left)
        return projected

    def _parse_slice_expression(self) -> Syntax:
        bounds: list[int | None] = [None, None, None]
        place = 0
        while self._current_token() != "rbracket":
            token = self._lookahead_token(0)
            if token["type"] == "colon" and place < 2:
                place += 1
            elif token["type"] == "number" and self._lookahead(-1) != "number":
                bounds[place] = token["value"]
            else:
                self._refuse(token)
            self._advance()
        if bounds[2] == 0:
            self._refuse(self._lookahead_token(-1))
        self._match("rbracket")
        return ast.slice(*bounds)  # type: ignore[no-any-return]

    def _parse_multi_select_hash(self) -> Syntax:
        members: dict[str, Syntax] = {}
        while True:
            name = self._lookahead_token(0)
            self._match_multiple_tokens(["quoted_identifier", "unquoted_identifier"])
            if name["value"] in members:
                self._refuse(name)
            self._match("colon")
            members[name["value"]] = ast.key_val_pair(name["value"], self._expression())
            if self._current_token() != "comma":
                break
            self._advance()
        self._match("rbrace")
        return ast.multi_select_dict(list(members.values()))  # type: ignore[no-any-return]
