"""The grammar of JMESPath as the service reads it: the jmespath package's parser, held to JmesPath.Net's rules.

The package accepts more than the specification allows (arguments without commas, literals that are not JSON, `&`
anywhere) and binds `!` more tightly than a dot. The service refuses the former and binds `!` more loosely, and so does
this parser: an expression that both accept means the same in both.
"""

from json import JSONDecoder
from typing import Any, NamedTuple

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
"""Evaluation nests as deeply as the expression; without a limit, a message could exhaust Python's stack."""

_INT32 = range(-(2**31), 2**31)
"""What an index or a slice bound can be in .NET."""
_LONGEST_INT32 = 10
"""Digits; longer numbers are not even converted."""


class Token(NamedTuple):
    """`kind` is the package's name for it; in the text it reaches from `start` until before `end`."""

    kind: str
    value: Any
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """The tokens of an expression that parses, without the end; raises ExpressionInvalid for one that does not."""
    parse(text)
    found = list(_Lexer().tokenize(text))
    # The package gives a quoted token its length as its end. Between tokens there are only blanks.
    ends = [len(text[: following["start"]].rstrip()) for following in found[1:]]
    return [Token(each["type"], each["value"], each["start"], end) for each, end in zip(found, ends, strict=False)]


def parse(text: str) -> Syntax:
    """The syntax tree of an expression; raises ExpressionInvalid, or RecursionError for nesting beyond all measure."""
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
        # Each step of `a.b(@).c(@)` is one level of calls, although the tree has the steps side by side.
        depth += len(node["children"]) - 1 if node["type"] == "subexpression" else 1
        open_nodes += [(child, depth) for child in node["children"] if isinstance(child, dict)]


def nested_too_deep() -> ExpressionInvalid:
    return ExpressionInvalid(f"the expression is nested more than {MAX_NESTING} deep", 0)


class _Lexer(Lexer):  # type: ignore[misc]
    WHITESPACE = frozenset(" \t\n\r\b\f")

    def _consume_number(self) -> str:
        start = self._position
        digits: str = super()._consume_number()
        significant = digits.lstrip("-0")
        if not significant:
            return digits[:2]  # zero, or the minus alone that the caller refuses
        # Without the zeros in front: Python converts at most 4,300 digits.
        number = digits[: digits.startswith("-")] + significant
        if len(significant) > _LONGEST_INT32 or int(number) not in _INT32:
            raise LexerError(start, digits[:_LONGEST_INT32], "a number past 32 bits")
        return number

    def _consume_raw_string_literal(self) -> dict[str, Any]:
        token: dict[str, Any] = super()._consume_raw_string_literal()
        # A raw string never becomes a date; a string inside `…` is JSON and may.
        token["value"] = Text(token["value"])
        return token

    def _consume_literal(self) -> dict[str, Any]:
        start = self._position
        text = self._consume_until("`").replace("\\`", "`")
        # A literal must be strict JSON; it is then read as a message is.
        try:
            _STRICT_JSON.decode(text)
            value = Reader(text).read()
        except ValueError as error:
            raise LexerError(start, "`", f"a literal that is not JSON ({error})") from None
        return {"type": "literal", "value": value, "start": start, "end": self._position}


def _refuse_name(name: str) -> None:
    raise ValueError(f"{name} is not a number")


_STRICT_JSON = JSONDecoder(parse_int=len, parse_float=len, parse_constant=_refuse_name)
"""Decides only whether a text is JSON: it converts no digits, however many there are."""


class _Parser(Parser):  # type: ignore[misc]
    # Each comparator has a level of its own, `==` the loosest; `!` applies to a whole chain of dots and brackets.
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
        """Refused: `&` may stand only before an argument of a function."""
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
            # The package would join this bracket to an index before it, and a slice there would not project.
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
