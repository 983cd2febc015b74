"""Device traffic: deterministic, true to the start mapping, and known reading by reading."""

import json
from decimal import Decimal

import pytest

from medtech.command.traffic import HIGHEST_RATE, Message, message_count, messages
from medtech.dotnet import ticks

START = ticks.from_unix_seconds(1_772_438_400)  # 2026-03-02T08:00:00Z


def traffic(devices: int = 3, rate: int = 6, duration: int = 300, seed: int = 1) -> list[Message]:
    return list(messages(devices, rate, duration, START, seed))


def test_the_same_seed_makes_the_same_messages() -> None:
    assert traffic(seed=5) == traffic(seed=5)
    assert traffic(seed=5) != traffic(seed=6)


def test_a_device_sends_the_same_whatever_other_devices_there_are() -> None:
    alone = [message.body for message in traffic(devices=1)]
    assert alone == [message.body for message in traffic(devices=4) if message.device_id == "device-01"]


@pytest.mark.parametrize(("devices", "rate", "duration"), [(10, 6, 120), (1, 60, 61), (3, 1, 30), (7, 7, 60)])
def test_the_count_is_known_beforehand(devices: int, rate: int, duration: int) -> None:
    assert len(traffic(devices, rate, duration)) == message_count(devices, rate, duration)


def test_messages_come_in_order_of_time_and_span_the_duration() -> None:
    times = [message.time for message in traffic()]
    assert times == sorted(times)
    assert times[0] >= START
    assert times[-1] < START + 300 * ticks.TICKS_PER_SECOND


def test_no_two_readings_of_a_type_meet_in_one_second() -> None:
    seconds = [
        (reading.device_id, reading.type, reading.time // ticks.TICKS_PER_SECOND)
        for message in traffic(rate=HIGHEST_RATE)
        for reading in message.readings
    ]
    assert len(seconds) == len(set(seconds))


def test_steps_are_sent_once_a_minute() -> None:
    minutes = [
        (reading.device_id, reading.time // ticks.TICKS_PER_MINUTE)
        for message in traffic()
        for reading in message.readings
        if reading.type == "steps"
    ]
    assert len(minutes) == len(set(minutes)) >= 15


def test_the_readings_are_what_the_body_says() -> None:
    types = set()
    for message in traffic(duration=1200):
        body = json.loads(message.body, parse_int=Decimal, parse_float=Decimal)
        assert (body.pop("deviceId"), body.pop("patientId")) == (message.device_id, message.patient_id)
        assert body.pop("endDate") == f"{ticks.format_iso(message.time)[:-5]}Z"
        assert body == {name: value for reading in message.readings for name, value in reading.values}
        types.update(reading.type for reading in message.readings)
    assert types == {"heartRate", "bloodPressure", "oxygenSaturation", "bodyTemperature", "steps"}
