"""Values whose names meet in no template, and values that are never written."""

from collections.abc import Iterable, Iterator, Mapping

from medtech.dotnet.json_reader import Node
from medtech.mapping.fhir import CodeableConceptValue, Interval
from medtech.mapping.schema import Section
from medtech.validation.finding import Finding, Name, warning
from medtech.validation.fixes import write_instead
from medtech.validation.mapping_pair import MappingPair, given_names, listed, value_names, values_of
from medtech.validation.nearest import KnownNames, did_you_mean
from medtech.validation.written_values import value_sections


def not_used(pair: MappingPair) -> Iterator[Finding]:
    """A value that a device template gives and its FHIR template does not take."""
    if pair.fhir is None:
        return
    written = pair.written_device
    for template in pair.device or ():
        found = pair.fhir.template(template.type)
        taken = {} if found is None else value_names(found)
        unused = [value.origin.name for value in template.values if value.origin.name not in taken]
        if found is None or not unused:
            continue
        given = given_names(pair.of_type(template.type))
        free = KnownNames(name for name in taken if name not in given)
        nodes = _nodes(written.template(template.index).sections("values") or ())
        shown = listed(taken, "no values")
        for name in unused:
            near = free.nearest(name)
            node = nodes.get(name)
            yield warning(
                Name.VALUE_NOT_USED,
                f"The value '{name}' of the type '{template.type}' is in no Observation. Use it in the FHIR template, "
                f"which has: {shown}.{did_you_mean(near)}",
                written.place(node),
                write_instead(written, node, near),
                of_the_service=True,
            )


def never_given(pair: MappingPair) -> Iterator[Finding]:
    """A value that a FHIR template takes and no device template of its type gives."""
    written = pair.written_fhir
    for template in pair.fhir_templates:
        given = given_names(pair.of_type(template.type_name))
        taken = value_names(template)
        missing = [name for name in taken if name not in given]
        # Without a device template the whole FHIR template is never used, or a fault hides what it is given.
        if not missing or not pair.of_type(template.type_name):
            continue
        free = KnownNames(name for name in given if name not in taken)
        section = written.template_of(template.type_name)
        nodes = _nodes(value_sections(section))
        shown = listed(given, "no values")
        for name in missing:
            near = free.nearest(name)
            node = nodes.get(name)
            yield warning(
                Name.VALUE_NEVER_GIVEN,
                f"No device template of the type '{template.type_name}' gives the value '{name}', so it is in no "
                f"Observation. They give: {shown}.{did_you_mean(near)}",
                written.place(node or section.node),
                write_instead(written, node, near),
            )


def never_written(pair: MappingPair) -> Iterator[Finding]:
    """A CodeableConcept that can write nothing: it has neither text nor codes, or no reading to stand for."""
    written = pair.written_fhir
    for template in pair.fhir_templates:
        section = written.template_of(template.type_name)
        empty = {
            value.name
            for value in values_of(template)
            if isinstance(value, CodeableConceptValue) and not (value.concept.text or value.concept.codes)
        }
        nodes = _nodes(value_sections(section)) if empty else {}
        for name in sorted(empty):
            yield warning(
                Name.VALUE_NEVER_WRITTEN,
                f"The CodeableConcept '{name}' of the type '{template.type_name}' has neither text nor codes, so "
                "nothing is written for it. Give it the concept that a reading stands for.",
                written.place(nodes.get(name, section.node)),
            )
        for value in value_sections(section):
            if value.find("valueName") is None and (value.find("text") or value.find("codes")):
                yield warning(
                    Name.VALUE_NEVER_WRITTEN,
                    f"A CodeableConcept of the type '{template.type_name}' has no valueName, so its text and codes are "
                    "never written. Give it the name of a value, or remove text and codes: the template's own codes "
                    "say what an event is.",
                    written.place(value.node),
                )


def correlation_id_never_given(pair: MappingPair) -> Iterator[Finding]:
    """Measurements that are grouped by a correlation id and come from a template without one all fail."""
    if pair.fhir is None:
        return
    for template in pair.device or ():
        found = pair.fhir.template(template.type)
        if found is None or found.interval is not Interval.CORRELATION_ID or template.correlation_id is not None:
            continue
        yield warning(
            Name.CORRELATION_ID_NEVER_GIVEN,
            f"The type '{template.type}' is grouped by correlation id (periodInterval -1), and this template has no "
            "correlationIdExpression: all its measurements become dead letters. Add one, or give the FHIR template "
            "another periodInterval.",
            pair.written_device.place(pair.written_device.template(template.index).node),
        )


def _nodes(values: Iterable[Section]) -> Mapping[str, Node]:
    """The first valueName of each name."""
    found: dict[str, Node] = {}
    for value in values:
        node = value.find("valueName")
        if node is not None and isinstance(node.value, str):
            found.setdefault(node.value, node)
    return found
