"""Seeded device traffic for the torture runs: good messages and bad ones, every reading with a value of its own.

A message holds one device's readings:

    {"device": "device-3", "patient": "patient-S-device-3", "visit": "visit-S", "readings": [
        {"at": "2026-03-02T08:04:04Z", "pulse": S1017},                             Quantity, an Observation each
        {"at": "2026-03-02T08:04:04Z", "systolic": S1018, "diastolic": S1019},      components
        {"at": "2026-03-02T08:04:00Z", "steps": S1020},                             SampledData, an Observation an hour
        {"at": "2026-03-02T08:00:12Z", "walk": S1021, "session": "S-device-3-0"}]}  SampledData, one a session

where S is `leaks.SECRET`, by which whatever is health data can be found in logs.

What becomes of it is not said here: `oracle` reads that from the body, as it lies in the hub.
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

from tests.torture.leaks import SECRET

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
"""Long past, so that every window is due whatever WINDOW_SECONDS says, and no run waits for one to end."""

MESSAGES_A_SESSION = 20
FIRST_VALUE = int(f"{SECRET}1000000")
"""With room for millions after it: a value that counts up into SECRET is not found any more. Still one that a double
holds exactly, as a FHIR server in JavaScript reads it."""

VISIT = f"visit-{SECRET}"
"""The identifier of the Encounter that every message names."""

STRANGERS = "stranger"
"""What the name of a device begins with that the FHIR server does not know."""


def patient_identifier(device: str) -> str:
    """What messages call the patient who wears a device."""
    return f"patient-{SECRET}-{device}"


class Message(NamedTuple):
    """A message as it goes to the hub."""

    body: bytes
    partition: str
    enqueued_time: datetime


class Traffic:
    """The messages of some devices, without end; the same arguments give the same messages.

    The readings of a device never share a slot (a second, or a minute for steps) but for one pair in a message now and
    then, whose winner does not depend on how messages are delivered. `bad_share` of the messages are bad in some way.
    `seconds_apart` is how much later than the one before it each message is enqueued.
    """

    def __init__(
        self,
        chance: random.Random,
        *,
        devices: int = 6,
        partitions: int = 2,
        bad_share: float = 0.1,
        seconds_apart: float = 5.0,
    ) -> None:
        self.devices = [f"device-{number}" for number in range(devices)]
        self._chance = chance
        self._partitions = partitions
        self._bad_share = bad_share
        self._apart = timedelta(seconds=seconds_apart)
        self._enqueued = START
        self._values = count(FIRST_VALUE)
        self._sent: defaultdict[str, int] = defaultdict(int)

    def messages(self, number: int, device: str | None = None) -> list[Message]:
        """The next messages, all of one device if it is named."""
        return [self._message(device or self._chance.choice(self.devices)) for _ in range(number)]

    def long_messages(self, number: int, readings: int) -> Iterator[Message]:
        """Messages that hold only steps, many of them: the devices take turns, and no slot is ever met again."""
        for n in range(number):
            device = self.devices[n % len(self.devices)]
            first = self._sent[device]
            self._sent[device] += readings
            yield self._sealed(device, [self._steps(first + minute) for minute in range(readings)])

    def enqueue(self, body: bytes, partition: str = "0") -> Message:
        """A message with any body, enqueued after those before it."""
        self._enqueued += self._apart
        return Message(body, partition, self._enqueued)

    def _message(self, device: str) -> Message:
        if self._chance.random() < self._bad_share:
            return self._bad_message(device)
        return self._sealed(device, self._readings(device))

    def _sealed(self, device: str, readings: list[dict[str, Any]]) -> Message:
        body = {"device": device, "patient": patient_identifier(device), "visit": VISIT, "readings": readings}
        return self.enqueue(json.dumps(body).encode(), self._partition(device))

    def _partition(self, device: str) -> str:
        return str(int(device.rpartition("-")[2]) % self._partitions)

    def _readings(self, device: str) -> list[dict[str, Any]]:
        n = self._sent[device]
        self._sent[device] += 1
        second = _text(START + timedelta(seconds=61 * n))
        readings: list[dict[str, Any]] = [self._steps(n)]
        if self._chance.random() < 0.7:
            readings.append({"at": second, "pulse": next(self._values)})
            if self._chance.random() < 0.2:
                readings.append({"at": second, "pulse": next(self._values)})
        if self._chance.random() < 0.4:
            readings.append({"at": second, "systolic": next(self._values), "diastolic": next(self._values)})
        if self._chance.random() < 0.5:
            session, place = divmod(n, MESSAGES_A_SESSION)
            at = START + timedelta(hours=session, seconds=3 * place)
            readings.append({"at": _text(at), "walk": next(self._values), "session": f"{SECRET}-{device}-{session}"})
        self._chance.shuffle(readings)
        return readings

    def _steps(self, minute: int) -> dict[str, Any]:
        return {"at": _text(START + timedelta(minutes=minute)), "steps": next(self._values)}

    def _bad_message(self, device: str) -> Message:
        match self._chance.randrange(5):
            case 0:
                return self.enqueue(b'{"device": "%d", "readings": [' % next(self._values), self._partition(device))
            case 1:
                return self.enqueue(b'{"hello": %d}' % next(self._values), self._partition(device))
            case 2:
                stranger = f"{STRANGERS}-{self._chance.randrange(3)}"
                return self._sealed(stranger, self._readings(stranger))
            case 3:
                number = f"{next(self._values)} or so"
                return self._sealed(device, [*self._readings(device), {"at": _text(START), "pulse": number}])
            case _:
                late = {"at": "some time ago", "pulse": next(self._values)}
                return self._sealed(device, [*self._readings(device), late])


def _text(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}Z"
