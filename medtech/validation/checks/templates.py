"""Device templates that say what another one says already."""

from collections.abc import Iterator
from typing import Any

from medtech.mapping.content_template import ContentTemplate, Field
from medtech.validation.finding import Finding, Name, warning
from medtech.validation.mapping_pair import MappingPair


def duplicates(pair: MappingPair) -> Iterator[Finding]:
    """A template whose measurements an earlier one makes too: they are the same readings, at the same times."""
    earlier: dict[Any, list[ContentTemplate]] = {}
    for template in pair.device or ():
        same = earlier.setdefault(_source(template), [])
        first = next((each for each in same if _values(template) <= _values(each)), None)
        if first is not None:
            yield warning(
                Name.DUPLICATE_TEMPLATE,
                f"Template {template.index} ('{template.type}') matches what template {first.index} matches and reads "
                "nothing else from it: every reading is taken twice, and stored once. Remove it, or give it another "
                "typeName.",
                pair.written_device.place(pair.written_device.template(template.index).node),
            )
        same.append(template)


def _source(template: ContentTemplate) -> Any:
    """What must be equal for two templates to make the same measurements, but for their values."""
    fields = (template.device_id, *template.time, template.patient_id, template.encounter_id, template.correlation_id)
    match = template.type_match
    return template.type.lower(), match.expression, match.language, template.on_document, *map(_expression, fields)


def _values(template: ContentTemplate) -> set[Any]:
    return {(value.origin.name, _expression(value)) for value in template.values}


def _expression(field: Field | None) -> Any:
    return None if field is None else (field.origin.expression, field.origin.language)
