"""JSON as Json.NET's text reader takes it, which is more than JSON: single quotes, comments, names without quotes, NaN,
Infinity, undefined, octal and hexadecimal integers, a comma before a closing bracket, empty array elements.

There is one reader for two uses. A message body that strict JSON refuses becomes plain Python values; the text of a
mapping becomes Nodes that know their place, so that an error can point at its line. The reader keeps its own stack: a
deep document does not make Python's stack deep.
"""

import math
import re
from bisect import bisect_right
from decimal import Decimal, InvalidOperation
from typing import Any

from medtech.dotnet.numbers import INT64_MAX
from medtech.dotnet.text import BLANKS, ESCAPES, well_formed

MAX_DEPTH = 512
"""Deeper documents are refused; the service reads any depth.

Python has 1,000 frames by default, so a walk may use one frame a level, but not two, and only where little else is on
the stack. What may be called from deep inside uses a loop.
"""

MAX_INTEGER_LENGTH = 380
"""Digits of an integer; Json.NET refuses longer ones."""


class LocatedSyntaxError(ValueError):
    """A text that the service's reader refuses. `line` counts from 1, `position` as Json.NET does."""

    def __init__(self, message: str, line: int, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.position = position


Path = tuple[()] | tuple["Path", str | int]
"""The path of the container, and the name or number in it. Shared by all that the container holds: at 500 levels, a
pointer written out for each value would take hundreds of times the text."""


class Node:
    """A JSON value with its place.

    `line` counts from 1; `position` is how many characters of the line have been read when the value is known, as
    Json.NET's IJsonLineInfo counts: up to and with the opening bracket of an object or array, the last character of
    anything else. `name_line` and `name_position` are the place after the colon of the property that holds the value,
    -1 if no property does. `path` is its place from the outermost value, for which it is empty. `replaced` is the value
    of the same name that stood before this one in its object, and may have replaced one itself.
    """

    __slots__ = ("line", "name_line", "name_position", "path", "position", "replaced", "value")

    def __init__(
        self,
        value: "dict[str, Node] | list[Node] | str | int | Decimal | float | bool | None",
        line: int,
        position: int,
        path: "Path",
        name_line: int = -1,
        name_position: int = -1,
    ) -> None:
        self.value = value
        self.line = line
        self.position = position
        self.path = path
        self.name_line = name_line
        self.name_position = name_position
        self.replaced: Node | None = None

    @property
    def pointer(self) -> str:
        """The JSON pointer (RFC 6901) of its path."""
        keys: list[str] = []
        path = self.path
        while path:
            path, key = path
            keys.append(key.replace("~", "~0").replace("/", "~1") if isinstance(key, str) else str(key))
        return "/".join(("", *reversed(keys)))


_BLANK = f"{BLANKS}\0"  # Json.NET skips NUL like a blank
_BLANKS = re.compile(rf"[{_BLANK}]*")
_COMMENT = re.compile(r"/(?:/[^\r\n]*|\*.*?\*/)", re.DOTALL)
_STRING = {
    '"': re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL),
    "'": re.compile(r"'([^'\\]*+(?:\\.[^'\\]*+)*+)'", re.DOTALL),
}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_NAME = re.compile(r"[\w$]++")
_NUMBER = re.compile(rf"[-+a-fA-FxX.0-9]++(?=[{_BLANK},}}\])/]|\Z)")
_WORD = re.compile(rf"(?:true|false|null|undefined|NaN|Infinity|-Infinity)(?=[{_BLANK},}}\]]|/[/*]|\Z)")
_WORDS = {
    "true": True,
    "false": False,
    "null": None,
    "undefined": None,
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
}
_INTEGER = re.compile(r"-?[0-9]+")
# Possessive: giving digits back cannot help, and trying would take quadratic time.
_FRACTION = re.compile(r"-?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]{1,16}")
_OCTAL = re.compile(r"0[0-7]+")
_LINE_END = re.compile(r"\r\n|\r|\n")


class Reader:
    """Reads the JSON values of a text, one at each `read`.

    With `located` they are Nodes, with fractions as exact Decimals; otherwise plain values, with fractions as floats.
    """

    def __init__(self, text: str, *, located: bool = False) -> None:
        self._text = text
        self._at = 0
        self._located = located
        self._line_starts: list[int] = []
        self.repeated: list[Node] = []
        """Of those with places: values whose name is there before in the same object. The last one stays."""

    def read(self) -> Any:
        """The value at the current place; raises LocatedSyntaxError."""
        root: Any = None
        containers: list[Any] = []
        paths: list[Path] = []
        name, name_at = "", -1
        self._skip()
        while True:
            value = self._opening_or_scalar(inside=bool(containers))
            held = value
            if self._located:
                held = Node(value, *self._place(self._at), _path(containers, paths, name), *self._place(name_at))
            if not containers:
                root = held
            elif type(containers[-1]) is dict:
                if self._located and name in containers[-1]:
                    held.replaced = containers[-1][name]
                    self.repeated.append(held)
                containers[-1][name] = held
            else:
                containers[-1].append(held)
            opened = type(value) is dict or type(value) is list
            if opened:
                if len(containers) == MAX_DEPTH:
                    raise self.error(f"it is nested more than {MAX_DEPTH} deep")
                containers.append(value)
                if self._located:
                    paths.append(held.path)
            if not self._go_to_next_value(containers, paths, opened):
                return root
            if type(containers[-1]) is dict:
                name = self._name()
                name_at = self._at
                self._skip()
            else:
                name_at = -1

    def at_end(self) -> bool:
        """Whether nothing but blanks and comments is left."""
        self._skip()
        return self._at == len(self._text)

    def _go_to_next_value(self, containers: list[Any], paths: list[Path], fresh: bool) -> bool:
        """Goes past brackets and commas to the next value (or name); returns False when the outermost one is closed.

        After a comma a container is as `fresh` as after its opening bracket: it may be closed right away.
        """
        while containers:
            self._skip()
            is_object = type(containers[-1]) is dict
            character = self._text[self._at : self._at + 1]
            if character == ("}" if is_object else "]"):
                self._at += 1
                containers.pop()
                if self._located:
                    paths.pop()
                fresh = False
            elif fresh:
                return True
            elif character == ",":
                self._at += 1
                fresh = True
            else:
                raise self.error(f"a comma or {'}' if is_object else ']'} is missing")
        return False

    def _opening_or_scalar(self, *, inside: bool) -> Any:
        text, at = self._text, self._at
        character = text[at : at + 1]
        if character == "{" or character == "[":
            self._at += 1
            return {} if character == "{" else []
        if character == '"' or character == "'":
            return self._string(character)
        if character == "," and inside:
            return None  # an empty element, which the service reads as undefined; the comma is read next
        word = _WORD.match(text, at)
        if word is not None:
            self._at = word.end()
            return _WORDS[word[0]]
        number = _NUMBER.match(text, at)
        if number is None or character in "+abcdefABCDEFxX":
            raise self.error("a value is missing")
        value = self._number(number[0])
        self._at = number.end()
        return value

    def _number(self, text: str) -> int | float | Decimal:
        if len(text) > 1 and text[0] == "0" and text[1] not in ".eE":
            if _HEXADECIMAL.fullmatch(text) or _OCTAL.fullmatch(text):
                number = int(text, 16 if text[1] in "xX" else 8)
                if number < 2**64:
                    return number if number <= INT64_MAX else number - 2**64
        elif _INTEGER.fullmatch(text):
            if len(text) <= MAX_INTEGER_LENGTH:
                return int(text)
        elif _FRACTION.fullmatch(text):
            if not self._located:
                return float(text)
            try:
                return Decimal(text)
            except InvalidOperation:
                return float(text)
        raise self.error("a number is malformed or too long")

    def _string(self, quote: str) -> str:
        found = _STRING[quote].match(self._text, self._at)
        if found is None:
            raise self.error("a string is not closed")
        content = found[1]
        if "\\" in content:
            # Two escapes may make one character; half of one alone becomes the replacement character.
            content = well_formed(_ESCAPE.sub(self._unescaped, content))
        self._at = found.end()
        return content

    def _unescaped(self, found: re.Match[str]) -> str:
        if found[1] is not None:
            return chr(int(found[1], 16))
        character = ESCAPES.get(found[2])
        if character is None:
            raise self.error("a string has an unknown escape")
        return character

    def _name(self) -> str:
        text, at = self._text, self._at
        character = text[at : at + 1]
        if character == '"' or character == "'":
            name = self._string(character)
        else:
            found = _NAME.match(text, at)
            if found is None:
                raise self.error("a property name is missing")
            name = found[0]
            self._at = found.end()
        blanks = _BLANKS.match(text, self._at)
        self._at = blanks.end() if blanks else self._at
        if not text.startswith(":", self._at):
            raise self.error("a colon is missing after a property name")
        self._at += 1
        return name

    def _skip(self) -> None:
        text = self._text
        while True:
            blanks = _BLANKS.match(text, self._at)
            self._at = blanks.end() if blanks else self._at
            if not text.startswith("/", self._at):
                return
            comment = _COMMENT.match(text, self._at)
            if comment is None:
                raise self.error("a comment is malformed or not closed")
            self._at = comment.end()

    def _place(self, at: int) -> tuple[int, int]:
        if at < 0:
            return -1, -1
        if not self._line_starts:
            self._line_starts = [0, *(found.end() for found in _LINE_END.finditer(self._text))]
        line = bisect_right(self._line_starts, at)
        return line, at - self._line_starts[line - 1]

    def error(self, message: str) -> LocatedSyntaxError:
        """`message`, at the current place."""
        return LocatedSyntaxError(message, *self._place(self._at))


def _path(containers: list[Any], paths: list[Path], name: str) -> Path:
    """The path of a value that is about to be put into the innermost container, under `name` if that is an object."""
    if not containers:
        return ()
    container = containers[-1]
    return paths[-1], name if type(container) is dict else len(container)


def parse_located(text: str) -> Node:
    """The text of a mapping, every value with its line and position; raises LocatedSyntaxError."""
    return parse_repeated(text)[0]


def parse_repeated(text: str) -> tuple[Node, list[Node]]:
    """As `parse_located`, with the values that take the place of an earlier one of the same name."""
    reader = Reader(text.removeprefix("\ufeff"), located=True)
    node: Node = reader.read()
    if not reader.at_end():
        raise reader.error("text follows the end of the mapping")
    return node, reader.repeated
