"""What no device should send, and unknown devices: kept or counted, while the rest of the batch is written."""

import json

import pytest

from medtech.model import DeviceEvent, Measurement
from tests.end_to_end.conftest import Wires
from tests.end_to_end.ward import Body, Ward, pulse

MIB = 1024 * 1024

NOT_JSON = {
    "not JSON": b"heart rate is 61",
    "cut off": b'{"heartRate": 61, ',
    "1 MiB": b"x" * MIB,
    "not UTF-8": '{"heartRate": 61, "deviceId": "Gerät"}'.encode("latin-1"),
    "UTF-16 without a mark": '{"heartRate": 61}'.encode("utf-16-le"),
    "nested 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}
UNMATCHED = {"empty": b"", "another message": b'{"battery": 0.5}'}


def between_good_ones(ward: Ward, device: str, body: Body) -> tuple[list[tuple[object, ...]], str]:
    """Sends a message between two good ones in a batch; returns its letters' (error, content) and what was logged."""
    ward.admit(device)
    logged = len(ward.stack.logs)
    _, bad, _ = ward.deliver([pulse(device, "08:00:00", 71), body, pulse(device, "08:00:05", 72)])
    ward.flush()
    assert ward.stored(device) == [("heartRate", 71, 1), ("heartRate", 72, 1)]
    return [(letter.error, letter.content) for letter in ward.letters([bad])], ward.stack.logs[logged:]


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_a_body_that_is_not_json_is_kept_whole(ward: Ward, device: str, body: bytes) -> None:
    [(error, content)], log = between_good_ones(ward, device, body)
    assert error == "NotSupported"
    assert isinstance(content, DeviceEvent) and content.body == body
    assert "3 events to 2 measurements in 1 rows, 0 dropped, 1 dead letters" in log


@pytest.mark.parametrize("body", UNMATCHED.values(), ids=UNMATCHED)
def test_a_message_that_no_template_matches_is_counted(ward: Ward, device: str, body: bytes) -> None:
    letters, log = between_good_ones(ward, device, body)
    assert letters == []
    assert "3 events to 2 measurements in 1 rows, 1 dropped, 0 dead letters" in log


@pytest.mark.parametrize("body", UNMATCHED.values(), ids=UNMATCHED)
def test_a_message_that_no_template_matches_is_kept_on_request(wires: Wires, device: str, body: bytes) -> None:
    [(error, content)], log = between_good_ones(wires.ward, device, body)
    assert error == "NoTemplateMatched"
    assert isinstance(content, DeviceEvent) and content.body == body
    assert "1 dropped, 1 dead letters" in log


def test_a_message_of_1_mib_is_written(ward: Ward, device: str) -> None:
    ward.admit(device)
    message = json.dumps(pulse(device, "08:00:00", 71, noise=""))
    ward.deliver([message.replace('""', f'"{"x" * (MIB - len(message))}"')])
    ward.flush()
    assert ward.stored(device) == [("heartRate", 71, 1)]


def test_a_reading_that_is_not_a_number_is_kept(ward: Ward, device: str) -> None:
    [(error, content)], _ = between_good_ones(ward, device, {**pulse(device, "08:00:01", 0), "heartRate": "fast"})
    assert error == "ReadingInvalid"
    assert isinstance(content, Measurement) and content.properties == (("heartRate", "fast"),)


def test_a_device_that_the_fhir_server_does_not_know_is_kept(ward: Ward, device: str) -> None:
    [(error, content)], log = between_good_ones(ward, device, pulse(f"{device}-unknown", "08:00:01", 90))
    assert error == "DeviceNotFound"
    assert isinstance(content, Measurement) and content.device_id == f"{device}-unknown"
    assert ward.waiting(f"{device}-unknown") == []
    assert "1 dead letters" in log and "DeviceNotFound (Normalization): 1" in log


@pytest.mark.parametrize("key", ["", "wrong", "the function key"])
def test_the_causes_of_letters_are_told_to_no_one_without_the_master_key(ward: Ward, key: str) -> None:
    given = ward.stack.function_key if key == "the function key" else key
    assert ward.stack.call("GET", "/api/dead-letters", headers={"x-functions-key": given}).status_code == 401


def test_the_causes_of_letters_are_told_over_http(ward: Ward, device: str) -> None:
    between_good_ones(ward, device, f"{device} is not well".encode())
    answer = ward.stack.call("GET", "/api/dead-letters", params={"error": "NotSupported"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    causes = answer.json()["causes"]
    assert causes and {cause["error"] for cause in causes} == {"NotSupported"}
    assert device not in answer.text
