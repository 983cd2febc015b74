"""Letters and causes as JSON, for programs: of `GET /api/dead-letters`, `--json` and the lines of an export.

A letter: `{id, kind, stage, error, type, severity, message, hub, partition?, sequenceNumber?, enqueuedTime?, count,
firstTime, lastTime, job?}`. With its reason also `{failures: [{type, message}], outcome}`. With its content one of

    event         {body | bodyBase64, properties, systemProperties}      `body` if it is UTF-8
    measurement   {type, occurrenceTimeUtc, deviceId, patientId, encounterId, correlationId, properties}
    rowBase64     the payload of a damaged row of the buffer

and `unreadable`, a sentence, in place of what cannot be read. What a server said (`outcome`) and the content are health
data. Lone surrogates of texts need `json.dumps` (orjson refuses them).
"""

import base64
from typing import Any

from medtech.dead_letter.causes import Cause, Causes
from medtech.dead_letter.letter import Letter
from medtech.dead_letter.store import Summary
from medtech.dotnet import ticks
from medtech.errors import BufferCorrupt
from medtech.model import DeviceEvent, Measurement

Document = dict[str, Any]


def of_causes(causes: Causes) -> Document:
    return {"letters": causes.letters, "causes": [of_cause(cause) for cause in causes.table()]}


def of_cause(cause: Cause) -> Document:
    example = cause.example
    return {
        "cause": cause.fingerprint or None,
        "stage": cause.stage,
        "error": cause.error,
        "type": cause.type,
        "message": cause.shape,
        "letters": cause.letters,
        "written": cause.written,
        "inReplay": cause.held,
        "firstTime": cause.first_time,
        "lastTime": cause.last_time,
        "example": {"id": example.id, "message": example.message, **_origin(example)},
    }


def of_summary(letter: Summary) -> Document:
    """A letter without its reason and content."""
    document = {
        "id": letter.id,
        "kind": letter.kind,
        "stage": letter.stage,
        "error": letter.error,
        "type": letter.type,
        "severity": letter.severity,
        "message": letter.message,
        **_origin(letter),
        "count": letter.count,
        "firstTime": letter.first_time,
        "lastTime": letter.last_time,
    }
    return document | {"job": letter.job} if letter.job else document


def of_letter(summary: Summary, letter: Letter | BufferCorrupt, *, content: bool) -> Document:
    """A letter with its reason, and its `content` if it is wanted."""
    document = of_summary(summary)
    if isinstance(letter, BufferCorrupt):
        return document | {"unreadable": letter.message}
    document["failures"] = [failure._asdict() for failure in letter.failures]
    document["outcome"] = letter.outcome
    return document | _content(letter.content) if content else document


def _origin(letter: Summary) -> Document:
    origin = letter.origin
    if origin is None:
        return {"hub": letter.hub}
    return {
        "hub": origin.hub,
        "partition": origin.partition,
        "sequenceNumber": origin.sequence_number,
        "enqueuedTime": ticks.format_iso(origin.enqueued_time),
    }


def _content(content: DeviceEvent | Measurement | bytes) -> Document:
    if isinstance(content, DeviceEvent):
        metadata = {"properties": dict(content.properties), "systemProperties": dict(content.system_properties)}
        return {"event": _body(content.body) | metadata}
    if isinstance(content, bytes):
        return {"rowBase64": base64.b64encode(content).decode()}
    return {
        "measurement": {
            "type": content.type,
            "occurrenceTimeUtc": ticks.format_iso(content.occurrence_time),
            "deviceId": content.device_id,
            "patientId": content.patient_id,
            "encounterId": content.encounter_id,
            "correlationId": content.correlation_id,
            "properties": [{"name": name, "value": value} for name, value in content.properties],
        }
    }


def _body(body: bytes) -> Document:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"bodyBase64": base64.b64encode(body).decode()}
