"""How a mapping text is read: what the device and the FHIR mapping share.

Both are a collection `{"templateType": ..., "template": [...]}` of containers with the same two properties. Azure's
resource manager hands a collection out as `{"content": ...}`, inside a whole resource; that is taken too. Reading
follows Json.NET as the service uses it: property names match without regard to case, the last of several wins, a text
may be written as a number or a boolean, comments and trailing commas are fine. Unknown properties of the collection and
of a container are ignored, since the service ignores them; inside a template they are issues.

Nothing stops at the first fault: `Issues` gathers them all, each with its place in the text as it was given.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, NamedTuple, TypeVar

from medtech.dotnet.json_reader import LocatedSyntaxError, Node, parse_located
from medtech.dotnet.text import is_blank
from medtech.dotnet.tokens import text_reading
from medtech.errors import MappingIssue

SUFFIX = "template"

Template = TypeVar("Template")


class PartialMapping(NamedTuple, Generic[Template]):
    """A mapping read as far as possible: the templates without a fault, and every fault, in order of place.

    A mapping with any issue must not run; its templates are still good for comparing the two mappings. `repeated` is
    that of `Issues`.
    """

    templates: list[Template]
    issues: list[MappingIssue]
    repeated: Mapping[Node, Sequence[Node]]


@dataclass(frozen=True, slots=True)
class CollectionKind:
    """One of the two mappings: its template type, and where Azure's resource manager keeps it.

    `property` is the property of the resource type `resource` that holds the mapping.
    """

    name: str
    property: str
    resource: str


DEVICE = CollectionKind("CollectionContent", "deviceMapping", "iotconnectors")
FHIR = CollectionKind("CollectionFhir", "fhirMapping", "iotconnectors/fhirdestinations")


class Issues:
    """The faults of one mapping; `template` is the index of the template being read, for the faults to come.

    `repeated` is no fault: the values that were read though their objects have the same property more than once, each
    with the values that do not count.
    """

    def __init__(self) -> None:
        self._found: list[MappingIssue] = []
        self.template: int | None = None
        self.repeated: dict[Node, Sequence[Node]] = {}

    def add(self, node: Node, message: str, name: str | None = None) -> None:
        """A fault of `node`, or of its property `name`, which may be absent; `message` says how to fix it."""
        pointer = node.pointer if name is None else f"{node.pointer}/{name}"
        self._found.append(MappingIssue(message, self.template, pointer, node.line, node.position))

    def add_at_name(self, node: Node, message: str) -> None:
        """A fault of `node`, placed where the service places faults of a property: after its name."""
        self._found.append(MappingIssue(message, self.template, node.pointer, node.name_line, node.name_position))

    @property
    def count(self) -> int:
        return len(self._found)

    def in_order(self) -> list[MappingIssue]:
        """Every fault found, in order of place."""
        return sorted(self._found, key=lambda issue: (issue.line, issue.position))


class Section:
    """One object of a mapping.

    Each method that reads a property returns None where it is absent, and where it is wrong, which it reports. A
    required property that is absent, null or unusable is reported at the object's own place, as the service does. Names
    are those of .NET's properties, so case makes no difference, and of several the last one counts.
    """

    def __init__(self, node: Node, issues: Issues) -> None:
        self.node = node
        self.issues = issues
        self._properties: dict[str, tuple[str, Node]] = {}
        self._do_not_count: dict[str, list[Node]] = {}
        if isinstance(node.value, dict):
            for name, value in node.value.items():
                folded = name.lower()
                before = self._properties.get(folded)
                others = [*_replaced_by(value)] if before is None else [*_replaced_by(value), before[1]]
                if others:
                    self._do_not_count.setdefault(folded, []).extend(others)
                self._properties[folded] = (name, value)

    def find(self, name: str) -> Node | None:
        """The property's node, None if it is absent; that of a JSON null has the value None."""
        folded = name.lower()
        found = self._properties.get(folded)
        if found is None:
            return None
        if folded in self._do_not_count:
            self.issues.repeated[found[1]] = self._do_not_count[folded]
        return found[1]

    def find_spelled(self, *spellings: str) -> Node | None:
        """The node of a property that is known by these spellings alone; the first of them that is there counts."""
        properties = self.node.value if isinstance(self.node.value, dict) else {}
        there = [properties[name] for name in spellings if name in properties]
        if not there:
            return None
        others = [*there[1:], *(earlier for node in there for earlier in _replaced_by(node))]
        if others:
            self.issues.repeated[there[0]] = others
        return there[0]

    def fault(self, name: str, message: str) -> None:
        """A fault of the property `name`: placed after its name, or at the object where it is absent."""
        found = self.find(name)
        if found is None:
            self.issues.add(self.node, message, name)
        else:
            self.issues.add_at_name(found, message)

    def refuse_others(self, *known: str, ignored: tuple[str, ...] = ()) -> None:
        """Reports every property that is neither among `known` nor among those that are accepted but `ignored`."""
        allowed = {name.lower() for name in (*known, *ignored)}
        for folded, (name, node) in self._properties.items():
            if folded not in allowed:
                self.issues.add(
                    node, f"There is no property '{name}' here. Remove it, or spell it as one of: {', '.join(known)}."
                )

    def text(self, name: str) -> str | None:
        """A text; "" stays "". A number or a boolean becomes the text that .NET makes of it."""
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
        """One of `members`, by its name in any case or by its number, also as text. Anything else is an issue."""
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
        self.issues.add(node, f"'{name}' is {describe(node)}, which is not allowed. Write one of: {choices}.")
        return None

    def items(self, name: str) -> list[Node] | None:
        """The elements of a list, without its null elements, which are issues."""
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
        """The objects of a list, without its other elements, which are issues."""
        items = self.items(name)
        if items is None:
            return None
        for item in items:
            if not isinstance(item.value, dict):
                self.issues.add(item, f"An element of '{name}' is {describe(item)}. Write an object, {{...}}.")
        return [Section(item, self.issues) for item in items if isinstance(item.value, dict)]


def _replaced_by(node: Node) -> Iterator[Node]:
    """The values of the same name, spelled the same, that stood before it in its object."""
    while (earlier := node.replaced) is not None:
        yield earlier
        node = earlier


@dataclass(frozen=True, slots=True)
class Container:
    """One element of the collection: the kind of template that it names, as written but without suffix, and the node
    of the template itself, which may be absent or anything but an object. `index` is its place in the collection.
    """

    index: int
    kind: str
    section: Section
    template: Node | None

    def matches(self, kind: str) -> bool:
        return self.kind.lower() == kind.lower()


def read_collection(text: str, kind: CollectionKind, issues: Issues) -> Iterator[Container]:
    """The containers of the collection, one by one; `issues.template` follows them.

    A text that is not such a collection has issues only, and no containers.
    """
    try:
        root = parse_located(text)
    except LocatedSyntaxError as error:
        place = Node(None, error.line, error.position, ())
        issues.add(place, f"The mapping is not JSON: {error}. Fix the text at this place.")
        return
    mapping = _unwrapped(root, kind, issues)
    if mapping is None:
        return
    if not isinstance(mapping.value, dict):
        issues.add(mapping, f"The mapping is {describe(mapping)}. Write an object with templateType {kind.name}.")
        return
    collection = Section(mapping, issues)
    name, templates = collection.find("templateType"), collection.find("template")
    other = _other(kind)
    if name is not None and same_kind(text_of(name), other.name):
        issues.add_at_name(name, f"This is a {other.name}, the other of the two mappings. Give the {kind.name} here.")
        return
    if _is_one_template(collection, kind):
        collection.fault(
            "templateType",
            "This is a single template, and a mapping is a collection. Wrap it: "
            f'{{"templateType": "{kind.name}", "template": [{{"templateType": ..., "template": {{...}}}}]}}.',
        )
        return
    if name is None or not same_kind(text_of(name), kind.name):
        collection.fault("templateType", f"'templateType' is not {kind.name}. Write {kind.name}.")
    if templates is None or not isinstance(templates.value, list):
        collection.fault("template", "'template' is not a list. Write the templates as a list, [...].")
        return
    for index, node in enumerate(templates.value):
        issues.template = index
        if not isinstance(node.value, dict):
            issues.add(node, f"This template is {describe(node)}. Write an object with templateType and template.")
            continue
        section = Section(node, issues)
        yield Container(index, _without_suffix(section.text("templateType") or ""), section, section.find("template"))
    issues.template = None


def _unwrapped(root: Node, kind: CollectionKind, issues: Issues) -> Node | None:
    """The collection, out of what Azure's resource manager puts around it; None when there is none, which is an issue.

    That is `{"content": ...}`, a whole resource (`properties.deviceMapping.content`), or a resource as the command line
    shows it, without `properties` around its properties.
    """
    resource = Section(root, issues)
    if resource.find("templateType") is not None:
        return root
    properties = resource.find("properties")
    holder = resource if properties is None else Section(properties, issues)
    wrapper = holder.find(kind.property)
    if wrapper is None:
        other = _other(kind)
        wrong = holder.find(other.property)
        if wrong is not None:
            issues.add_at_name(
                wrong,
                f"'{other.property}' is the other mapping. Give the resource of type {kind.resource}, which has this "
                f"one as '{kind.property}'.",
            )
            return None
        if properties is not None and resource.find("content") is None:
            issues.add_at_name(
                properties, f"'properties' has no '{kind.property}'. Give a resource of type {kind.resource}."
            )
            return None
    content = (resource if wrapper is None else Section(wrapper, issues)).find("content")
    if content is None:
        if wrapper is None:
            return root
        issues.add_at_name(wrapper, f"'{kind.property}' has no 'content'. Write the mapping there.")
        return None
    if not isinstance(content.value, dict):
        issues.add_at_name(content, f"'content' is {describe(content)}. Write the mapping itself, as an object.")
        return None
    return content


def _other(kind: CollectionKind) -> CollectionKind:
    return FHIR if kind is DEVICE else DEVICE


def _is_one_template(collection: Section, kind: CollectionKind) -> bool:
    """Whether a template stands where its collection should, with its container or without."""
    name, template = collection.find("templateType"), collection.find("template")
    if template is None:
        return name is None and collection.find("typeName") is not None
    return isinstance(template.value, dict) and name is not None and not same_kind(text_of(name), kind.name)


def same_kind(name: str | None, kind: str) -> bool:
    """Whether `name` is the template type `kind`, in any case, with or without the suffix Template."""
    return name is not None and name.lower() in (kind.lower(), kind.lower() + SUFFIX)


def text_of(node: Node) -> str | None:
    """The text that .NET makes of a scalar; None for null, objects and arrays."""
    value = node.value
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        # Integers of a mapping may have any length; those of messages have 64 bits.
        return str(value)
    if isinstance(value, Decimal):
        value = float(value)
    return text_reading(value) if isinstance(value, bool | float) else None


def shortened(text: str) -> str:
    """The beginning of a text of the mapping, for a message: enough to find it by."""
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
        return "not a finite number"
    return f"the number {shortened(str(value))}"


def _without_suffix(name: str) -> str:
    return name[: -len(SUFFIX)] if name.lower().endswith(SUFFIX) else name


def _is_integer(text: str) -> bool:
    digits = text[1:] if text[:1] in ("-", "+") else text
    return digits.isascii() and digits.isdigit() and len(digits) < 20
