"""A message of a request, in any of the forms that people have them in, as the hub would deliver it.

| form | told by |
|---|---|
| an event: `{Body, Properties?, SystemProperties?}` | `Body` |
| what IoT Hub routes to storage: the same, with its own names of system properties | `EnqueuedTimeUtc` |
| what IoT Hub sends to Event Grid, in either of its two schemas | the event's type |
| a letter of `GET /api/dead-letters`: `{bodyBase64, properties, systemProperties}` | `bodyBase64` |
| the body alone | anything else |

Event Grid and storage hold a body that is not declared as JSON in Base64. Source of the two forms of IoT Hub: its
documentation of message routing to storage, and of its schema in Event Grid.
"""

import base64
import json
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, NamedTuple

import orjson

from medtech.dotnet import ticks
from medtech.dotnet.times import json_date
from medtech.model import DeviceEvent

_TELEMETRY = "Microsoft.Devices.DeviceTelemetry"

_NAMES_OF_STORAGE = {
    "connectionAuthMethod": "iothub-connection-auth-method",
    "connectionDeviceGenerationId": "iothub-connection-auth-generation-id",
    "connectionDeviceId": "iothub-connection-device-id",
    "connectionModuleId": "iothub-connection-module-id",
    "contentEncoding": "content-encoding",
    "contentType": "content-type",
    "correlationId": "correlation-id",
    "enqueuedTime": "iothub-enqueuedtime",
    "messageId": "message-id",
    "userId": "user-id",
}
"""System properties in blobs that IoT Hub writes, and as they come through its endpoint for Event Hubs."""


class BadRequest(Exception):
    """A request that cannot be answered; its text says how to fix it."""


class _Form(Enum):
    """A form of the table above."""

    BODY = auto()
    EVENT = auto()
    ROUTED_EVENT = auto()
    GRID_EVENT = auto()
    LETTER = auto()


class BodyPlace(NamedTuple):
    """Where in a message as it was sent its body begins, as a JSON pointer.

    `is_text`: a text stands there, which holds the JSON of the body.
    """

    pointer: str
    is_text: bool


def read_message(message: Any, number: int) -> DeviceEvent:
    """The event of the message with this number; its enqueued time is now unless the message says it.

    Raises BadRequest for properties that no event can have.
    """
    enqueued: Any = None
    body: bytes
    properties: Any = None
    system: Any = None
    match _form(message):
        case _Form.EVENT:
            properties, system = message.get("Properties"), message.get("SystemProperties")
            body = _as_received(message["Body"])
        case _Form.ROUTED_EVENT:
            properties, system = message.get("Properties"), _renamed(message.get("SystemProperties"))
            enqueued = message["EnqueuedTimeUtc"]
            body = _from_routing(message["Body"])
        case _Form.GRID_EVENT:
            telemetry = message["data"]
            properties, system = telemetry.get("properties"), telemetry.get("systemProperties")
            enqueued = system.get("iothub-enqueuedtime") if isinstance(system, dict) else None
            body = _from_routing(telemetry.get("body"))
        case _Form.LETTER:
            properties, system = message.get("properties"), message.get("systemProperties")
            body = _decoded(message["bodyBase64"]) or b""
        case _Form.BODY:
            body = _as_sent(message)
    # Later messages of a request are later in the hub: of two readings of one time the last one stands.
    moment = json_date(enqueued) if isinstance(enqueued, str) else None
    return DeviceEvent(
        body,
        _metadata(properties, "Properties", number),
        _metadata(system, "SystemProperties", number),
        ticks.now() + number if moment is None else moment.ticks,
        "",
        "0",
        number,
    )


def body_place(message: Any) -> BodyPlace | None:
    """Where the body of a message is; None if it is in Base64, or absent."""
    match _form(message):
        case _Form.EVENT:
            return BodyPlace("/Body", isinstance(message["Body"], str))
        case _Form.ROUTED_EVENT:
            return _routed_place("/Body", message["Body"])
        case _Form.GRID_EVENT:
            return _routed_place("/data/body", message["data"]["body"]) if "body" in message["data"] else None
        case _Form.LETTER:
            return None
        case _Form.BODY:
            return BodyPlace("", False)


def _form(message: Any) -> _Form:
    if not isinstance(message, dict):
        return _Form.BODY
    if "Body" in message:
        return _Form.EVENT if message.get("EnqueuedTimeUtc") is None else _Form.ROUTED_EVENT
    if _TELEMETRY in (message.get("eventType"), message.get("type")) and isinstance(message.get("data"), dict):
        return _Form.GRID_EVENT
    return _Form.LETTER if isinstance(message.get("bodyBase64"), str) else _Form.BODY


def _routed_place(pointer: str, body: Any) -> BodyPlace | None:
    is_text = isinstance(body, str)
    return None if is_text and _decoded(body) is not None else BodyPlace(pointer, is_text)


def _as_sent(body: Any) -> bytes:
    return json.dumps(body).encode("utf-8", "replace")


def _as_received(body: Any) -> bytes:
    """A text is the body as it was received."""
    return body.encode("utf-8", "replace") if isinstance(body, str) else _as_sent(body)


def _from_routing(body: Any) -> bytes:
    if isinstance(body, str):
        decoded = _decoded(body)
        return body.encode("utf-8", "replace") if decoded is None else decoded
    return _as_sent(body)


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def _renamed(system: Any) -> Any:
    if not isinstance(system, dict):
        return system
    return {_NAMES_OF_STORAGE.get(name, name): value for name, value in system.items()}


def _metadata(found: Any, name: str, number: int) -> Mapping[str, Any]:
    if found is not None and not isinstance(found, dict):
        raise BadRequest(f"Message {number}: '{name}' is not an object. Send it as {{...}}, or leave it out.")
    try:
        orjson.dumps({"deviceResults": [{"deviceMessage": {name: found}}]})
    except TypeError:
        raise BadRequest(
            f"Message {number}: '{name}' holds what no event can: an integer past 64 bits, half a surrogate pair, or "
            "values nested hundreds deep. Send the properties as an event has them."
        ) from None
    return found or {}
