"""Codes without a system, which say nothing to whoever reads the Observation."""

from collections.abc import Iterator

from medtech.mapping.schema import Section, text_of
from medtech.validation.finding import Finding, Name, warning
from medtech.validation.mapping_pair import MappingPair
from medtech.validation.written_values import value_sections


def without_system(pair: MappingPair) -> Iterator[Finding]:
    """A code that is written without the system that it is a code of."""
    for template in pair.fhir_templates:
        for code in _codes(pair.written_fhir.template_of(template.type_name)):
            written, system = _text(code, "code"), _text(code, "system")
            if not written or system:
                continue
            yield warning(
                Name.CODE_WITHOUT_SYSTEM,
                f"The code '{written}' of the type '{template.type_name}' has no system, and without one nobody can "
                "tell what it means. Add the system that it is from, such as http://loinc.org.",
                pair.written_fhir.place(code.find("code")),
            )


def _codes(template: Section) -> Iterator[Section]:
    yield from _listed(template, "codes")
    for concept in _listed(template, "category"):
        yield from _listed(concept, "codes")
    for component in _listed(template, "components"):
        yield from _listed(component, "codes")
    for value in value_sections(template):
        yield from _listed(value, "codes")


def _listed(section: Section, name: str) -> list[Section]:
    node = section.find(name)
    return (section.sections(name) or []) if node is not None and isinstance(node.value, list) else []


def _text(section: Section, name: str) -> str:
    node = section.find(name)
    return ((None if node is None else text_of(node)) or "").strip()
