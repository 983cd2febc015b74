"""What was found and what messages became, as JSON: of `POST /api/validate` and of the command line.

docs/validate.md describes each property.
"""

import json
from typing import Any

from medtech.dotnet import ticks
from medtech.model import Measurement
from medtech.validation.finding import Finding, Fix
from medtech.validation.stored import StoredObservation
from medtech.validation.written_mapping import Range


def of_measurement(measurement: Measurement) -> dict[str, Any]:
    return {
        "type": measurement.type,
        "occurrenceTimeUtc": ticks.format_iso(measurement.occurrence_time),
        "deviceId": measurement.device_id,
        "patientId": measurement.patient_id,
        "encounterId": measurement.encounter_id,
        "correlationId": measurement.correlation_id,
        "properties": [{"name": name, "value": value} for name, value in measurement.properties],
    }


def of_stored(stored: StoredObservation) -> dict[str, Any]:
    return {
        "observation": stored.observation,
        "deviceId": stored.device_id,
        "messages": stored.messages,
        "supersededReadings": stored.draft.superseded,
        "findings": [of_finding(finding) for finding in stored.findings],
        "aggregatedCount": stored.aggregated_count,
    }


def of_finding(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "message": finding.message,
        "level": finding.level,
        "stage": finding.stage,
        "line": finding.line,
        "position": finding.position,
        "mapping": finding.mapping,
        "pointer": finding.pointer,
        "range": _range(finding.range),
        "fix": None if finding.fix is None else _fix(finding.fix),
        "count": finding.seen_count,
        "messageIndex": finding.message_index,
    }


def _fix(fix: Fix) -> dict[str, Any]:
    return {
        "title": fix.title,
        "pointer": fix.pointer,
        "value": json.loads(fix.value),
        "range": _range(fix.range),
        "replacement": fix.replacement,
    }


def _range(found: Range | None) -> dict[str, int] | None:
    if found is None:
        return None
    return {
        "line": found.line,
        "position": found.position,
        "endLine": found.end_line,
        "endPosition": found.end_position,
    }
