"""Mappings and messages, tried out: what is wrong with them, and what they become.

The same code as in the pipeline, with nothing stored: a message is normalized, and each of its measurements becomes an
Observation of a made-up patient and device. As in the service, messages are tried only with mappings that load.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from medtech import deadline
from medtech.errors import Stage
from medtech.mapping.content_template import ContentTemplate
from medtech.mapping.device import DeviceMapping, read_device_templates
from medtech.mapping.fhir import DEFAULT_OPTIONS, CodeValueTemplate, FhirMapping, FhirOptions, read_fhir_templates
from medtech.model import DeviceEvent, Measurement, MeasurementGroup, ResourceIdentity
from medtech.transform.observation import convert, create
from medtech.validation.finding import Finding, Level, of_error, of_issue

IDENTITY = ResourceIdentity(device="devId", patient="patId", encounter=None)
"""Whom the Observations of a validation refer to."""


@dataclass(frozen=True, slots=True)
class Mappings:
    """What messages are tried with, and the findings about it. Without a device mapping no message is tried."""

    device: DeviceMapping | None
    fhir: FhirMapping | None
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class DeviceResult:
    """What became of one message. If aggregated, it has one finding, which `aggregated_count` messages had."""

    event: DeviceEvent
    measurements: list[Measurement] = field(default_factory=list)
    observations: list[dict[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    aggregated_count: int = 0


def read_mappings(device_text: str | None, fhir_text: str | None, options: FhirOptions = DEFAULT_OPTIONS) -> Mappings:
    """The texts of mappings (None: not given), read and compared; if one has a fault, neither is tried."""
    findings: list[Finding] = []
    device = fhir = None
    # The good templates beside a broken one are compared as well, so that a mapping is fixed in fewer rounds.
    if device_text is not None:
        device = read_device_templates(device_text)
        findings += (of_issue(issue, Stage.NORMALIZATION) for issue in device.issues)
    if fhir_text is not None:
        fhir = read_fhir_templates(fhir_text, options)
        findings += (of_issue(issue, Stage.FHIR_CONVERSION) for issue in fhir.issues)
    usable = not findings
    fhir_mapping = None if fhir is None else FhirMapping(fhir.templates)
    if fhir_mapping is not None:
        findings += compare([template for template, _ in device.templates] if device else [], fhir_mapping)
    if not usable:
        return Mappings(None, None, findings)
    return Mappings(None if device is None else DeviceMapping(device.templates), fhir_mapping, findings)


def compare(templates: Iterable[ContentTemplate], fhir: FhirMapping) -> list[Finding]:
    """What device templates give that the FHIR mapping does not use, and what of the FHIR mapping has no effect."""
    findings = [
        _warning(
            f"'periodInterval' of the type '{template.type_name}' has no effect: without SampledData each reading "
            "becomes an Observation of its own. Write 0, or set SINGLE_VALUE_PERIOD=group to keep one Observation per "
            "period with the latest reading."
        )
        for template in fhir.templates
        if template.interval is not template.written_interval
    ]
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
    """What each message becomes by itself; `issued` of the Observations, in ticks.

    With `aggregate` only findings are returned, equal ones once, with their count and the first message that had them.
    Raises OutOfTime.
    """
    device = mappings.device
    if device is None:
        return []
    results: list[DeviceResult] = []
    for event in events:
        deadline.ask("every message was tried")
        results.append(_try(event, device, mappings.fhir, issued))
    return _aggregated(results) if aggregate else results


def _value_names(template: CodeValueTemplate) -> list[str]:
    values = [component.value for component in template.components]
    return [value.name for value in ([template.value, *values] if template.value else values)]


def _try(event: DeviceEvent, device: DeviceMapping, fhir: FhirMapping | None, issued: int) -> DeviceResult:
    measurements, failures = device.normalize(event)
    result = DeviceResult(event, measurements, findings=[of_error(failure.error) for failure in failures])
    if not measurements and not failures:
        unmatched = "No template of the device mapping matches this message."
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
    """One result for each different finding, in the order of their first messages."""
    folded: dict[Finding, DeviceResult] = {}
    for result in results:
        for finding in result.findings:
            known = folded.get(finding) or DeviceResult(result.event, findings=[finding])
            folded[finding] = replace(known, aggregated_count=known.aggregated_count + 1)
    return list(folded.values())


def _warning(message: str) -> Finding:
    return Finding(message, Level.WARNING, Stage.FHIR_CONVERSION)
