"""The changes of a mapping that a finding can propose: another value, or a further property."""

from typing import Any

from medtech.dotnet.json_reader import Node
from medtech.mapping.schema import Section
from medtech.validation.finding import Fix
from medtech.validation.written_mapping import WrittenMapping, json_source, plain


def write_instead(written: WrittenMapping, node: Node | None, value: Any) -> Fix | None:
    """Another value in place of the one at `node`; None where that is not at hand, or no `value` is known."""
    if node is None or value is None:
        return None
    source = json_source(value)
    found = written.range_of(node)
    return Fix(f"Write {source}", node.pointer, source, found, None if found is None else source)


def add_property(written: WrittenMapping, section: Section, name: str, value: Any) -> Fix | None:
    """A further property of an object, as its first; None where the object is not at hand, or has the property."""
    node = section.node
    if not isinstance(node.value, dict) or section.find(name) is not None:
        return None
    source = json_source(value)
    place, blanks = written.after_bracket(node)
    comma = "," if node.value else ""
    return Fix(
        f"Add {json_source(name)}: {source}",
        f"{node.pointer}/{name}",
        source,
        place,
        f"{blanks}{json_source(name)}: {source}{comma}",
    )


def add_first(written: WrittenMapping, node: Node | None, element: Any) -> Fix | None:
    """A further element of a list, as its first; None where the list is not at hand."""
    if node is None or not isinstance(node.value, list):
        return None
    source = json_source(element)
    place, blanks = written.after_bracket(node)
    comma = "," if node.value else ""
    return Fix(
        f"Add {source}",
        node.pointer,
        json_source([element, *map(plain, node.value)]),
        place,
        f"{blanks}{source}{comma}",
    )


def set_property(written: WrittenMapping, section: Section, name: str, value: Any) -> Fix | None:
    """A property of an object, whether it is there already or not."""
    found = section.find(name)
    return add_property(written, section, name, value) if found is None else write_instead(written, found, value)
