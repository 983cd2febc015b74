"""The readings that the FHIR server holds, by the start mapping.

An Observation is read as any client would read it: a Quantity at the second it starts in, a SampledData slot by slot.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from dev.resources import search
from medtech.command.traffic import Reading
from medtech.dotnet import ticks

TYPE_SYSTEM = "https://azure.microsoft.com/en-us/services/iomt-fhir-connector/"


class Written(NamedTuple):
    """An Observation as the table shows it, with the readings it holds; start and end as the server gives them."""

    id: str
    version: int
    patient: str
    device_id: str
    type: str
    start: str
    end: str
    value: str
    readings: frozenset[Reading]


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
        id=observation["id"],
        version=int(observation["meta"]["versionId"]),
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


def as_stored(reading: Reading) -> Reading:
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
