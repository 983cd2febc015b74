"""The values of a FHIR template as they were written."""

from collections.abc import Iterator
from typing import NamedTuple

from medtech.mapping.fhir import Code, CodeValueTemplate, Value
from medtech.mapping.schema import Section
from medtech.validation.mapping_pair import MappingPair


class CodedValue(NamedTuple):
    """A value and what it is a value of: the template's codes, or those of its component.

    `section` is the value as written; without properties where the text is not at hand.
    """

    template: CodeValueTemplate
    codes: tuple[Code, ...]
    value: Value
    is_root: bool
    section: Section


def coded_values(pair: MappingPair) -> Iterator[CodedValue]:
    """Every value of the FHIR mapping, with its codes."""
    for template in pair.fhir_templates:
        written = {
            name: section
            for section in value_sections(pair.written_fhir.template_of(template.type_name))
            if isinstance(name := _name(section), str)
        }
        nowhere = pair.written_fhir.template(-1)
        if template.value is not None:
            value = template.value
            root = _object(pair.written_fhir.template_of(template.type_name), "value")
            yield CodedValue(template, template.codes, value, True, root or nowhere)
        for component in template.components:
            section = written.get(component.value.name, nowhere)
            yield CodedValue(template, component.codes, component.value, False, section)


def value_sections(template: Section) -> Iterator[Section]:
    """The objects `value` of a template and of its components."""
    root = _object(template, "value")
    if root is not None:
        yield root
    components = template.find("components")
    if components is not None and isinstance(components.value, list):
        for component in template.sections("components") or ():
            value = _object(component, "value")
            if value is not None:
                yield value


def _object(section: Section, name: str) -> Section | None:
    node = section.find(name)
    return None if node is None or not isinstance(node.value, dict) else Section(node, section.issues)


def _name(section: Section) -> object:
    node = section.find("valueName")
    return None if node is None else node.value
