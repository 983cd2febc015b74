"""`POST /api/validate`: its request, which may hold anything, and its answer. docs/validate.md describes both.

A mapping is an object, or a text whose lines the findings then name; those of an object are counted as an editor lays
it out, a line for each value. A request has at most 10,000 messages, each in one of the forms of `message`. Without a
mapping in the request, the mappings in force are tried, and the answer has their state.
"""

import json
import re
from collections.abc import Sequence
from io import StringIO
from itertools import accumulate
from typing import Any

import azure.functions as func

from medtech import deadline
from medtech.dotnet import ticks
from medtech.dotnet.json_reader import MAX_DEPTH
from medtech.errors import OutOfTime, SettingInvalid
from medtech.mapping.device import DeviceMapping
from medtech.mapping.fhir import FhirMapping, FhirOptions
from medtech.mapping.in_force import MappingState, MappingStore
from medtech.transform.fhir_json import dump_resource
from medtech.validation.document import of_finding, of_measurement, of_stored
from medtech.validation.finding import STAGES, Finding, Level, Name
from medtech.validation.mapping_pair import MappingPair
from medtech.validation.message import BadRequest, BodyPlace, body_place, read_message
from medtech.validation.trace.tracer import TemplateTrace, Tracer
from medtech.validation.validator import DeviceResult, Mappings, check_mappings, of_issue, read_mappings, validate
from medtech.validation.written_mapping import WrittenMapping

_PROPERTIES = {"deviceMapping", "fhirMapping", "deviceMessages", "aggregate", "trace"}
_HOW = "Send an object with deviceMapping, fhirMapping, deviceMessages and, if wanted, aggregate or trace."

_FASTER = "Send fewer, and look for regular expressions and scans (`..`) in the mapping that take long."

MAX_MESSAGES = 10_000
"""A message of two bytes makes 300 of the answer and 1,700 of memory: 4 MiB of them took 3.5 GB."""

_MAX_REQUEST_DEPTH = MAX_DEPTH + 3
"""The request, its list of messages and an envelope are around a body."""


def answer(
    request: func.HttpRequest,
    max_bytes: int,
    device_store: MappingStore[DeviceMapping],
    fhir_store: MappingStore[FhirMapping],
    fhir_options: FhirOptions,
) -> func.HttpResponse:
    """200 with the result, 400 with a reason, 413 for more than `max_bytes` or than there is time for.

    `fhir_options` are those in force; the mapping of `fhir_store` was loaded with them already.
    """
    body = request.get_body()
    if len(body) > max_bytes:
        return _answer(
            413, {"error": f"The request has over {max_bytes} bytes: send less, or raise VALIDATE_MAX_BYTES."}
        )
    try:
        asked = _read(body)
        messages = _messages(asked)
        events = [read_message(message, number) for number, message in enumerate(messages)]
        device_text, fhir_text = _mapping_text(asked, "deviceMapping"), _mapping_text(asked, "fhirMapping")
    except BadRequest as refusal:
        return _answer(400, {"error": str(refusal)})
    document: dict[str, Any] = {}
    if device_text is None and fhir_text is None:
        mappings, states = _in_force(device_store, fhir_store)
        document["mappingsInForce"] = [_state(state) for state in states]
    else:
        mappings = read_mappings(device_text, fhir_text, fhir_options)
    try:
        outcome = validate(mappings, events, aggregate=asked.get("aggregate", False), issued=ticks.now())
        traces = _traces(mappings.device, outcome.results) if asked.get("trace") else None
    except OutOfTime:
        return _answer(413, {"error": f"The time was over before all {len(events)} messages were tried. {_FASTER}"})
    document["templateResult"] = {"findings": [of_finding(finding) for finding in outcome.findings]}
    document["deviceResults"] = [
        _device_result(result, body_place(messages[result.event.sequence_number])) for result in outcome.results
    ]
    for of_message, trace in zip(document["deviceResults"], traces or (), strict=traces is not None):
        of_message["trace"] = trace
    document["storedObservations"] = [of_stored(each) for each in outcome.stored]
    return _answer(200, document)


def _read(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        _check_depth(text)
        # The standard library's JSON: integers of any length stay what they are.
        asked = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        raise BadRequest(
            "The request is not JSON. Send an object with deviceMapping, fhirMapping, deviceMessages."
        ) from None
    if not isinstance(asked, dict):
        raise BadRequest(f"The request is not a JSON object. {_HOW}")
    if unknown := sorted(asked.keys() - _PROPERTIES):
        raise BadRequest(f"{unknown[0][:60]!a} is not a property of a request. Use {', '.join(sorted(_PROPERTIES))}.")
    for name in ("aggregate", "trace"):
        if not isinstance(asked.get(name, False), bool):
            raise BadRequest(f"'{name}' is neither true nor false. Send one of them, or leave it out.")
    if asked.get("aggregate") and asked.get("trace"):
        raise BadRequest("'trace' is of each message, and 'aggregate' folds them. Send one of the two.")
    return asked


_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_LEVELS = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]


def _check_depth(text: str) -> None:
    """Refuses what is nested too deep before anything walks it: the readers and writers of JSON recurse."""
    brackets = _STRING.sub(b"", text.encode("utf-8", "surrogatepass")).translate(None, _NO_BRACKETS)
    if max(accumulate(map(_LEVELS.__getitem__, brackets)), default=0) > _MAX_REQUEST_DEPTH:
        raise BadRequest(
            f"The request is nested more than {_MAX_REQUEST_DEPTH} deep, and a message may be {MAX_DEPTH}. Send what "
            "the devices send, or a body as a text to see what the app says about it."
        )


def _mapping_text(asked: dict[str, Any], name: str) -> str | None:
    mapping = asked.get(name)
    if mapping is None:
        return None
    if isinstance(mapping, str):
        # Neither a file in UTF-8 nor an answer can hold half a surrogate pair.
        return mapping.encode("utf-8", "replace").decode()
    if isinstance(mapping, dict):
        # A line for each value, as editors lay it out, but not indented: at 500 levels each would take a kilobyte.
        text = StringIO()
        json.dump(mapping, text, indent=0)
        return text.getvalue()
    raise BadRequest(f"'{name}' is neither a text nor an object. Send the mapping as one of them.")


def _messages(asked: dict[str, Any]) -> Sequence[Any]:
    messages = asked.get("deviceMessages")
    if messages is None:
        return []
    if not isinstance(messages, list):
        raise BadRequest("'deviceMessages' is not a list. Send the messages as [...], even a single one.")
    if len(messages) > MAX_MESSAGES:
        raise BadRequest(f"There are {len(messages)} messages, and a request may have {MAX_MESSAGES}. Send fewer.")
    return messages


def _in_force(
    device_store: MappingStore[DeviceMapping], fhir_store: MappingStore[FhirMapping]
) -> tuple[Mappings, list[MappingState]]:
    """The mappings in force. Findings are the faults of a newer text that was refused, and what cannot be reached."""
    device, device_state, storage_away = device_store.current()
    fhir, fhir_state, _ = fhir_store.current(storage_away)
    states = [device_state, fhir_state]
    findings: list[Finding] = []
    # Their texts are not at hand, so a finding has a pointer at most.
    written = WrittenMapping("deviceMapping"), WrittenMapping("fhirMapping")
    pair = MappingPair(None if device is None else device.templates, fhir, *written)
    for state, mapping, text in zip(states, (device, fhir), written, strict=True):
        stage = STAGES[text.name]
        findings += (of_issue(issue, text) for issue in state.issues)
        if state.held_back is not None:
            findings.append(Finding(state.held_back, Level.WARNING, stage, name=Name.MAPPING_HELD_BACK))
        if state.unavailable is not None:
            level = Level.ERROR if mapping is None else Level.WARNING
            findings.append(Finding(state.unavailable, level, stage, name=Name.MAPPING_UNAVAILABLE))
    if device is not None and fhir is not None:
        findings += check_mappings(pair)
    return Mappings(device, fhir, findings, pair), states


def _state(state: MappingState) -> dict[str, Any]:
    return {
        "kind": state.kind,
        "source": state.source,
        "inForce": state.in_force,
        "since": state.since,
        "newerRefused": bool(state.issues),
        "heldBack": state.held_back,
        "unavailable": state.unavailable,
    }


def _traces(device: DeviceMapping | None, results: Sequence[DeviceResult]) -> list[list[TemplateTrace] | None]:
    """The trace of each message; raises OutOfTime. Without a device mapping there are no messages."""
    if device is None:
        return []
    tracer = Tracer(device)
    traces: list[list[TemplateTrace] | None] = []
    for result in results:
        deadline.ask("every message was traced")
        traces.append(tracer.trace(result.event, result.measurements))
    return traces


def _device_result(result: DeviceResult, body: BodyPlace | None) -> dict[str, Any]:
    event = result.event
    return {
        "deviceMessage": {
            "Body": event.body.decode("utf-8", "replace"),
            "Properties": event.properties,
            "SystemProperties": event.system_properties,
        },
        "bodyAt": None if body is None else body.pointer,
        "bodyIsText": body is not None and body.is_text,
        "measurements": [of_measurement(measurement) for measurement in result.measurements],
        "observations": result.observations,
        "findings": [of_finding(finding) for finding in result.findings],
        "aggregatedCount": result.aggregated_count,
    }


def unusable(error: SettingInvalid) -> func.HttpResponse:
    """503 of an app whose settings do not say how to answer."""
    return _answer(503, {"error": error.message})


def _answer(status: int, document: dict[str, Any]) -> func.HttpResponse:
    return func.HttpResponse(dump_resource(document), status_code=status, mimetype="application/json")
