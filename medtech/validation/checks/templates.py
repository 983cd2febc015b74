"""Device templates that say what another one says already."""

from collections.abc import Iterator
from typing import Any

from medtech.mapping.content_template import ContentTemplate, Field
from medtech.validation.finding import Finding, Name, warning
from medtech.validation.mapping_pair import MappingPair


def duplicates(pair: MappingPair) -> Iterator[Finding]:
    """A template whose measurements an earlier one makes too: they are the same readings, at the same times."""
    known: dict[Any, ContentTemplate] = {}
    for template in pair.device or ():
        first = known.setdefault(_readings(template), template)
        if first is template:
            continue
        yield warning(
            Name.DUPLICATE_TEMPLATE,
            f"Template {template.index} ('{template.type}') matches what template {first.index} matches and reads the "
            "same from it: every reading is taken twice, and stored once. Remove it, or give it another typeName.",
            pair.written_device.place(pair.written_device.template(template.index).node),
        )


def _readings(template: ContentTemplate) -> Any:
    """What is equal for two templates that make the same measurements."""
    fields = (template.device_id, *template.time, template.patient_id, template.encounter_id, template.correlation_id)
    match = template.type_match
    return (
        template.type.lower(),
        match.expression,
        match.language,
        template.on_document,
        tuple(map(_expression, fields)),
        frozenset((value.origin.name, _expression(value)) for value in template.values),
    )


def _expression(field: Field | None) -> Any:
    return None if field is None else (field.origin.expression, field.origin.language)
