"""Types that only one of the two mappings has."""

from collections.abc import Iterator

from medtech.validation.finding import Finding, Name, warning
from medtech.validation.fixes import write_instead
from medtech.validation.mapping_pair import MappingPair, listed
from medtech.validation.nearest import KnownNames, did_you_mean


def without_fhir_template(pair: MappingPair) -> Iterator[Finding]:
    """A type of the device mapping that no FHIR template has: its measurements become dead letters."""
    if pair.fhir is None:
        return
    known = listed((template.type_name for template in pair.fhir_templates), "none")
    # A FHIR template that has its own device template is not what was meant.
    free = KnownNames(each.type_name for each in pair.fhir_templates if each.type_name.lower() not in pair.device_types)
    written = pair.written_device
    for template in pair.device or ():
        if template.type.lower() in pair.fhir_types:
            continue
        near = free.nearest(template.type)
        node = written.template(template.index).find("typeName")
        yield warning(
            Name.TYPE_WITHOUT_FHIR_TEMPLATE,
            f"The FHIR mapping has no template for the type '{template.type}'. Add one with this typeName; "
            f"there are: {known}.{did_you_mean(near)}",
            written.place(node),
            write_instead(written, node, near),
            of_the_service=True,
        )


def without_device_template(pair: MappingPair) -> Iterator[Finding]:
    """A FHIR template that no device template gives measurements to."""
    if pair.device is None:
        return
    free = KnownNames(each.type for each in pair.device if each.type.lower() not in pair.fhir_types)
    written = pair.written_fhir
    for template in pair.fhir_templates:
        if template.type_name.lower() in pair.device_types:
            continue
        near = free.nearest(template.type_name)
        node = written.template_of(template.type_name).find("typeName")
        yield warning(
            Name.TYPE_WITHOUT_DEVICE_TEMPLATE,
            f"No device template gives measurements of the type '{template.type_name}', so this template is never "
            f"used. Give a device template this typeName, or remove it.{did_you_mean(near)}",
            written.place(node),
            write_instead(written, node, near),
        )
