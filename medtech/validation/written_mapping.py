"""The text of a mapping, and the places of its values in it: what a finding marks and a fix replaces."""

import json
import re
from bisect import bisect_right
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, NamedTuple

from medtech.dotnet.json_reader import Node
from medtech.mapping.schema import DEVICE, FHIR, Container, Issues, Section, read_collection, text_of

MappingName = Literal["deviceMapping", "fhirMapping"]

_KINDS = {"deviceMapping": DEVICE, "fhirMapping": FHIR}
_LINE_END = re.compile(r"\r\n|\r|\n")
_TO_VALUE = re.compile(r"(?:\s|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_BLANKS = re.compile(r"\s*")


class Range(NamedTuple):
    """A part of a text. Lines count from 1; a position is the number of characters before it in its line."""

    line: int
    position: int
    end_line: int
    end_position: int


class Place(NamedTuple):
    """A value of a mapping. `line` and `position` as Json.NET counts them, -1 where they are not known."""

    mapping: MappingName
    pointer: str | None
    line: int
    position: int
    range: Range | None


class WrittenMapping:
    """A mapping as it was written. An empty text stands for one that is not at hand: it has places, but no ranges."""

    def __init__(self, name: MappingName, text: str = "") -> None:
        self.name: MappingName = name
        self._text = text.removeprefix("\ufeff")

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(found.end() for found in _LINE_END.finditer(self._text))]

    @cached_property
    def _containers(self) -> dict[int, Container]:
        if not self._text:
            return {}
        return {each.index: each for each in read_collection(self._text, _KINDS[self.name], Issues())}

    @cached_property
    def _by_type(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for index in self._containers:
            name = self.template(index).find("typeName")
            text = None if name is None else text_of(name)
            if text:
                found.setdefault(text.lower(), index)
        return found

    def language_at(self, pointer: str) -> str | None:
        """`JsonPath` or `JmesPath`: the language of the expression that stands at a pointer; None if none does."""
        holder = self.at(pointer.rpartition("/")[0])
        container = self._container_at(pointer)
        if container is None or container.template is None or holder is None:
            return None
        own = Section(holder, Issues()).find("language")
        default = Section(container.template, Issues()).find("defaultExpressionLanguage")
        written = own or default
        text = "" if written is None else text_of(written) or ""
        return "JmesPath" if text.strip().lower() in ("jmespath", "1") else "JsonPath"

    @property
    def type_names(self) -> frozenset[str]:
        """The type names of all templates, also of broken ones, in lower case."""
        return frozenset(self._by_type)

    def template(self, index: int) -> Section:
        """The properties of a template; none if there is no such template."""
        container = self._containers.get(index)
        node = None if container is None else container.template
        return Section(node or _NOWHERE, Issues())

    def template_of(self, type_name: str) -> Section:
        """The first template with this type name, in any case; no properties if there is none."""
        return self.template(self._by_type.get(type_name.lower(), -1))

    def place(self, node: Node | None) -> Place:
        """The place of a value; None, and a template that is not there, have no place."""
        if node is None or node is _NOWHERE:
            return Place(self.name, None, -1, -1, None)
        return Place(self.name, node.pointer, node.line, node.position, self.range_of(node))

    def place_at(self, pointer: str, line: int, position: int) -> Place:
        """The place of what stands at a pointer; where nothing does, that of the line and position."""
        node = self.at(pointer)
        if node is not None:
            found: Range | None = self.range_of(node)
        else:
            known = line > 0 and bool(self._text)
            found = Range(line, max(position - 1, 0), line, max(position, 0)) if known else None
        return Place(self.name, pointer, line, position, found)

    def range_of(self, node: Node) -> Range | None:
        """From the first character of a value to after its last; of an object or a list, its opening bracket."""
        end = self._offset(node.line, node.position)
        if isinstance(node.value, dict | list):
            start = end - 1
        elif node.name_line > 0:
            blanks = _TO_VALUE.match(self._text, self._offset(node.name_line, node.name_position))
            start = end if blanks is None else min(blanks.end(), end)
        else:
            return None
        return self._range(start, end)

    def after_bracket(self, node: Node) -> tuple[Range, str]:
        """The empty place after an object's opening bracket, and the blanks between it and what follows."""
        at = self._offset(node.line, node.position)
        blanks = _BLANKS.match(self._text, at)
        return self._range(at, at), "" if blanks is None else blanks[0]

    def at(self, pointer: str) -> Node | None:
        """The value at a pointer into a template."""
        container = self._container_at(pointer)
        if container is None:
            return None
        node: Node | None = container.section.node
        for key in pointer.removeprefix(container.section.node.pointer).split("/")[1:]:
            node = None if node is None else _child(node, key.replace("~1", "/").replace("~0", "~"))
        return node

    def _container_at(self, pointer: str) -> Container | None:
        first = next(iter(self._containers.values()), None)
        if first is None:
            return None
        templates = first.section.node.pointer.rpartition("/")[0] + "/"
        index = pointer.removeprefix(templates).split("/")[0]
        if not pointer.startswith(templates) or not index.isdecimal():
            return None
        return self._containers.get(int(index))

    def _offset(self, line: int, position: int) -> int:
        return self._line_starts[line - 1] + position

    def _range(self, start: int, end: int) -> Range:
        return Range(*self._line_of(start), *self._line_of(end))

    def _line_of(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1]


def _child(node: Node, key: str) -> Any:
    if isinstance(node.value, dict):
        return node.value.get(key)
    if isinstance(node.value, list) and key.isdecimal() and int(key) < len(node.value):
        return node.value[int(key)]
    return None


def json_source(value: Any) -> str:
    """A value as the text of a mapping has it."""
    return json.dumps(value, ensure_ascii=False)


def plain(node: Node) -> Any:
    """A value of a mapping without its places."""
    if isinstance(node.value, dict):
        return {name: plain(value) for name, value in node.value.items()}
    if isinstance(node.value, list):
        return [plain(element) for element in node.value]
    return float(node.value) if isinstance(node.value, Decimal) else node.value


_NOWHERE = Node(None, -1, -1, ())
