"""Demo patients and devices, two minutes of their traffic, and the proof that every reading arrived.

What was sent is compared with what the FHIR server holds, reading by reading: device, type, time and values. An
Observation is read as any client would: a Quantity in the second of its period's start, a SampledData slot by slot.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import httpx

from dev.stack import LocalStack
from medtech.command import simulate
from medtech.dead_letter.store import DeadLetters
from medtech.dotnet import ticks
from medtech.storage.connection import Storage

MESSAGES_A_MINUTE = 6
DURATION_SECONDS = 120
SEED = 1

QUICK_SETTINGS = {"WINDOW_SECONDS": "2", "FLUSH_GRACE_SECONDS": "1", "FLUSH_SCHEDULE": "*/1 * * * * *"}
"""In the cloud a window is five minutes; nobody wants to watch that."""

PATIENCE_SECONDS = 45.0
"""How long nothing may arrive before the demo gives up."""

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
_TYPE_SYSTEM = "https://azure.microsoft.com/en-us/services/iomt-fhir-connector/"


class Written(NamedTuple):
    """An Observation as the table shows it, with the readings it holds. The period is as the server gives it."""

    patient: str
    device_id: str
    type: str
    start: str
    end: str
    value: str
    readings: frozenset[simulate.Reading]


class Outcome(NamedTuple):
    """What became of the traffic. `missing` are the readings sent that no Observation holds."""

    messages: int
    readings: int
    written: list[Written]
    missing: set[simulate.Reading]
    dead_letters: int

    @property
    def line(self) -> str:
        return (
            f"demo: {self.messages} messages, {self.readings} readings -> "
            f"{len(self.written)} observations, {self.dead_letters} dead letters"
        )


def put_people_and_devices(fhir_url: str) -> None:
    """Ten patients, each with a device; those that are there already stay as they are in meaning."""
    entries = []
    for number, name in enumerate(_NAMES, start=1):
        patient_id, device_id = simulate.patient_id(number), simulate.device_id(number)
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


def play(stack: LocalStack, arrived: Callable[[int, int], None]) -> Outcome:
    """Sends the traffic and waits until it is in the FHIR server, or nothing more comes.

    `arrived` is told from time to time how many readings of how many are there.
    """
    letters = DeadLetters(Storage("AzureWebJobsStorage", {"AzureWebJobsStorage": stack.storage_connection_string}))
    letters_before = _count(letters)
    start = ticks.now() - DURATION_SECONDS * ticks.TICKS_PER_SECOND
    messages = list(simulate.traffic(DEVICES, MESSAGES_A_MINUTE, DURATION_SECONDS, start, SEED))
    with simulate.LocalHost(stack.host_url) as destination:
        simulate.send_at_once(messages, destination, lambda _: None)
    sent = {_as_stored(reading) for message in messages for reading in message.readings}
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
        # A letter may stand for a whole message; mostly it is one reading, and then there is nothing to wait for.
        settled = len(sent) - len(missing) + dead_letters >= len(sent)
        if settled or time.monotonic() > deadline:
            return Outcome(len(messages), len(sent), written, missing, dead_letters)
        time.sleep(0.5)


def observations(fhir_url: str) -> list[Written]:
    """Every Observation of the server that the app wrote, with the names of its patient and device."""
    people = {each["id"]: _name(each) for each in _search(f"{fhir_url}/Patient")}
    devices = {each["id"]: _identifier(each) for each in _search(f"{fhir_url}/Device")}
    return [_written(each, people, devices) for each in _search(f"{fhir_url}/Observation") if _is_of_the_app(each)]


def _search(address: str) -> Iterator[dict[str, Any]]:
    """The resources of a type, to the last page; numbers as Decimal."""
    following: str | None = f"{address}?_count=500"
    while following is not None:
        answer = httpx.get(following, timeout=30)
        answer.raise_for_status()
        bundle = json.loads(answer.text, parse_float=Decimal, parse_int=Decimal)
        yield from (entry["resource"] for entry in bundle.get("entry", []))
        following = next((link["url"] for link in bundle.get("link", []) if link["relation"] == "next"), None)


def _written(observation: dict[str, Any], people: dict[str, str], devices: dict[str, str]) -> Written:
    device, patient = (observation[name]["reference"].rpartition("/")[2] for name in ("device", "subject"))
    device_id = devices.get(device, device)
    type_name = _own_code(observation)
    period = observation["effectivePeriod"]
    start = ticks.floor(ticks.from_datetime(datetime.fromisoformat(period["start"])), ticks.TICKS_PER_SECOND)
    parts = [(type_name, observation), *((_own_code(part), part) for part in observation.get("component", []))]
    values: dict[int, list[tuple[str, Decimal]]] = {}
    texts = []
    unit = ""
    for name, part in parts:
        for moment, value in _values(part, start):
            values.setdefault(moment, []).append((name, value))
        texts += _samples(part)
        unit = _unit(part) or unit
    return Written(
        patient=people.get(patient, patient),
        device_id=device_id,
        type=type_name,
        start=period["start"],
        end=period["end"],
        value=f"{' / '.join(texts)} {unit}",
        readings=frozenset(simulate.Reading(device_id, type_name, at, tuple(each)) for at, each in values.items()),
    )


def _is_of_the_app(observation: dict[str, Any]) -> bool:
    """The server outlives a run, and others may write to it what has neither device nor period."""
    return any(identifier.get("system") == _TYPE_SYSTEM for identifier in observation.get("identifier", []))


def _own_code(part: dict[str, Any]) -> str:
    """The type, or in a component the value's name, that the mapping's codes are followed by."""
    return next(str(coding["code"]) for coding in part["code"]["coding"] if coding.get("system") == _TYPE_SYSTEM)


def _values(part: dict[str, Any], start: int) -> Iterable[tuple[int, Decimal]]:
    """Times (ticks) and numbers that an Observation or a component holds itself."""
    if (quantity := part.get("valueQuantity")) is not None:
        yield start, Decimal(quantity["value"])
    if (sampled := part.get("valueSampledData")) is not None:
        slot = int(sampled["period"] * ticks.TICKS_PER_MILLISECOND)
        for n, sample in enumerate(sampled["data"].split()):
            if sample not in ("E", "U", "L"):
                yield start + n * slot, Decimal(sample)


def _samples(part: dict[str, Any]) -> list[str]:
    """The numbers of an Observation or a component as one text; empty if it has none itself."""
    numbers = [str(value) for _, value in _values(part, 0)]
    return [", ".join(numbers)] if numbers else []


def _unit(part: dict[str, Any]) -> str | None:
    quantity = part.get("valueQuantity") or part.get("valueSampledData", {}).get("origin", {})
    unit: str | None = quantity.get("unit")
    return unit


def _as_stored(reading: simulate.Reading) -> simulate.Reading:
    """A step count is stored in its minute's slot, any other reading in the one Observation of its second.

    Which may be there already, with an earlier start, when a run begins within two minutes of the one before.
    """
    slot = ticks.TICKS_PER_MINUTE if reading.type == "steps" else ticks.TICKS_PER_SECOND
    return reading._replace(time=ticks.floor(reading.time, slot))


def _name(patient: dict[str, Any]) -> str:
    name = patient.get("name", [{}])[0]
    return " ".join([*name.get("given", []), name.get("family", "")]).strip()


def _identifier(device: dict[str, Any]) -> str:
    """What readings name the device by; its FHIR id if somebody put it there without an identifier."""
    return next((each["value"] for each in device.get("identifier", []) if "value" in each), device["id"])


def _count(letters: DeadLetters) -> int:
    return sum(1 for _ in letters.summaries())
