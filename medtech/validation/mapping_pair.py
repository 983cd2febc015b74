"""Both mappings as far as they can be read: what the checks of mappings look at."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final

from medtech.mapping.content_template import ContentTemplate, Origin
from medtech.mapping.fhir import CodeValueTemplate, FhirMapping, Value
from medtech.validation.written_mapping import Place, WrittenMapping

_MOST_SHOWN: Final = 20
"""Names in a message. With all of them, the messages about a large mapping would be its square."""


class MappingPair:
    """The templates without a fault, and the texts that they are in.

    `device` or `fhir` is None where that mapping is not given, or cannot be had. `device_types` are the types, in lower
    case, that the device mapping names, also in templates with a fault; `fhir_types` likewise.
    """

    def __init__(
        self,
        device: Sequence[ContentTemplate] | None,
        fhir: FhirMapping | None,
        written_device: WrittenMapping,
        written_fhir: WrittenMapping,
    ) -> None:
        self.device = device
        self.fhir = fhir
        self.written_device = written_device
        self.written_fhir = written_fhir
        self.fhir_templates: Sequence[CodeValueTemplate] = () if fhir is None else fhir.templates

    @cached_property
    def device_types(self) -> frozenset[str]:
        return self.written_device.type_names.union(self._by_type)

    @cached_property
    def fhir_types(self) -> frozenset[str]:
        return self.written_fhir.type_names.union(each.type_name.lower() for each in self.fhir_templates)

    @cached_property
    def _by_type(self) -> Mapping[str, list[ContentTemplate]]:
        found: dict[str, list[ContentTemplate]] = {}
        for template in self.device or ():
            found.setdefault(template.type.lower(), []).append(template)
        return found

    def of_type(self, type_name: str) -> Sequence[ContentTemplate]:
        """The device templates of a type, in any case."""
        return self._by_type.get(type_name.lower(), ())

    def place_of(self, origin: Origin) -> Place:
        """Where an expression of the device mapping is."""
        return self.written_device.place_at(origin.pointer, origin.line, origin.position)

    def place_of_template(self, type_name: str) -> Place:
        """Where the FHIR template of a type is."""
        return self.written_fhir.place(self.written_fhir.template_of(type_name).node)


def values_of(template: CodeValueTemplate) -> list[Value]:
    values = [component.value for component in template.components]
    return [template.value, *values] if template.value else values


def value_names(template: CodeValueTemplate) -> dict[str, None]:
    """The names of the values that a FHIR template takes, each once, in their order."""
    return dict.fromkeys(value.name for value in values_of(template))


def given_names(templates: Iterable[ContentTemplate]) -> dict[str, None]:
    """The names of the values that device templates give, each once, in their order."""
    return dict.fromkeys(value.origin.name for template in templates for value in template.values)


def listed(names: Iterable[str], otherwise: str) -> str:
    """Names for a message."""
    all_names = list(names)
    more = f" and {len(all_names) - _MOST_SHOWN} more" if len(all_names) > _MOST_SHOWN else ""
    return ", ".join(all_names[:_MOST_SHOWN]) + more or otherwise
