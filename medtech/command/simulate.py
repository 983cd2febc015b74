"""Device traffic for the start mapping: wearables that send vital signs, to the local host or to a real Event Hub.

The traffic is a function of its arguments: the same number of devices, rate, duration, start and seed make the same
messages, byte for byte. Each message comes with the readings it holds, so that what arrives can be compared with what
was sent.
"""

import heapq
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from itertools import islice
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from medtech.dotnet import ticks
from medtech.errors import MedTechError, Severity, Stage

MESSAGES_AT_ONCE = 100

HIGHEST_RATE = 60
"""Messages a minute of one device: more would put two readings of a type into one second, which the start mapping
makes one Observation of (its identity has whole seconds)."""


class SimulationFailed(MedTechError):
    """Traffic cannot be sent; the message says what is missing."""

    stage = Stage.SETUP
    severity = Severity.CRITICAL


class Reading(NamedTuple):
    """What one Observation of the start mapping, or one of its samples, should hold. `time` is in ticks."""

    device_id: str
    type: str
    time: int
    values: tuple[tuple[str, Decimal], ...]


class Message(NamedTuple):
    """One device message; `time` (ticks) is when the device sends it, and the time of its readings."""

    device_id: str
    patient_id: str
    time: int
    body: bytes
    readings: tuple[Reading, ...]


def device_id(number: int) -> str:
    """The identifier of a simulated device, counted from 1."""
    return f"device-{number:02d}"


def patient_id(number: int) -> str:
    """The identifier of the patient who wears the device of this number."""
    return f"patient-{number:02d}"


def traffic(devices: int, rate: int, duration_seconds: int, start: int, seed: int) -> Iterator[Message]:
    """Messages of all devices in order of time, from `start` (ticks) on.

    `rate` is in messages a minute of each device, at most HIGHEST_RATE.
    """
    streams = (_device(number, rate, duration_seconds, start, seed) for number in range(1, devices + 1))
    return heapq.merge(*streams, key=lambda message: (message.time, message.device_id))


def message_count(devices: int, rate: int, duration_seconds: int) -> int:
    """How many messages `traffic` makes of these arguments."""
    return devices * (rate * duration_seconds // 60)


class Destination(Protocol):
    """Where messages go."""

    def send(self, messages: Iterable[Message]) -> None:
        """Returns when all are accepted. Raises SimulationFailed."""


class LocalHost:
    """The local functions host (`python -m dev run`), at its address."""

    def __init__(self, address: str) -> None:
        import httpx

        self._address = address
        self._http = httpx.Client(base_url=address, timeout=30)

    def send(self, messages: Iterable[Message]) -> None:
        import httpx

        events = [{"body": message.body.decode(), "partitionKey": message.device_id} for message in messages]
        try:
            answer = self._http.post("/dev/events", json=events)
        except httpx.TransportError as error:
            raise SimulationFailed(
                f"Nothing answers at {self._address} ({type(error).__name__}). Start the local run with `make run` and "
                "give the address that it prints with --host."
            ) from None
        if answer.status_code != httpx.codes.OK:
            raise SimulationFailed(f"{self._address} refused the events with status {answer.status_code}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()


class EventHub:
    """A real hub: by the connection string in EVENT_HUB_CONNECTION_STRING, or as the signed-in identity."""

    def __init__(self, name: str, fully_qualified_namespace: str | None) -> None:
        try:
            from azure.eventhub import EventHubProducerClient
        except ImportError:
            raise SimulationFailed(
                f"Sending to a hub needs azure-eventhub: run `{sys.executable} -m pip install azure-eventhub`, or, "
                f"where uv made the environment, `uv pip install --python {sys.executable} azure-eventhub`."
            ) from None
        connection_string = os.environ.get("EVENT_HUB_CONNECTION_STRING")
        self._producer: Any
        if fully_qualified_namespace is not None:
            from azure.identity import DefaultAzureCredential

            self._producer = EventHubProducerClient(fully_qualified_namespace, name, DefaultAzureCredential())
        elif connection_string:
            try:
                self._producer = EventHubProducerClient.from_connection_string(connection_string, eventhub_name=name)
            except ValueError:  # not its text: it may hold a piece of the secret
                raise SimulationFailed("EVENT_HUB_CONNECTION_STRING is no connection string of Event Hubs.") from None
        else:
            raise SimulationFailed(
                "Say which namespace: --fully-qualified-namespace NAME.servicebus.windows.net, or a connection string "
                "in EVENT_HUB_CONNECTION_STRING."
            )

    def send(self, messages: Iterable[Message]) -> None:
        from azure.core.exceptions import AzureError
        from azure.eventhub import EventData
        from azure.eventhub.exceptions import EventHubError

        by_device: dict[str, list[Message]] = {}
        for message in messages:
            by_device.setdefault(message.device_id, []).append(message)
        try:
            for device, sent in by_device.items():
                # The device as partition key: its messages stay in order, in one partition.
                self._producer.send_batch([EventData(message.body) for message in sent], partition_key=device)
        except (AzureError, EventHubError) as error:
            raise SimulationFailed(
                f"The hub did not take the events ({type(error).__name__}): check the names of namespace and hub, and "
                "that you may send to it (role Azure Event Hubs Data Sender)."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._producer.close()


def send_at_once(messages: Iterable[Message], destination: Destination, sent: Callable[[list[Message]], None]) -> None:
    """Sends without regard to the messages' times; `sent` is called after each batch."""
    waiting = iter(messages)
    while batch := list(islice(waiting, MESSAGES_AT_ONCE)):
        destination.send(batch)
        sent(batch)


def send_in_time(messages: Iterable[Message], destination: Destination, sent: Callable[[list[Message]], None]) -> None:
    """Sends each message when its time has come; `sent` is called after each one."""
    for message in messages:
        time.sleep(max(0.0, (message.time - ticks.now()) / ticks.TICKS_PER_SECOND))
        destination.send([message])
        sent([message])


def _device(number: int, rate: int, duration_seconds: int, start: int, seed: int) -> Iterator[Message]:
    """One device's messages: evenly spaced, from an offset of its own on, in whole milliseconds as devices send."""
    chance = random.Random(f"{seed}/{number}")
    spacing_ms = 60_000 // rate
    offset_ms = chance.randrange(spacing_ms)
    resting_pulse = chance.randint(55, 80)
    last_minute = -1
    for n in range(rate * duration_seconds // 60):
        moment = start + (offset_ms + n * spacing_ms) * ticks.TICKS_PER_MILLISECOND
        moment = ticks.floor(moment, ticks.TICKS_PER_MILLISECOND)
        minute = moment // ticks.TICKS_PER_MINUTE
        # Steps are counted over a minute: one number for each, with the first message in it.
        values = _vital_signs(chance, resting_pulse) if minute == last_minute else _steps(chance)
        last_minute = minute
        yield _message(number, moment, values)


def _steps(chance: random.Random) -> dict[str, dict[str, str]]:
    return {"steps": {"steps": str(chance.randint(1, 130))}}


def _vital_signs(chance: random.Random, resting_pulse: int) -> dict[str, dict[str, str]]:
    """Readings of one message: by type, the values by name, as JSON numbers."""
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
