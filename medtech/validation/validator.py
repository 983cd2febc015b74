"""Mappings and messages, tried out: what is wrong with them, and what they become.

The same code as in the pipeline, with nothing stored: a message is normalized, each measurement becomes an Observation
for a made-up patient and device. As in the service, messages are tried only with mappings that load.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from medtech.errors import MappingInvalid, Stage
from medtech.mapping.content_template import ContentTemplate
from medtech.mapping.device import DeviceMapping, load_device_mapping, readable_templates
from medtech.mapping.fhir import CodeValueTemplate, FhirMapping, load_fhir_mapping, readable_mapping
from medtech.model import DeviceEvent, Measurement, MeasurementGroup, ResourceIdentity
from medtech.transform.observation import convert, create
from medtech.validation.finding import Finding, Level, of_error, of_issue

IDENTITY = ResourceIdentity(device="devId", patient="patId", encounter=None)
"""Whom the Observations of a validation are about."""


@dataclass(frozen=True, slots=True)
class Mappings:
    """What messages are tried with, and what is to say of it. Without a device mapping none is tried."""

    device: DeviceMapping | None
    fhir: FhirMapping | None
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class DeviceResult:
    """What became of one message; folded, `aggregated_count` messages had the one finding."""

    event: DeviceEvent
    measurements: list[Measurement] = field(default_factory=list)
    observations: list[dict[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    aggregated_count: int = 0


def read_mappings(device_text: str | None, fhir_text: str | None) -> Mappings:
    """The texts of mappings (None: not given), loaded and compared; if one does not load, neither is tried."""
    findings: list[Finding] = []
    device: DeviceMapping | None = None
    fhir: FhirMapping | None = None
    templates: Sequence[ContentTemplate] = ()
    # Templates beside a broken one are compared as well: a mapping is mended in fewer rounds.
    if device_text is not None:
        try:
            device = load_device_mapping(device_text)
            templates = device.templates
        except MappingInvalid as invalid:
            findings += (of_issue(issue, Stage.NORMALIZATION) for issue in invalid.issues)
            templates = readable_templates(device_text)
    if fhir_text is not None:
        try:
            fhir = load_fhir_mapping(fhir_text)
        except MappingInvalid as invalid:
            findings += (of_issue(issue, Stage.FHIR_CONVERSION) for issue in invalid.issues)
            fhir = readable_mapping(fhir_text)
    usable = not findings
    if fhir is not None:
        findings += compare(templates, fhir)
    return Mappings(device, fhir, findings) if usable else Mappings(None, None, findings)


def compare(templates: Iterable[ContentTemplate], fhir: FhirMapping) -> list[Finding]:
    """What device templates give that the FHIR mapping has no place for."""
    findings: list[Finding] = []
    for template in templates:
        found = fhir.template(template.type)
        if found is None:
            known = ", ".join(each.type_name for each in fhir.templates) or "none"
            findings.append(
                _warning(
                    f"The FHIR mapping has no template for the type '{template.type}'. Add one with this typeName; "
                    f"there are: {known}."
                )
            )
            continue
        taken = _value_names(found)
        findings += (
            _warning(
                f"The value '{value.origin.name}' of the type '{template.type}' is in no Observation. Use it in the "
                f"FHIR template, which has: {', '.join(taken) or 'no values'}."
            )
            for value in template.values
            if value.origin.name not in taken
        )
    return findings


def try_messages(
    mappings: Mappings, events: Iterable[DeviceEvent], *, aggregate: bool, issued: int
) -> list[DeviceResult]:
    """What the messages become; `issued` in ticks is the time of the Observations.

    With `aggregate` only findings come back, equal ones once with their count and the first message that had them.
    """
    device = mappings.device
    if device is None:
        return []
    results = [_try(event, device, mappings.fhir, issued) for event in events]
    return _aggregated(results) if aggregate else results


def _value_names(template: CodeValueTemplate) -> list[str]:
    values = [component.value for component in template.components]
    return [value.name for value in ([template.value, *values] if template.value else values)]


def _try(event: DeviceEvent, device: DeviceMapping, fhir: FhirMapping | None, issued: int) -> DeviceResult:
    measurements, failures = device.normalize(event)
    result = DeviceResult(event, measurements, findings=[of_error(failure.error) for failure in failures])
    if not measurements and not failures:
        unmatched = "No template of the device mapping takes this message."
        result.findings.append(Finding(unmatched, Level.WARNING, Stage.NORMALIZATION))
    if fhir is not None:
        for measurement in measurements:
            _transform(measurement, fhir, issued, result)
    return result


def _transform(measurement: Measurement, fhir: FhirMapping, issued: int, result: DeviceResult) -> None:
    group = MeasurementGroup(
        type=measurement.type,
        device_id=measurement.device_id,
        patient_id=measurement.patient_id,
        encounter_id=measurement.encounter_id,
        correlation_id=measurement.correlation_id,
        measurements=[measurement],
    )
    conversion = convert(fhir, group)
    result.observations.extend(create(draft, IDENTITY, issued) for draft in conversion.drafts)
    result.findings.extend(of_error(failure.error) for failure in conversion.failures)


def _aggregated(results: Iterable[DeviceResult]) -> list[DeviceResult]:
    """One result for each different finding, in the order in which they were met."""
    folded: dict[Finding, DeviceResult] = {}
    for result in results:
        for finding in result.findings:
            known = folded.get(finding) or DeviceResult(result.event, findings=[finding])
            folded[finding] = replace(known, aggregated_count=known.aggregated_count + 1)
    return list(folded.values())


def _warning(message: str) -> Finding:
    return Finding(message, Level.WARNING, Stage.FHIR_CONVERSION)
