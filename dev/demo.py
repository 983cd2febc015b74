"""Demo patients and devices, two minutes of their traffic, and the proof that every reading arrived.

What was sent is compared with what the FHIR server holds, reading by reading: device, type, time and values. An
Observation is read as any client would read it: a Quantity at the second it starts in, a SampledData slot by slot.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import httpx

from dev.processes import ROOT
from dev.resources import search
from dev.stack import LocalStack
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
TYPE_SYSTEM = "https://azure.microsoft.com/en-us/services/iomt-fhir-connector/"


class Written(NamedTuple):
    """An Observation as the table shows it, with the readings it holds; start and end as the server gives them."""

    patient: str
    device_id: str
    type: str
    start: str
    end: str
    value: str
    readings: frozenset[Reading]


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
    letters = DeadLetters(Storage("AzureWebJobsStorage", {"AzureWebJobsStorage": stack.storage_connection_string}))
    letters_before = _count(letters)
    start = ticks.now() - DURATION_SECONDS * ticks.TICKS_PER_SECOND
    messages = list(_messages(start))
    with LocalHost(stack.host_url) as destination:
        send_at_once(messages, destination, lambda _: None)
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
        # A letter may hold a whole message; usually it holds one reading, and then there is nothing left to wait for.
        settled = len(sent) - len(missing) + dead_letters >= len(sent)
        if settled or time.monotonic() > deadline:
            return Outcome(len(messages), len(sent), written, missing, dead_letters)
        time.sleep(0.5)


def _messages(start: int) -> Iterable[traffic.Message]:
    return traffic.messages(DEVICES, MESSAGES_A_MINUTE, DURATION_SECONDS, start, SEED)


def observations(fhir_url: str) -> list[Written]:
    """Every Observation on the server that the app wrote, with the names of its patient and device."""
    people = {each["id"]: _name(each) for each in search(fhir_url, "Patient")}
    devices = {each["id"]: _identifier(each) for each in search(fhir_url, "Device")}
    return [_written(each, people, devices) for each in search(fhir_url, "Observation") if _is_of_the_app(each)]


def _written(observation: dict[str, Any], people: dict[str, str], devices: dict[str, str]) -> Written:
    device, patient = (observation[name]["reference"].rpartition("/")[2] for name in ("device", "subject"))
    device_id = devices.get(device, device)
    type_name = _own_code(observation)
    start_text, end_text = _period(observation)
    start = ticks.floor(ticks.from_datetime(datetime.fromisoformat(start_text)), ticks.TICKS_PER_SECOND)
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
        start=start_text,
        end=end_text,
        value=f"{' / '.join(texts)} {unit}",
        readings=frozenset(Reading(device_id, type_name, at, tuple(each)) for at, each in values.items()),
    )


def _period(observation: dict[str, Any]) -> tuple[str, str]:
    """The first and the last moment, as the server gives them; with OBSERVATION_EFFECTIVE=dateTime they are one."""
    if (moment := observation.get("effectiveDateTime")) is not None:
        return moment, moment
    return observation["effectivePeriod"]["start"], observation["effectivePeriod"]["end"]


def _is_of_the_app(observation: dict[str, Any]) -> bool:
    """The server outlives a run, and others may write Observations to it that have neither device nor period."""
    return any(identifier.get("system") == TYPE_SYSTEM for identifier in observation.get("identifier", []))


def _own_code(part: dict[str, Any]) -> str:
    """The type, or in a component the value's name: the coding that the app adds after the mapping's own."""
    return next(str(coding["code"]) for coding in part["code"]["coding"] if coding.get("system") == TYPE_SYSTEM)


def _values(part: dict[str, Any], start: int) -> Iterable[tuple[int, Decimal]]:
    """Times (ticks) and numbers that an Observation holds directly, or that one of its components holds."""
    if (quantity := part.get("valueQuantity")) is not None:
        yield start, Decimal(quantity["value"])
    if (sampled := part.get("valueSampledData")) is not None:
        slot = int(sampled["period"] * ticks.TICKS_PER_MILLISECOND)
        for n, sample in enumerate(sampled["data"].split()):
            if sample not in ("E", "U", "L"):
                yield start + n * slot, Decimal(sample)


def _samples(part: dict[str, Any]) -> list[str]:
    """The numbers of an Observation or a component as one text; an empty list if it has none itself."""
    numbers = [str(value) for _, value in _values(part, 0)]
    return [", ".join(numbers)] if numbers else []


def _unit(part: dict[str, Any]) -> str | None:
    quantity = part.get("valueQuantity") or part.get("valueSampledData", {}).get("origin", {})
    unit: str | None = quantity.get("unit")
    return unit


def _as_stored(reading: Reading) -> Reading:
    """A reading with the time that it is stored under: the minute of its slot for steps, else its second.

    Only to the second, because its Observation may be there already, with an earlier start within that second, when a
    run begins within two minutes of the one before.
    """
    slot = ticks.TICKS_PER_MINUTE if reading.type == "steps" else ticks.TICKS_PER_SECOND
    return reading._replace(time=ticks.floor(reading.time, slot))


def _name(patient: dict[str, Any]) -> str:
    name = patient.get("name", [{}])[0]
    return " ".join([*name.get("given", []), name.get("family", "")]).strip()


def _identifier(device: dict[str, Any]) -> str:
    """The identifier that readings give the device; its FHIR id if somebody wrote the device without an identifier."""
    return next((each["value"] for each in device.get("identifier", []) if "value" in each), device["id"])


def _count(letters: DeadLetters) -> int:
    return sum(1 for _ in letters.select())
