"""Demo patients and devices, two minutes of their traffic, and the proof that every reading arrived.

What was sent is compared with what the FHIR server holds, reading by reading: device, type, time and values.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import NamedTuple

import httpx

from dev.processes import ROOT
from dev.stack import LocalStack
from dev.written import Written, as_stored, observations
from medtech.command import traffic
from medtech.command.destination import LocalHost, send_at_once
from medtech.command.traffic import Reading
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.errors import MappingInvalid
from medtech.mapping.device import load_device_mapping
from medtech.model import DeviceEvent
from medtech.storage.connection import Storage

MESSAGES_A_MINUTE = 6
DURATION_SECONDS = 120
SEED = 1

QUICK_SETTINGS = {"WINDOW_SECONDS": "2", "FLUSH_GRACE_SECONDS": "1", "FLUSH_SCHEDULE": "*/1 * * * * *"}
"""In the cloud a window is five minutes, which nobody wants to watch."""

PATIENCE_SECONDS = 45.0
"""How long the demo waits for the next reading to arrive before it gives up."""

_NAMES = (
    "Ada Alder",
    "Ben Birch",
    "Cleo Cedar",
    "Dora Dogwood",
    "Emil Elm",
    "Fay Fir",
    "Gus Ginkgo",
    "Hana Hazel",
    "Ivo Ivy",
    "Juna Juniper",
)
DEVICES = len(_NAMES)


class Outcome(NamedTuple):
    """What became of the traffic. `missing` holds the readings that were sent and that no Observation holds."""

    messages: int
    readings: int
    written: list[Written]
    missing: set[Reading]
    dead_letters: int

    @property
    def line(self) -> str:
        return (
            f"demo: {self.messages} messages, {self.readings} readings -> "
            f"{len(self.written)} observations, {self.dead_letters} dead letters"
        )


def put_people_and_devices(fhir_url: str) -> None:
    """Writes ten patients, each with a device. Raises RuntimeError if the server refuses one."""
    entries = []
    for number, name in enumerate(_NAMES, start=1):
        patient_id, device_id = traffic.patient_id(number), traffic.device_id(number)
        given, family = name.split()
        patient = {
            "resourceType": "Patient",
            "id": patient_id,
            "identifier": [{"value": patient_id}],
            "name": [{"given": [given], "family": family}],
        }
        device = {
            "resourceType": "Device",
            "id": device_id,
            "identifier": [{"value": device_id}],
            "patient": {"reference": f"Patient/{patient_id}"},
        }
        for resource in (patient, device):
            address = f"{resource['resourceType']}/{resource['id']}"
            entries.append({"resource": resource, "request": {"method": "PUT", "url": address}})
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    answer = httpx.post(fhir_url, json=bundle, headers={"content-type": "application/fhir+json"}, timeout=30)
    answer.raise_for_status()
    refused = [e["response"]["status"] for e in answer.json()["entry"] if not e["response"]["status"].startswith("2")]
    if refused:
        raise RuntimeError(f"The FHIR server refused {len(refused)} of the demo's resources: {refused[0]}.")


def why_not(environment: Mapping[str, str]) -> str | None:
    """Why the device mapping does not make the demo's readings of its messages; None if it does, or lies in a blob.

    Without this, whoever has put a mapping of their own in place would wait for readings that never come.
    """
    address = environment.get("DEVICE_MAPPING", "mappings/deviceMapping.json")
    if address.startswith(("https://", "http://")):
        return None
    try:
        mapping = load_device_mapping((ROOT / address).read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        return f"{address} is not text in UTF-8."
    except MappingInvalid as invalid:
        return f"{address} does not load. {invalid.message}"
    for message in _messages(ticks.now()):
        event = DeviceEvent(message.body, {}, {}, message.time, hub="", partition="", sequence_number=0)
        types = {measurement.type for measurement in mapping.normalize(event).measurements}
        if any(reading.type not in types for reading in message.readings):
            return f"{address} is not the start mapping: it does not take the demo's messages."
    return None


def play(stack: LocalStack, arrived: Callable[[int, int], None]) -> Outcome:
    """Sends the traffic and waits until all of it is in the FHIR server, or nothing more arrives.

    `arrived` is called from time to time with the number of readings that have arrived and of those sent.
    """
    with closing(Storage("AzureWebJobsStorage", {"AzureWebJobsStorage": stack.storage_connection_string})) as storage:
        return _play(stack, DeadLetters(storage), arrived)


def _play(stack: LocalStack, letters: DeadLetters, arrived: Callable[[int, int], None]) -> Outcome:
    letters_before = _count(letters)
    start = ticks.now() - DURATION_SECONDS * ticks.TICKS_PER_SECOND
    messages = list(_messages(start))
    with LocalHost(stack.host_url) as destination:
        send_at_once(messages, destination, lambda _: None)
    sent = {as_stored(reading) for message in messages for reading in message.readings}
    missing = sent
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        written = [each for each in observations(stack.fhir_url) if each.readings & sent]
        still_missing = sent.difference(*(each.readings for each in written))
        dead_letters = _count(letters) - letters_before
        arrived(len(sent) - len(still_missing), len(sent))
        if len(still_missing) < len(missing):
            deadline = time.monotonic() + PATIENCE_SECONDS
        missing = still_missing
        # A letter may hold a whole message; usually it holds one reading, and then there is nothing left to wait for.
        settled = len(sent) - len(missing) + dead_letters >= len(sent)
        if settled or time.monotonic() > deadline:
            return Outcome(len(messages), len(sent), written, missing, dead_letters)
        time.sleep(0.5)


def _messages(start: int) -> Iterable[traffic.Message]:
    return traffic.messages(DEVICES, MESSAGES_A_MINUTE, DURATION_SECONDS, start, SEED)


def _count(letters: DeadLetters) -> int:
    return sum(1 for _ in letters.select())
