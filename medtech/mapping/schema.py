"""How a mapping text is read: what the device and the FHIR mapping share.

Both are a collection `{"templateType": ..., "template": [...]}` of containers of the same two properties. Reading
follows Json.NET as the service uses it: property names without regard to case, the last of several wins, a text may be
written as a number or a boolean, comments and trailing commas are fine. Unknown properties of the collection and of a
container are ignored, since the service ignores them; inside a template they are issues.

Nothing stops at the first fault: `Issues` gathers them, each with its place, and raises them together.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from medtech.dotnet.json_reader import LocatedSyntaxError, Node, parse_located
from medtech.dotnet.text import is_blank
from medtech.dotnet.tokens import text_reading
from medtech.errors import ErrorType, MappingInvalid, MappingIssue

_SUFFIX = "template"


class Issues:
    """The faults of one mapping; `template` is the index of the template being read, for the faults to come."""

    def __init__(self, kind: ErrorType) -> None:
        self._kind = kind
        self._found: list[MappingIssue] = []
        self.template: int | None = None

    def add(self, node: Node, message: str, name: str | None = None) -> None:
        """A fault of `node`, or of its property `name`, which may be absent; `message` says how to mend it."""
        pointer = node.pointer if name is None else f"{node.pointer}/{name}"
        self._found.append(MappingIssue(message, self.template, pointer, node.line, node.position))

    def add_at_name(self, node: Node, message: str) -> None:
        """A fault of `node`, placed where the service places faults of a property: behind its name."""
        self._found.append(MappingIssue(message, self.template, node.pointer, node.name_line, node.name_position))

    @property
    def count(self) -> int:
        return len(self._found)

    def raise_found(self) -> None:
        """Raises MappingInvalid with every fault, in order of place; without any, nothing happens."""
        if self._found:
            raise MappingInvalid(self._kind, sorted(self._found, key=lambda issue: (issue.line, issue.position)))


class Section:
    """One object of a mapping.

    Each reading reports what is wrong and then answers None, as it does for what is absent. A required property that
    is absent, null or unusable is reported at the object's own place, as the service does.
    """

    def __init__(self, node: Node, issues: Issues) -> None:
        self.node = node
        self.issues = issues
        self._properties: dict[str, tuple[str, Node]] = {}
        if isinstance(node.value, dict):
            for name, value in node.value.items():
                self._properties[name.lower()] = (name, value)

    def find(self, name: str) -> Node | None:
        """The property's node; a JSON null is there, with the value None."""
        found = self._properties.get(name.lower())
        return None if found is None else found[1]

    def fault(self, name: str, message: str) -> None:
        """A fault of the property `name`: behind its name, at the object's place where it is absent."""
        found = self.find(name)
        if found is None:
            self.issues.add(self.node, message, name)
        else:
            self.issues.add_at_name(found, message)

    def refuse_others(self, *known: str, ignored: tuple[str, ...] = ()) -> None:
        """Reports every property that is none of `known`, nor of those that are taken but `ignored`."""
        allowed = {name.lower() for name in (*known, *ignored)}
        for folded, (name, node) in self._properties.items():
            if folded not in allowed:
                self.issues.add(
                    node, f"There is no property '{name}' here. Remove it, or spell it as one of: {', '.join(known)}."
                )

    def text(self, name: str) -> str | None:
        """A text; "" stays "". A number or a boolean is taken as the text that .NET makes of it."""
        node = self.find(name)
        if node is None or node.value is None:
            return None
        text = text_of(node)
        if text is None:
            self.issues.add(node, f"'{name}' is {describe(node)}. Write a text.")
        return text

    def required_text(self, name: str) -> str | None:
        """A text that is not blank."""
        node = self.find(name)
        if node is None or node.value is None:
            self.missing(name)
            return None
        text = text_of(node)
        if text is None:
            self.issues.add(self.node, f"'{name}' is {describe(node)}. Write a text.", name)
        elif is_blank(text):
            self.issues.add(node, f"'{name}' is blank. Give it a text.")
            return None
        return text

    def missing(self, name: str) -> None:
        """Reports that the required property `name` is absent, null or empty."""
        state = "is absent" if self.find(name) is None else "has no value"
        self.issues.add(self.node, f"'{name}' {state}. Add it, it is required.", name)

    def boolean(self, name: str) -> bool | None:
        """true or false; also as text in any case, or as a number (0 is false)."""
        node = self.find(name)
        if node is None:
            return None
        value = node.value
        if isinstance(value, bool):
            return value
        if isinstance(value, int | float | Decimal):
            return value != 0
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        self.issues.add(node, f"'{name}' is {describe(node)}. Write true or false.")
        return None

    def enumeration(self, name: str, members: Mapping[str, int]) -> int | None:
        """One of `members` by its name in any case, or by its number, also as text; other numbers are issues too."""
        node = self.find(name)
        if node is None:
            return None
        value = node.value
        if isinstance(value, str):
            numbers = {member.lower(): number for member, number in members.items()}
            number = numbers.get(value.strip().lower())
            if number is None and _is_integer(value.strip()):
                number = int(value)
        else:
            number = value if isinstance(value, int) and not isinstance(value, bool) else None
        if number in members.values():
            return number
        choices = ", ".join(f"{member} ({number})" for member, number in members.items())
        self.issues.add(node, f"'{name}' is {describe(node)}, which is none of its values. Write one of: {choices}.")
        return None

    def items(self, name: str) -> list[Node] | None:
        """The elements of a list; a null element is an issue and left out."""
        node = self.find(name)
        if node is None or node.value is None:
            return None
        if not isinstance(node.value, list):
            self.issues.add(node, f"'{name}' is {describe(node)}. Write a list, [...].")
            return None
        for item in node.value:
            if item.value is None:
                self.issues.add(item, f"An element of '{name}' is null. Remove it.")
        return [item for item in node.value if item.value is not None]

    def sections(self, name: str) -> "list[Section] | None":
        """The objects of a list; any other element is an issue and left out."""
        items = self.items(name)
        if items is None:
            return None
        for item in items:
            if not isinstance(item.value, dict):
                self.issues.add(item, f"An element of '{name}' is {describe(item)}. Write an object, {{...}}.")
        return [Section(item, self.issues) for item in items if isinstance(item.value, dict)]


@dataclass(frozen=True, slots=True)
class Container:
    """One element of the collection that names its kind and holds an object: `kind` as written, without suffix."""

    index: int
    kind: str
    section: Section
    template: Node | None

    def matches(self, kind: str) -> bool:
        return self.kind.lower() == kind.lower()


def read_collection(text: str, kind: str, issues: Issues) -> Iterator[Container]:
    """The containers of the collection `kind` (without suffix), one by one; `issues.template` follows them.

    What is no collection raises MappingInvalid at once, since nothing in it can be read.
    """
    try:
        root = parse_located(text)
    except LocatedSyntaxError as error:
        place = Node(None, error.line, error.position, "")
        issues.add(place, f"The mapping is no JSON: {error}. Mend the text at this place.")
        issues.raise_found()
    if not isinstance(root.value, dict):
        issues.add(root, f"The mapping is {describe(root)}. Write an object with templateType {kind} and template.")
        issues.raise_found()
    collection = Section(root, issues)
    if not same_kind(collection.text("templateType"), kind):
        collection.fault("templateType", f"'templateType' is not {kind}. Is this the other mapping? Write {kind}.")
    templates = collection.find("template")
    if templates is None or not isinstance(templates.value, list):
        collection.fault("template", "'template' is no list. Write the templates as a list, [...].")
        issues.raise_found()
        return
    for index, node in enumerate(templates.value):
        issues.template = index
        if not isinstance(node.value, dict):
            issues.add(node, f"This template is {describe(node)}. Write an object with templateType and template.")
            continue
        section = Section(node, issues)
        name = section.text("templateType") or ""
        yield Container(index, _without_suffix(name), section, section.find("template"))
    issues.template = None


def same_kind(name: str | None, kind: str) -> bool:
    """Is `name` the template type `kind`, in any case, with or without the suffix Template?"""
    return name is not None and name.lower() in (kind.lower(), kind.lower() + _SUFFIX)


def text_of(node: Node) -> str | None:
    """The text of a scalar as .NET makes it; None for null, objects and arrays."""
    value = node.value
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        # Of any length: a mapping's own text is read as text, not converted from a 64-bit number.
        return str(value)
    if isinstance(value, Decimal):
        value = float(value)
    return text_reading(value) if isinstance(value, bool | float) else None


def shortened(text: str) -> str:
    """A text of the mapping as a message shows it: enough to be found again."""
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


_MOST_SHOWN = 120


def describe(node: Node) -> str:
    """What a node is, in the words of JSON, for a message."""
    value = node.value
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text '{shortened(value)}'"
    if isinstance(value, float) and not math.isfinite(value):
        return "no finite number"
    return f"the number {value}"


def _without_suffix(name: str) -> str:
    return name[: -len(_SUFFIX)] if name.lower().endswith(_SUFFIX) else name


def _is_integer(text: str) -> bool:
    digits = text[1:] if text[:1] in ("-", "+") else text
    return digits.isascii() and digits.isdigit() and len(digits) < 20
