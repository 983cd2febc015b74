"""Simulated device traffic for the start mapping: wearables that send vital signs.

The traffic is a function of its arguments: the same number of devices, rate, duration, start and seed give the same
messages, byte for byte. Each message carries its readings, so that what arrives can be compared with what was sent.
"""

import heapq
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from medtech.dotnet import ticks

HIGHEST_RATE = 60
"""Messages a minute per device. At a higher rate two readings of a type would fall into one second, and the start
mapping would make one Observation of them (its identity has whole seconds)."""


class Reading(NamedTuple):
    """What one Observation of the start mapping, or one of its samples, should hold. `time` is in ticks."""

    device_id: str
    type: str
    time: int
    values: tuple[tuple[str, Decimal], ...]


class Message(NamedTuple):
    """One device message. `time` (ticks) is both when the device sends it and the time of its readings."""

    device_id: str
    patient_id: str
    time: int
    body: bytes
    readings: tuple[Reading, ...]


def device_id(number: int) -> str:
    """The identifier of a simulated device, counted from 1."""
    return f"device-{number:02d}"


def patient_id(number: int) -> str:
    """The identifier of the patient who wears that device."""
    return f"patient-{number:02d}"


def messages(devices: int, rate: int, duration_seconds: int, start: int, seed: int) -> Iterator[Message]:
    """The messages of all devices in order of time, from `start` (ticks) on.

    `rate` is in messages a minute per device, at most HIGHEST_RATE.
    """
    streams = (_device(number, rate, duration_seconds, start, seed) for number in range(1, devices + 1))
    return heapq.merge(*streams, key=lambda message: (message.time, message.device_id))


def message_count(devices: int, rate: int, duration_seconds: int) -> int:
    """How many messages `messages` yields for these arguments."""
    return devices * (rate * duration_seconds // 60)


def _device(number: int, rate: int, duration_seconds: int, start: int, seed: int) -> Iterator[Message]:
    """One device's messages: evenly spaced from an offset of its own, at whole milliseconds as devices send them."""
    chance = random.Random(f"{seed}/{number}")
    spacing_ms = 60_000 // rate
    offset_ms = chance.randrange(spacing_ms)
    resting_pulse = chance.randint(55, 80)
    last_minute = -1
    for n in range(rate * duration_seconds // 60):
        moment = start + (offset_ms + n * spacing_ms) * ticks.TICKS_PER_MILLISECOND
        moment = ticks.floor(moment, ticks.TICKS_PER_MILLISECOND)
        minute = moment // ticks.TICKS_PER_MINUTE
        # Steps are counted over a minute: the minute's first message carries its one number.
        values = _vital_signs(chance, resting_pulse) if minute == last_minute else _steps(chance)
        last_minute = minute
        yield _message(number, moment, values)


def _steps(chance: random.Random) -> dict[str, dict[str, str]]:
    return {"steps": {"steps": str(chance.randint(1, 130))}}


def _vital_signs(chance: random.Random, resting_pulse: int) -> dict[str, dict[str, str]]:
    """The readings of one message: type to value name to JSON number."""
    match chance.choices(("pulse", "pressure", "oxygen"), weights=(5, 2, 3))[0]:
        case "pulse":
            return {"heartRate": {"heartRate": str(resting_pulse + chance.randint(0, 45))}}
        case "pressure":
            systolic = chance.randint(105, 145)
            diastolic = systolic - chance.randint(35, 50)
            return {"bloodPressure": {"systolic": str(systolic), "diastolic": str(diastolic)}}
        case _:
            return {
                "oxygenSaturation": {"oxygenSaturation": _fraction(chance, 940, 999)},
                "bodyTemperature": {"bodyTemperature": _fraction(chance, 362, 379)},
            }


def _fraction(chance: random.Random, lowest_tenths: int, highest_tenths: int) -> str:
    tenths = chance.randint(lowest_tenths, highest_tenths)
    return f"{tenths // 10}.{tenths % 10}"


def _message(number: int, moment: int, values: dict[str, dict[str, str]]) -> Message:
    device, patient = device_id(number), patient_id(number)
    time_text = f"{ticks.format_iso(moment)[:-5]}Z"  # milliseconds
    numbers = {name: json.loads(text) for by_name in values.values() for name, text in by_name.items()}
    body = json.dumps({"deviceId": device, "patientId": patient, "endDate": time_text, **numbers}).encode()
    readings = tuple(
        Reading(device, type_name, moment, tuple((name, Decimal(text)) for name, text in by_name.items()))
        for type_name, by_name in values.items()
    )
    return Message(device, patient, moment, body, readings)
