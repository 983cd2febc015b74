"""Both mappings as far as they can be read: what the checks of mappings look at."""

from collections.abc import Sequence
from dataclasses import dataclass

from medtech.mapping.content_template import ContentTemplate, Field, Origin
from medtech.mapping.fhir import CodeValueTemplate, FhirMapping, Value
from medtech.validation.written_mapping import Place, WrittenMapping


@dataclass(frozen=True, slots=True)
class MappingPair:
    """The templates without a fault, and the texts that they are in.

    `device` or `fhir` is None where that mapping is not given, or cannot be had. `device_types` are the types, in lower
    case, that the device mapping names, also in templates with a fault; `fhir_types` likewise.
    """

    device: Sequence[ContentTemplate] | None
    fhir: FhirMapping | None
    written_device: WrittenMapping
    written_fhir: WrittenMapping

    @property
    def device_types(self) -> frozenset[str]:
        return self.written_device.type_names.union(template.type.lower() for template in self.device or ())

    @property
    def fhir_types(self) -> frozenset[str]:
        templates = () if self.fhir is None else self.fhir.templates
        return self.written_fhir.type_names.union(template.type_name.lower() for template in templates)

    @property
    def fhir_templates(self) -> Sequence[CodeValueTemplate]:
        return () if self.fhir is None else self.fhir.templates

    def of_type(self, type_name: str) -> list[ContentTemplate]:
        """The device templates of a type, in any case."""
        return [each for each in self.device or () if each.type.lower() == type_name.lower()]

    def place_of(self, origin: Origin) -> Place:
        """Where an expression of the device mapping is."""
        return self.written_device.place_at(origin.pointer, origin.line, origin.position)

    def place_of_template(self, type_name: str) -> Place:
        """Where the FHIR template of a type is."""
        return self.written_fhir.place(self.written_fhir.template_of(type_name).node)


def values_of(template: CodeValueTemplate) -> list[Value]:
    values = [component.value for component in template.components]
    return [template.value, *values] if template.value else values


def value_names(template: CodeValueTemplate) -> list[str]:
    return [value.name for value in values_of(template)]


def given_names(templates: Sequence[ContentTemplate]) -> list[str]:
    """The names of the values that device templates give, each once."""
    fields: list[Field] = [value for template in templates for value in template.values]
    return list(dict.fromkeys(field.origin.name for field in fields))
