"""What a message must become, worked out from the message alone and without any code of the product.

Each reading has one fate: WRITTEN, with the facts that a client of the FHIR server must then be able to read; LETTER;
or SUPERSEDED by another reading of its slot in the same message, of which the first stands (SPEC section 3).
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from tests.torture.traffic import STRANGERS

Json = dict[str, Any]


class Fate(StrEnum):
    WRITTEN = "written"
    LETTER = "letter"
    SUPERSEDED = "superseded"


class Fact(NamedTuple):
    """One value as a client of the FHIR server reads it. `time` is the second, or the start of the slot, that it is
    for."""

    device: str
    type: str
    time: str
    name: str
    value: str


class Event(NamedTuple):
    """A message as it lies in the hub."""

    partition: str
    sequence_number: int
    body: bytes


class Reading(NamedTuple):
    """A reading that was sent, or a whole message that cannot be read (then without values).

    `in_message`: its letter is that of the message, which holds whatever failed in it. `any_letter`: any letter of the
    message will do, since poison may be caught at any stage.
    """

    event: Event
    values: tuple[str, ...]
    facts: tuple[Fact, ...]
    fate: Fate
    in_message: bool = False
    any_letter: bool = False

    def __str__(self) -> str:
        return f"{self.event.partition}/{self.event.sequence_number} {' '.join(self.values)} ({self.fate})"


_NAMES = {"pulse": ("pulse",), "pressure": ("systolic", "diastolic"), "steps": ("steps",), "walk": ("walk",)}
_SLOT_SECONDS = {"steps": 60}


def readings_of(event: Event, *, strangers: bool = True) -> list[Reading]:
    """The readings of a message. With `strangers` False the app makes Devices of those that are not there."""
    try:
        document = json.loads(event.body)
    except ValueError:
        return [Reading(event, (), (), Fate.LETTER, in_message=True)]
    if "poison" in document:
        return [Reading(event, (), (), Fate.LETTER, in_message=True, any_letter=True)]
    if not document.get("readings"):
        return [Reading(event, (), (), Fate.LETTER, in_message=True)]
    taken: set[tuple[str, str]] = set()
    return [
        _reading(event, document["device"], content, taken, strangers=strangers) for content in document["readings"]
    ]


def _reading(event: Event, device: str, content: Json, taken: set[tuple[str, str]], *, strangers: bool) -> Reading:
    type_name = next(name for name, values in _NAMES.items() if values[0] in content)
    values = tuple(str(content[name]) for name in _NAMES[type_name])
    try:
        at = datetime.fromisoformat(content["at"])
    except ValueError:
        return Reading(event, values, (), Fate.LETTER, in_message=True)
    if not all(value.isdigit() for value in values) or (strangers and device.startswith(STRANGERS)):
        return Reading(event, values, (), Fate.LETTER)
    slot = _text(at - timedelta(seconds=at.timestamp() % _SLOT_SECONDS.get(type_name, 1)))
    if (type_name, slot) in taken:
        return Reading(event, values, (), Fate.SUPERSEDED)
    taken.add((type_name, slot))
    named = zip(_NAMES[type_name], values, strict=True)
    return Reading(
        event, values, tuple(Fact(device, type_name, slot, name, value) for name, value in named), Fate.WRITTEN
    )


def facts_of(observation: Json, device: str) -> Iterator[Fact]:
    """The values that an Observation holds, each at its time, as any client would read them."""
    type_name = observation["code"]["text"]
    for element in (observation, *observation.get("component", ())):
        name = element["code"]["text"] if element is not observation else type_name
        if (quantity := element.get("valueQuantity")) is not None:
            yield Fact(device, type_name, _start(observation), name, str(quantity["value"]))
        if (series := element.get("valueSampledData")) is not None:
            start = datetime.fromisoformat(_start(observation))
            for slot, sample in enumerate(series["data"].split()):
                if sample != "E":
                    time = start + timedelta(milliseconds=slot * float(series["period"]))
                    yield Fact(device, type_name, _text(time), name, sample)


def meaning(observation: Json) -> Json:
    """What a version says, without when it was said."""
    return {name: value for name, value in observation.items() if name not in ("meta", "issued", "text", "status")}


def _start(observation: Json) -> str:
    period = observation.get("effectivePeriod")
    start = period["start"] if period else observation["effectiveDateTime"]
    return _text(datetime.fromisoformat(start[:19]).replace(tzinfo=UTC))


def _text(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}Z"
