"""Values whose names meet in no template, and values that are never written."""

from collections.abc import Iterator

from medtech.dotnet.json_reader import Node
from medtech.mapping.fhir import CodeableConceptValue
from medtech.mapping.schema import Section
from medtech.validation.finding import Finding, Name, warning
from medtech.validation.fixes import write_instead
from medtech.validation.mapping_pair import MappingPair, given_names, value_names, values_of
from medtech.validation.nearest import did_you_mean, nearest
from medtech.validation.written_values import value_sections


def not_used(pair: MappingPair) -> Iterator[Finding]:
    """A value that a device template gives and its FHIR template does not take."""
    if pair.fhir is None:
        return
    for template in pair.device or ():
        found = pair.fhir.template(template.type)
        if found is None:
            continue
        taken = value_names(found)
        given = given_names(pair.of_type(template.type))
        for value in template.values:
            name = value.origin.name
            if name in taken:
                continue
            near = nearest(name, (each for each in taken if each not in given))
            node = _name_node(pair, template.index, name)
            yield warning(
                Name.VALUE_NOT_USED,
                f"The value '{name}' of the type '{template.type}' is in no Observation. Use it in the FHIR template, "
                f"which has: {', '.join(taken) or 'no values'}.{did_you_mean(near)}",
                pair.written_device.place(node),
                None if near is None else write_instead(pair.written_device, node, near),
                of_the_service=True,
            )


def never_given(pair: MappingPair) -> Iterator[Finding]:
    """A value that a FHIR template takes and no device template of its type gives."""
    if pair.device is None:
        return
    for template in pair.fhir_templates:
        of_type = pair.of_type(template.type_name)
        if not of_type:
            continue  # the template as a whole is never used, or a fault hides what it is given
        given = given_names(of_type)
        taken = value_names(template)
        section = pair.written_fhir.template_of(template.type_name)
        for name in dict.fromkeys(taken):
            if name in given:
                continue
            near = nearest(name, (each for each in given if each not in taken))
            named = (value.find("valueName") for value in value_sections(section))
            node = next((node for node in named if node is not None and node.value == name), None)
            yield warning(
                Name.VALUE_NEVER_GIVEN,
                f"No device template of the type '{template.type_name}' gives the value '{name}', so it is in no "
                f"Observation. They give: {', '.join(given) or 'no values'}.{did_you_mean(near)}",
                pair.written_fhir.place(node or section.node),
                None if near is None else write_instead(pair.written_fhir, node, near),
            )


def never_written(pair: MappingPair) -> Iterator[Finding]:
    """A CodeableConcept that can write nothing: it has neither text nor codes, or no reading to stand for."""
    for template in pair.fhir_templates:
        section = pair.written_fhir.template_of(template.type_name)
        for value in values_of(template):
            if isinstance(value, CodeableConceptValue) and not (value.concept.text or value.concept.codes):
                place = _section_of(section, value.name)
                yield warning(
                    Name.VALUE_NEVER_WRITTEN,
                    f"The CodeableConcept '{value.name}' of the type '{template.type_name}' has neither text nor "
                    "codes, so nothing is written for it. Give it the concept that a reading stands for.",
                    pair.written_fhir.place(section.node if place is None else place.node),
                )
        for written in value_sections(section):
            if written.find("valueName") is None and (written.find("text") or written.find("codes")):
                yield warning(
                    Name.VALUE_NEVER_WRITTEN,
                    f"A CodeableConcept of the type '{template.type_name}' has no valueName, so its text and codes are "
                    "never written. Give it the name of a value, or remove text and codes: the template's own codes "
                    "say what an event is.",
                    pair.written_fhir.place(written.node),
                )


def correlation_id_never_given(pair: MappingPair) -> Iterator[Finding]:
    """Measurements that are grouped by a correlation id and come from a template without one all fail."""
    if pair.fhir is None:
        return
    for template in pair.device or ():
        found = pair.fhir.template(template.type)
        if found is not None and found.interval == -1 and template.correlation_id is None:
            yield warning(
                Name.CORRELATION_ID_NEVER_GIVEN,
                f"The type '{template.type}' is grouped by correlation id (periodInterval -1), and this template has "
                "no correlationIdExpression: all its measurements become dead letters. Add one, or give the FHIR "
                "template another periodInterval.",
                pair.written_device.place(pair.written_device.template(template.index).node),
            )


def _name_node(pair: MappingPair, template: int, name: str) -> Node | None:
    for section in pair.written_device.template(template).sections("values") or ():
        node = section.find("valueName")
        if node is not None and node.value == name:
            return node
    return None


def _section_of(section: Section, name: str) -> Section | None:
    found = ((value, value.find("valueName")) for value in value_sections(section))
    return next((value for value, node in found if node is not None and node.value == name), None)
