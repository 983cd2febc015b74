"""The syntax of Json.NET's JSONPath: text to tree, and tree to text.

The dialect is whatever Json.NET's hand-written parser takes, so this parser is hand-written too: which odd texts are
paths and which are refused follows from how that one goes through them, character by character, and no grammar would
say it more briefly. Where it is lenient (`(0)` for `[0]`, any character as the opening quote of a name after a comma,
a slice with more than two colons, two comparisons with nothing between them, of which the second counts) this one is
lenient too: a mapping that worked in the service has to keep working.

    path       = ["$"] *step
    step       = ".name" / "['name']" / "['a','b']" / ".*" / "[*]" / "[0]" / "[0,2]" / "[1:5:2]" / "[?(condition)]"
                 and the same after "..", which looks at every depth
    condition  = side [operator side] *(("&&" / "||") condition)       both bind to the right: a && (b || c)
    side       = "@" *step / "$" *step / 'text' / 1 / 1.5 / true / false / null / /regex/ims
    operator   = == != <> === !== < <= > >= =~
"""

import re
from dataclasses import dataclass, field, replace

from medtech.dotnet.numbers import parse_double, parse_int64
from medtech.dotnet.text import ESCAPES
from medtech.dotnet.tokens import Text
from medtech.jsonpath.errors import PathInvalid
from medtech.jsonpath.patterns import Pattern, PatternInvalid, compile_pattern

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@dataclass(frozen=True, slots=True)
class Name:
    """The property of an object, or with `deep` of every object below too."""

    name: str
    deep: bool

    def __str__(self) -> str:
        if _PLAIN_NAME.fullmatch(self.name):
            return f"{'..' if self.deep else '.'}{self.name}"
        return f"{'..' if self.deep else ''}[{_quoted(self.name)}]"


@dataclass(frozen=True, slots=True)
class Names:
    """Several properties: of one object in the order of `names`, with `deep` in the order of the document."""

    names: tuple[str, ...]
    deep: bool

    def __str__(self) -> str:
        return f"{'..' if self.deep else ''}[{','.join(map(_quoted, self.names))}]"


@dataclass(frozen=True, slots=True)
class AnyName:
    """`.*`: every value of an object; `..*`: the token itself and everything below it."""

    deep: bool

    def __str__(self) -> str:
        return "..*" if self.deep else ".*"


@dataclass(frozen=True, slots=True)
class Index:
    """An element of an array; a negative index counts from the end."""

    index: int

    def __str__(self) -> str:
        return f"[{self.index}]"


@dataclass(frozen=True, slots=True)
class Indexes:
    indexes: tuple[int, ...]

    def __str__(self) -> str:
        return f"[{','.join(map(str, self.indexes))}]"


@dataclass(frozen=True, slots=True)
class AnyIndex:
    """`[*]`: every element of an array."""

    def __str__(self) -> str:
        return "[*]"


@dataclass(frozen=True, slots=True)
class Slice:
    start: int | None
    end: int | None
    step: int | None

    def __str__(self) -> str:
        start, end, step = ("" if number is None else str(number) for number in (self.start, self.end, self.step))
        return f"[{start}:{end}:{step}]" if step else f"[{start}:{end}]"


@dataclass(frozen=True, slots=True)
class Filter:
    """The children that meet a condition, or with `deep` the token itself and everything below it that does."""

    condition: "Condition"
    deep: bool

    def __str__(self) -> str:
        return f"{'..' if self.deep else ''}[?({self.condition})]"


Step = Name | Names | AnyName | Index | Indexes | AnyIndex | Slice | Filter


@dataclass(frozen=True, slots=True)
class Query:
    """A path inside a condition, from the candidate (`@`) or from the root (`$`)."""

    from_root: bool
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return ("$" if self.from_root else "@") + "".join(map(str, self.steps))


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant inside a condition. A string is a Text: it never becomes a date.

    `text` is how it is written; a regular expression is its text, slashes and options included, and on the right of
    `=~` has its compiled `pattern` too.
    """

    value: Text | int | float | bool | None
    text: str
    pattern: Pattern | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Exists:
    side: Query | Literal

    def __str__(self) -> str:
        return str(self.side)


@dataclass(frozen=True, slots=True)
class Comparison:
    operator: str
    left: Query | Literal
    right: Query | Literal

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right}"


@dataclass(frozen=True, slots=True)
class Combination:
    """Conditions joined by one operator (`&&` or `||`); only the last may be a Combination itself."""

    operator: str
    conditions: "tuple[Condition, ...]"

    def __str__(self) -> str:
        return f" {self.operator} ".join(map(str, self.conditions))


Condition = Exists | Comparison | Combination

_ENDS_QUERY = frozenset("=<!>|&")
_OPERATORS = ("===", "==", "=~", "!==", "!=", "<>", "<=", "<", ">=", ">")
_INT32 = range(-(2**31), 2**31)


def parse_path(text: str) -> tuple[Step, ...]:
    """The steps of a path from the root; raises PathInvalid."""
    return _Parser(text).path()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def path(self) -> tuple[Step, ...]:
        text = self._text
        start = 0
        self._skip_blanks()
        if self._at == len(text) or text == "$":
            return ()
        if text[self._at] == "$" and text[self._at + 1 : self._at + 2] in (".", "["):
            # `$Body` is a property of that name; a blank before a name belongs to the name.
            self._at += 1
            start = self._at
        elif text[self._at :] == "$":
            raise self._invalid("the path ends after $: remove the blank before it")
        steps = self._steps(start, in_query=False)
        self._skip_blanks()
        if self._at < len(text):
            raise self._invalid(f"{self._seen()} is not expected here")
        return steps

    def _steps(self, start: int, *, in_query: bool) -> tuple[Step, ...]:
        """Steps up to a closing bracket, a blank or (in a condition) an operator; the first name begins at `start`."""
        text = self._text
        steps: list[Step] = []
        deep = after_index = after_dot = False
        while self._at < len(text):
            character = text[self._at]
            if character == "[" or character == "(":
                if self._at > start:
                    steps.append(_named(text[start : self._at], deep=deep))
                    deep = False
                steps.append(self._bracket("]" if character == "[" else ")", deep=deep))
                deep = after_dot = False
                start = self._at
                after_index = True
            elif character in "]) ":
                break
            elif character == ".":
                if self._at > start:
                    steps.append(_named(text[start : self._at], deep=deep))
                    deep = False
                if text.startswith("..", self._at):
                    deep = True
                    self._at += 1
                self._at += 1
                start = self._at
                after_index, after_dot = False, True
            elif in_query and character in _ENDS_QUERY:
                break
            elif after_index:
                raise self._invalid(f"{self._seen()} cannot follow a bracket: a dot is missing")
            else:
                self._at += 1
        if self._at > start:
            steps.append(_named(text[start : self._at].rstrip(), deep=deep))
        elif after_dot and (in_query or self._at == len(text)):
            raise self._invalid("a name is missing after the dot")
        return tuple(steps)

    def _bracket(self, closing: str, *, deep: bool) -> Step:
        self._at += 1
        self._skip_blanks()
        character = self._peek("the bracket is not closed")
        if character == "'":
            step: Step = self._quoted_names(closing, deep=deep)
        elif character == "?":
            step = self._filter(closing, deep=deep)
        else:
            step = self._indexes(closing)
        self._at += 1
        return step

    def _quoted_names(self, closing: str, *, deep: bool) -> Step:
        names: list[str] = []
        while True:
            # The service does not look at what opens a name after a comma, and neither does this.
            names.append(self._string())
            self._skip_blanks()
            character = self._peek("the bracket is not closed")
            if character == closing:
                return Name(names[0], deep) if len(names) == 1 else Names(tuple(names), deep)
            if character != ",":
                raise self._invalid(f"{self._seen()} is not expected between names")
            self._at += 1
            self._skip_blanks()
            self._peek("the bracket is not closed")

    def _indexes(self, closing: str) -> Step:
        text = self._text
        start = self._at
        end: int | None = None
        indexes: list[int] = []
        bounds: list[int | None] = []
        while self._at < len(text):
            character = text[self._at]
            if character == " ":
                end = self._at
                self._skip_blanks()
            elif character == closing or character == "," or character == ":":
                written = text[start : self._at if end is None else end]
                number = self._int32(written, start) if written else None
                if character == ":":
                    bounds.append(number)
                elif character == closing:
                    return self._index_step(indexes, bounds, number)
                elif number is not None:
                    indexes.append(number)
                else:
                    raise self._invalid("an index is missing")
                self._at += 1
                self._skip_blanks()
                start, end = self._at, None
            elif character == "*":
                self._at += 1
                self._skip_blanks()
                if self._peek("the bracket is not closed") != closing:
                    raise self._invalid(f"{self._seen()} cannot follow *")
                return AnyIndex()
            elif end is None and (character.isdecimal() or character == "-"):
                self._at += 1
            else:
                raise self._invalid(f"{self._seen()} is not expected in an index (names are in single quotes)")
        raise self._invalid("the bracket is not closed")

    def _index_step(self, indexes: list[int], bounds: list[int | None], last: int | None) -> Step:
        if indexes or not bounds:
            if last is None:
                raise self._invalid("an index is missing")
            return Indexes((*indexes, last)) if indexes else Index(last)
        if len(bounds) == 1:
            return Slice(bounds[0], last, None)
        # Each number after the second colon replaces the step.
        step = next((number for number in (last, *reversed(bounds[2:])) if number is not None), None)
        if step == 0:
            raise self._invalid("the step of a slice cannot be 0")
        return Slice(bounds[0], bounds[1], step)

    def _filter(self, closing: str, *, deep: bool) -> Filter:
        self._at += 1
        if self._peek("the bracket is not closed") != "(":
            raise self._invalid("( is missing after ?")
        self._at += 1
        self._enter()
        condition = self._condition()
        self._depth -= 1
        self._at += 1
        self._peek("the bracket is not closed")
        self._skip_blanks()
        if self._peek("the bracket is not closed") != closing:
            raise self._invalid(f"{self._seen()} is not expected after a condition")
        return Filter(condition, deep)

    def _condition(self) -> Condition:
        """Up to the closing parenthesis. A change between && and || opens a group that reaches to the end."""
        groups: list[tuple[str, list[Condition]]] = []
        while True:
            condition = self._comparison()
            character = self._peek("the condition is not closed")
            if character == ")":
                break
            if character != "&" and character != "|":
                continue  # the service forgets a comparison that nothing joins to the next
            operator = character * 2
            if not self._text.startswith(operator, self._at):
                raise self._invalid(f"{character} is not an operator: write {operator}")
            self._at += 2
            self._peek("the condition is not closed")
            if not groups or groups[-1][0] != operator:
                self._enter()
                groups.append((operator, []))
            groups[-1][1].append(condition)
        self._depth -= len(groups)
        for operator, members in reversed(groups):
            condition = Combination(operator, (*members, condition))
        return condition

    def _comparison(self) -> Condition:
        left = self._side()
        if self._text[self._at] in ")|&":
            return Exists(left)
        operator = next((symbol for symbol in _OPERATORS if self._text.startswith(symbol, self._at)), None)
        if operator is None:
            raise self._invalid(f"{self._seen()} is not a comparison")
        self._at += len(operator)
        self._skip_blanks()
        start = self._at
        right = self._side()
        if operator == "=~" and isinstance(right, Literal) and isinstance(right.value, str):
            right = replace(right, pattern=self._pattern(right, start))
        return Comparison("!=" if operator == "<>" else operator, left, right)

    def _side(self) -> Query | Literal:
        self._skip_blanks()
        character = self._peek("the condition is not closed")
        side: Query | Literal
        if character == "$" or character == "@":
            self._at += 1
            side = Query(character == "$", self._steps(self._at, in_query=True))
        else:
            side = self._literal(character)
        self._skip_blanks()
        self._peek("the condition is not closed")
        return side

    def _literal(self, character: str) -> Literal:
        text = self._text
        if character == "'":
            value = Text(self._string())
            return Literal(value, _quoted(value))
        if character == "/":
            return self._regular_expression()
        if character.isdecimal() or character == "-":
            return self._number()
        for word, constant in _CONSTANTS.items():
            if text.startswith(word, self._at):
                self._at += len(word)
                return Literal(constant, word)
        raise self._invalid(f"{self._seen()} is not expected in a condition: write @, $, a constant or 'text'")

    def _number(self) -> Literal:
        # Only a blank or a parenthesis ends a number: `1&&` is not one, nor is it in the service.
        start = self._at
        while self._at < len(self._text) and self._text[self._at] not in " )":
            self._at += 1
        self._peek("the condition is not closed")
        written = self._text[start : self._at]
        value = parse_double(written) if any(mark in written for mark in ".eE") else parse_int64(written)
        if value is None:
            self._at = start
            raise self._invalid("a number is malformed, too long, or lacks a blank after it")
        return Literal(value, written)

    def _regular_expression(self) -> Literal:
        text, start = self._text, self._at
        self._at += 1
        while self._at < len(text) and text[self._at] != "/":
            self._at += 2 if text[self._at] == "\\" else 1
        if self._at >= len(text):
            raise self._invalid("the regular expression is not closed")
        self._at += 1
        while self._at < len(text) and text[self._at].isalpha():
            self._at += 1
        written = text[start : self._at]
        return Literal(Text(written), written)

    def _pattern(self, literal: Literal, start: int) -> Pattern:
        try:
            return compile_pattern(str(literal.value))
        except PatternInvalid as error:
            # In quotes there may be escapes, and then the places of the pattern are not those of the path.
            self._at = start if literal.text[0] == "'" else start + error.position
            raise self._invalid(error.message) from None

    def _string(self) -> str:
        """The text from an opening quote to the closing one, which is passed; with backslash escapes."""
        text = self._text
        start = self._at
        self._at += 1
        pieces: list[str] = []
        while self._at < len(text):
            character = text[self._at]
            if character == "'":
                self._at += 1
                return "".join(pieces)
            if character == "\\" and self._at + 1 < len(text):
                self._at += 1
                resolved = ESCAPES.get(text[self._at])
                if resolved is None:
                    raise self._invalid("an unknown escape follows the backslash")
                character = resolved
            pieces.append(character)
            self._at += 1
        self._at = start
        raise self._invalid("the quote is not closed")

    def _int32(self, written: str, start: int) -> int:
        number = parse_int64(written)
        if number is None or number not in _INT32:
            self._at = start
            raise self._invalid("an index is not an integer of 32 bits")
        return number

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > _MAX_NESTING:
            raise self._invalid(f"conditions are nested more than {_MAX_NESTING} deep")

    def _skip_blanks(self) -> None:
        while self._text.startswith(" ", self._at):
            self._at += 1

    def _peek(self, otherwise: str) -> str:
        """The character here; raises PathInvalid, which says `otherwise`, at the end of the text."""
        if self._at >= len(self._text):
            raise self._invalid(otherwise)
        return self._text[self._at]

    def _seen(self) -> str:
        return repr(self._text[self._at]) if self._at < len(self._text) else "the end"

    def _invalid(self, message: str) -> PathInvalid:
        return PathInvalid(message, min(self._at, len(self._text)))


_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_MAX_NESTING = 50


def _named(name: str, *, deep: bool) -> Step:
    return AnyName(deep) if name == "*" else Name(name, deep)


def steps_text(steps: tuple[Step, ...]) -> str:
    """The text of a path with these steps."""
    return "$" + "".join(map(str, steps))
