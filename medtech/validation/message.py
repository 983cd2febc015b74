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
from typing import Any

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


def read_message(message: Any, number: int) -> DeviceEvent:
    """The event of the message with this number; its enqueued time is now unless the message says it.

    Raises BadRequest for properties that no event can have.
    """
    enqueued: Any = None
    body: bytes
    properties: Any = None
    system: Any = None
    if not isinstance(message, dict):
        body = _as_sent(message)
    elif "Body" in message:
        properties, system = message.get("Properties"), message.get("SystemProperties")
        enqueued = message.get("EnqueuedTimeUtc")
        if enqueued is None:
            body = _as_received(message["Body"])
        else:
            body = _from_routing(message["Body"])
            system = _renamed(system)
    elif _TELEMETRY in (message.get("eventType"), message.get("type")) and isinstance(message.get("data"), dict):
        telemetry = message["data"]
        properties, system = telemetry.get("properties"), telemetry.get("systemProperties")
        enqueued = system.get("iothub-enqueuedtime") if isinstance(system, dict) else None
        body = _from_routing(telemetry.get("body"))
    elif isinstance(message.get("bodyBase64"), str):
        properties, system = message.get("properties"), message.get("systemProperties")
        body = _decoded(message["bodyBase64"]) or b""
    else:
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
