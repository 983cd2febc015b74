"""Messages of one cause have one shape, those of different causes do not."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtech.dead_letter.fingerprint import DIGITS, fingerprint, shape

_SHAPES = [
    (
        ["No Device has the identifier 'd1'. Create it.", "No Device has the identifier 'x | y z'. Create it."],
        "No Device has the identifier '…'. Create it.",
    ),
    (
        ["Device/0a1b does not name a Patient. Set its `patient` to a reference Patient/…."],
        "Device/… does not name a Patient. Set its `patient` to a reference Patient/….",
    ),
    (
        [
            "2 resources have the same identifier: Device/a, Device/b-2. Leave it on one of them.",
            "5 resources have the same identifier: Device/a, Device/b, Device/c, Device/d, Device/e. "
            "Leave it on one of them.",
        ],
        "# resources have the same identifier: Device/…, …. Leave it on one of them.",
    ),
    (
        ["The FHIR server refused Observation/x with 422. Its reason is kept; fix the server's rules, then replay."],
        "The FHIR server refused Observation/… with 422. Its reason is kept; fix the server's rules, then replay.",
    ),
    (
        ["The message body is not JSON: line 1, position 17: 'q' is no value."],
        "The message body is not JSON: line #, position #: '…' is no value.",
    ),
    (
        ["No value for $.Body.hr (line 12 of the device mapping): fix the expression."],
        "No value for $.Body.hr (line 12 of the device mapping): fix the expression.",
    ),
    (
        ["The FHIR mapping has no template for type 'pulse'. Add one with this typeName."],
        "The FHIR mapping has no template for type 'pulse'. Add one with this typeName.",
    ),
    (
        ["KeyError at batch.py:62 while normalizing 17 events: a fault of the app."],
        "KeyError at batch.py:62 while normalizing # events: a fault of the app.",
    ),
    (
        ["A read of http://fhir.example/Patient?identifier=a%7Cb, and 5f3a-9c was left."],
        "A read of …, and # was left.",
    ),
    (["Tell «two» and \"three\". It's the mapping's FHIR R4."], "Tell «two» and \"…\". It's the mapping's FHIR R4."),
]


@pytest.mark.parametrize(("messages", "expected"), _SHAPES)
def test_what_differs_between_devices_is_left_out(messages: list[str], expected: str) -> None:
    assert {shape(message) for message in messages} == {expected}


def test_a_fingerprint_is_the_same_in_each_version() -> None:
    assert fingerprint("Normalization", "NotSupported", "DeviceMessageError", "No JSON.") == "8d362603"


@given(st.text())
def test_any_text_has_a_shape_that_stays_as_it_is(message: str) -> None:
    general = shape(message)
    assert len(fingerprint("", "", "", general)) == DIGITS
    assert len(general) <= max(len(message), 1) * 2


@pytest.mark.parametrize(
    "text", ["'", '"', "a", "1", "a.", "A/", "a1:", "type '", "http://", "_", "#, ", "… and ", "a/"]
)
def test_a_hostile_message_takes_no_longer_than_others(text: str) -> None:
    """Messages have up to 2,000 characters; a second is a hundred times what a quadratic reading would take."""
    started = time.process_time()
    shape(text * (2_000 // len(text)) + "\0")
    assert time.process_time() - started < 1
