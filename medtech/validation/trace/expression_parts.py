"""A JMESPath expression as the parts that it is made of, each of which is an expression by itself.

The tree of the language has no places in the text, and a part is shown as it was written. So the parts are cut from the
text, at its tokens: a chain after each of its steps, an operator and a pipe into their sides, a function and a list
into what they are given. What is on the right of a pipe is shown with all that comes before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from medtech.jmespath.syntax import Token, tokens

_LONGEST: Final = 2000
_MOST_PARTS: Final = 40
"""An expression with more characters or parts is shown as a whole."""

ROOT_PART: Final = -1
"""Stands for the number of a part where that is what the whole expression is evaluated on."""


class Origin(Enum):
    """Where the value of a part comes from."""

    SOURCE = auto()
    """It is that of `source`."""
    CHILD = auto()
    """It stands under `key` in that of `source`; of a projection, in each of its elements."""
    SELECTION = auto()
    """It is the elements of that of `source` which `text_of_step` selects, without looking at them."""
    LEFT_IF_TRUE = auto()
    """It is that of `source` if that is true, else that of `other`."""
    LEFT_IF_FALSE = auto()
    MADE = auto()
    """It is made by a function, a comparison, a filter and the like."""


@dataclass(frozen=True, slots=True)
class Part:
    """An expression that is a part of another; `source` and `other` are numbers of parts before it.

    `settled`: it sees a projection as an array, as what follows a pipe does.
    """

    expression: str
    origin: Origin
    source: int = ROOT_PART
    other: int = ROOT_PART
    key: str | int = ""
    text_of_step: str = ""
    settled: bool = False


def parts_of(text: str) -> list[Part]:
    """The parts of an expression that parses, from left to right; the last one is the whole."""
    if len(text) > _LONGEST:
        return [Part(text, Origin.MADE)]
    cutter = _Cutter(text)
    cutter.cut()
    if len(cutter.parts) > _MOST_PARTS or cutter.parts[-1].expression != text.strip():
        return [Part(text, Origin.MADE)]
    return cutter.parts


_OPENING: Final = frozenset({"lparen", "lbracket", "filter", "lbrace"})
_CLOSING: Final = frozenset({"rparen", "rbracket", "rbrace"})
_LOOSEST_FIRST: Final = ("pipe", "or", "and", "eq", "gt", "gte", "lt", "lte", "ne")
_NAMES: Final = frozenset({"unquoted_identifier", "quoted_identifier"})


class _Cutter:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: Sequence[Token] = tokens(text)
        self.parts: list[Part] = []

    def cut(self) -> None:
        self._cut(0, len(self._tokens), "", ROOT_PART)

    def _cut(self, start: int, end: int, context: str, current: int) -> int:
        """Adds the parts of the tokens from `start` until before `end`; returns the number of the whole.

        `context` is the text to put before them, up to a pipe; `current` the part that they are evaluated on.
        """
        operator = self._operator(start, end)
        if operator is not None:
            return self._cut_operator(start, operator, end, context, current)
        if self._tokens[start].kind == "not":
            self._cut(start + 1, end, context, current)
            return self._add(context + self._slice(start, end), Origin.MADE)
        return self._cut_chain(start, end, context, current)

    def _operator(self, start: int, end: int) -> int | None:
        """The operator that binds most loosely, of several the last one: they bind to the left."""
        found: int | None = None
        depth = 0
        for at in range(start, end):
            kind = self._tokens[at].kind
            depth += (kind in _OPENING) - (kind in _CLOSING)
            if depth == 0 and kind in _LOOSEST_FIRST:
                loosest = found is None or _looseness(kind) <= _looseness(self._tokens[found].kind)
                found = at if loosest else found
        return found

    def _cut_operator(self, start: int, operator: int, end: int, context: str, current: int) -> int:
        left = self._cut(start, operator, context, current)
        kind = self._tokens[operator].kind
        if kind == "pipe":
            before = self._text[self._tokens[start].start : self._tokens[operator + 1].start]
            return self._cut(operator + 1, end, context + before, left)
        right = self._cut(operator + 1, end, context, current)
        origin = {"or": Origin.LEFT_IF_TRUE, "and": Origin.LEFT_IF_FALSE}.get(kind, Origin.MADE)
        return self._add(context + self._slice(start, end), origin, source=left, other=right)

    def _cut_chain(self, start: int, end: int, context: str, current: int) -> int:
        found, at, settled = current, start, True
        while at < end:
            first = at == start
            if self._tokens[at].kind == "dot":
                at += 1
            after = self._after_step(at, end)
            text = context + self._slice(start, after)
            found = self._add_step(at, after, text, context, found, first=first, settled=settled)
            settled = False
            at = after
        return found

    def _add_step(
        self, at: int, after: int, text: str, context: str, source: int, *, first: bool, settled: bool
    ) -> int:
        token = self._tokens[at]
        kind = token.kind
        if kind == "lparen":
            inner = self._cut(at + 1, after - 1, context, source)
            return self._add(text, Origin.SOURCE, source=inner)
        if kind == "current":
            return self._add(text, Origin.SOURCE, source=source, settled=settled)
        if kind in _NAMES and after == at + 1:
            return self._add(text, Origin.CHILD, source=source, key=token.value, settled=settled)
        if kind == "lbracket" and self._tokens[at + 1].kind == "number" and after == at + 3:
            return self._add(text, Origin.CHILD, source=source, key=self._tokens[at + 1].value, settled=settled)
        if kind in ("star", "flatten") or (kind == "lbracket" and self._tokens[at + 1].kind in _SELECTING):
            step = self._slice(at, after)
            return self._add(text, Origin.SELECTION, source=source, text_of_step=step, settled=settled)
        if first and kind in ("unquoted_identifier", "lbracket", "lbrace"):
            # Further on in a chain, what is given is evaluated on each element, and has no text of its own.
            self._cut_given(at, after, context, source)
        return self._add(text, Origin.MADE)

    def _cut_given(self, at: int, after: int, context: str, current: int) -> None:
        """The arguments of a function, the elements of `[a, b]` or the members of `{a: b}`."""
        opening = at if self._tokens[at].kind in _OPENING else at + 1
        start = opening + 1
        depth = 0
        for place in range(start, after):
            kind = self._tokens[place].kind
            depth += (kind in _OPENING) - (kind in _CLOSING)
            if depth < 0 or (depth == 0 and kind == "comma"):
                if self._tokens[opening].kind == "lbrace":
                    start += 2
                if place > start and self._tokens[start].kind not in ("expref", "literal"):
                    self._cut(start, place, context, current)
                start = place + 1

    def _after_step(self, at: int, end: int) -> int:
        """The number of the token after the step that begins with this one."""
        if self._tokens[at].kind == "unquoted_identifier" and at + 1 < end and self._tokens[at + 1].kind == "lparen":
            at += 1
        depth = 0
        while True:
            kind = self._tokens[at].kind
            depth += (kind in _OPENING) - (kind in _CLOSING)
            at += 1
            if depth == 0:
                return at

    def _add(
        self,
        expression: str,
        origin: Origin,
        *,
        source: int = ROOT_PART,
        other: int = ROOT_PART,
        key: str | int = "",
        text_of_step: str = "",
        settled: bool = False,
    ) -> int:
        self.parts.append(Part(expression, origin, source, other, key, text_of_step, settled))
        return len(self.parts) - 1

    def _slice(self, start: int, end: int) -> str:
        return self._text[self._tokens[start].start : self._tokens[end - 1].end]


_SELECTING: Final = frozenset({"star", "number", "colon"})


def _looseness(kind: str) -> int:
    return _LOOSEST_FIRST.index(kind)
