"""The device mapping: loaded and checked as a whole, then a function of messages.

Loading compiles everything; nothing is parsed per message. One walk of a message finds the matches of most templates
(`matching`), a function of its own takes each template's measurements from them (`extraction`).
"""

from typing import Any

from medtech.dotnet.json_body import NotJson, parse_body
from medtech.errors import ErrorType, MappingInvalid, NotSupported
from medtech.mapping.content_template import ContentTemplate
from medtech.mapping.document import message_document
from medtech.mapping.extraction import Extract, compile_extraction
from medtech.mapping.matching import Matcher, Scan, Search
from medtech.mapping.schema import Issues, read_collection
from medtech.mapping.template_reader import read_template
from medtech.model import DeviceEvent, Measurement, NormalizationFailure, Normalized

_UNREAD: dict[str, Any] = {}
"""Stands for metadata that no expression of the mapping reads."""


class DeviceMapping:
    """A device mapping that is loaded; `templates` are in the order of the mapping."""

    def __init__(self, templates: list[ContentTemplate], finders: list[Scan | Search]) -> None:
        self.templates = tuple(templates)
        self._matcher = Matcher(finders)
        self._extracts: list[Extract] = [
            compile_extraction(template, matches_objects=isinstance(finder, Scan))
            for template, finder in zip(templates, finders, strict=True)
        ]
        self._reads_metadata = self._matcher.reads_metadata or any(template.reads_metadata for template in templates)

    def normalize(self, event: DeviceEvent) -> Normalized:
        """What the message becomes. Every template stands alone, and so does every match of one."""
        body, properties, system_properties, ingestion_time, _, partition, sequence_number = event
        measurements: list[Measurement] = []
        failures: list[NormalizationFailure] = []
        try:
            parsed = parse_body(body)
        except NotJson as error:
            failures.append(NormalizationFailure(NotSupported(str(error)), -1, -1))
            return Normalized(measurements, failures)
        matcher = self._matcher
        # Metadata is brought into the document's form only where something of it may be read.
        if (
            self._reads_metadata
            or (properties and matcher.may_take(properties))
            or (system_properties and matcher.may_take(system_properties))
        ):
            document = message_document(parsed, properties, system_properties)
        else:
            document = {"Body": parsed, "Properties": _UNREAD, "SystemProperties": _UNREAD}
        matches = matcher.find(document)
        for index in sorted(matches) if len(matches) > 1 else matches:
            found = matches[index]
            if isinstance(found, list):
                self._extracts[index](
                    document, found, ingestion_time, partition, sequence_number, measurements, failures
                )
            else:
                template = self.templates[index]
                failures.append(template.failure(template.type_match, found, -1))
        # Half the time of the NamedTuple's own constructor, which only does the same.
        return tuple.__new__(Normalized, (measurements, failures))


def load_device_mapping(text: str) -> DeviceMapping:
    """The text of a device mapping, checked and compiled. Raises MappingInvalid with everything that is wrong in it."""
    issues = Issues(ErrorType.DEVICE_TEMPLATE)
    loaded = _read_templates(text, issues)
    issues.raise_found()
    return DeviceMapping([template for template, _ in loaded], [finder for _, finder in loaded])


def readable_templates(text: str) -> list[ContentTemplate]:
    """The templates in which nothing is wrong, of a mapping that may not load: to be looked at, not to be run."""
    try:
        return [template for template, _ in _read_templates(text, Issues(ErrorType.DEVICE_TEMPLATE))]
    except MappingInvalid:
        return []


def _read_templates(text: str, issues: Issues) -> list[tuple[ContentTemplate, Scan | Search]]:
    containers = read_collection(text, "CollectionContent", issues)
    return [found for container in containers if (found := read_template(container, issues)) is not None]
