"""Mappings and messages, tried out: what is wrong with them, and what they become.

The same code as in the pipeline, with nothing stored: a message is normalized, and each of its measurements becomes an
Observation of a made-up patient and device. All messages together become what one flush would store. As in the
service, messages are tried only with mappings that load.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from medtech import deadline
from medtech.errors import MappingIssue, Stage
from medtech.evaluation_budget import BudgetSpent
from medtech.mapping.device import DeviceMapping, read_device_templates
from medtech.mapping.fhir import DEFAULT_OPTIONS, FhirMapping, FhirOptions, read_fhir_templates
from medtech.model import DeviceEvent, Measurement, MeasurementGroup, Normalized
from medtech.transform.observation import convert, create
from medtech.validation.checks import OF_MAPPINGS, OF_MESSAGES, OF_OBSERVATIONS, properties
from medtech.validation.checks.literals import fix_of_issue
from medtech.validation.finding import STAGES, Finding, Level, Name, of_error
from medtech.validation.mapping_pair import MappingPair
from medtech.validation.stored import IDENTITY, StoredObservation, store
from medtech.validation.trial import Trial
from medtech.validation.written_mapping import WrittenMapping


@dataclass(frozen=True, slots=True)
class Mappings:
    """What messages are tried with, and the findings about it. Without a device mapping no message is tried."""

    device: DeviceMapping | None
    fhir: FhirMapping | None
    findings: list[Finding]
    pair: MappingPair


@dataclass(frozen=True, slots=True)
class DeviceResult:
    """What became of one message. If aggregated, it has one finding, which `aggregated_count` messages had."""

    event: DeviceEvent
    measurements: list[Measurement] = field(default_factory=list)
    observations: list[dict[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    aggregated_count: int = 0


class Outcome(NamedTuple):
    """`findings` are those about the mappings; the others are with the message or the Observation they are about."""

    findings: list[Finding]
    results: list[DeviceResult]
    stored: list[StoredObservation]


def read_mappings(device_text: str | None, fhir_text: str | None, options: FhirOptions = DEFAULT_OPTIONS) -> Mappings:
    """The texts of mappings (None: not given), read and checked; if one has a fault, neither is tried."""
    findings: list[Finding] = []
    device = fhir = None
    written_device = WrittenMapping("deviceMapping", device_text or "")
    written_fhir = WrittenMapping("fhirMapping", fhir_text or "")
    # The good templates beside a broken one are checked as well, so that a mapping is fixed in fewer rounds.
    if device_text is not None:
        device = read_device_templates(device_text)
        findings += (of_issue(issue, written_device) for issue in device.issues)
    if fhir_text is not None:
        fhir = read_fhir_templates(fhir_text, options)
        findings += (of_issue(issue, written_fhir) for issue in fhir.issues)
    usable = not findings
    for read, written in ((device, written_device), (fhir, written_fhir)):
        if read is not None:
            findings += properties.duplicates(written, read.repeated)
    fhir_mapping = None if fhir is None else FhirMapping(fhir.templates)
    templates = None if device is None else [template for template, _ in device.templates]
    pair = MappingPair(templates, fhir_mapping, written_device, written_fhir)
    findings += check_mappings(pair)
    if not usable:
        return Mappings(None, None, findings, pair)
    return Mappings(None if device is None else DeviceMapping(device.templates), fhir_mapping, findings, pair)


def check_mappings(pair: MappingPair) -> list[Finding]:
    """What the checks find in the templates of mappings."""
    return [finding for check in OF_MAPPINGS for finding in check(pair)]


def of_issue(issue: MappingIssue, written: WrittenMapping) -> Finding:
    """A fault of a mapping, with the change that mends it if that is known."""
    place = written.place_at(issue.pointer, issue.line, issue.position)
    return Finding(
        issue.message,
        Level.ERROR,
        STAGES[written.name],
        issue.line,
        issue.position,
        Name.MAPPING_INVALID,
        written.name,
        issue.pointer,
        place.range,
        fix_of_issue(written, issue),
    )


def validate(mappings: Mappings, events: Sequence[DeviceEvent], *, aggregate: bool, issued: int) -> Outcome:
    """What the messages become, each by itself and all together; `issued` of the Observations, in ticks.

    The sequence number of an event is its place in the list. With `aggregate` only findings are returned, equal ones
    once, with their count and the first message or Observation that had them. Raises OutOfTime.
    """
    device, fhir, pair = mappings.device, mappings.fhir, mappings.pair
    if device is None:
        return Outcome(mappings.findings, [], [])
    normalized: list[Normalized] = []
    results: list[DeviceResult] = []
    for event in events:
        deadline.ask("every message was tried")
        normalized.append(device.normalize(event))
        results.append(_result(event, normalized[-1], fhir, issued))
    findings = list(mappings.findings)
    if events:
        trial = Trial(pair, device, events, normalized, issued)
        for check in OF_MESSAGES:
            deadline.ask("the messages were checked")
            with suppress(BudgetSpent):
                findings.extend(check(trial))
    stored: list[StoredObservation] = []
    if fhir is not None:
        deadline.ask("the Observations were made")
        stored, losses = store((each for of_event in normalized for each in of_event.measurements), fhir, issued)
        for error, measurement in losses:
            loss = of_error(error)
            # What a reading lacks by itself is known from its message already.
            of_message = results[measurement.sequence_number].findings
            if loss not in of_message:
                of_message.append(loss)
        for check_stored in OF_OBSERVATIONS:
            for each, finding in check_stored(pair, stored):
                each.findings.append(finding)
    if aggregate:
        return Outcome(findings, _aggregated_results(results), _aggregated_observations(stored))
    return Outcome(findings, results, stored)


def _result(event: DeviceEvent, normalized: Normalized, fhir: FhirMapping | None, issued: int) -> DeviceResult:
    measurements, failures = normalized
    result = DeviceResult(event, measurements, findings=[of_error(failure.error) for failure in failures])
    if not measurements and not failures:
        unmatched = "No template of the device mapping matches this message."
        result.findings.append(Finding(unmatched, Level.WARNING, Stage.NORMALIZATION, name=Name.NO_TEMPLATE_MATCHED))
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


def _aggregated_results(results: Iterable[DeviceResult]) -> list[DeviceResult]:
    """One result for each different finding, in the order of their first messages."""
    folded: dict[Finding, DeviceResult] = {}
    for result in results:
        for finding in result.findings:
            known = folded.get(finding) or DeviceResult(result.event, findings=[finding])
            folded[finding] = replace(known, aggregated_count=known.aggregated_count + 1)
    return list(folded.values())


def _aggregated_observations(stored: Iterable[StoredObservation]) -> list[StoredObservation]:
    """One Observation for each different finding, in the order of the first."""
    folded: dict[Finding, StoredObservation] = {}
    for each in stored:
        for finding in each.findings:
            known = folded.get(finding) or replace(each, findings=[finding])
            folded[finding] = replace(known, aggregated_count=known.aggregated_count + 1)
    return list(folded.values())
