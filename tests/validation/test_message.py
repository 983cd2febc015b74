"""A message of a request, in each of its forms, as the hub delivers it."""

import base64
import json
from typing import Any

import pytest

from medtech.dotnet import ticks
from medtech.validation.message import BadRequest, BodyPlace, body_place, read_message
from tests.validation.trace.documents import at

BODY = {"deviceId": "d1", "heartRate": 71}
TEXT = json.dumps(BODY)
BASE64 = base64.b64encode(TEXT.encode()).decode()


def routed_to_storage(body: Any) -> dict[str, Any]:
    return {
        "EnqueuedTimeUtc": "2026-03-02T08:00:00.1510000Z",
        "Properties": {"iothub-creation-time-utc": "2026-03-02T07:59:59Z"},
        "SystemProperties": {
            "connectionDeviceId": "d1",
            "connectionDeviceGenerationId": "636817521",
            "contentType": "application/json",
            "enqueuedTime": "2026-03-02T08:00:00.1510000Z",
        },
        "Body": body,
    }


def routed_to_event_grid(body: Any, **schema: str) -> dict[str, Any]:
    return {
        "id": "9af86784",
        "subject": "devices/d1",
        "data": {
            "properties": {"a": "b"},
            "systemProperties": {
                "iothub-connection-device-id": "d1",
                "iothub-enqueuedtime": "2026-03-02T08:00:00.151Z",
            },
            "body": body,
        },
        **schema,
    }


TELEMETRY = "Microsoft.Devices.DeviceTelemetry"


@pytest.mark.parametrize(
    "message",
    [
        BODY,
        {"Body": BODY},
        {"Body": TEXT},
        {"bodyBase64": BASE64, "properties": {}, "systemProperties": {}},
        routed_to_storage(BODY),
        routed_to_storage(BASE64),
        routed_to_event_grid(BODY, eventType=TELEMETRY),
        routed_to_event_grid(BASE64, type=TELEMETRY, specversion="1.0"),
    ],
)
def test_every_form_has_the_same_body(message: Any) -> None:
    assert json.loads(read_message(message, 0).body) == BODY


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (BODY, BodyPlace("", is_text=False)),
        (TEXT, BodyPlace("", is_text=False)),
        (None, BodyPlace("", is_text=False)),
        ([BODY], BodyPlace("", is_text=False)),
        ({"Body": BODY}, BodyPlace("/Body", is_text=False)),
        ({"Body": TEXT}, BodyPlace("/Body", is_text=True)),
        ({"Body": None}, BodyPlace("/Body", is_text=False)),
        ({"bodyBase64": BASE64, "properties": {}}, None),
        (routed_to_storage(BODY), BodyPlace("/Body", is_text=False)),
        (routed_to_storage(TEXT), BodyPlace("/Body", is_text=True)),
        (routed_to_storage(BASE64), None),
        (routed_to_event_grid(BODY, eventType=TELEMETRY), BodyPlace("/data/body", is_text=False)),
        (routed_to_event_grid(BASE64, type=TELEMETRY), None),
        ({"eventType": TELEMETRY, "data": {}}, None),
    ],
)
def test_where_the_body_of_each_form_is(message: Any, place: BodyPlace | None) -> None:
    assert body_place(message) == place
    if place is not None:
        body = read_message(message, 0).body
        sent = at(message, place.pointer)
        assert body == sent.encode() if place.is_text else json.loads(body) == sent


@pytest.mark.parametrize(
    "message", [routed_to_storage(BODY), routed_to_event_grid(BODY, eventType=TELEMETRY)], ids=["storage", "event grid"]
)
def test_what_iot_hub_routes_has_the_system_properties_that_templates_read(message: Any) -> None:
    event = read_message(message, 0)
    assert event.system_properties["iothub-connection-device-id"] == "d1"
    assert event.system_properties["iothub-enqueuedtime"].startswith("2026-03-02T08:00:00.151")
    assert ticks.format_iso(event.enqueued_time) == "2026-03-02T08:00:00.1510000Z"


def test_an_event_keeps_the_names_of_its_system_properties() -> None:
    event = read_message({"Body": BODY, "SystemProperties": {"contentType": "x"}}, 0)
    assert event.system_properties == {"contentType": "x"}


@pytest.mark.parametrize("body", ["not base64!", "", "ÿ"])
def test_a_routed_text_that_is_not_base64_is_the_body(body: str) -> None:
    assert read_message(routed_to_storage(body), 0).body == body.encode()


def test_a_body_that_looks_like_an_event_of_another_kind_is_a_body() -> None:
    body = {"data": {"body": 1}, "type": "glucose"}
    assert json.loads(read_message(body, 0).body) == body


def test_later_messages_are_later_in_the_hub() -> None:
    first, second = (read_message(BODY, number) for number in range(2))
    assert first.enqueued_time < second.enqueued_time
    assert (first.sequence_number, second.sequence_number) == (0, 1)


@pytest.mark.parametrize(
    "message",
    [
        {"Body": 1, "Properties": []},
        {"bodyBase64": BASE64, "systemProperties": 1},
        {"type": TELEMETRY, "data": {"body": 1, "systemProperties": "x"}},
    ],
)
def test_properties_that_no_event_has_are_refused(message: Any) -> None:
    with pytest.raises(BadRequest, match="Message 7"):
        read_message(message, 7)
